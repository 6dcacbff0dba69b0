"""The Messages API: `tests/wire/anthropic/*.json`, and the real SDK against a loopback server."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from dbt_osmosis_llm.llm.client import LLMConfig, build_client
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMConfigError,
    LLMError,
    LLMRateLimitError,
    LLMResponseError,
    LLMTimeoutError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, Message
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.llm.providers.anthropic import (
    classify_error,
    decode_response,
    encode_request,
)
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS
from dbt_osmosis_llm.llm.usage import LLMUsageStats, Usage
from tests.server import LoopbackServer, Recorded, Reply, fill, text_for

WIRE = Path(__file__).parent.parent / "wire" / "anthropic"
SPEC = PROVIDERS["anthropic"]
MODEL = "claude-haiku-5-5"
KEY = "sk-ant-test-0123456789"
TEXT_OR_NULL = {"type": ["string", "null"]}


def table_of(columns: int) -> dict[str, Any]:
    names = [f"c{number}" for number in range(columns)]
    return {
        "type": "object",
        "properties": dict.fromkeys(names, TEXT_OR_NULL),
        "required": names,
        "additionalProperties": False,
    }


SCHEMA = {
    "type": "object",
    "properties": {"description": TEXT_OR_NULL},
    "required": ["description"],
    "additionalProperties": False,
}
REQUEST = LLMRequest((Message("system", "s" * 400), Message("user", "u" * 40)), schema=SCHEMA)


def cases(name: str) -> pytest.MarkDecorator:
    loaded = json.loads((WIRE / f"{name}.json").read_text())
    return pytest.mark.parametrize("case", loaded, ids=[case["name"] for case in loaded])


@cases("requests")
def test_encode(case: dict[str, Any]) -> None:
    config = LLMConfig(SPEC.name, MODEL, **case.get("config", {}))
    fields = dict(case["request"])
    messages = tuple(Message(role, content) for role, content in fields.pop("messages"))
    assert encode_request(LLMRequest(messages, **fields), config, SPEC) == case["body"]


@pytest.mark.parametrize("columns", [16, 17])
def test_more_unions_than_the_api_takes_become_plain_strings(columns: int) -> None:
    schema = table_of(columns)
    request = LLMRequest((Message("user", "Hi"),), schema=schema)
    body = encode_request(request, LLMConfig(SPEC.name, MODEL), SPEC)
    sent = body["output_config"]["format"]["schema"]
    if columns == 16:
        assert sent == schema
        return
    assert set(map(str, sent["properties"].values())) == {"{'type': 'string'}"}
    assert sent["description"] == "An empty string stands for null."
    assert schema == table_of(columns)


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
        api_key="sk-secret-key-123",
    )
    assert isinstance(error, LLMAPIError)
    assert (type(error).__name__, str(error)) == (case["error"], case["says"])
    assert (error.ends_run, error.status_code) == (case["ends_run"], case["status"])
    assert error.code == case["code"]


class MessagesServer(LoopbackServer):
    """Answers with messages; the second request reads the system prompt from the cache."""

    def _completion(self, request: Recorded, reply: Reply, number: int) -> dict[str, Any]:
        reply.headers["request-id"] = f"req_{number}"
        content = reply.content
        if content is None:
            content = json.dumps(fill(request.body["output_config"]["format"]["schema"]))
        system = len(request.body["system"][0]["text"]) // 4
        first = number == 1
        usage = {
            "input_tokens": len(request.body["messages"][0]["content"]) // 4,
            "cache_creation_input_tokens": system if first else 0,
            "cache_read_input_tokens": 0 if first else system,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 8},
        }
        stop = {"stop": "end_turn"}.get(reply.finish_reason, reply.finish_reason)
        text = [{"type": "text", "text": content}]
        return {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": request.body["model"],
            "content": [] if stop == "refusal" else text,
            "stop_reason": stop,
            "stop_details": {"type": "refusal", "category": None, "explanation": reply.refusal}
            if reply.refusal
            else None,
            "usage": usage,
        }


@pytest.fixture(scope="module")
def _running() -> Iterator[MessagesServer]:
    server = MessagesServer()
    with server.running():
        yield server


@pytest.fixture
def messages(_running: MessagesServer) -> MessagesServer:
    _running.reset()
    return _running


def config(server: LoopbackServer, **changes: object) -> LLMConfig:
    values = {"api_key": KEY, "base_url": server.url, "max_retries": 0, **changes}
    return LLMConfig("anthropic", MODEL, **values)  # type: ignore[arg-type]


def test_answer_usage_and_cost_come_through_the_stack(messages: MessagesServer) -> None:
    stats = LLMUsageStats()
    client = build_client(config(messages), stats)
    for _ in range(2):
        response = client.complete(REQUEST)
    assert parse_answer(response) == {"description": text_for("table")}
    assert response.request_id == "req_2"
    assert response.usage == Usage(110, 100, 50, 8)
    summary = stats.summary()
    assert (summary["input_tokens"], summary["cached_tokens"], summary["output_tokens"]) == (
        220,
        100,
        100,
    )
    assert 0 < summary["cost_usd"] < 0.001
    sent = messages.requests[0]
    # The address that dbt-osmosis uses ends in /v1, which the SDK adds by itself.
    assert messages.url.endswith("/v1")
    assert sent.path == "/v1/messages"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.body["system"][0]["cache_control"] == {"type": "ephemeral"}


def test_what_the_sdk_does_not_name_is_sent_all_the_same(messages: MessagesServer) -> None:
    kwargs = {"top_k": 1, "output_config": {"effort": "low"}}
    build_client(config(messages, temperature=0.0, provider_kwargs=kwargs)).complete(REQUEST)
    body = messages.requests[0].body
    assert (body["temperature"], body["top_k"]) == (0.0, 1)
    assert set(body["output_config"]) == {"effort", "format"}


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (
            Reply(401, body={"error": {"message": f"bad {KEY}"}}),
            LLMAPIError,
            r"anthropic refused the key \(401\): bad \*\*\*; check ANTHROPIC_API_KEY",
        ),
        (Reply(500, body={"error": {"message": "oops"}}), LLMAPIError, "answered 500: oops"),
        (Reply(529, body={"error": {"message": "busy"}}), LLMAPIError, "answered 529: busy"),
        (Reply(429, body={}), LLMRateLimitError, "answered 429"),
        (Reply(502, body="<html>proxy</html>"), LLMAPIError, "answered 502: <html>"),
        (Reply(delay_s=2), LLMTimeoutError, "no answer within 0.5 s"),
        (Reply(disconnect=True), LLMAPIError, "cannot reach anthropic"),
        (Reply(body="<html>proxy</html>"), LLMResponseError, "not JSON"),
        (Reply(body={}), LLMResponseError, "no message"),
        (Reply(body=[]), LLMResponseError, "no message"),
        (Reply(body=""), LLMResponseError, "not JSON"),
        (Reply(body="[" * 200_000), LLMResponseError, "not JSON"),
    ],
)
def test_each_failure_is_one_of_our_errors(
    messages: MessagesServer, reply: Reply, error: type[LLMError], says: str
) -> None:
    messages.script = lambda request, number: reply
    stats = LLMUsageStats()
    with pytest.raises(error, match=says) as caught:
        build_client(config(messages, timeout_s=0.5), stats).complete(REQUEST)
    assert KEY not in str(caught.value)
    assert len(messages.requests) == 1
    assert stats.summary()["errors"] == {error.__name__: 1}


@pytest.mark.parametrize(
    ("reply", "finish", "says"),
    [
        (Reply(finish_reason="refusal", refusal="I cannot."), FinishReason.REFUSAL, "I cannot."),
        (Reply(finish_reason="max_tokens", content='{"d'), FinishReason.LENGTH, "cut off"),
    ],
)
def test_stopped_answers_are_paid_for_and_cannot_be_used(
    messages: MessagesServer, reply: Reply, finish: FinishReason, says: str
) -> None:
    messages.script = lambda request, number: reply
    response = build_client(config(messages)).complete(REQUEST)
    assert (response.finish_reason, response.usage.output_tokens) == (finish, 50)
    with pytest.raises(LLMResponseError, match=says):
        parse_answer(response)


def test_passing_failures_are_repeated(messages: MessagesServer) -> None:
    soon = {"retry-after-ms": "1"}
    messages.script = lambda request, number: (
        Reply(529, body={}, headers=soon) if number < 3 else None
    )
    response = build_client(config(messages, max_retries=2, retry_delay_s=0.0)).complete(REQUEST)
    assert parse_answer(response)["description"]
    assert len(messages.requests) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "7200"},
        {"retry-after-ms": "7200000"},
        {"retry-after": format_datetime(datetime.now(timezone.utc) + timedelta(hours=2), True)},
    ],
)
def test_a_wait_of_hours_is_not_slept_through(
    messages: MessagesServer, headers: dict[str, str]
) -> None:
    messages.script = lambda request, number: Reply(429, body={}, headers=headers)
    with pytest.raises(LLMRateLimitError):
        build_client(config(messages, max_retries=2, retry_delay_s=0.0)).complete(REQUEST)
    assert len(messages.requests) == 1


def test_server_down_says_where_and_what_to_check() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = build_client(LLMConfig("anthropic", MODEL, KEY, f"{url}/v1/", max_retries=0))
    with pytest.raises(LLMAPIError, match="is ANTHROPIC_BASE_URL right") as caught:
        client.complete(REQUEST)
    assert caught.value.unreachable
    assert f"at {url}/v1/ (" in str(caught.value)


@pytest.mark.parametrize("key", [None, ""])
def test_no_key_is_a_setting_to_change(key: str | None) -> None:
    with pytest.raises(LLMConfigError, match="set ANTHROPIC_API_KEY"):
        build_client(LLMConfig("anthropic", MODEL, key))


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY[:8]}\n{KEY[8:]}", f"{KEY} "])
def test_a_key_that_no_header_can_carry_is_never_shown(key: str) -> None:
    with pytest.raises(LLMConfigError, match="holds characters that no key has") as caught:
        build_client(LLMConfig("anthropic", MODEL, key))
    assert KEY[:8] not in str(caught.value)


def test_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(LLMConfigError, match=r"pip install 'dbt-osmosis-llm\[anthropic\]'"):
        build_client(LLMConfig("anthropic", MODEL, KEY))
