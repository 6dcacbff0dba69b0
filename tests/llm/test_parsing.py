from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_osmosis_llm.llm.exceptions import LLMResponseError
from dbt_osmosis_llm.llm.messages import FinishReason, LLMResponse
from dbt_osmosis_llm.llm.parsing import parse_answer


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "b"}',
        ' \n{"a": "b"}\n',
        '```json\n{"a": "b"}\n```',
        'Here you are:\n```\n{"a": "b"}\n```\nAnything else?',
        'Sure! {"a": "b"} Done.',
    ],
)
def test_the_object_is_found(text: str) -> None:
    assert parse_answer(LLMResponse(text)) == {"a": "b"}


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (LLMResponse("", FinishReason.STOP), "the answer is empty"),
        (LLMResponse("No.", FinishReason.REFUSAL), "the model refused: 'No.'"),
        (LLMResponse("", FinishReason.FILTERED), "content filter"),
        (LLMResponse('{"a": "b', FinishReason.LENGTH), "raise OSMOSIS_LLM_MAX_OUTPUT_TOKENS"),
        (LLMResponse('[{"name": "a"}]'), "not a JSON object"),
        (LLMResponse("[1, 2]"), "not a JSON object"),
        (LLMResponse("<html>" * 100), "not a JSON object: '<html>.*…'"),
    ],
)
def test_what_cannot_be_used_says_why(response: LLMResponse, says: str) -> None:
    with pytest.raises(LLMResponseError, match=says):
        parse_answer(response)


@given(st.text() | st.text(alphabet='{}[]",:`nul \n'))
def test_any_text_parses_or_is_a_response_error(text: str) -> None:
    with contextlib.suppress(LLMResponseError):
        assert isinstance(parse_answer(LLMResponse(text)), dict)
