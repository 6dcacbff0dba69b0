"""A client without a model, for the tests of those who use this package."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Usage

Answer = str | LLMResponse | BaseException | Mapping[str, Any]
"""Text, a response, JSON, or an error to raise."""


class MockLLMClient:
    """Answers from what the test says; records every request in ``calls``.

    Args:
        answers: A mapping of substrings to answers (the first substring found in the request's
            messages wins), an iterable of answers used up in order, or a callable that gets the
            request. Whatever has no answer there gets a valid one for the request's schema.
        provider: Name to report.
        model: Name to report.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | Iterable[Answer] | Callable[[LLMRequest], Answer] = (),
        *,
        provider: str = "mock",
        model: str = "mock",
    ) -> None:
        self.provider = provider
        self.model = model
        self.calls: list[LLMRequest] = []
        self._lock = threading.Lock()
        self._answer: Callable[[LLMRequest], Answer | None]
        if callable(answers):
            self._answer = answers
        elif isinstance(answers, Mapping):
            by_substring = dict(cast("Mapping[str, Answer]", answers))
            self._answer = lambda request: next(
                (by_substring[part] for part in by_substring if part in _text_of(request)), None
            )
        else:
            queue = deque([answers] if isinstance(answers, str) else answers)
            self._answer = lambda _: queue.popleft() if queue else None

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Record the request and return its answer, or raise it when it is an error."""
        with self._lock:
            self.calls.append(request)
            answer = self._answer(request)
        if answer is None:
            answer = valid_answer(request.schema) if request.schema else "A text."
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, LLMResponse):
            return answer
        text = answer if isinstance(answer, str) else json.dumps(answer)
        usage = Usage(input_tokens=len(_text_of(request)) // 4, output_tokens=len(text) // 4)
        return LLMResponse(text, usage=usage, provider=self.provider, model=self.model)


def _text_of(request: LLMRequest) -> str:
    return "\n".join(message.content for message in request.messages)


def valid_answer(schema: Mapping[str, Any], name: str = "answer") -> Any:
    """Return a small value that the schema allows; texts name the property they stand in."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return valid_answer(schema[choice][0], name)
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "object":
        properties = schema.get("properties", {})
        return {key: valid_answer(value, key) for key, value in properties.items()}
    if kind == "array":
        return [valid_answer(schema.get("items", {}), name)] * int(schema.get("minItems", 1))
    simple = {"integer": 0, "number": 0, "boolean": True, "null": None}
    return simple.get(kind, f"Text of {name}.")
