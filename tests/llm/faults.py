"""What a provider can do to us, and what must come of it: the rows of the matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMError,
    LLMRateLimitError,
    LLMResponseError,
    LLMTimeoutError,
)
from dbt_osmosis_llm.llm.messages import FinishReason
from tests.server import Reply

WIRES = frozenset({"openai", "azure", "anthropic", "gemini"})
_OPENAI = frozenset({"openai", "azure"})
ASKED_S = 0.05
"""What the server asks to wait in the faults with a Retry-After."""
# A status decides; what the words of a page or an outage mention does not.
_JSON = "application/json"
_NO_TEXT = b'{"error": "\xe9\xff"}'
_ODD = {
    "message": ["odd"],
    "code": {"a": 1},
    "type": [1],
    "status": [1],
    "details": [{"reason": [1]}],
}
_HTML = "<html><body>Bad gateway: insufficient_quota, temperature, json_schema</body></html>"


@dataclass(frozen=True)
class Fault:
    """One way to answer badly, and what must come of it."""

    name: str
    reply: Callable[[], Reply]
    error: type[LLMError] = LLMAPIError
    ends_run: bool = False
    passes: bool = False
    """True: the same request is worth repeating."""
    is_slow: bool = False
    """True: only the bound on time ends it."""
    asked_s: tuple[float, float] | None = None
    """Least and most seconds that the server asks to wait."""
    finish_reason: FinishReason | None = None
    """Of the answer that comes instead of an error."""
    wires: frozenset[str] = WIRES
    """Wire formats in which there is such a thing."""


def _passing(name: str, wires: frozenset[str] = WIRES, /, **reply: Any) -> Fault:
    return Fault(name, lambda: Reply(**reply), passes=True, wires=wires)


def _asking(
    name: str, headers: Callable[[], dict[str, str]] = dict, status: int = 429, **reply: Any
) -> Fault:
    return Fault(
        name,
        lambda: Reply(status, headers=headers(), **reply),
        LLMRateLimitError if status == 429 else LLMAPIError,
        passes=True,
        # Dates are whole seconds: one second ahead is anything up to that.
        asked_s=(0.0, 1.0) if "date" in name else (ASKED_S, ASKED_S),
        wires=frozenset({"gemini"}) if "RetryInfo" in name else WIRES,
    )


def _slow(name: str, **reply: Any) -> Fault:
    return Fault(name, lambda: Reply(**reply), LLMTimeoutError, passes=True, is_slow=True)


def _final(
    name: str, status: int, *, ends_run: bool, wires: frozenset[str] = WIRES, **reply: Any
) -> Fault:
    error = LLMRateLimitError if status == 429 else LLMAPIError
    return Fault(name, lambda: Reply(status, **reply), error, ends_run=ends_run, wires=wires)


def _unusable(name: str, **reply: Any) -> Fault:
    return Fault(name, lambda: Reply(**reply), LLMResponseError)


def _stopped(
    name: str, expected: FinishReason, wires: frozenset[str] = WIRES, /, **reply: Any
) -> Fault:
    return Fault(name, lambda: Reply(**reply), finish_reason=expected, wires=wires)


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


PASSING = (
    Fault("429", lambda: Reply(429), LLMRateLimitError, passes=True),
    _asking("429, Retry-After in seconds", lambda: {"retry-after": f"{ASKED_S}"}),
    _asking("429, retry-after-ms", lambda: {"retry-after-ms": f"{ASKED_S * 1000:.0f}"}),
    _asking(
        "429, both: milliseconds win",
        lambda: {"retry-after-ms": f"{ASKED_S * 1000:.0f}", "retry-after": "1"},
    ),
    _asking("429, Retry-After as a date", lambda: {"retry-after": _date(1)}),
    _asking("429, RetryInfo in the body", retry_after_s=ASKED_S),
    Fault(
        "429, Retry-After that is none",
        lambda: Reply(429, headers={"retry-after": "soon"}),
        LLMRateLimitError,
        passes=True,
    ),
    _asking("503, Retry-After in seconds", lambda: {"retry-after": f"{ASKED_S}"}, status=503),
    _passing("408", status=408),
    _passing(
        "200, the error of a vendor behind a gateway",
        frozenset({"openai", "azure"}),
        body={"error": {"code": 502, "message": "upstream"}},
    ),
    _passing("409", status=409),
    _passing("500", status=500),
    _passing("500, empty", status=500, body=""),
    _passing("500, bytes that are no text", status=500, body=_NO_TEXT),
    _passing("500, JSON too deep", status=500, body="[" * 50_000, content_type=_JSON),
    _passing("500, codes that are no text", status=500, body={"error": _ODD}),
    _passing("502, HTML", status=502, body=_HTML),
    _passing("503", status=503),
    _passing("504, JSON that is no envelope", status=504, body=["upstream timed out"]),
    _passing("529", status=529),
    _passing("disconnect", delivery="disconnect"),
    _passing("connection reset", delivery="reset"),
    _passing("cut body", delivery="cut"),
    _passing("cut body in chunks", delivery="cut_chunk"),
    _passing("200, no gzip", body={}, headers={"content-encoding": "gzip"}),
)
SLOW = (
    _slow("hang", delivery="hang"),
    _slow("dripping body", delivery="drip_body"),
    _slow("dripping headers", delivery="drip_headers"),
)
FINAL = (
    _final("400", 400, ends_run=False),
    _final("400, context too long", 400, ends_run=False, error="context"),
    _final("400, content policy", 400, ends_run=False, error="policy"),
    _final("400, HTML", 400, ends_run=False, body="<html><body>Bad request</body></html>"),
    _final("400, codes that are no text", 400, ends_run=False, body={"error": _ODD}),
    _final("413", 413, ends_run=False),
    _final("422", 422, ends_run=False),
    _final("401", 401, ends_run=True),
    _final("402", 402, ends_run=True),
    _final("403", 403, ends_run=True),
    _final("404", 404, ends_run=True),
    _final("404, empty", 404, ends_run=True, body=""),
    _final("429, quota or spend limit", 429, ends_run=True, error="quota"),
    # Gemini sends the delay of the next minute beside a quota that is gone for the day.
    _final("429, quota with a delay", 429, ends_run=True, error="quota", retry_after_s=ASKED_S),
    _final("429, wait of hours", 429, ends_run=True, headers={"retry-after": "7200"}),
    _final(
        "400, credit used up",
        400,
        ends_run=True,
        says="Your credit balance is too low to access the Anthropic API.",
        wires=frozenset({"anthropic"}),
    ),
    _final("400, wrong key", 400, ends_run=True, error="key", wires=frozenset({"gemini"})),
)
UNUSABLE = (
    _unusable("200, HTML", body=_HTML),
    _unusable("200, HTML called JSON", body=_HTML, content_type=_JSON),
    _unusable("200, empty", body="", content_type=_JSON),
    _unusable("200, empty, no type", body="", content_type=""),
    _unusable("200, half a JSON", body='{"id": "1", "choices": [', content_type=_JSON),
    _unusable("200, {}", body={}),
    _unusable("200, []", body=[]),
    _unusable("200, null", body="null", content_type=_JSON),
    _unusable("200, an error", body={"error": {"code": "upstream", "message": "upstream"}}),
    _unusable("200, bytes that are no text", body=_NO_TEXT),
    _unusable("200, JSON too deep", body="[" * 50_000, content_type=_JSON),
    _unusable("200, a stream", body="data: {}\n\n", content_type="text/event-stream"),
)
STOPPED = (
    _stopped("refusal", FinishReason.REFUSAL, _OPENAI | {"anthropic"}, refusal="I cannot."),
    _stopped("filtered", FinishReason.FILTERED, _OPENAI | {"gemini"}, finish_reason="filtered"),
    _stopped(
        "prompt blocked",
        FinishReason.FILTERED,
        frozenset({"gemini"}),
        body={"promptFeedback": {"blockReason": "SAFETY"}},
    ),
    _stopped("length", FinishReason.LENGTH, finish_reason="length", keep=0.5),
    _stopped(
        "length, all of it reasoning",
        FinishReason.LENGTH,
        finish_reason="length",
        keep=0.0,
        reasoning_tokens=64,
    ),
)
FAULTS = (*PASSING, *SLOW, *FINAL, *UNUSABLE, *STOPPED)
