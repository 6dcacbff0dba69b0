"""Chat completions as tables: `tests/wire/openai/*.json`, and the SDK sends just those bodies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMResponseError
from dbt_osmosis_llm.llm.messages import Usage
from dbt_osmosis_llm.llm.providers.openai_compatible import (
    classify_error,
    decode_response,
    encode_request,
)
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS, ProviderSpec
from dbt_osmosis_llm.stack import create_provider_client
from tests.llm.wire_tables import dialect_of, request_of, tables
from tests.server import LoopbackServer

cases = tables("openai")
KEY = "sk-test-0123456789"


def config_of(case: dict[str, Any], spec: ProviderSpec, **more: Any) -> LLMConfig:
    return LLMConfig(spec.name, spec.default_model or "m", **case.get("config", {}), **more)


@cases("requests")
def test_encode(case: dict[str, Any]) -> None:
    spec = PROVIDERS[case["provider"]]
    config, dialect = config_of(case, spec), dialect_of(case, spec)
    assert encode_request(request_of(case), config, spec, dialect) == case["body"]


@cases("requests")
def test_sdk_sends_every_body_of_the_table(case: dict[str, Any], server: LoopbackServer) -> None:
    spec = PROVIDERS[case["provider"]]
    config = config_of(case, spec, api_key=KEY, base_url=server.url)
    spec = replace(spec, dialect=dialect_of(case, spec))
    create_provider_client(config, spec).complete(request_of(case))
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
        secrets=["sk-secret-key-123"],
    )
    assert isinstance(error, LLMAPIError)
    assert (type(error).__name__, str(error)) == (case["error"], case["says"])
    assert (error.ends_run, error.status_code) == (case["ends_run"], case["status"])
