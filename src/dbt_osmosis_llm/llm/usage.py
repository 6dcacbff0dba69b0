"""Tokens and money: what calls used and what that cost.

A cost of None means unknown, never zero: an unpriced model must not look free.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dbt_osmosis_llm._log import logger

if TYPE_CHECKING:
    from dbt_osmosis_llm.llm.client import LLMClient
    from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, the same way for every provider."""

    input_tokens: int = 0
    """Prompt tokens, those read from or written to a cache included."""
    cached_tokens: int = 0
    """Prompt tokens read from the provider's cache."""
    output_tokens: int = 0
    """Completion tokens, reasoning included."""
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    """Prompt tokens written to the provider's cache, which some charge more for."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


def cost_usd(usage: Usage, model: str, price_provider: str | None) -> float | None:
    """Return what the usage costs in US dollars by genai-prices' shipped list.

    Args:
        usage: Tokens of one call.
        model: Model name as the provider knows it.
        price_provider: The provider's id in genai-prices; ``"free"`` for models that run
            locally, None when there is no price list.

    Returns:
        Dollars; 0.0 for local models; None when the model is not priced.
    """
    if price_provider == "free":
        return 0.0
    if price_provider is None:
        return None
    return _priced(usage, model, price_provider)


@lru_cache(maxsize=4096)
def _priced(usage: Usage, model: str, price_provider: str) -> float | None:
    # Loading the price list takes half a second: only for calls that have a price.
    import genai_prices

    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=min(usage.cached_tokens, usage.input_tokens),
                output_tokens=usage.output_tokens,
            ),
            model,
            provider_id=price_provider,
        )
    except (LookupError, ValueError):
        return None
    return float(price.total_price)


@dataclass
class UsageTotals:
    """Sums over the calls of one provider and model."""

    requests: int = 0
    """Calls made, answered or not."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failed calls by error class."""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = 0.0
    """None as soon as one call has no known price."""
    seconds: float = 0.0
    """Wall time spent in calls; parallel calls add up."""


class LLMUsageStats:
    """Counts calls, tokens and cost per provider and model; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], UsageTotals] = {}

    def record_usage(
        self,
        provider: str,
        model: str,
        usage: Usage | None = None,
        *,
        cost_usd: float | None = None,
        seconds: float = 0.0,
        error: BaseException | None = None,
    ) -> None:
        """Add one call: with its usage and cost when answered, with its error when not."""
        with self._lock:
            totals = self._totals.setdefault((provider, model), UsageTotals())
            totals.requests += 1
            totals.seconds += seconds
            if error is not None:
                totals.errors[type(error).__name__] += 1
                return
            totals.usage += usage or Usage()
            known = totals.cost_usd is not None and cost_usd is not None
            totals.cost_usd = (totals.cost_usd or 0.0) + (cost_usd or 0.0) if known else None

    def by_model(self) -> dict[tuple[str, str], UsageTotals]:
        """Return a copy of the totals by (provider, model)."""
        with self._lock:
            return {
                key: UsageTotals(
                    totals.requests,
                    Counter(totals.errors),
                    totals.usage,
                    totals.cost_usd,
                    totals.seconds,
                )
                for key, totals in self._totals.items()
            }

    def summary(self) -> dict[str, Any]:
        """Return the totals over all providers and models as plain values.

        Returns:
            ``requests``, ``errors`` (class name to count), ``input_tokens``, ``cached_tokens``,
            ``output_tokens``, ``reasoning_tokens``, ``cost_usd`` (None = unknown) and
            ``seconds`` in calls.
        """
        rows = list(self.by_model().values())
        usage = sum((row.usage for row in rows), Usage())
        errors: Counter[str] = sum((row.errors for row in rows), Counter())
        costs = [row.cost_usd for row in rows]
        return {
            "requests": sum(row.requests for row in rows),
            "errors": dict(sorted(errors.items())),
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cost_usd": None if None in costs else sum((cost for cost in costs if cost), 0.0),
            "seconds": sum(row.seconds for row in rows),
        }

    def reset(self) -> None:
        """Forget everything counted so far."""
        with self._lock:
            self._totals.clear()


_STATS = LLMUsageStats()


def get_usage_stats() -> LLMUsageStats:
    """Return the statistics of this process, which every built client records into."""
    return _STATS


class MeteredClient:
    """A client that records every call of the client it has."""

    def __init__(
        self,
        inner: LLMClient,
        *,
        price_provider: str | None,
        stats: LLMUsageStats | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._price_provider = price_provider
        self._stats = stats or get_usage_stats()
        self._clock = clock
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Pass the request on and record what came of it."""
        started = self._clock()
        try:
            response = self._inner.complete(request)
        except Exception as error:
            self._stats.record_usage(
                self.provider, self.model, seconds=self._clock() - started, error=error
            )
            raise
        seconds = self._clock() - started
        # Gateways answer with names of their own; the name that was asked for may have a price.
        price = cost_usd(response.usage, response.model, self._price_provider)
        if price is None:
            price = cost_usd(response.usage, self.model, self._price_provider)
        self._stats.record_usage(
            self.provider,
            self.model,
            response.usage,
            cost_usd=price,
            seconds=seconds,
        )
        logger.debug(
            "%s %s answered %s in %.0f ms: %s, %s tokens in, %s out (request %s)",
            self.provider,
            self.model,
            request.custom_id,
            seconds * 1000,
            response.finish_reason.value,
            response.usage.input_tokens,
            response.usage.output_tokens,
            response.request_id,
        )
        return replace(response, latency_ms=seconds * 1000)
