from __future__ import annotations

import json

import pytest

from dbt_osmosis_llm.llm.exceptions import LLMTimeoutError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message
from dbt_osmosis_llm.llm.mock import MockLLMClient

SCHEMA = {
    "type": "object",
    "properties": {
        "description": {"type": ["string", "null"]},
        "kind": {"enum": ["fact", "dimension"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "rows": {"type": "integer"},
    },
}


def ask(client: MockLLMClient, text: str = "Describe orders", schema: object = None) -> str:
    return client.complete(LLMRequest((Message("user", text),), schema=schema)).text  # type: ignore[arg-type]


def test_default_answer_is_valid_for_the_schema() -> None:
    assert json.loads(ask(MockLLMClient(), schema=SCHEMA)) == {
        "description": "Text of description.",
        "kind": "fact",
        "tags": ["Text of tags."],
        "rows": 0,
    }
    assert ask(MockLLMClient()) == "A text."


def test_first_substring_found_wins() -> None:
    client = MockLLMClient({"orders": "about orders", "Describe": {"a": 1}})
    assert ask(client) == "about orders"
    assert ask(client, "Describe") == '{"a": 1}'
    assert ask(client, "other") == "A text."


def test_queue_then_default() -> None:
    client = MockLLMClient(["one", LLMResponse("two"), LLMTimeoutError("late")])
    assert [ask(client), ask(client)] == ["one", "two"]
    with pytest.raises(LLMTimeoutError):
        ask(client)
    assert ask(client) == "A text."
    assert len(client.calls) == 4


def test_callable_gets_the_request() -> None:
    client = MockLLMClient(lambda request: request.messages[0].content.upper())
    assert ask(client, "hello") == "HELLO"
