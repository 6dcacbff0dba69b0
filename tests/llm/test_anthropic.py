"""The Messages API: `tests/wire/anthropic/*.json`, then what is particular to its SDK, on loopback.

Faults, retries and rejected parameters are in `test_faults`, for every provider alike.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMConfigError, LLMResponseError
from dbt_osmosis_llm.llm.messages import LLMRequest, Message, Usage
from dbt_osmosis_llm.llm.providers.anthropic import (
    classify_error,
    decode_response,
    encode_request,
)
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS
from dbt_osmosis_llm.llm.usage import Price
from dbt_osmosis_llm.stack import build_client, create_provider_client
from tests.llm.endpoints import ENDPOINTS, REQUEST, play
from tests.llm.wire_tables import dialect_of, request_of, tables
from tests.server import LoopbackServer, Reply

cases = tables("anthropic")
SPEC = PROVIDERS["anthropic"]
ENDPOINT = next(endpoint for endpoint in ENDPOINTS if endpoint.provider == SPEC.name)
MODEL = ENDPOINT.model
KEY = "sk-ant-test-0123456789"


def table_of(columns: int) -> dict[str, Any]:
    names = [f"c{number}" for number in range(columns)]
    return {
        "type": "object",
        "properties": {name: {"type": ["string", "null"]} for name in names},
        "required": names,
        "additionalProperties": False,
    }


@cases("requests")
def test_encode(case: dict[str, Any]) -> None:
    config = LLMConfig(SPEC.name, MODEL, **case.get("config", {}))
    assert encode_request(request_of(case), config, SPEC, dialect_of(case, SPEC)) == case["body"]


@cases("requests")
def test_sdk_sends_every_body_of_the_table(case: dict[str, Any], server: LoopbackServer) -> None:
    config = ENDPOINT.config(server, **case.get("config", {}))
    spec = replace(SPEC, dialect=dialect_of(case, SPEC))
    create_provider_client(config, spec).complete(request_of(case))
    assert [request.body for request in server.requests] == [case["body"]]


@pytest.mark.parametrize("columns", [16, 17])
def test_more_unions_than_the_api_takes_become_plain_strings(
    columns: int, server: LoopbackServer
) -> None:
    schema = table_of(columns)
    done = play(ENDPOINT, server, request=LLMRequest((Message("user", "Hi"),), schema=schema))
    assert set(done.answer) == set(schema["properties"])
    assert len(server.requests) == 1
    sent = server.requests[0].schema
    assert schema == table_of(columns)
    if columns == 16:
        assert sent == schema
        return
    assert set(map(str, sent["properties"].values())) == {"{'type': 'string'}"}
    assert sent["description"] == "An empty string stands for null."


@cases("responses")
def test_decode(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(LLMResponseError, match=case["error"]):
            decode_response(case["answer"], provider="anthropic", model=MODEL)
        return
    response = decode_response(case["answer"], provider="anthropic", model=MODEL)
    expected = case["response"]
    assert response.usage == Usage(*expected["usage"])
    assert (response.text, response.finish_reason.value, response.model) == (
        expected["text"],
        expected["finish_reason"],
        expected["model"],
    )


@cases("errors")
def test_classify(case: dict[str, Any]) -> None:
    error = classify_error(
        case["status"],
        case["body"],
        provider="anthropic",
        model=MODEL,
        key_env="ANTHROPIC_API_KEY",
        secrets=["sk-secret-key-123"],
    )
    assert isinstance(error, LLMAPIError)
    assert (type(error).__name__, str(error)) == (case["error"], case["says"])
    assert (error.ends_run, error.status_code) == (case["ends_run"], case["status"])
    assert error.code == case["code"]


def test_the_system_prompt_is_written_to_the_cache_once_and_then_read(
    server: LoopbackServer,
) -> None:
    done = play(ENDPOINT, server, lambda request, number: Reply(reasoning_tokens=8), calls=2)
    first, second = (response.usage for response in done.responses)
    assert (first.cached_tokens, first.cache_write_tokens) == (0, server.cache_write_tokens)
    assert (second.cached_tokens, second.cache_write_tokens) == (server.cached_tokens, 0)
    assert server.cached_tokens == server.cache_write_tokens == len("s" * 400) // 4
    counted = Usage(
        server.input_tokens,
        server.cached_tokens,
        server.output_tokens,
        cache_write_tokens=server.cache_write_tokens,
    )
    cost_usd = Price("anthropic", MODEL).of(counted)
    assert cost_usd
    assert done.stats.summary()["cost_usd"] == pytest.approx(cost_usd)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_base_url_of_dbt_osmosis_serves_too(server: LoopbackServer, end: str) -> None:
    # Its address ends in /v1, which the SDK adds by itself.
    play(ENDPOINT, server, base_url=server.root + end)
    assert [request.path for request in server.requests] == ["/v1/messages"]


def test_environment_of_the_sdk_changes_nothing(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "ANTHROPIC_API_KEY": "sk-ant-other-0123456789",
        "ANTHROPIC_AUTH_TOKEN": "another-0123456789",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_PROFILE": "work",
    }.items():
        monkeypatch.setenv(name, value)
    config = ENDPOINT.config(server)
    create_provider_client(config, SPEC).complete(REQUEST)
    headers = server.requests[0].headers
    ours = {headers.get("authorization"), headers.get("x-api-key")} - {None}
    assert ours <= {config.api_key, f"Bearer {config.api_key}"}
    assert ours


@pytest.mark.parametrize("key", [None, ""])
def test_no_key_is_a_setting_to_change(key: str | None) -> None:
    with pytest.raises(LLMConfigError, match="set ANTHROPIC_API_KEY"):
        build_client(LLMConfig("anthropic", MODEL, key))


def test_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(LLMConfigError, match=r"pip install 'dbt-osmosis-llm\[anthropic\]'"):
        build_client(LLMConfig("anthropic", MODEL, KEY))
