"""Projects in all shapes: doc blocks, packages, ephemeral models, versions, sources."""

from __future__ import annotations

import pytest

from tests.conftest import Shop
from tests.server import LoopbackServer, Recorded, text_for


def request_about(server: LoopbackServer, name: str) -> Recorded:
    return next(r for r in server.requests if f"`{name}`" in r.body["messages"][1]["content"][:80])


def test_everything_is_written_once_and_nothing_asked_twice(
    shapes: Shop, server: LoopbackServer
) -> None:
    done = shapes.document("--include-external", "--llm-stats")
    assert done.returncode == 0, done.stderr
    assert [key for key, text in shapes.texts().items() if not text] == ["versioned.amount"]
    assert "pkg_model" not in str([request.text for request in server.requests])
    files = shapes.yaml_files()
    server.requests.clear()
    assert shapes.document("--include-external").returncode == 0
    assert [r.body["messages"][1]["content"][:60] for r in server.requests] == []
    assert shapes.yaml_files() == files


def test_doc_references_are_read_as_their_text(shapes: Shop, server: LoopbackServer) -> None:
    shapes.document()
    request = request_about(server, "mart_things")
    assert "Number of the thing, printed on its label." in request.text
    assert "{{ doc(" not in request.text
    raw = (shapes.directory / "seeds/_seeds.yml").read_text()
    assert "{{ doc('thing_id') }}" in raw
    offline = shapes.document(LLM_PROVIDER="offline")
    assert offline.returncode == 0
    assert "{ {" not in str(shapes.texts())


def test_texts_of_ephemeral_parents_and_sources_go_along(
    shapes: Shop, server: LoopbackServer
) -> None:
    shapes.document("--llm-no-copy")  # so that all columns are asked for
    assert "Things without their words." in request_about(server, "mart_things").text
    source = request_about(server, "warehouse.things")
    assert "Weekly export of the warehouse." in source.text
    assert "tested: one of 'a', 'b', unique" in source.text
    stars = request_about(server, "mart_stars")
    assert "Source: Weekly export of the warehouse." in stars.text
    assert "`Source Word` (VARCHAR)" in stars.text
    assert shapes.texts()["mart_stars.Source Word"] in {
        text_for("column_1"),
        text_for("column_2"),
        text_for("table"),
    }


@pytest.mark.parametrize("selected", [("mart_stars", "mart_things"), ("mart_things", "mart_stars")])
def test_column_lists_do_not_depend_on_what_was_compiled_before(
    shapes: Shop, server: LoopbackServer, selected: tuple[str, str]
) -> None:
    done = shapes.document(*selected)
    assert done.returncode == 0, done.stderr
    assert "Could not introspect" not in done.stderr
    assert "from warehouse.things.word" in request_about(server, "mart_stars").text


def test_a_placeholder_with_a_line_end_is_replaced(shapes: Shop, server: LoopbackServer) -> None:
    shapes.document("stg_things")
    assert shapes.texts()["stg_things"] == text_for("table")


def test_a_model_without_a_yaml_path_is_named_and_stops_no_other(
    shapes: Shop, server: LoopbackServer
) -> None:
    project = shapes.directory / "dbt_project.yml"
    project.write_text(project.read_text().replace('models:\n  +dbt-osmosis: "_schema.yml"\n', ""))
    planned = shapes.document("--llm-dry-run")
    done = shapes.document()
    assert done.returncode == 1
    for said in (planned.stderr, done.stderr):
        assert "knows no YAML file for model.shapes.mart_" in said
        assert "under 'models:' and 'shapes:'." in said
        assert "Traceback" not in said
    assert server.requests
    assert "mart_stars" not in "".join(r.text.partition("Columns")[0] for r in server.requests)
    assert not list(shapes.directory.rglob("*mart*.yml"))
    # Where nothing is left to do it ends before anything is asked.
    server.reset()
    alone = shapes.document("mart_stars")
    assert (alone.returncode, server.requests) == (2, [])
    assert "Set '+dbt-osmosis: \"_{model}.yml\"' for it in dbt_project.yml" in alone.stderr


def test_what_of_a_selection_matches_nothing_is_named(shapes: Shop) -> None:
    done = shapes.document("--llm-dry-run", "mart_starz", "stg_things")
    assert "Matches no table: mart_starz" in done.stderr


def test_texts_that_dbt_osmosis_could_not_write_are_named(
    shapes: Shop, server: LoopbackServer
) -> None:
    # A directory where the file should go: dbt-osmosis logs its failure and exits 0.
    project = shapes.directory / "dbt_project.yml"
    project.write_text(project.read_text().replace('"_schema.yml"', '"_{model}.yml"'))
    (shapes.directory / "models/_mart_stars.yml").mkdir()
    done = shapes.document("mart_stars")
    assert done.returncode == 1
    assert "_mart_stars.yml could not be written; texts lost of:" in done.stderr
    assert "  model.shapes.mart_stars" in done.stderr
