"""Gets the JSON object out of a model's answer.

An error here is shown to the model in a repair request: it says what is wrong with the answer and
quotes no more of it than an excerpt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, overload

from pydantic import BaseModel, ValidationError

from dbt_osmosis_llm.llm.exceptions import LLMRefusalError, LLMResponseError, LLMTruncatedError
from dbt_osmosis_llm.llm.messages import FinishReason, LLMResponse
from dbt_osmosis_llm.llm.tolerant_json import Reading, read_json, unescape

_EXCERPT_CHARS = 120
_MAX_ERRORS = 3
"""Of a validation, shown in one line."""
_MAX_VALIDATIONS = 20
"""Objects of one answer that are tried against a type."""

_REASONING = "(?:think|thinking|thought|reasoning|analysis)"
_REASONING_BEGINS = re.compile(rf"[\s\ufeff]*<{_REASONING}>", re.IGNORECASE)
_REASONING_ENDS = re.compile(rf"</{_REASONING}>", re.IGNORECASE)
_JSON_BEGINS = re.compile(r"""[\s\ufeff]*(?:[{\["']|```|~~~)""")
_WEB_PAGE = re.compile(r"[\s\ufeff]*<(?:!doctype|html|head|body)\b", re.IGNORECASE)

_KINDS: dict[type, str] = {list: "a list", str: "a string", float: "a number"}

Model = TypeVar("Model", bound=BaseModel)


@overload
def parse_answer(response: LLMResponse) -> dict[str, Any]: ...


@overload
def parse_answer(response: LLMResponse, answer_type: type[Model]) -> Model: ...


def parse_answer(
    response: LLMResponse, answer_type: type[Model] | None = None
) -> dict[str, Any] | Model:
    """Return the JSON object that an answer holds, whatever stands around it.

    Of an answer that was cut off, the properties that are whole remain.

    Args:
        response: The answer.
        answer_type: Validates the object; also tells the answer from other objects in the text.

    Raises:
        LLMRefusalError: The model refused, or a filter withheld the answer.
        LLMTruncatedError: The answer was cut off before enough of it was whole.
        LLMResponseError: The answer holds no JSON object, or none that fits ``answer_type``.
    """
    if response.finish_reason is FinishReason.REFUSAL:
        reason = f": {_excerpt(response.text)}" if response.text.strip() else ""
        raise LLMRefusalError(f"the model refused{reason}")
    if response.finish_reason is FinishReason.FILTERED:
        raise LLMRefusalError("the provider's content filter withheld the answer")
    is_cut = response.finish_reason is FinishReason.LENGTH
    if _WEB_PAGE.match(response.text):
        raise LLMResponseError(
            "the server answered with a web page instead of JSON; check the provider's base URL: "
            + _excerpt(response.text)
        )
    text, readings = _read(_without_reasoning(response.text, is_cut=is_cut))
    candidates = _candidates(readings)
    if not candidates:
        raise _truncated() if is_cut else LLMResponseError(_why_unusable(text, readings))
    if answer_type is None:
        return candidates[0].value
    return _validated(candidates, answer_type, is_cut=is_cut)


def _without_reasoning(text: str, *, is_cut: bool) -> str:
    position = 0
    while begins := _REASONING_BEGINS.match(text, position):
        ends = _REASONING_ENDS.search(text, begins.end())
        if ends is None:
            # Cut while still thinking, or forgotten to close the block.
            return "" if is_cut else text[begins.end() :]
        position = ends.end()
    # The opening tag often stands at the end of the prompt that a server makes of the messages.
    if not position and not _JSON_BEGINS.match(text) and (ends := _REASONING_ENDS.search(text)):
        position = ends.end()
    return text[position:]


def _read(text: str) -> tuple[str, list[Reading]]:
    """Return what the text holds, and the text without the string that JSON may be wrapped in."""
    value = _strict_json(text)
    if isinstance(value, str) and "{" in value:
        text = value
    readings = list(read_json(text))
    if '\\"' in text and all(reading.value == {} for reading in readings):
        # Escaped and not a string, or no more than the first part of one.
        text = unescape(text)
        readings = list(read_json(text))
    return text, readings


def _strict_json(text: str) -> Any:
    """Return the value that the whole text is; None where it is none."""
    try:
        # Reading a long integer takes quadratic time.
        return json.loads(text, parse_int=float, strict=False)
    except (ValueError, RecursionError):
        return None


class _Candidate(NamedTuple):
    """An object that may be the answer."""

    value: dict[str, Any]
    start: int
    size: int
    """Characters of the text."""
    is_whole: bool


def _candidates(readings: Sequence[Reading]) -> list[_Candidate]:
    """Return the objects, largest first, but before all the last one of about that size.

    Examples in prose are smaller than the answer, and drafts of it come first.
    """
    candidates = []
    for reading in readings:
        value = reading.value
        if isinstance(value, list):
            # Some models put the one object that they are asked for into a list.
            value = value[0] if len(value) == 1 else None
        is_only = reading.is_whole and len(readings) == 1
        # `{}` in prose is no answer; where nothing else stands it may be one.
        if isinstance(value, dict) and (value or is_only):
            size = reading.end - reading.start
            candidates.append(_Candidate(value, reading.start, size, reading.is_whole))
    largest = max((candidate.size for candidate in candidates), default=0)
    last = max((c.start for c in candidates if 2 * c.size >= largest), default=0)
    return sorted(candidates, key=lambda candidate: (candidate.start != last, -candidate.size))


def _validated(
    candidates: Sequence[_Candidate], answer_type: type[Model], *, is_cut: bool
) -> Model:
    complaints = []
    for candidate in candidates[:_MAX_VALIDATIONS]:
        try:
            return answer_type.model_validate(candidate.value)
        except ValidationError as error:  # noqa: PERF203  # most answers hold one object
            complaints.append(_complaint(error))
    if is_cut and not candidates[0].is_whole:
        raise _truncated()
    # Not from the ValidationError, which quotes the answer's values.
    raise LLMResponseError(f"the answer does not fit: {complaints[0]}")


def _complaint(error: ValidationError) -> str:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    shown = []
    for detail in details[:_MAX_ERRORS]:
        place = ".".join(str(part) for part in detail["loc"]) or "the object"
        # A property's name is the model's own where it invents one, and may be of any length.
        shown.append(f"{_excerpt(place)[1:-1]}: {_excerpt(detail['msg'])[1:-1]}")
    more = len(details) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _truncated() -> LLMTruncatedError:
    return LLMTruncatedError(
        "the answer was cut off at the bound on output tokens; raise OSMOSIS_LLM_MAX_OUTPUT_TOKENS"
    )


def _why_unusable(text: str, readings: Sequence[Reading]) -> str:
    if not text.strip():
        return "the answer is empty"
    problem = "the answer is not a JSON object"
    if broken := [reading for reading in readings if reading.problem]:
        worst = max(broken, key=lambda reading: reading.end - reading.start)
        return f"{problem}: expected {worst.problem}, found {_excerpt(text[worst.end :])}"
    if any(isinstance(reading.value, list) and len(reading.value) > 1 for reading in readings):
        return f"{problem} but a list: {_excerpt(text)}"
    if any(not reading.is_whole for reading in readings):
        return f"{problem}: it ends before its first property is whole: {_excerpt(text)}"
    kind = _KINDS.get(type(_strict_json(text)))
    return f"{problem} but {kind}: {_excerpt(text)}" if kind else f"{problem}: {_excerpt(text)}"


def _excerpt(text: str) -> str:
    line = " ".join(text[: 10 * _EXCERPT_CHARS].split())
    is_all = len(text) <= 10 * _EXCERPT_CHARS and len(line) <= _EXCERPT_CHARS
    return repr(line if is_all else f"{line[:_EXCERPT_CHARS]}\u2026")
