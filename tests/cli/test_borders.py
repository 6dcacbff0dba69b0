"""What stands outside of a project's own files: values of variables, packages, folders, links."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import clean_environment, run_command
from tests.conftest import Shop, copy_of
from tests.server import LoopbackServer, text_for

VARIABLES = {
    "LOADER_HOST": "loader.internal.example",
    "OWNER_MAIL": "ann@example.com",
    "SALT": "pepper-123",
}


def build(directory: Path) -> None:
    shutil.copytree(Path(__file__).parent.parent / "projects/borders", directory)
    for command in ("deps", "build"):
        environ = clean_environment(**VARIABLES)
        done = run_command("dbt", command, "--quiet", directory=directory / "dbt", environ=environ)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def built_borders(made_once: Callable[..., Path]) -> Path:
    return made_once("borders", build)


@pytest.fixture
def borders(built_borders: Path, tmp_path: Path, server: LoopbackServer) -> Shop:
    shop = copy_of(built_borders, tmp_path, server)
    environ = {**shop.environ, **VARIABLES}
    return replace(shop, directory=shop.directory / "dbt", environ=environ)


def test_values_of_variables_are_written_and_sent_nowhere(
    borders: Shop, server: LoopbackServer
) -> None:
    done = borders.document()
    sent = "".join(request.text for request in server.requests)
    assert "amount" in sent
    files = {
        path: path.read_text()
        for folder in ("", "models", "seeds")
        for path in (borders.directory / folder).glob("*.yml")
    }
    for value in VARIABLES.values():
        assert value not in sent
        assert value not in done.stderr
        assert [path for path, text in files.items() if value in text] == []
    assert "nightly" in sent  # a tag that stands in a file

    (model,) = borders.load("models/_stg_orders.yml")["models"]
    columns = {column["name"]: column for column in model["columns"]}
    inherited = columns["amount"].get("config", columns["amount"])
    assert inherited["meta"] == {"masking": "{{ env_var('SALT') }}"}
    if inherited := columns["order_id"].get("config"):  # older dbt reads none of a column
        assert inherited["meta"] == {
            "owner": "{{ env_var('OWNER_MAIL') }}",
            "kept": {"by": ["{{ env_var('SALT') }}"]},
        }
        assert set(inherited["tags"]) == {"{{ var('team') }}", "pk"}
    assert columns["order_id"]["description"] == "Number of the order."
    assert columns["amount"]["description"] == "Euros, see {{ env_var('LOADER_HOST') }}"
    assert "{{ x }}" in columns["note"]["description"]
    parsed = borders.dbt("parse", "--no-partial-parse", "--quiet")
    assert parsed.returncode == 0, parsed.stdout


def test_what_cannot_be_written_stops_nothing_else(borders: Shop, server: LoopbackServer) -> None:
    done = borders.document()
    assert done.returncode == 1
    assert "knows no YAML file for model.borders.outside: it would lie outside" in done.stderr
    assert "stands in the package parts (seeds/_seeds.yml), which is not written" in done.stderr
    assert not (borders.directory / "seeds/_countries.yml").exists()
    assert not list((borders.directory.parent / "shared").glob("*.yml"))
    assert {"orders", "regions", "stg_orders"} <= borders.texts().keys()
    before = borders.yaml_files()
    server.reset()
    again = borders.document()
    assert (again.returncode, server.requests) == (1, [])
    assert borders.yaml_files() == before


def test_tables_without_a_file_are_named_by_their_reasons(borders: Shop) -> None:
    project = borders.directory / "dbt_project.yml"
    project.write_text(project.read_text().replace('    +dbt-osmosis: "_{model}.yml"\n', "", 1))
    said = borders.document("--llm-dry-run").stderr
    assert "model.borders.orders" in said
    assert "Set '+dbt-osmosis: \"_{model}.yml\"' for it in dbt_project.yml, under 'models:'" in said
    # Not even a path would help that one; dbt-osmosis asks for the path first.
    project.write_text(
        project.read_text().replace(
            "    +materialized: table\n",
            '    +materialized: table\n    outside: {+dbt-osmosis: "_{model}.yml"}\n',
        )
    )
    said = borders.document("--llm-dry-run").stderr
    assert "for model.borders.outside: it would lie outside of the project" in said
    assert "Give them entries in a YAML file of the project by hand." in said
    assert "under 'models:' and 'borders:'." in said


def test_check_names_files_from_the_root_of_the_repository(borders: Shop) -> None:
    (borders.directory.parent / ".git").mkdir()
    done = borders.dbt_osmosis("llm", "check", "--format", "github")
    assert done.returncode == 1
    assert "::warning file=dbt/models/_sources.yml,line=" not in done.stdout  # all are there
    assert "file=dbt/models/_orders.yml,title=missing texts::" in done.stdout
    borders.document()
    path = borders.directory / "models/_regions.yml"
    lines = path.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.strip() == "- name: region")
    del lines[place + 1]
    path.write_text("\n".join(lines))
    done = borders.dbt_osmosis("llm", "check", "--format", "github")
    assert f"file=dbt/models/_regions.yml,line={place + 1},title=missing texts::" in done.stdout


def test_a_link_to_a_yaml_file_stays_one(borders: Shop) -> None:
    borders.document()
    file, lock = (borders.directory / n for n in ("models/_orders.yml", "dbt-osmosis-llm.lock.yml"))
    for path in (file, lock):
        moved = borders.directory.parent / path.name
        moved.write_text(path.read_text())
        path.unlink()
        path.symlink_to(moved)
    text = file.read_text()
    place = text.index("- name: euros")
    begin = text.index("        description:", place)
    file.write_text(text[:begin] + text[text.index("\n", begin) + 1 :])
    borders.document("--llm-no-cache")
    assert file.is_symlink()
    assert lock.is_symlink()
    # The server calls a text that is asked for alone by another name.
    assert file.read_text() == text.replace(text_for("euros"), text_for("table"))


def test_a_relative_database_that_is_not_there_is_said(borders: Shop) -> None:
    above = replace(borders, directory=borders.directory.parent)
    done = above.document("--project-dir", "dbt", "--profiles-dir", "dbt")
    assert re.search(
        r"None of the \d tables is in the warehouse \(duckdb borders.duckdb\)", done.stderr
    )
    assert not os.path.exists(borders.directory / "dbt")
