"""What response headers say of limits and waits, in the forms that vendors have for it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from dbt_osmosis_llm.llm.messages import RateLimits


def read_retry_after(headers: Mapping[str, Any]) -> float | None:
    """Return the seconds that the headers ask to wait, from milliseconds, seconds or a date."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = str(headers.get(name) or "").strip()
        if not value:
            continue
        try:
            seconds = float(value) / divisor
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (TypeError, ValueError, OverflowError):
                continue
        if seconds < float("inf"):  # neither infinite nor nan
            return max(0.0, seconds)
    return None


def read_rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """Return the limits per minute that response headers name, None when they name none.

    Args:
        headers: Looked up by lower-case names.
    """
    requests = _limit(headers, "anthropic-ratelimit-requests-limit")
    tokens = _limit(headers, "anthropic-ratelimit-tokens-limit")
    if tokens is None:
        tokens = _limit(headers, "anthropic-ratelimit-input-tokens-limit")
    if requests is None:
        requests = _limit(headers, "x-ratelimit-limit-requests")
        if requests is not None and not _is_per_minute(headers, requests):
            requests = None
    if tokens is None:
        tokens = _limit(headers, "x-ratelimit-limit-tokens")
    return RateLimits(requests, tokens) if requests or tokens else None


def _is_per_minute(headers: Mapping[str, str], limit: float) -> bool:
    """Tell a minute's limit from a day's, which Groq and OpenAI's free tier send alike.

    ``reset`` is when all is there again: what was used comes back at the limit's own pace. A day's
    is 1440 times slower than a minute's. Tokens are not judged so: their reset is not that regular.
    """
    remaining = _number(headers.get("x-ratelimit-remaining-requests"))
    reset_s = _seconds(headers.get("x-ratelimit-reset-requests"))
    if remaining is None or not reset_s or remaining >= limit:
        return True
    return (limit - remaining) / reset_s >= limit / 60 / 10


def _limit(headers: Mapping[str, str], name: str) -> float | None:
    value = _number(headers.get(name))
    return value if value is not None and value >= 1 else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


_UNIT_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"(\d+(?:\.\d+)?)(ms|[dhms])"


def _seconds(text: str | None) -> float | None:
    """Return the seconds of ``120ms``, ``6m0s``, ``1.5s`` or ``2``; None of anything else."""
    if isinstance(text, str) and re.fullmatch(f"(?:{_PART})+", text):
        return sum(float(value) * _UNIT_S[unit] for value, unit in re.findall(_PART, text))
    return _number(text)
