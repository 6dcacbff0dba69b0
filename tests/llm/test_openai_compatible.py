"""The real SDK against a loopback server."""

from __future__ import annotations

import socket

import pytest

from dbt_osmosis_llm.llm.client import LLMConfig, build_client
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMError,
    LLMResponseError,
    LLMTimeoutError,
)
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.llm.usage import LLMUsageStats, Usage
from tests.server import LoopbackServer, Reply, text_for

SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": ["string", "null"]}},
    "required": ["description"],
    "additionalProperties": False,
}
REQUEST = LLMRequest((Message("system", "s" * 400), Message("user", "u" * 40)), schema=SCHEMA)
KEY = "sk-test-0123456789"


def config(server: LoopbackServer, **changes: object) -> LLMConfig:
    values = {"api_key": KEY, "base_url": server.url, "max_retries": 0, **changes}
    return LLMConfig("openai", "gpt-6-luna", **values)  # type: ignore[arg-type]


def test_answer_usage_and_cost_come_through_the_stack(server: LoopbackServer) -> None:
    stats = LLMUsageStats()
    client = build_client(config(server), stats)
    for _ in range(2):
        response = client.complete(REQUEST)
    assert parse_answer(response) == {"description": text_for("table")}
    assert response.request_id == "req_2"
    assert response.usage == Usage(110, 100, response.usage.output_tokens, 0)
    summary = stats.summary()
    assert (summary["input_tokens"], summary["cached_tokens"], summary["output_tokens"]) == (
        server.input_tokens,
        server.cached_tokens,
        server.output_tokens,
    )
    assert 0 < summary["cost_usd"] < 0.001
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (Reply(401, body={"error": {"message": f"bad {KEY}"}}), LLMAPIError, "refused the key"),
        (Reply(500, body={"error": {"message": "oops"}}), LLMAPIError, "answered 500: oops"),
        (Reply(delay_s=2), LLMTimeoutError, "no answer within 0.5 s"),
        (Reply(disconnect=True), LLMAPIError, "cannot reach openai"),
        (Reply(body="<html>proxy</html>"), LLMResponseError, "not JSON"),
        (Reply(body={"error": "x"}), LLMResponseError, "no chat completion"),
        (Reply(body=""), LLMResponseError, "not JSON"),
    ],
)
def test_each_failure_is_one_of_our_errors(
    server: LoopbackServer, reply: Reply, error: type[LLMError], says: str
) -> None:
    server.script = lambda request, number: reply
    stats = LLMUsageStats()
    with pytest.raises(error, match=says) as caught:
        build_client(config(server, timeout_s=0.5), stats).complete(REQUEST)
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1
    assert stats.summary()["errors"] == {error.__name__: 1}


def test_passing_failures_are_repeated(server: LoopbackServer) -> None:
    server.script = lambda request, number: Reply(500, body={}) if number < 3 else None
    response = build_client(config(server, max_retries=2, retry_delay_s=0.0), LLMUsageStats()).complete(REQUEST)
    assert parse_answer(response)["description"]
    assert len(server.requests) == 3


def test_server_down_says_where_and_what_to_check() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    client = build_client(LLMConfig("ollama", "m", base_url=url, max_retries=0), LLMUsageStats())
    with pytest.raises(LLMAPIError, match="is it running, and is OLLAMA_BASE_URL right") as caught:
        client.complete(REQUEST)
    assert caught.value.unreachable
    assert url in str(caught.value)


def test_local_provider_needs_no_key(server: LoopbackServer) -> None:
    client = build_client(LLMConfig("lm-studio", "m", base_url=server.url), LLMUsageStats())
    client.complete(REQUEST)
    assert server.requests[0].headers["authorization"] == "Bearer lm-studio"
