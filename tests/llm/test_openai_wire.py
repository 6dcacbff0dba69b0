"""Chat completions as tables: `tests/wire/openai/*.json`, and the SDK sends just those bodies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbt_osmosis_llm.llm.client import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMResponseError
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.providers.dialect import Dialect, SchemaSupport
from dbt_osmosis_llm.llm.providers.openai_compatible import (
    classify_error,
    decode_response,
    encode_request,
)
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS, ProviderSpec
from dbt_osmosis_llm.llm.usage import Usage
from tests.server import LoopbackServer

WIRE = Path(__file__).parent.parent / "wire" / "openai"
KEY = "sk-test-0123456789"


def cases(name: str) -> pytest.MarkDecorator:
    loaded = json.loads((WIRE / f"{name}.json").read_text())
    return pytest.mark.parametrize("case", loaded, ids=[case["name"] for case in loaded])


def request_of(case: dict[str, Any]) -> LLMRequest:
    fields = dict(case["request"])
    messages = tuple(Message(role, content) for role, content in fields.pop("messages"))
    return LLMRequest(messages, **fields)


def config_of(case: dict[str, Any], spec: ProviderSpec, **more: Any) -> LLMConfig:
    return LLMConfig(spec.name, spec.default_model or "m", **case.get("config", {}), **more)


def dialect_of(case: dict[str, Any], spec: ProviderSpec) -> Dialect:
    """Return the provider's dialect with what the case says the endpoint has rejected."""
    learned = dict(case.get("dialect", {}))
    if "schema" in learned:
        learned["schema"] = SchemaSupport[learned["schema"]]
    return replace(spec.dialect, **learned)


@cases("requests")
def test_encode(case: dict[str, Any]) -> None:
    spec = PROVIDERS[case["provider"]]
    config, dialect = config_of(case, spec), dialect_of(case, spec)
    assert encode_request(request_of(case), config, spec, dialect) == case["body"]


@cases("requests")
def test_sdk_sends_every_body_of_the_table(case: dict[str, Any], server: LoopbackServer) -> None:
    spec = PROVIDERS[case["provider"]]
    config = config_of(case, spec, api_key=KEY, base_url=server.url)
    replace(spec, dialect=dialect_of(case, spec)).create(config).complete(request_of(case))
    assert [request.body for request in server.requests] == [case["body"]]


@cases("responses")
def test_decode(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(LLMResponseError, match=case["error"]):
            decode_response(case["answer"], provider="openai", model="gpt-6-luna")
        return
    response = decode_response(case["answer"], provider="openai", model="gpt-6-luna")
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
        provider="openai",
        model="gpt-6-luna",
        key_env="OPENAI_API_KEY",
        api_key="sk-secret-key-123",
    )
    assert isinstance(error, LLMAPIError)
    assert (type(error).__name__, str(error)) == (case["error"], case["says"])
    assert (error.ends_run, error.status_code) == (case["ends_run"], case["status"])
