"""Tokens and money: what calls used and what that cost.

A cost of None means unknown, never zero: an unpriced model must not look free.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.llm.exceptions import LLMBudgetError, LLMCancelledError, LLMTimeoutError
from dbt_osmosis_llm.llm.messages import LLMClient, LLMRequest, LLMResponse, Usage, sum_of_costs
from dbt_osmosis_llm.llm.redaction import redact_secrets


@dataclass(frozen=True)
class Price:
    """What a model's tokens cost by genai-prices' shipped list."""

    provider: str | None
    """Id in genai-prices; ``"free"`` for models that run locally; None: found by the address."""
    model: str
    """As the provider names it; for an Azure deployment the model behind it."""
    api_url: str | None = None

    def of(self, usage: Usage, answered_by: str | None = None) -> float | None:
        """Return the cost in US dollars: 0.0 for local models, None when it is not known.

        Args:
            usage: Tokens of one call.
            answered_by: The model that the answer names, e.g. a dated version with its own price.
        """
        if self.provider == "free":
            return 0.0
        if self.provider is None and self.api_url is None:
            return None
        # Gateways answer with names of their own; the name that was asked for may have a price.
        for model in dict.fromkeys(filter(None, (answered_by, self.model))):
            cost = _priced(usage, model, self.provider, self.api_url)
            if cost is not None:
                return cost
        return None

    def context_window(self) -> int | None:
        """Return the model's tokens for prompt and answer together, None when not known."""
        if self.provider == "free" or (self.provider is None and self.api_url is None):
            return None
        return _context_window(self.model, self.provider, self.api_url)


@lru_cache(maxsize=4096)
def _priced(usage: Usage, model: str, provider: str | None, api_url: str | None) -> float | None:
    calculation = _calculation(usage, model, provider, api_url)
    return None if calculation is None else float(calculation.total_price)


@lru_cache
def _context_window(model: str, provider: str | None, api_url: str | None) -> int | None:
    calculation = _calculation(Usage(), model, provider, api_url)
    return getattr(calculation.model, "context_window", None) if calculation is not None else None


def _calculation(usage: Usage, model: str, provider: str | None, api_url: str | None) -> Any:
    """Return what genai-prices knows of a model and its price, None when it does not know it."""
    # Loading the price list takes half a second: only for calls that have a price.
    import genai_prices

    # genai-prices refuses more cached tokens than input, and a server may report anything.
    cached = min(usage.cached_tokens, usage.input_tokens)
    try:
        tokens = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=cached,
            cache_write_tokens=min(usage.cache_write_tokens, usage.input_tokens - cached),
            output_tokens=usage.output_tokens,
        )
        if provider is not None:
            return genai_prices.calc_price(tokens, model, provider_id=provider)
        return genai_prices.calc_price(tokens, model, provider_api_url=api_url)
    except (LookupError, ValueError, ArithmeticError):  # the first: no price on the list
        return None


class Budget:
    """Money that a run may spend; parallel requests reserve what they are expected to cost."""

    def __init__(self, max_cost_usd: float) -> None:
        self._max_cost_usd = max_cost_usd
        self._spent_usd = 0.0
        self._reserved_usd = 0.0
        self._lock = threading.Lock()

    def reserve(self, cost_usd: float) -> None:
        """Set money aside for a request.

        Raises:
            LLMBudgetError: It would pass the budget.
        """
        with self._lock:
            if self._spent_usd + self._reserved_usd + cost_usd > self._max_cost_usd:
                raise LLMBudgetError(
                    f"the budget of {_dollars(self._max_cost_usd)} has no room for the next "
                    f"request: {_dollars(self._spent_usd)} spent, it may cost "
                    f"{_dollars(cost_usd)}; raise --llm-max-cost"
                )
            self._reserved_usd += cost_usd

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """Replace what was set aside by what was spent."""
        with self._lock:
            self._reserved_usd -= reserved_usd
            self._spent_usd += spent_usd


def _dollars(cost_usd: float) -> str:
    return f"${cost_usd:.2f}" if cost_usd >= 1 else f"${cost_usd:.6f}".rstrip("0").rstrip(".")


@dataclass
class UsageTotals:
    """Sums over the calls of one provider and model."""

    requests: int = 0
    """Requests made, answered or not, repetitions included."""
    retries: int = 0
    """Requests that repeated one before them."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failed requests by error class, those that were repeated included."""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = 0.0
    """None as soon as one call has no known price."""
    seconds: float = 0.0
    """Wall time spent in calls; parallel calls add up."""
    hits: int = 0
    """Answers from the ledger, for which no request was made."""
    saved: Usage = field(default_factory=Usage)
    """Tokens of those answers when they were paid for."""
    saved_usd: float = 0.0
    """What they cost then, where that is known."""


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
        requests: int = 1,
        repeated_for: Iterable[str] = (),
    ) -> None:
        """Add one call: with its usage and cost when answered, with its error when not.

        Args:
            provider: Name of the provider.
            model: Name of the model.
            usage: Tokens of an answered call.
            cost_usd: What it cost; None when unknown.
            seconds: Wall time of the call, waits included.
            error: Why it was not answered.
            requests: Requests made for the call: 1 and its repetitions.
            repeated_for: Classes of the errors that the repetitions followed.
        """
        with self._lock:
            totals = self._totals.setdefault((provider, model), UsageTotals())
            totals.requests += requests
            totals.retries += max(0, requests - 1)
            totals.seconds += seconds
            totals.errors.update(repeated_for)
            if error is not None:
                totals.errors[type(error).__name__] += 1
                return
            totals.usage += usage or Usage()
            totals.cost_usd = sum_of_costs(totals.cost_usd, cost_usd)

    def record_hit(
        self, provider: str, model: str, saved: Usage, saved_usd: float | None = None
    ) -> None:
        """Add one answer from the ledger: no request, no cost.

        Args:
            provider: Name of the provider.
            model: Name of the model.
            saved: Tokens of the answer when it was paid for.
            saved_usd: What it cost then; None when unknown.
        """
        with self._lock:
            totals = self._totals.setdefault((provider, model), UsageTotals())
            totals.hits += 1
            totals.saved += saved
            totals.saved_usd += saved_usd or 0.0

    def by_model(self) -> dict[tuple[str, str], UsageTotals]:
        """Return a copy of the totals by (provider, model)."""
        with self._lock:
            return {
                # The counter changes in place; everything else is replaced by each call.
                key: replace(totals, errors=Counter(totals.errors))
                for key, totals in self._totals.items()
            }

    def summary(self) -> dict[str, Any]:
        """Return the totals over all providers and models as plain values.

        Returns:
            ``requests``, ``retries``, ``errors`` (class name to count), ``input_tokens``,
            ``cached_tokens``, ``output_tokens``, ``reasoning_tokens``, ``cache_write_tokens``,
            ``cost_usd`` (None = unknown), ``seconds`` in calls, ``hits`` (answers from the
            ledger) and ``saved_usd`` (what those had cost).
        """
        rows = list(self.by_model().values())
        usage = sum((row.usage for row in rows), Usage())
        errors: Counter[str] = sum((row.errors for row in rows), Counter())
        return {
            "requests": sum(row.requests for row in rows),
            "retries": sum(row.retries for row in rows),
            "errors": dict(sorted(errors.items())),
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cost_usd": sum_of_costs(*(row.cost_usd for row in rows)),
            "seconds": sum(row.seconds for row in rows),
            "hits": sum(row.hits for row in rows),
            "saved_usd": sum(row.saved_usd for row in rows),
        }

    def reset(self) -> None:
        """Forget everything counted so far."""
        with self._lock:
            self._totals.clear()


_STATS = LLMUsageStats()


def get_usage_stats() -> LLMUsageStats:
    """Return the statistics of this process, which every built client records into."""
    return _STATS


class BudgetedClient:
    """A client that makes no request which its budget has no room for.

    It stands below the repetitions: each of them costs money too.
    """

    def __init__(self, inner: LLMClient, *, price: Price, budget: Budget) -> None:
        self._inner = inner
        self._price = price
        self._budget = budget
        self._largest_output = 0
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Pass the request on if its expected cost fits.

        Raises:
            LLMBudgetError: It does not; nothing was sent.
            LLMError: As the inner client does.
        """
        expected = request.expected_usage
        # A model that reasons writes more than it answers: what it once did it may do again.
        output = max(expected.output_tokens, self._largest_output)
        reserved = self._price.of(replace(expected, output_tokens=output)) or 0.0
        self._budget.reserve(reserved)
        spent = 0.0
        try:
            response = self._inner.complete(request)
            self._largest_output = max(self._largest_output, response.usage.output_tokens)
            spent = self._price.of(response.usage, response.model) or 0.0
        except LLMTimeoutError:
            spent = reserved  # vendors charge for answers that nobody waited for
            raise
        finally:
            self._budget.settle(reserved, spent)
        return response


class MeteredClient:
    """A client that records every call of the client it has."""

    def __init__(
        self,
        inner: LLMClient,
        *,
        price: Price,
        stats: LLMUsageStats | None = None,
        secrets: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._price = price
        self._stats = stats or get_usage_stats()
        self._secrets = tuple(secrets)
        self._clock = clock
        self.provider = inner.provider
        self.model = inner.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Pass the request on and record what came of it."""
        self._log_request(request)
        started = self._clock()
        try:
            response = self._inner.complete(request)
        except (LLMBudgetError, LLMCancelledError):
            raise  # nothing was sent
        except Exception as error:
            self._stats.record_usage(
                self.provider,
                self.model,
                seconds=self._clock() - started,
                error=error,
                requests=getattr(error, "attempts", 1),
                repeated_for=getattr(error, "repeated_for", ()),
            )
            raise
        seconds = self._clock() - started
        cost = self._price.of(response.usage, response.model)
        self._stats.record_usage(
            self.provider,
            self.model,
            response.usage,
            cost_usd=cost,
            seconds=seconds,
            requests=response.attempts,
            repeated_for=response.repeated_for,
        )
        self._log_response(request, response, seconds)
        return replace(response, latency_ms=seconds * 1000, cost_usd=cost)

    def _log_request(self, request: LLMRequest) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            prompt = "\n".join(f"[{m.role}] {m.content}" for m in request.messages)
            logger.debug(
                "Asking %s %s for %s (%s):\n%s",
                self.provider,
                self.model,
                request.description,
                request.custom_id,
                redact_secrets(prompt, self._secrets),
            )

    def _log_response(self, request: LLMRequest, response: LLMResponse, seconds: float) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s answered for %s (%s) in %.0f ms: %s, %d tokens in, %d out, request %s:\n%s",
                self.provider,
                response.model,
                request.description,
                request.custom_id,
                seconds * 1000,
                response.finish_reason.value,
                response.usage.input_tokens,
                response.usage.output_tokens,
                response.request_id,
                redact_secrets(response.text, self._secrets),
            )
