"""The drop-in for dbt-osmosis's LLM module, over the wire to a loopback server."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest
from dbt_osmosis.core import exceptions as host_exceptions
from dbt_osmosis.core import llm as host

from dbt_osmosis_llm import facade
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMBudgetError,
    LLMConfigError,
    LLMRateLimitError,
    LLMRefusalError,
    LLMResponseError,
)
from tests.conftest import KEY
from tests.server import LoopbackServer, Recorded, Reply, text_for

PROVIDERS = {
    "openai": {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "{root}/v1"},
    "azure-openai": {
        "AZURE_OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_BASE_URL": "{root}",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "our-deployment",
    },
    "anthropic": {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "{root}/v1"},
    "google-gemini": {
        "GOOGLE_GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": "{root}/v1beta/openai",
    },
    "ollama": {"OLLAMA_BASE_URL": "{root}/v1"},
}
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]


@pytest.fixture(autouse=True)
def _openai(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    set_provider("openai", server, monkeypatch)
    monkeypatch.setenv("OSMOSIS_LLM_MAX_RETRIES", "0")


def set_provider(name: str, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PROVIDER", name)
    for variable, value in PROVIDERS[name].items():
        monkeypatch.setenv(variable, value.format(root=server.root))


def say_hello(**arguments: Any) -> facade.ChatCompletion:
    client, model = facade.get_llm_client()
    return client.chat.completions.create(**{"model": model, "messages": HELLO, **arguments})


def answering(content: Any, **reply: Any) -> Any:
    return lambda request, number: Reply(content=content, **reply)


@pytest.mark.parametrize(
    "name",
    ["get_llm_client", "generate_model_spec_as_json", "generate_column_doc", "generate_table_doc"],
)
def test_the_signatures_are_dbt_osmosis_own(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (facade, host))
    assert [(p.name, p.default, p.kind) for p in ours.parameters.values()] == [
        (p.name, p.default, p.kind) for p in theirs.parameters.values()
    ]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_answers_like_the_openai_sdk(
    provider: str, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_provider(provider, server, monkeypatch)
    client, model = facade.get_llm_client()
    done = client.chat.completions.create(model=model, messages=HELLO, temperature=0.3)
    assert done.choices[0].message.content == text_for("table")
    assert done.choices[0].finish_reason == "stop"
    assert done.model == model or provider == "azure-openai"  # which names what is deployed
    assert done.id
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (
        server.input_tokens,
        server.output_tokens,
    )
    assert done.usage.total_tokens == server.input_tokens + server.output_tokens
    (request,) = server.requests
    assert request.turns == [("system", "Be brief."), ("user", "Hello?")]
    assert "temperature" not in str(request.body)
    if provider != "ollama":
        assert request.key == KEY


@pytest.mark.parametrize("provider", PROVIDERS)
def test_dbt_osmosis_own_functions_run_on_it(
    provider: str, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_provider(provider, server, monkeypatch)
    monkeypatch.setattr(host, "get_llm_client", facade.get_llm_client)
    server.script = answering("```sql\nselect 1\n```")
    assert host.generate_sql_from_nl("how many?") == "select 1"
    server.script = answering({"semantic_type": "metric"})
    assert host.analyze_column_semantics("amount") == {"semantic_type": "metric"}


@pytest.mark.parametrize(
    "reply",
    [Reply(content=""), Reply(refusal="I will not."), Reply(finish_reason="filtered")],
    ids=["empty", "refused", "filtered"],
)
def test_dbt_osmosis_finds_an_answer_without_content_empty(
    reply: Reply, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "get_llm_client", facade.get_llm_client)
    server.script = lambda request, number: reply
    for ask in (host.generate_sql_from_nl, host.generate_model_spec_as_json):
        with pytest.raises(host_exceptions.LLMResponseError, match="empty response"):
            ask("select how many?")
    assert len(server.requests) == 2


def test_a_reason_for_no_answer_is_logged(
    server: LoopbackServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbt_osmosis_llm._log.logger.logger.propagate", True)
    server.script = lambda request, number: Reply(refusal="I will not.")
    choice = say_hello().choices[0]
    assert (choice.message.content, choice.message.refusal) == (None, "I will not.")
    assert "gave no answer: the model refused: I will not." in caplog.text


@pytest.mark.parametrize(("status", "error"), [(429, LLMRateLimitError), (500, LLMAPIError)])
def test_nothing_is_repeated_twice(
    status: int,
    error: type[LLMAPIError],
    server: LoopbackServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OSMOSIS_LLM_MAX_RETRIES", "2")
    monkeypatch.setenv("OSMOSIS_LLM_RETRY_DELAY", "0.001")
    monkeypatch.setattr(host, "get_llm_client", facade.get_llm_client)
    server.script = lambda request, number: Reply(status)
    with pytest.raises(error) as raised:
        host.generate_sql_from_nl("how many?")
    assert isinstance(raised.value, host_exceptions.LLMError)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("given", "sent"),
    [(None, None), (0.3, None), (0.4, None), (0.5, None), (0.7, None), (0.0, 0.0), (0.9, 0.9)],
)
def test_a_temperature_is_sent_when_it_is_not_dbt_osmosis_default(
    given: float | None, sent: float | None, server: LoopbackServer
) -> None:
    say_hello(temperature=given)
    assert server.requests[0].body.get("temperature") == sent


def test_the_users_temperature_is_sent(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSMOSIS_LLM_TEMPERATURE", "0.2")
    say_hello(temperature=0.3)
    facade.generate_column_doc("amount", temperature=0.3)
    facade.generate_column_doc("amount")
    assert [request.body["temperature"] for request in server.requests] == [0.2, 0.3, 0.2]


def test_other_arguments_of_a_chat(server: LoopbackServer) -> None:
    schema = {
        "type": "object",
        "properties": {"reply": {"type": "string"}},
        "required": ["reply"],
        "additionalProperties": False,
    }
    done = say_hello(
        model="gpt-6-sol",
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            *HELLO[1:],
        ],
        max_tokens=10,
        response_format={"type": "json_schema", "json_schema": {"name": "hi", "schema": schema}},
    )
    assert done.model == "gpt-6-sol"
    (request,) = server.requests
    assert request.turns[0] == ("system", "Be brief.")
    assert request.schema == schema
    assert request.body["max_completion_tokens"] >= 10
    say_hello(response_format={"type": "json_object"})
    assert "JSON object" in server.requests[1].turns[0][1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "role is 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "text parts"),
        ({"response_format": {"type": "grammar"}}, "response_format 'grammar'"),
    ],
)
def test_what_only_some_providers_know_is_refused(
    arguments: dict[str, Any], says: str, server: LoopbackServer
) -> None:
    with pytest.raises(ValueError, match=says):
        say_hello(**arguments)
    with pytest.raises(TypeError, match="stream"):
        say_hello(stream=True)
    assert server.requests == []


def test_a_budget_holds_over_all_calls(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSMOSIS_LLM_MAX_COST", "0.10")
    server.script = lambda request, number: Reply(reasoning_tokens=1_000_000)
    say_hello()
    with pytest.raises(LLMBudgetError):
        facade.generate_column_doc("amount")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"LLM_PROVIDER": "opnai"}, "Did you mean 'openai'"),
        ({"OPENAI_API_KEY": ""}, "set OPENAI_API_KEY"),
        ({"LLM_PROVIDER": "offline"}, "cannot answer other questions"),
        ({"OSMOSIS_LLM_TIMEOUT": "soon"}, "OSMOSIS_LLM_TIMEOUT is 'soon'"),
    ],
)
def test_a_wrong_setting_is_a_configuration_error(
    environ: Mapping[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(LLMConfigError, match=says) as error:
        facade.get_llm_client()
    assert isinstance(error.value, host_exceptions.LLMConfigurationError)
    with pytest.raises(LLMConfigError, match=says):
        facade.generate_table_doc("select 1", "orders")


def test_a_model_spec_has_dbt_osmosis_shape(server: LoopbackServer) -> None:
    server.script = answering(
        {
            "description": "One row per order.",
            "columns": [
                {"name": "id", "description": " Order. "},
                {"name": "kind", "description": None},
                {"name": "note", "description": "Holds {{ ref('x') }}."},
            ],
        }
    )
    spec = facade.generate_model_spec_as_json(
        "select id, kind, note from orders", ["orders: what was sold"], "a mart"
    )
    assert spec == {
        "description": "One row per order.",
        "columns": [
            {"name": "id", "description": "Order."},
            {"name": "note", "description": "Holds { { ref('x') }}."},
        ],
    }
    text = server.requests[0].text
    for part in ("select id, kind, note from orders", "orders: what was sold", "a mart"):
        assert part in text
    assert "temperature" not in server.requests[0].body


def test_a_model_spec_takes_the_other_shape_too(server: LoopbackServer) -> None:
    server.script = answering({"description": None, "columns": {"id": "Order.", "kind": "n/a"}})
    assert facade.generate_model_spec_as_json("select 1") == {
        "description": "",
        "columns": [{"name": "id", "description": "Order."}],
    }


def test_texts_of_a_table_and_of_a_column(server: LoopbackServer) -> None:
    assert facade.generate_table_doc("select 1", "orders", ["upstream"]) == text_for("table")
    text = facade.generate_column_doc("amount", "numeric", "orders", ["upstream"], 0.9)
    assert text == text_for("table")
    table, column = server.requests
    assert "`orders` needs a description" in table.text
    assert "column `amount` of the model `orders`" in column.text
    assert "numeric" in column.text
    assert "temperature" not in table.body
    assert column.body["temperature"] == 0.9


@pytest.mark.parametrize("content", [{"description": None}, {"description": "Unknown."}])
def test_a_text_that_cannot_be_known_is_an_error(content: Any, server: LoopbackServer) -> None:
    server.script = answering(content)
    with pytest.raises(host_exceptions.LLMResponseError, match="amount means cannot be known"):
        facade.generate_column_doc("amount")
    assert len(server.requests) == 1, "null is an answer"


def test_an_unusable_answer_is_repaired_once(server: LoopbackServer) -> None:
    server.script = lambda request, number: Reply(content="Sorry?") if number == 1 else None
    assert facade.generate_table_doc("select 1", "orders") == text_for("table")
    assert "Sorry?" in server.requests[1].text
    server.script = answering({"summary": "x"})
    with pytest.raises(LLMResponseError, match="'description'"):
        facade.generate_table_doc("select 1", "orders")
    with pytest.raises(LLMResponseError, match="'columns'"):
        facade.generate_model_spec_as_json("select 1")
    server.script = lambda request, number: Reply(refusal="I will not.")
    with pytest.raises(LLMRefusalError, match="I will not"):
        facade.generate_table_doc("select 1", "orders")


def test_the_users_prompts_and_bounds_hold(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSMOSIS_LLM_PROMPT_TABLE_USER", "Ours: {table_name} {sql} {upstream_docs}")
    monkeypatch.setenv("OSMOSIS_LLM_MAX_SQL_CHARS", "200")
    sql = "\n".join(f"select {number} -- </sql>" for number in range(100))
    facade.generate_table_doc(sql, "orders")
    user = sent_to_user(server.requests[0])
    assert user.startswith("Ours: orders select 0")
    assert "select 99" not in user
    assert "</sql>" not in user
    assert "not shown" in user


def test_personal_data_is_masked_on_request(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "select 1 where mail = 'ann@example.com'"
    server.script = answering({"description": None, "columns": []})
    for switch in ("false", "true"):
        monkeypatch.setenv("OSMOSIS_LLM_REDACT_PII", switch)
        facade.generate_model_spec_as_json(sql, ["by bob@example.com"], "for eve@example.com")
    plain, masked = (sent_to_user(request) for request in server.requests)
    assert plain.count("@example.com") == 3
    assert "@example.com" not in masked
    assert masked.count("<email>") == 3


def sent_to_user(request: Recorded) -> str:
    return next(text for role, text in request.turns if role == "user")
