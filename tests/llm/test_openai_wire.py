"""Encode, decode and classify as tables: `tests/wire/openai/*.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dbt_osmosis_llm.llm.client import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMResponseError
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.providers.openai_compatible import (
    classify_error,
    decode_response,
    encode_request,
)
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS
from dbt_osmosis_llm.llm.usage import Usage

WIRE = Path(__file__).parent.parent / "wire" / "openai"


def cases(name: str) -> pytest.MarkDecorator:
    loaded = json.loads((WIRE / f"{name}.json").read_text())
    return pytest.mark.parametrize("case", loaded, ids=[case["name"] for case in loaded])


@cases("requests")
def test_encode(case: dict[str, Any]) -> None:
    spec = PROVIDERS[case["provider"]]
    config = LLMConfig(spec.name, spec.default_model or "m", **case.get("config", {}))
    fields = dict(case["request"])
    messages = tuple(Message(role, content) for role, content in fields.pop("messages"))
    assert encode_request(LLMRequest(messages, **fields), config, spec) == case["body"]


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
