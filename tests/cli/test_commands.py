"""`test-llm`, `llm providers`, and dbt-osmosis's own commands that ask a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from dbt_osmosis.cli.main import cli
from dbt_osmosis.core import llm as host_llm
from dbt_osmosis.core import test_suggestions as host_suggestions

from tests.conftest import KEY, Shop, cli_runner
from tests.server import LoopbackServer, Recorded, Reply

CLIENT = host_llm.get_llm_client


@pytest.fixture
def run(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run ``dbt-osmosis`` in this process, outside of any project."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, **environ: str) -> Result:
        openai = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url, "COLUMNS": "80"}
        return cli_runner().invoke(cli, arguments, env={**openai, **environ})

    return invoke


def rows_of(output: str) -> dict[str, str]:
    parts = (line.partition(":") for line in output.splitlines())
    return {name: value.strip() for name, _, value in parts}


def anthropic(server: LoopbackServer) -> dict[str, str]:
    return {
        "LLM_PROVIDER": "anthropic",
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": server.root,
    }


def test_connection_as_installed(shop: Shop, server: LoopbackServer) -> None:
    url = server.url.replace("http://", f"http://user:{KEY}@")
    done = replace(shop, process=True).dbt_osmosis("test-llm", OPENAI_BASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = rows_of(done.stdout)
    assert rows["Provider"] == "openai"
    assert rows["Model"] == "gpt-6-luna"
    assert rows["Base URL"] == server.url
    assert rows["Latency"].endswith(" ms")
    assert rows["Tokens"] == f"{server.input_tokens} in, {server.output_tokens} out"
    assert rows["Cost"].startswith("$0.0")
    assert rows["JSON schema"] == "yes"
    assert KEY not in done.stdout
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "{root}"},
        {"GOOGLE_GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": "{root}"},
        {"OLLAMA_BASE_URL": "{root}/v1"},
    ],
    ids=["anthropic", "google-gemini", "ollama"],
)
def test_connection_to_other_providers(
    environ: dict[str, str],
    run: Callable[..., Result],
    server: LoopbackServer,
    request: pytest.FixtureRequest,
) -> None:
    provider = request.node.callspec.id
    filled = {name: value.format(root=server.root) for name, value in environ.items()}
    done = run("test-llm", "--llm-provider", provider, **filled)
    assert done.exit_code == 0, done.output
    assert rows_of(done.stdout)["Provider"] == provider
    assert rows_of(done.stdout)["JSON schema"] == "yes"


def no_schema(request: Recorded, number: int) -> Reply | None:
    if request.body.get("response_format", {}).get("type") == "json_schema":
        return Reply(400, says="response_format type json_schema is not supported")
    return Reply(content={"hello": "you"})


def no_format(request: Recorded, number: int) -> Reply | None:
    if "response_format" in request.body:
        return Reply(400, says="unknown parameter: response_format")
    return Reply(content="Hello!")


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        (no_schema, "stepped down to JSON mode"),
        (no_format, "no, the endpoint refuses it"),
        (lambda *_: Reply(content={"hello": "you"}), "no, the endpoint accepts it and the answer"),
        (lambda *_: Reply(content="Hello!"), "no, the endpoint accepts it and the answer"),
    ],
    ids=["no schemas", "no formats", "another key", "prose"],
)
def test_connection_tells_what_becomes_of_the_schema(
    script: Any,
    verdict: str,
    run: Callable[..., Result],
    server: LoopbackServer,
    request: pytest.FixtureRequest,
) -> None:
    server.script = script
    # What an endpoint has rejected is remembered by its configuration: a key for each case.
    key = f"{KEY}-{request.node.callspec.id.replace(' ', '-')}"
    done = run("test-llm", OPENAI_API_KEY=key)
    assert done.exit_code == 0, done.output
    assert rows_of(done.stdout)["JSON schema"].startswith(verdict)


@pytest.mark.parametrize(
    ("arguments", "environ", "script", "says"),
    [
        ([], {"OPENAI_API_KEY": ""}, None, "set OPENAI_API_KEY"),
        (["--llm-provider", "opnai"], {}, None, "Did you mean 'openai'?"),
        (["--llm-timeout", "soon"], {}, None, "--llm-timeout is 'soon'"),
        ([], {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, None, "OPENAI_BASE_URL"),
        ([], {}, lambda *_: Reply(401, says=f"Incorrect key: {KEY}"), "OPENAI_API_KEY"),
        ([], {}, lambda *_: Reply(404), "gpt-6-luna"),
        ([], {}, lambda *_: Reply(429), "429"),
        (["--llm-timeout", "0.2"], {}, lambda *_: Reply(delivery="hang"), "0.2 s"),
        ([], {}, lambda *_: Reply(body="<html>Sign in</html>"), "JSON"),
    ],
    ids=["key", "provider", "timeout", "refused", "401", "404", "429", "hang", "html"],
)
def test_connection_that_fails_is_one_line(
    arguments: list[str],
    environ: dict[str, str],
    script: Any,
    says: str,
    run: Callable[..., Result],
    server: LoopbackServer,
) -> None:
    if script:
        server.script = script
    done = run("test-llm", *arguments, **environ)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert KEY not in done.output
    assert len(server.requests) == (1 if script else 0), "no repetition"


def test_connection_without_a_model(run: Callable[..., Result], server: LoopbackServer) -> None:
    done = run("test-llm", LLM_PROVIDER="offline")
    assert done.exit_code == 0
    assert "No model is asked" in done.stdout
    assert server.requests == []


def test_a_project_chooses_the_provider(
    run: Callable[..., Result], server: LoopbackServer, tmp_path: Path
) -> None:
    (tmp_path / "dbt_project.yml").write_text(
        "name: shop\nvars: {dbt-osmosis: {llm: {provider: ollama, model: ours}}}\n"
    )
    done = run("test-llm", OLLAMA_BASE_URL=server.url)
    assert rows_of(done.stdout)["Model"] == "ours", done.output
    chosen = [
        p["name"] for p in json.loads(run("llm", "providers", "--json").stdout) if p["chosen"]
    ]
    assert chosen == ["ollama"]


def test_providers_are_listed_with_what_is_set(run: Callable[..., Result]) -> None:
    done = run("llm", "providers", ANTHROPIC_API_KEY=KEY)
    assert done.exit_code == 0, done.output
    assert "+ ANTHROPIC_API_KEY" in done.stdout
    assert "! GOOGLE_GEMINI_API_KEY" in done.stdout
    assert ". OPENAI_MODEL" in done.stdout
    assert "->  openai " in done.stdout
    assert KEY not in done.output
    assert max(map(len, done.stdout.splitlines())) <= 80

    facts = {row["name"]: row for row in json.loads(run("llm", "providers", "--json").stdout)}
    assert facts["azure-openai-ad"]["sdk"] == ["openai", "azure.identity"]
    needed = [v["name"] for v in facts["azure-openai-ad"]["variables"] if v["required"]]
    assert sorted(needed) == [
        "AZURE_OPENAI_AD_TOKEN_SCOPE",
        "AZURE_OPENAI_BASE_URL",
        "AZURE_OPENAI_DEPLOYMENT_NAME",
    ]
    wrong = run("llm", "providers", LLM_PROVIDER="opnai")
    assert wrong.exit_code == 0
    assert "Did you mean 'openai'?" in wrong.stderr


def test_providers_name_the_sdk_that_is_missing(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "anthropic"]:
        monkeypatch.delitem(sys.modules, name)

    class Hidden:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "anthropic":
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])
    done = run("llm", "providers")
    assert "! pip install 'dbt-osmosis-llm[anthropic]'" in done.stdout, done.output


NEW_STAGING = {
    "staging_name": "stg_ours",
    "description": "Customers.",
    "columns": [{"original_name": "id", "new_name": "customer_id", "description": "Customer."}],
}
TESTS = {"order_id": [{"test_type": "our_test", "reason": "ours", "config": {}}]}
MODEL = {
    "model_name": "ours",
    "description": "Ours.",
    "sql": "select 1 as id",
    "materialized": "view",
    "columns": [{"name": "id", "description": "Key."}],
}


@pytest.mark.parametrize(
    ("arguments", "content", "shown"),
    [
        (["nl", "query", "how many orders?"], "select 1 as ours", "select 1 as ours"),
        (["nl", "generate", "orders", "--dry-run"], MODEL, "select 1 as id"),
        (["generate", "staging", "pos", "customers", "--ai", "--dry-run"], NEW_STAGING, "stg_ours"),
        (["test", "suggest", "fct_orders"], TESTS, "our_test"),
    ],
    ids=["nl query", "nl generate", "generate staging", "test suggest"],
)
def test_dbt_osmosis_commands_ask_through_us(
    arguments: list[str], content: Any, shown: str, shop: Shop, server: LoopbackServer
) -> None:
    server.script = lambda request, number: Reply(content=content)
    environ = {**anthropic(server), "OSMOSIS_LLM_TRACK_USAGE": "true"}
    done = shop.dbt_osmosis(*arguments, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shown in done.stdout
    (request,) = server.requests
    assert request.path == "/v1/messages"
    assert "temperature" not in request.body
    assert f"1 request, {server.input_tokens:,} prompt tokens" in done.stderr


def test_an_error_of_ours_is_one_line_and_exit_code_2(shop: Shop, server: LoopbackServer) -> None:
    environ = {**anthropic(server), "ANTHROPIC_API_KEY": ""}
    done = shop.dbt_osmosis("nl", "query", "how many?", **environ)
    assert done.returncode == 2, done.stderr
    assert "Error: Provider 'anthropic' needs a key: set ANTHROPIC_API_KEY" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_project_of_a_command_chooses_its_provider(shop: Shop, server: LoopbackServer) -> None:
    project = shop.directory / "dbt_project.yml"
    text = project.read_text()
    assert text.count("\n  dbt-osmosis:\n") == 1
    ours = "\n  dbt-osmosis:\n    llm: {provider: ollama, model: ours}\n"
    project.write_text(text.replace("\n  dbt-osmosis:\n", ours))
    server.script = lambda request, number: Reply(content="select 1")
    del shop.environ["LLM_PROVIDER"]
    done = shop.dbt_osmosis("nl", "query", "how many?", OLLAMA_BASE_URL=server.url)
    assert done.returncode == 0, done.stderr
    assert [request.model for request in server.requests] == ["ours"]


def test_switched_off_the_host_is_as_it_was(shop: Shop, server: LoopbackServer) -> None:
    done = shop.dbt_osmosis("test-llm", DBT_OSMOSIS_LLM="off")
    assert "LLM client connection successful" in done.stdout
    assert server.requests == []


def test_the_client_is_ours_only_while_a_command_runs(
    run: Callable[..., Result], server: LoopbackServer
) -> None:
    assert run("test-llm").exit_code == 0
    assert run("test-llm", OPENAI_API_KEY="").exit_code == 2
    assert host_llm.get_llm_client is CLIENT
    assert host_suggestions.get_llm_client is CLIENT


def test_what_somebody_else_has_put_there_stays(
    run: Callable[..., Result], server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs() -> tuple[object, str]:
        return object(), "their-model"

    monkeypatch.setattr(host_llm, "get_llm_client", theirs)
    done = run("test-llm")
    assert "Model Engine: their-model" in done.output
    assert server.requests == []
    assert host_llm.get_llm_client is theirs


def test_other_commands_load_no_client_of_ours(shop: Shop) -> None:
    (shop.directory / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "ours = ('facade', 'stack', 'host.project')\n"
        "names = [f'dbt_osmosis_llm.{name}' for name in ours]\n"
        "atexit.register(lambda: print('loaded', [n for n in names if n in sys.modules]))\n"
    )
    done = shop.dbt_osmosis("nl", "query", "--help", PYTHONPATH=str(shop.directory))
    assert done.returncode == 0, done.stderr
    assert "loaded []" in done.stdout
