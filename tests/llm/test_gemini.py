"""Gemini: the wire as tables (`tests/wire/gemini/*.json`), then the real SDK on loopback."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
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
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.llm.providers.gemini import (
    api_root,
    classify_error,
    decode_response,
    encode_request,
)
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS
from dbt_osmosis_llm.llm.usage import LLMUsageStats, Price, Usage
from tests.server import LoopbackServer, Recorded, Reply, fill, text_for

WIRE = Path(__file__).parent.parent / "wire" / "gemini"
SPEC = PROVIDERS["google-gemini"]
MODEL = "gemini-3.8-flash"
KEY = "gemini-test-0123456789"
# 2.x of the SDK asks /v1beta, 3.x /v1.
PATH = rf"/v1(beta)?/models/{MODEL}:generateContent"
SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": ["string", "null"]}},
    "required": ["description"],
    "additionalProperties": False,
}
REQUEST = LLMRequest(
    (Message("system", "s" * 400), Message("user", "u" * 40)), schema=SCHEMA, max_output_tokens=300
)
WRONG_KEY = {
    "error": {
        "code": 400,
        "message": f"API key not valid: {KEY}",
        "status": "INVALID_ARGUMENT",
        "details": [{"reason": "API_KEY_INVALID"}],
    }
}
MANY_REQUESTS = {
    "error": {
        "message": "slow down",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"},
        ],
    }
}
CONTINUED = {
    "content": {"parts": [{"text": "{"}]},
    "finishReason": "CONTINUATION",
    "continuationToken": "dG9rZW4=",
}


def cases(name: str) -> pytest.MarkDecorator:
    loaded = json.loads((WIRE / f"{name}.json").read_text())
    return pytest.mark.parametrize("case", loaded, ids=[case["name"] for case in loaded])


def request_of(case: dict[str, Any]) -> LLMRequest:
    fields = dict(case["request"])
    messages = tuple(Message(role, content) for role, content in fields.pop("messages"))
    return LLMRequest(messages, **fields)


@cases("requests")
def test_encode(case: dict[str, Any]) -> None:
    config = LLMConfig(SPEC.name, MODEL, **case.get("config", {}))
    assert encode_request(request_of(case), config, SPEC) == case["body"]


@cases("responses")
def test_decode(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(LLMResponseError, match=case["error"]):
            decode_response(case["answer"], provider=SPEC.name, model=MODEL)
        return
    response = decode_response(case["answer"], provider=SPEC.name, model=MODEL)
    expected = {"model": MODEL, "request_id": None, **case["response"]}
    assert response.usage == Usage(*expected["usage"])
    assert (response.text, response.finish_reason.value, response.model, response.request_id) == (
        expected["text"],
        expected["finish_reason"],
        expected["model"],
        expected["request_id"],
    )


@cases("errors")
def test_classify(case: dict[str, Any]) -> None:
    error = classify_error(
        case["status"],
        case["body"],
        provider=SPEC.name,
        model=MODEL,
        key_env=SPEC.key_env,
        api_key="gemini-secret-key-123",
    )
    assert isinstance(error, LLMAPIError)
    assert (type(error).__name__, str(error)) == (case["error"], case["says"])
    assert (error.ends_run, error.status_code) == (case["ends_run"], case["status"])
    assert (error.code, error.retry_after_s) == (case.get("code"), case.get("retry_after_s"))


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://generativelanguage.googleapis.com", "https://generativelanguage.googleapis.com"),
        ("https://host/v1beta/openai/", "https://host"),
        ("https://host/v1beta", "https://host"),
        ("https://host/v1/", "https://host"),
        ("https://host/openai/v1", "https://host"),
        ("https://host/gateway/gemini/v1beta/openai", "https://host/gateway/gemini"),
        ("https://host/v1/projects", "https://host/v1/projects"),
        ("https://host/myv1", "https://host/myv1"),
        ("http://openai/v1", "http://openai"),
    ],
)
def test_base_url_of_dbt_osmosis_serves_too(url: str, root: str) -> None:
    assert api_root(url) == root


class GeminiServer(LoopbackServer):
    """Answers generateContent where `LoopbackServer` answers chat completions."""

    def _completion(self, request: Recorded, reply: Reply, number: int) -> dict[str, Any]:
        content = reply.content
        if content is None:
            content = fill(request.body["generationConfig"]["responseJsonSchema"])
        text = content if isinstance(content, str) else json.dumps(content)
        system = request.body["systemInstruction"]["parts"][0]["text"]
        user = request.body["contents"][0]["parts"][0]["text"]
        prompt, written, thoughts = len(system + user) // 4, max(1, len(text) // 4), 32
        cached = len(system) // 4 if number > 1 else 0
        with self._lock:
            self.input_tokens += prompt
            self.cached_tokens += cached
            self.output_tokens += written + thoughts
        parts = [{"text": "Let me think.", "thought": True}, {"text": text}]
        return {
            "candidates": [
                {
                    "content": {"role": "model", "parts": parts},
                    "finishReason": reply.finish_reason.upper(),
                    "index": 0,
                }
            ],
            "usageMetadata": {
                "promptTokenCount": prompt,
                "cachedContentTokenCount": cached,
                "candidatesTokenCount": written,
                "thoughtsTokenCount": thoughts,
                "totalTokenCount": prompt + written + thoughts,
            },
            "modelVersion": re.split("[/:]", request.path)[-2],
            "responseId": f"answer_{number}",
        }


@pytest.fixture(scope="module")
def _running() -> Iterator[GeminiServer]:
    server = GeminiServer()
    with server.running():
        yield server


@pytest.fixture
def gemini(_running: GeminiServer) -> GeminiServer:
    _running.reset()
    return _running


def config(server: LoopbackServer, **changes: Any) -> LLMConfig:
    values = {"api_key": KEY, "base_url": server.url, "max_retries": 0, **changes}
    return LLMConfig(SPEC.name, MODEL, **values)


def test_answer_usage_and_cost_come_through_the_stack(gemini: GeminiServer) -> None:
    stats = LLMUsageStats()
    client = build_client(config(gemini), stats)
    for _ in range(2):
        response = client.complete(REQUEST)
    assert parse_answer(response) == {"description": text_for("table")}
    assert (response.request_id, response.model) == ("answer_2", MODEL)
    assert response.latency_ms > 0
    assert response.usage == Usage(110, 100, response.usage.output_tokens, 32)
    summary = stats.summary()
    assert (summary["input_tokens"], summary["cached_tokens"], summary["output_tokens"]) == (
        gemini.input_tokens,
        gemini.cached_tokens,
        gemini.output_tokens,
    )
    second = Price("google", MODEL).of(response.usage)
    assert second is not None
    assert 0 < second < summary["cost_usd"] < 0.001


@pytest.mark.parametrize("suffix", ["", "/v1", "/v1beta", "/v1beta/openai/"])
def test_sdk_sends_our_body_to_the_model(gemini: GeminiServer, suffix: str) -> None:
    options = {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}
    ours = config(gemini, base_url=gemini.url.removesuffix("/v1") + suffix, provider_kwargs=options)
    build_client(ours, LLMUsageStats()).complete(REQUEST)
    sent = gemini.requests[0]
    assert sent.body == encode_request(REQUEST, ours, SPEC)
    assert re.fullmatch(PATH, sent.path)
    assert sent.headers["x-goog-api-key"] == KEY


@cases("requests")
def test_sdk_sends_every_body_of_the_table(gemini: GeminiServer, case: dict[str, Any]) -> None:
    gemini.script = lambda request, number: Reply(body={"candidates": [{"finishReason": "STOP"}]})
    client = build_client(config(gemini, **case.get("config", {})), LLMUsageStats())
    client.complete(request_of(case))
    assert gemini.requests[0].body == case["body"]


def test_environment_of_the_sdk_changes_nothing(
    gemini: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "GOOGLE_API_KEY": "other",
        "GEMINI_API_KEY": "another",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9/v1beta/openai",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_CLOUD_PROJECT": "shop",
        "GOOGLE_CLOUD_LOCATION": "europe-west1",
    }.items():
        monkeypatch.setenv(name, value)
    build_client(config(gemini), LLMUsageStats()).complete(REQUEST)
    assert re.fullmatch(PATH, gemini.requests[0].path)
    assert gemini.requests[0].headers["x-goog-api-key"] == KEY


@pytest.mark.parametrize(
    ("reply", "error", "says", "ends_run"),
    [
        (Reply(400, body=WRONG_KEY), LLMAPIError, r"refused the key \(400\)", True),
        (Reply(404, body={"error": {"message": "no"}}), LLMAPIError, "does not know model", True),
        (Reply(429, body=MANY_REQUESTS), LLMRateLimitError, "answered 429: slow down", False),
        (Reply(500, body={"error": {"message": "oops"}}), LLMAPIError, "ed 500: oops", False),
        (Reply(503, body="<html>down</html>"), LLMAPIError, "ed 503: <html>down", False),
        (Reply(500, body="[]"), LLMAPIError, "answered 500", False),
        (Reply(delay_s=2), LLMTimeoutError, "no answer within 0.5 s", False),
        (Reply(disconnect=True), LLMAPIError, "cannot reach google-gemini at http", False),
        (Reply(body="<html>proxy</html>"), LLMResponseError, "not JSON", False),
        (Reply(body=""), LLMResponseError, "not JSON", False),
        (Reply(body="[1]"), LLMResponseError, "no Gemini answer", False),
        (Reply(body={"error": "x"}), LLMResponseError, "no Gemini answer", False),
    ],
)
def test_each_failure_is_one_of_our_errors(
    gemini: GeminiServer, reply: Reply, error: type[LLMError], says: str, ends_run: bool
) -> None:
    gemini.script = lambda request, number: reply
    stats = LLMUsageStats()
    with pytest.raises(error, match=says) as caught:
        build_client(config(gemini, timeout_s=0.5), stats).complete(REQUEST)
    assert type(caught.value) is error
    assert caught.value.ends_run == ends_run
    assert getattr(caught.value, "unreachable", False) == reply.disconnect
    assert KEY not in str(caught.value)
    assert len(gemini.requests) == 1
    assert stats.summary()["errors"] == {error.__name__: 1}


def test_cut_body_is_a_broken_connection(gemini: GeminiServer) -> None:
    # Announced in chunks, and then what comes is none.
    gemini.script = lambda request, number: Reply(
        body={}, headers={"connection": "close", "transfer-encoding": "chunked"}
    )
    with pytest.raises(LLMAPIError, match="cannot reach google-gemini") as caught:
        build_client(config(gemini), LLMUsageStats()).complete(REQUEST)
    assert caught.value.unreachable


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(body={"promptFeedback": {"blockReason": "SAFETY"}}), "content filter withheld"),
        (Reply(finish_reason="max_tokens", content='{"descr'), "cut off at the bound on output"),
        (Reply(finish_reason="prohibited_content", content=""), "content filter withheld"),
        # The SDK would go on asking, and each request is billed.
        (Reply(body={"candidates": [CONTINUED]}), "not a JSON object"),
    ],
)
def test_answers_that_are_none_say_why(gemini: GeminiServer, reply: Reply, says: str) -> None:
    gemini.script = lambda request, number: reply
    response = build_client(config(gemini), LLMUsageStats()).complete(REQUEST)
    with pytest.raises(LLMResponseError, match=says):
        parse_answer(response)
    assert len(gemini.requests) == 1


def test_passing_failures_are_repeated(gemini: GeminiServer) -> None:
    gemini.script = lambda request, number: Reply(500, body={}) if number < 2 else None
    response = build_client(config(gemini, max_retries=1, retry_delay_s=0.0), LLMUsageStats()).complete(REQUEST)
    assert parse_answer(response)["description"]
    assert len(gemini.requests) == 2


def test_server_down_says_where_and_what_to_check() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ours = LLMConfig(
        SPEC.name, MODEL, api_key=KEY, base_url=f"http://me:word@{address}/v1", max_retries=0
    )
    with pytest.raises(LLMAPIError, match="and is GOOGLE_GEMINI_BASE_URL right") as caught:
        build_client(ours, LLMUsageStats()).complete(REQUEST)
    assert caught.value.unreachable
    assert f"http://{address}/v1" in str(caught.value)


def test_missing_sdk_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.genai", None)
    with pytest.raises(LLMConfigError, match=r"pip install 'dbt-osmosis-llm\[gemini\]'"):
        build_client(LLMConfig(SPEC.name, MODEL, api_key=KEY), LLMUsageStats())


def test_defaults_come_from_the_row() -> None:
    environ = {"LLM_PROVIDER": "google-gemini", "GOOGLE_GEMINI_API_KEY": KEY}
    ours = LLMConfig.from_env(environ=environ)
    assert (ours.model, ours.api_key) == (MODEL, KEY)
    assert Price(SPEC.price_provider, MODEL).of(Usage(1_000_000))
