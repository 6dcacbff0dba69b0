"""Gemini: `tests/wire/gemini/*.json`, then what is particular to its SDK, on loopback.

Faults, retries and rejected parameters are in `test_faults`, for every provider alike.
"""

from __future__ import annotations

import gc
import re
import sys
from dataclasses import replace
from typing import Any

import pytest

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMConfigError, LLMResponseError
from dbt_osmosis_llm.llm.messages import FinishReason, Usage
from dbt_osmosis_llm.llm.providers.gemini import (
    api_root,
    classify_error,
    decode_response,
    encode_request,
)
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS
from dbt_osmosis_llm.llm.usage import LLMUsageStats, Price
from dbt_osmosis_llm.stack import build_client, create_provider_client
from tests.llm.endpoints import ENDPOINTS, REQUEST, play
from tests.llm.wire_tables import dialect_of, request_of, tables
from tests.server import LoopbackServer, Recorded, Reply

cases = tables("gemini")
SPEC = PROVIDERS["google-gemini"]
ENDPOINT = next(endpoint for endpoint in ENDPOINTS if endpoint.provider == SPEC.name)
MODEL = ENDPOINT.model
KEY = "gemini-test-0123456789"
# 2.x of the SDK asks /v1beta, 3.x /v1.
PATH = rf"/v1(beta)?/models/{MODEL}:generateContent"
CONTINUED = {
    "content": {"parts": [{"text": "{"}]},
    "finishReason": "CONTINUATION",
    "continuationToken": "dG9rZW4=",
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
        secrets=["gemini-secret-key-123"],
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


def test_what_the_server_counts_is_what_it_costs(server: LoopbackServer) -> None:
    done = play(ENDPOINT, server, lambda request, number: Reply(reasoning_tokens=32), calls=2)
    counted = Usage(server.input_tokens, server.cached_tokens, server.output_tokens)
    cost_usd = Price("google", MODEL).of(counted)
    assert cost_usd
    assert done.stats.summary()["cost_usd"] == pytest.approx(cost_usd)


@pytest.mark.parametrize("end", ["", "/v1", "/v1beta", "/v1beta/openai/"])
def test_whatever_end_the_address_has_the_model_stands_in_the_path(
    server: LoopbackServer, end: str
) -> None:
    play(ENDPOINT, server, base_url=server.root + end, api_key=KEY)
    (sent,) = server.requests
    assert re.fullmatch(PATH, sent.path)
    assert sent.headers["x-goog-api-key"] == KEY


def test_environment_of_the_sdk_changes_nothing(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
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
    config = ENDPOINT.config(server)
    create_provider_client(config, SPEC).complete(REQUEST)
    (sent,) = server.requests
    assert re.fullmatch(PATH, sent.path)
    assert sent.headers["x-goog-api-key"] == config.api_key


def test_an_answer_that_wants_to_go_on_is_asked_for_once(server: LoopbackServer) -> None:
    # The SDK would go on asking, and each request is billed.
    done = play(ENDPOINT, server, lambda request, number: Reply(body={"candidates": [CONTINUED]}))
    assert (done.response.text, done.response.finish_reason) == ("{", FinishReason.OTHER)
    assert len(server.requests) == 1


def test_the_key_follows_no_redirect(server: LoopbackServer) -> None:
    def elsewhere(request: Recorded, number: int) -> Reply | None:
        # To the SDK another name is another host.
        there = server.root.replace("127.0.0.1", "localhost") + request.path
        return Reply(307, body="", headers={"location": there}) if number == 1 else None

    done = play(ENDPOINT, server, elsewhere, max_retries=0)
    assert isinstance(done.error, LLMAPIError)
    assert done.error.status_code == 307
    assert len(server.requests) == 1


def test_the_client_lives_as_long_as_ours(server: LoopbackServer) -> None:
    # A Client of the SDK that is collected closes the connections of all that came from it.
    client = create_provider_client(ENDPOINT.config(server), SPEC)
    gc.collect()
    for _ in range(2):
        client.complete(REQUEST)
    assert len(server.requests) == 2


def test_missing_sdk_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.genai", None)
    with pytest.raises(LLMConfigError, match=r"pip install 'dbt-osmosis-llm\[gemini\]'"):
        build_client(LLMConfig(SPEC.name, MODEL, api_key=KEY), LLMUsageStats())


def test_defaults_come_from_the_row() -> None:
    environ = {"LLM_PROVIDER": "google-gemini", "GOOGLE_GEMINI_API_KEY": KEY}
    ours = LLMConfig.from_env(environ=environ)
    assert (ours.model, ours.api_key) == (MODEL, KEY)
    assert Price(SPEC.price_provider, MODEL).of(Usage(1_000_000))
