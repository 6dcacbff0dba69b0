"""`dbt-osmosis yaml document --synthesize`, as installed, on the demo project."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.commands import BIN
from tests.conftest import KEY, Shop
from tests.server import LoopbackServer, Recorded, Reply, text_for

EXAMPLE = Path(__file__).parent.parent.parent / "prompts.example.yaml"


def table_of(request: Recorded) -> str:
    """Return the table that a request asks about, by the default or the example prompts."""
    found = re.search(r"(?:model|source|seed) `?([\w.]+)`?(?::| needs|\.\n)", request.text)
    assert found, request.text
    return found[1].rpartition(".")[2]


def phrases(sql: str) -> list[str]:
    """Return lines of a model's file that compiling leaves as they are."""
    lines = [line.strip() for line in sql.splitlines()]
    return [line for line in lines if len(line) > 12 and not set("{}#") & set(line)]


def test_the_whole_way(shop: Shop, server: LoopbackServer) -> None:
    before = shop.texts()
    done = shop.document("--llm-prompt-file", str(EXAMPLE), "--llm-stats")
    assert done.returncode == 0, done.stderr

    asked = [table_of(request) for request in server.requests]
    assert len(asked) == len(set(asked)), "one request per table"
    for request, name in zip(server.requests, asked, strict=True):
        for path in shop.directory.glob(f"models/**/{name}.sql"):
            lines = phrases(path.read_text())
            assert lines
            assert any(line in request.text for line in lines), name
        assert "{{ ref(" not in request.text
        assert request.body["max_completion_tokens"] > 0

    after = shop.texts()
    assert [key for key, text in after.items() if not text] == []
    for key, text in before.items():
        if text:
            assert after[key] == text, "no human text is touched"
    generated = {key: text for key, text in after.items() if text == text_for(key.split(".")[-1])}
    assert len(generated) > 20
    assert f"prompt tokens      {server.input_tokens:,} ({server.cached_tokens:,} cached)" in (
        done.stderr
    )
    assert f"completion tokens  {server.output_tokens:,}" in done.stderr
    assert f"requests           {len(asked)} " in done.stderr
    assert re.search(r"cost +\$0\.\d+", done.stderr)
    assert KEY not in done.stdout + done.stderr

    parsed = shop.dbt("parse")
    assert parsed.returncode == 0, parsed.stdout

    server.requests.clear()
    files = shop.yaml_files()
    again = shop.document("--llm-prompt-file", str(EXAMPLE), "--llm-stats")
    assert again.returncode == 0, again.stderr
    assert server.requests == []
    assert shop.yaml_files() == files


def test_parents_are_asked_before_children(shop: Shop, server: LoopbackServer) -> None:
    assert shop.document("--llm-no-copy").returncode == 0
    asked = [table_of(request) for request in server.requests]
    order = ["payments", "stg_pos__payments", "int_payments_latest", "int_money_movements"]
    positions = [asked.index(name) for name in order if name in asked]
    assert len(positions) >= 2
    assert positions == sorted(positions)
    # What was written for a parent is evidence for its child.
    child = next(r for r in server.requests if table_of(r) == "stg_pos__payments")
    assert f"from pos.payments.state: {text_for('state')}" in child.text


def test_upstream_texts_expressions_and_tests_go_along(shop: Shop, server: LoopbackServer) -> None:
    assert shop.document("fct_orders").returncode == 0
    (request,) = server.requests
    assert "SUM(CASE WHEN products.category = 'drink'" in request.text
    assert "Shop where the order was handed over." in request.text
    assert "One row per order that was not cancelled" in request.text


MISTAKES = {
    "missing file": (
        ["--llm-prompt-file", "none.yaml"],
        {},
        "Prompt file none.yaml does not exist.",
    ),
    "not YAML": (["--llm-prompt-file", "bad.yaml"], {}, "bad.yaml is not YAML"),
    "not a mapping": (["--llm-prompt-file", "list.yaml"], {}, "must be a mapping"),
    "unknown key": (["--llm-prompt-file", "key.yaml"], {}, "unknown key 'model_systm'"),
    "placeholder": (["--llm-prompt-file", "hole.yaml"], {}, "unknown placeholder {sqll}"),
    "provider": (["--llm-provider", "opnai"], {}, "Did you mean 'openai'?"),
    "key": ([], {"OPENAI_API_KEY": ""}, "set OPENAI_API_KEY"),
    "timeout": (["--llm-timeout", "soon"], {}, "--llm-timeout is 'soon'"),
    "environment": ([], {"OSMOSIS_LLM_MAX_RETRIES": "many"}, "OSMOSIS_LLM_MAX_RETRIES is 'many'"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=list(MISTAKES))
def test_a_mistake_is_one_line_and_nothing_happens(
    shop: Shop, server: LoopbackServer, mistake: str
) -> None:
    arguments, environ, says = MISTAKES[mistake]
    for name, text in {
        "bad.yaml": "a: [",
        "list.yaml": "- a",
        "key.yaml": "model_systm: x",
        "hole.yaml": "model_user: '{sqll}'",
    }.items():
        (shop.directory / name).write_text(text)
    files = shop.yaml_files()
    done = shop.document(*arguments, **environ)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert "Traceback" not in done.stderr
    assert server.requests == []
    assert shop.yaml_files() == files


def test_one_failed_table_is_named_and_the_rest_written(shop: Shop, server: LoopbackServer) -> None:
    def script(request: Recorded, number: int) -> Reply | None:
        refused = table_of(request) == "stg_pos__refunds"
        return Reply(400, body={"error": {"message": "bad [red]schema"}}) if refused else None

    server.script = script
    done = shop.document()
    assert done.returncode == 1
    assert "Failed, left for the next run: openai answered 400: bad [red]schema" in done.stderr
    assert "  model.coffee_shop.stg_pos__refunds" in done.stderr
    texts = shop.texts()
    assert texts["stg_pos__refunds"] == ""
    assert texts["dim_customers"] == text_for("table")

    server.reset()
    assert shop.document().returncode == 0
    assert "stg_pos__refunds" in [table_of(request) for request in server.requests]
    assert [key for key, text in shop.texts().items() if not text] == []


def test_a_key_that_is_wrong_from_the_start_is_tried_once(
    shop: Shop, server: LoopbackServer
) -> None:
    server.script = lambda request, number: Reply(401)
    assert shop.document().returncode == 2
    assert len(server.requests) == 1


def test_wrong_key_stops_at_once(shop: Shop, server: LoopbackServer) -> None:
    server.script = lambda request, number: (
        Reply(401, body={"error": {"message": f"Incorrect API key provided: {KEY}"}})
        if number > 2
        else None
    )
    done = shop.document("--llm-concurrency", "1")
    assert done.returncode == 2
    assert len(server.requests) == 3
    assert "refused the key (401)" in done.stderr
    assert "check OPENAI_API_KEY" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert text_for("table") in shop.texts().values(), "what was answered is written"


def test_server_down_is_one_line(shop: Shop) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    done = shop.document(LLM_PROVIDER="ollama", OLLAMA_BASE_URL=url)
    assert done.returncode == 2
    assert f"Error: cannot reach ollama at {url}" in done.stderr
    assert "Traceback" not in done.stderr


def test_unusable_and_invented_answers(shop: Shop, server: LoopbackServer) -> None:
    def script(request: Recorded, number: int) -> Reply | None:
        if table_of(request) == "fct_daily_store_sales":
            return Reply(content="I would rather talk about something else.")
        if table_of(request) == "dim_customers":
            columns = dict.fromkeys(request.schema["properties"]["columns"]["required"], "A {{ x")
            return Reply(content={"description": "{% if", "columns": {**columns, "made_up": "x"}})
        return None

    server.script = script
    done = shop.document()
    assert done.returncode == 1
    assert "the answer is not a JSON object: 'I would rather talk" in done.stderr
    assert "ignored: made_up" in done.stderr
    texts = shop.texts()
    assert texts["fct_daily_store_sales"] == ""
    assert "made_up" not in str(texts)
    assert texts["dim_customers"] == "{ % if"
    assert "A { { x" in texts.values()


def test_our_options_alone_do_nothing(shop: Shop) -> None:
    before = shop.yaml_files()
    done = shop.dbt_osmosis("yaml", "document", "--llm-dry-run", "--llm-stats")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "Error: --llm-stats, --llm-dry-run: only with --synthesize. Nothing was done.\n"
    )
    assert shop.yaml_files() == before


def test_a_file_that_is_not_utf_8_is_named(shop: Shop) -> None:
    path = shop.directory / "models/marts/_marts__models.yml"
    path.write_bytes(path.read_bytes() + b"# caf\xe9\n")
    for command in (("yaml", "document", "--synthesize"), ("llm", "check")):
        done = shop.dbt_osmosis(*command, LLM_PROVIDER="offline")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert f"Error: dbt reads UTF-8 alone, and {path} is not" in done.stderr.replace("./", "")


def test_a_new_file_has_texts_behind_names(shop: Shop) -> None:
    name = "models/intermediate/_intermediate__models.yml"
    (shop.directory / name).unlink()
    done = shop.document("models/intermediate", LLM_PROVIDER="offline")
    assert done.returncode == 0, done.stderr
    models = shop.load(name)["models"]
    described = [one for one in models if one.get("description")]
    assert len(described) > 1
    for entry in (*described, *(column for one in models for column in one["columns"])):
        named = [key for key in entry if key in ("name", "description", "data_type", "columns")]
        assert named == sorted(named, key=["name", "description", "data_type", "columns"].index), (
            entry
        )


def test_without_synthesize_the_command_is_dbt_osmosis_alone(
    shop: Shop, server: LoopbackServer, tmp_path: Path
) -> None:
    other = Shop(tmp_path / "other", shop.environ)
    shutil.copytree(shop.directory, other.directory)
    with_plugin = shop.dbt_osmosis("yaml", "document")
    without = other.dbt_osmosis("yaml", "document", DBT_OSMOSIS_LLM="off")
    assert (with_plugin.returncode, without.returncode) == (0, 0)
    assert shop.yaml_files() == other.yaml_files()
    assert server.requests == []


def test_the_switch_takes_every_trace_away(shop: Shop) -> None:
    on = shop.dbt_osmosis("yaml", "document", "--help").stdout
    off = shop.dbt_osmosis("yaml", "document", "--help", DBT_OSMOSIS_LLM="off").stdout
    for flag in ("--llm-prompt-file", "--llm-stats", "--llm-timeout", "--llm-provider"):
        assert flag in on
        assert flag not in off
    assert "OpenAI" in off
    assert "llm" in shop.dbt_osmosis("--help").stdout
    assert "Look at what" not in shop.dbt_osmosis("--help", DBT_OSMOSIS_LLM="off").stdout


def test_refactor_synthesizes_too(shop: Shop, server: LoopbackServer) -> None:
    done = shop.document("--auto-apply", command="refactor")
    assert done.returncode == 0, done.stderr
    assert [key for key, text in shop.texts().items() if not text] == []
    asked = [table_of(request) for request in server.requests]
    assert len(asked) == len(set(asked))


def test_placeholders_are_replaced_and_human_texts_kept(shop: Shop, server: LoopbackServer) -> None:
    path = shop.directory / "models/marts/_marts__models.yml"
    text = path.read_text()
    text = text.replace(
        "  - name: dim_customers\n", "  - name: dim_customers\n    description: Not documented\n"
    )
    path.write_text(text)
    assert shop.texts()["dim_customers"] == "Not documented"
    assert shop.document().returncode == 0
    texts = shop.texts()
    assert texts["dim_customers"] == text_for("table")
    assert texts["fct_orders"].startswith("One row per order that was not cancelled")


def test_a_model_that_does_not_compile_is_asked_with_its_raw_sql(
    shop: Shop, server: LoopbackServer
) -> None:
    (shop.directory / "models/marts/dim_broken.sql").write_text(
        "{% if execute %}{{ exceptions.raise_compiler_error('no [bold]way') }}{% endif %}\n"
        "select 1 as answer_to_everything\n"
    )
    done = shop.document("dim_broken", "--log-level", "DEBUG")
    assert done.returncode == 0, done.stderr
    (request,) = server.requests
    assert "raise_compiler_error" in request.text
    assert "select 1 as answer_to_everything" in request.text
    assert "does not compile; its raw SQL is used" in done.stderr


def test_nothing_selected_asks_nothing(shop: Shop, server: LoopbackServer) -> None:
    files = shop.yaml_files()
    done = shop.document("--fqn", "no.such.model")
    assert done.returncode == 0
    assert server.requests == []
    assert shop.yaml_files() == files


def test_settings_from_the_project(shop: Shop, server: LoopbackServer) -> None:
    project = shop.directory / "dbt_project.yml"
    settings = "    llm: {model: gpt-from-project, prompt_file: mine.yaml}\n    use-unrendered"
    project.write_text(project.read_text().replace("    use-unrendered", settings))
    (shop.directory / "mine.yaml").write_text("rules: [Mind the gap.]\n")
    assert shop.document("fct_orders", "--llm-stats").returncode == 0
    (request,) = server.requests
    assert request.body["model"] == "gpt-from-project"
    assert "- Mind the gap." in request.text


def test_offline_provider_needs_no_key_and_is_deterministic(
    shop: Shop, server: LoopbackServer, tmp_path: Path
) -> None:
    other = Shop(tmp_path / "other", shop.environ)
    shutil.copytree(shop.directory, other.directory)
    environ = {"LLM_PROVIDER": "offline", "OPENAI_API_KEY": ""}
    first = shop.document("--llm-stats", **environ, PYTHONHASHSEED="1")
    second = other.document("--llm-stats", **environ, PYTHONHASHSEED="2")
    assert (first.returncode, second.returncode) == (0, 0)
    assert server.requests == []
    assert shop.yaml_files() == other.yaml_files()
    assert shop.texts()["dim_customers.customer_name"] == (
        "Computed as `first_name || ' ' || last_name` of `pos.customers`."
    )
    assert "cost               $0.00" in first.stderr


def test_as_a_module(shop: Shop) -> None:
    done = subprocess.run([BIN / "python", "-S", "-c", "print()"], capture_output=True, check=True)
    assert done.returncode == 0
    done = subprocess.run(
        [BIN / "python", "-m", "dbt_osmosis_llm", "yaml", "document", "--help"],
        env=shop.environ,
        capture_output=True,
        check=True,
    )
    assert b"--llm-stats" in done.stdout
    assert done.stdout.startswith(b"Usage: dbt-osmosis yaml document")
