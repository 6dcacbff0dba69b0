"""Gets the JSON object out of a model's answer."""

from __future__ import annotations

import json
import re
from typing import Any

from dbt_osmosis_llm.llm.exceptions import LLMResponseError
from dbt_osmosis_llm.llm.messages import FinishReason, LLMResponse

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)```", re.DOTALL)


def parse_answer(response: LLMResponse) -> dict[str, Any]:
    """Return the JSON object that the answer holds, fenced or with prose around it.

    Raises:
        LLMResponseError: The model refused, was cut off, or wrote no JSON object.
    """
    if response.finish_reason is FinishReason.REFUSAL:
        raise LLMResponseError(f"the model refused: {_excerpt(response.text)}")
    if response.finish_reason is FinishReason.FILTERED:
        raise LLMResponseError("the provider's content filter withheld the answer")
    answer = _json_object(response.text)
    if answer is not None:
        return answer
    if response.finish_reason is FinishReason.LENGTH:
        raise LLMResponseError(
            "the answer was cut off at the bound on output tokens; "
            "raise OSMOSIS_LLM_MAX_OUTPUT_TOKENS"
        )
    if not response.text.strip():
        raise LLMResponseError("the answer is empty")
    raise LLMResponseError(f"the answer is not a JSON object: {_excerpt(response.text)}")


def _json_object(text: str) -> dict[str, Any] | None:
    candidates = [text, *_FENCE.findall(text)]
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        candidates.append(text[start : end + 1])
    for candidate in candidates:
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        # JSON of another kind is the whole answer: do not search it for an object.
        return value if isinstance(value, dict) else None
    return None


def _excerpt(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else f"{line[:limit]}…")
