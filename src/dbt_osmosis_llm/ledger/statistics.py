"""What the calls on record come to: how many, how fast, how many tokens, at what cost.

Only numbers are read, never questions and answers: those are a hundred times as large. They are
added up here and not in SQL, because no two databases have the same percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from statistics import median
from typing import Any, Literal

import sqlalchemy as sa

from dbt_osmosis_llm.ledger import tables
from dbt_osmosis_llm.ledger.records import from_microseconds, to_microseconds
from dbt_osmosis_llm.ledger.store import Ledger
from dbt_osmosis_llm.llm.messages import sum_of_costs

By = Literal["provider", "model", "day", "run"]
GROUPS: Mapping[By, tuple[str, ...]] = {
    "provider": ("provider",),
    "model": ("provider", "model"),
    "day": ("day",),
    "run": ("run_id",),
}
"""What tells the groups apart; a ``day`` is one in UTC."""

_ROWS_AT_ONCE = 1000
_DIGITS = 9
"""Of a cost in dollars: what adding up blurs stands behind them."""
_TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


@dataclass
class Statistics:
    """Sums over the calls and hits of one group."""

    group: Mapping[str, str] = field(default_factory=dict)
    """As `GROUPS` has it, e.g. ``{"provider": "openai", "model": "gpt-6-luna"}``."""
    calls: int = 0
    failures: int = 0
    """Calls that failed, or whose answer could not be used."""
    requests: int = 0
    """Those that the calls took, repetitions included."""
    hits: int = 0
    """Questions answered by an earlier call."""
    input_tokens: int = 0
    """Those read from the provider's cache included."""
    cached_tokens: int = 0
    output_tokens: int = 0
    """Reasoning included."""
    reasoning_tokens: int = 0
    cost_usd: float | None = 0.0
    """None as soon as one answer has no known price."""
    latencies_ms: list[float] = field(default_factory=list, repr=False)
    """Of each call."""

    @property
    def hit_rate(self) -> float | None:
        """Return the share of questions that took no call, 0 to 1; None without questions."""
        questions = self.calls + self.hits
        return self.hits / questions if questions else None

    @property
    def median_latency_ms(self) -> float | None:
        """Return the latency that half of the calls stay below; None without calls."""
        return median(self.latencies_ms) if self.latencies_ms else None

    @property
    def p95_latency_ms(self) -> float | None:
        """Return the smallest latency that 95 % of the calls do not pass; None without calls."""
        rank = math.ceil(len(self.latencies_ms) * 0.95)
        return sorted(self.latencies_ms)[rank - 1] if rank else None

    def as_row(self) -> dict[str, Any]:
        """Return the group and all numbers as plain values; what is not known is None."""
        left_out = ("group", "latencies_ms")
        sums = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        if self.cost_usd is not None:
            sums["cost_usd"] = round(self.cost_usd, _DIGITS)
        return {
            **self.group,
            **sums,
            "hit_rate": self.hit_rate,
            "median_latency_ms": self.median_latency_ms,
            "p95_latency_ms": self.p95_latency_ms,
        }

    def _add_call(self, row: Any) -> None:
        self.calls += 1
        self.failures += row.status != "answered"
        self.requests += row.attempts
        for name in _TOKENS:
            setattr(self, name, getattr(self, name) + getattr(row, name))
        # What failed has no cost on record; vendors charge for little of it.
        if row.cost_usd is not None or row.status != "failed":
            self.cost_usd = sum_of_costs(self.cost_usd, row.cost_usd)
        self.latencies_ms.append(row.latency_ms)


def statistics(
    ledger: Ledger,
    by: By = "model",
    *,
    since: datetime | None = None,
    run_id: str | None = None,
) -> list[Statistics]:
    """Return the numbers of each group that has any, in the groups' order.

    Args:
        ledger: Whose calls.
        by: What makes a group.
        since: Only calls begun, and hits taken, at this moment or later.
        run_id: Only those of this run.

    Raises:
        LedgerError: The database refuses.
    """
    calls, hits = tables.calls.c, tables.hits.c
    of_call = sa.select(
        *(calls[name] for name in ("provider", "model", "run_id", "status", "attempts", *_TOKENS)),
        calls.started_at.label("at"),
        calls.cost_usd,
        calls.latency_ms,
    )
    of_hit = sa.select(calls.provider, calls.model, hits.run_id, hits.at).join_from(
        tables.hits, tables.calls, hits.call_id == calls.call_id
    )
    if since is not None:
        of_call = of_call.where(calls.started_at >= to_microseconds(since))
        of_hit = of_hit.where(hits.at >= to_microseconds(since))
    if run_id is not None:
        of_call = of_call.where(calls.run_id == run_id)
        of_hit = of_hit.where(hits.run_id == run_id)
    groups: dict[tuple[str, ...], Statistics] = {}
    with ledger.reading() as connection:
        streaming = connection.execution_options(yield_per=_ROWS_AT_ONCE)
        for row in streaming.execute(of_call):
            _group(groups, by, row)._add_call(row)
        for row in streaming.execute(of_hit):
            _group(groups, by, row).hits += 1
    return [groups[key] for key in sorted(groups)]


def total(groups: Iterable[Statistics]) -> Statistics:
    """Return the numbers of all groups together."""
    together = Statistics()
    for group in groups:
        for name in ("calls", "failures", "requests", "hits", *_TOKENS):
            setattr(together, name, getattr(together, name) + getattr(group, name))
        together.cost_usd = sum_of_costs(together.cost_usd, group.cost_usd)
        together.latencies_ms.extend(group.latencies_ms)
    return together


def _group(groups: dict[tuple[str, ...], Statistics], by: By, row: Any) -> Statistics:
    if by == "day":
        key: tuple[str, ...] = (from_microseconds(row.at).date().isoformat(),)
    else:
        key = tuple(getattr(row, name) for name in GROUPS[by])
    group = groups.get(key)
    if group is None:
        group = groups[key] = Statistics(dict(zip(GROUPS[by], key, strict=True)))
    return group
