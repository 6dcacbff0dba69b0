"""The ledger's numbers: to the token what the server counted, and honest about what is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dbt_osmosis_llm.ledger import Call, Hit, Ledger, Run
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.ledger.statistics import By, Statistics, statistics, total
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMError, LLMResponseError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.server import LoopbackServer, Recorded, Reply

NOON = datetime(2026, 3, 31, 12, tzinfo=timezone.utc)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db") as opened:
        yield opened


def call(**changes: Any) -> Call:
    values: dict[str, Any] = {
        "run_id": "run",
        "provider": "openai",
        "model": "gpt-6-luna",
        "status": "answered",
        "started_at": NOON,
        "cost_usd": 0.5,
    }
    return Call(**{**values, **changes})


def test_numbers_are_the_servers(ledger: Ledger, server: LoopbackServer) -> None:
    def script(request: Recorded, number: int) -> Reply | None:
        if "answered late" in request.text and number == 2:
            return Reply(503)
        if "a failure" in request.text:
            return Reply(400, says="no")
        return Reply(reasoning_tokens=7)

    def check(response: LLMResponse) -> None:
        raise LLMResponseError("not what was asked for")

    server.script = script
    run = Run()
    ledger.begin_run(run)
    counted = LLMUsageStats()
    for provider, model, key in (("openai", "gpt-6-luna", "A"), ("anthropic", "claude", "B")):
        server_url = server.url if provider == "openai" else server.root
        config = LLMConfig(provider, model, api_key=f"key-{key}-of-statistics", base_url=server_url)
        client = LedgerClient(
            build_client(config, counted, sleep=lambda seconds: None),
            ledger,
            run.run_id,
            config,
            stats=counted,
        )
        for text in ("one", "answered late", "a failure", "unusable", "one"):
            unusable = text == "unusable"
            with suppress(LLMError):
                request = LLMRequest(
                    (Message("system", "s" * 400), Message("user", text)),
                    check=check if unusable else None,
                )
                client.complete(request)
        client.close()
    rows = {row.group["provider"]: row for row in statistics(ledger)}
    together = total(rows.values())
    assert (
        together.requests,
        together.input_tokens,
        together.cached_tokens,
        together.output_tokens,
        together.reasoning_tokens,
    ) == (
        len(server.requests),
        server.input_tokens,
        server.cached_tokens,
        server.output_tokens,
        server.reasoning_tokens,
    )
    assert server.cached_tokens > 0
    assert server.reasoning_tokens > 0
    openai = rows["openai"]
    assert (openai.calls, openai.failures, openai.requests, openai.hits) == (4, 2, 5, 1)
    assert openai.hit_rate == 0.2
    assert openai.cost_usd == pytest.approx(
        counted.by_model()["openai", "gpt-6-luna"].cost_usd, rel=1e-12
    )
    assert rows["anthropic"].cost_usd is None, "nobody knows what 'claude' costs"
    assert together.cost_usd is None


@pytest.mark.parametrize(
    ("latencies", "median", "p95"),
    [
        ([], None, None),
        ([5], 5, 5),
        ([1, 9], 5, 9),
        (range(1, 20), 10, 19),
        (range(1, 21), 10.5, 19),
        (range(1, 22), 11, 20),
        (range(100, 0, -1), 50.5, 95),
    ],
    ids=["none", "1", "2", "19", "20", "21", "100, falling"],
)
def test_latencies(latencies: Sequence[float], median: float | None, p95: float | None) -> None:
    row = Statistics(latencies_ms=list(latencies))
    assert (row.median_latency_ms, row.p95_latency_ms) == (median, p95)


@pytest.mark.parametrize(
    ("calls", "cost"),
    [
        ([], 0.0),
        ([call(), call()], 1.0),
        ([call(), call(cost_usd=None)], None),
        ([call(cost_usd=None), call()], None),
        ([call(), call(status="unusable", cost_usd=None)], None),
        ([call(), call(status="failed", cost_usd=None)], 0.5),
        ([call(cost_usd=0.0)], 0.0),
    ],
    ids=["none", "known", "unknown last", "unknown first", "unusable", "failed", "free"],
)
def test_a_cost_is_unknown_as_soon_as_one_is(
    ledger: Ledger, calls: Sequence[Call], cost: float | None
) -> None:
    for each in calls:
        ledger.record(each)
    assert total(statistics(ledger)).cost_usd == cost
    assert total([*statistics(ledger), *statistics(ledger)]).as_row()["cost_usd"] == (
        None if cost is None else 2 * cost
    )


@pytest.fixture
def spread(ledger: Ledger) -> Ledger:
    """Two runs, two days, two models of one name; one answer is used again a day later."""
    day = timedelta(days=1)
    first = ledger.record(call(run_id="a"))
    ledger.record(call(run_id="a", provider="azure-openai"))
    ledger.record(call(run_id="b", started_at=NOON + day, model="gpt-6-sol"))
    ledger.record_hit(Hit("b", first.call_id, at=NOON + day))
    return ledger


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("provider", [("azure-openai", 1, 0), ("openai", 2, 1)]),
        (
            "model",
            [
                ("azure-openai", "gpt-6-luna", 1, 0),
                ("openai", "gpt-6-luna", 1, 1),
                ("openai", "gpt-6-sol", 1, 0),
            ],
        ),
        ("day", [("2026-03-31", 2, 0), ("2026-04-01", 1, 1)]),
        ("run", [("a", 2, 0), ("b", 1, 1)]),
    ],
)
def test_groups(spread: Ledger, by: By, rows: Sequence[tuple[Any, ...]]) -> None:
    found = statistics(spread, by)
    assert [(*row.group.values(), row.calls, row.hits) for row in found] == rows


@pytest.mark.parametrize(
    ("filters", "calls", "hits"),
    [
        ({}, 3, 1),
        ({"since": NOON}, 3, 1),
        ({"since": NOON + timedelta(microseconds=1)}, 1, 1),
        ({"since": NOON + timedelta(days=2)}, 0, 0),
        ({"run_id": "a"}, 2, 0),
        ({"run_id": "b"}, 1, 1),
        ({"run_id": "b", "since": NOON + timedelta(days=2)}, 0, 0),
    ],
)
def test_filters(spread: Ledger, filters: dict[str, Any], calls: int, hits: int) -> None:
    together = total(statistics(spread, **filters))
    assert (together.calls, together.hits) == (calls, hits)


def test_a_day_is_one_in_utc(ledger: Ledger) -> None:
    tokyo = timezone(timedelta(hours=9))
    ledger.record(call(started_at=datetime(2026, 4, 1, 8, 59, tzinfo=tokyo)))
    ledger.record(call(started_at=datetime(2026, 4, 1, 9, 0, tzinfo=tokyo)))
    assert [row.group["day"] for row in statistics(ledger, "day")] == ["2026-03-31", "2026-04-01"]


def test_nothing_is_not_zero_percent(ledger: Ledger) -> None:
    assert statistics(ledger) == []
    row = total([]).as_row()
    assert row["hit_rate"] is row["median_latency_ms"] is row["p95_latency_ms"] is None


def test_questions_and_answers_are_not_read(spread: Ledger) -> None:
    said = []

    def listen(*arguments: Any) -> None:
        said.append(arguments[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", listen)
    try:
        statistics(spread)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", listen)
    assert any("llm_calls.cost_usd" in statement for statement in said)
    assert not any(name in statement for statement in said for name in ("request", "response"))
