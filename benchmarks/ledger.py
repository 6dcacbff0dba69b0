"""What the ledger adds to each call, and how fast it finds an answer again.

The model is a wait of 300 ms on average, so that all else is the ledger's: `added` is the time of a
call less that of the wait in it, `hit` the time of a call that is answered from the ledger.

    python benchmarks/ledger.py
    python benchmarks/ledger.py --url postgresql://user@localhost/scratch
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa
from rows import Row, bounded, markdown

from dbt_osmosis_llm.ledger import Ledger, Run, tables
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.ledger.records import new_id
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message, Usage
from dbt_osmosis_llm.llm.usage import LLMUsageStats

IN_FLIGHT = 16
LATENCY_S = 0.3
LOOKUPS = 10_000
MOST_ADDED_MS = 3.0
MOST_LOOKUPS_S = 2.0

INSTRUCTIONS = "You document dbt models for analysts. Say what a column means, not its type. " * 40
SQL = "select o.order_id, sum(p.amount) as amount, max(p.paid_at) from {{ ref('o') }} as o\n" * 60
COLUMNS = [f"column_{number}" for number in range(12)]
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": ["string", "null"]} for name in COLUMNS},
    "required": COLUMNS,
    "additionalProperties": False,
}
ANSWER = json.dumps({name: f"What {name} says of an order, in one sentence." for name in COLUMNS})


class SleepingClient:
    """Answers after a while; measures in each thread how long that took."""

    provider = "sleeping"
    model = "sleeping"

    def __init__(self) -> None:
        self.waited = threading.local()

    def complete(self, request: LLMRequest) -> LLMResponse:
        started = time.perf_counter()
        # Equal ones would bring all answers at the same moment, round after round.
        time.sleep(LATENCY_S * random.uniform(0.5, 1.5))
        self.waited.seconds = time.perf_counter() - started
        return LLMResponse(ANSWER, usage=Usage(2500, 0, 300), provider="sleeping", model="sleeping")


def request_for(number: int) -> LLMRequest:
    """Return a request as large as one about a model with a dozen columns."""
    return LLMRequest(
        (Message("system", INSTRUCTIONS), Message("user", f"The model `m{number}`:\n{SQL}")),
        schema=SCHEMA,
        custom_id=f"model.shop.m{number}",
        check=lambda response: json.loads(response.text),
    )


def timed(ask: Callable[[int], float], numbers: Iterable[int]) -> list[float]:
    """Return what ``ask`` measures for each number, in ms, with 16 in flight."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return sorted(1000 * seconds for seconds in pool.map(ask, numbers))


def percentile(values_ms: list[float], percent: int) -> float:
    return statistics.quantiles(values_ms, n=100)[percent - 1]


def measure_calls(ledger: Ledger, calls: int) -> tuple[list[float], list[float]]:
    """Return what the ledger adds to calls that are asked, and how long hits take, in ms."""
    run = Run(command="benchmark")
    ledger.begin_run(run)
    inner = SleepingClient()
    config = LLMConfig("openai", "sleeping", api_key="sk-benchmark-0123456789abcdef")
    client = LedgerClient(inner, ledger, run.run_id, config, stats=LLMUsageStats())

    def ask(number: int) -> float:
        inner.waited.seconds = 0.0
        started = time.perf_counter()
        client.complete(request_for(number))
        return time.perf_counter() - started - inner.waited.seconds

    timed(ask, range(-IN_FLIGHT, 0))  # connections are made, modules loaded
    added = timed(ask, range(calls))
    hits = timed(ask, range(calls))
    client.close()
    return added, hits


def measure_lookups(ledger: Ledger) -> float:
    """Return the seconds that 10,000 lookups take."""
    keys = [f"{number:064x}" for number in range(LOOKUPS)]
    with ledger.writing() as connection:
        row = connection.execute(sa.select(tables.calls).limit(1)).mappings().one()
        rows = [{**row, "call_id": new_id(), "key": key} for key in keys]
        connection.execute(sa.insert(tables.calls), rows)
    started = time.perf_counter()
    found = sum(ledger.lookup(key) is not None for key in keys)
    seconds = time.perf_counter() - started
    if found != LOOKUPS:
        raise SystemExit(f"found {found} of {LOOKUPS}")
    return seconds


def measure(url: str | None = None, calls: int = 640) -> list[Row]:
    """Return what calls and lookups take in an empty ledger, in a file without a URL."""
    with (
        tempfile.TemporaryDirectory(dir=".") as folder,  # on a disk, which /tmp may not be
        Ledger.open(url or Path(folder, "ledger.db")) as ledger,
    ):
        added, hits = measure_calls(ledger, calls)
        lookups_s = measure_lookups(ledger)
    added_ms, hit_ms = percentile(added, 95), percentile(hits, 95)
    return [
        bounded(f"added to a call, {IN_FLIGHT} at once, p95", added_ms, MOST_ADDED_MS, "ms"),
        bounded("a call that the ledger answers, p95", hit_ms, None, "ms"),
        bounded(f"{LOOKUPS:,} lookups one by one", lookups_s, MOST_LOOKUPS_S, "s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="of the ledger; a SQLite file when not given")
    parser.add_argument("--calls", type=int, default=640)
    given = parser.parse_args()
    print(markdown(measure(given.url, given.calls)))


if __name__ == "__main__":
    main()
