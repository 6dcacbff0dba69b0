"""How near a run comes to the fastest possible one, and what the plugin costs when idle.

`requests` documents a generated project through the installed `dbt-osmosis` command against a
loopback server that takes its time and enforces its requests a minute. `idle` runs dbt-osmosis
with and without `--synthesize` on a project in which nothing is missing.

    python benchmarks/schedule.py requests --models 200
    python benchmarks/schedule.py idle --models 2000
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from generate import Table, generate
from tests.conftest import BIN, KEY, clean_environment
from tests.server import LoopbackServer, Recorded, Reply

_ASKED_ABOUT = re.compile(r"(?:The|of the) (?:model|seed|source) `([^`]+)`")
Row = dict[str, str]


class SlidingMinute:
    """Allows so many requests in any 60 seconds: what a limit per minute says."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._granted: deque[float] = deque()

    def wait_s(self, now: float) -> float:
        """Return 0 and count the request, or how long it came too early."""
        while self._granted and self._granted[0] <= now - 60:
            self._granted.popleft()
        if len(self._granted) >= self._per_minute:
            return self._granted[0] + 60 - now
        self._granted.append(now)
        return 0.0


class Bucket:
    """Refills all the time and holds one second's worth: how vendors enforce a limit per minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60
        self._level, self._at = max(1.0, self._per_s), -math.inf

    def wait_s(self, now: float) -> float:
        """Return 0 and take one, or how long until there is one."""
        self._level = min(max(1.0, self._per_s), self._level + (now - self._at) * self._per_s)
        self._at = now
        if self._level < 1:
            return (1 - self._level) / self._per_s
        self._level -= 1
        return 0.0


LIMITS: dict[str, Callable[[int], SlidingMinute | Bucket]] = {
    "minute": SlidingMinute,
    "second": Bucket,
}


@dataclass(frozen=True)
class Served:
    """One request as the server saw it; times in seconds of one clock."""

    node: str
    status: int
    arrived_at: float
    answered_at: float


class LimitedScript:
    """A script for the loopback server: latency, a limit, and a record of it all."""

    def __init__(self, limit: SlidingMinute | Bucket, per_minute: int, latency_s: float) -> None:
        self.served: list[Served] = []
        self._limit = limit
        self._latency_s = latency_s
        self._lock = threading.Lock()
        self._headers = {"x-ratelimit-limit-requests": str(per_minute)}

    def __call__(self, request: Recorded, number: int) -> Reply:
        found = _ASKED_ABOUT.search(request.turns[-1][1])
        if found is None:
            raise LookupError("the prompt names no table")
        with self._lock:
            wait_s = self._limit.wait_s(request.at)
        if wait_s:
            headers = {**self._headers, "retry-after": str(math.ceil(wait_s))}
            reply = Reply(429, headers=headers)
        else:
            # Here rather than by Reply.delay_s: the end of the wait is part of the record.
            time.sleep(self._latency_s)
            reply = Reply(headers=self._headers)
        served = Served(found[1], reply.status, request.at, time.monotonic())
        with self._lock:
            self.served.append(served)
        return reply


def order_violations(served: Sequence[Served], tables: Sequence[Table]) -> int:
    """Count the requests that came before an answer about a table that theirs reads."""
    answered: dict[str, float] = {}
    for one in served:
        if one.status == 200:
            answered[one.node] = max(answered.get(one.node, 0.0), one.answered_at)
    parents = {table.name: table.parents for table in tables}
    return sum(
        any(one.arrived_at < answered[parent] for parent in parents[one.node] if parent in answered)
        for one in served
    )


def longest_path(served: Sequence[Served], tables: Sequence[Table]) -> int:
    """Return how many requests at most have to come one after the other."""
    asked = {one.node for one in served}
    path: dict[str, int] = {}
    for table in tables:  # parents before children
        before = max((path[parent] for parent in table.parents), default=0)
        path[table.name] = before + (table.name in asked)
    return max(path.values())


@dataclass(frozen=True)
class Conditions:
    """What the server allows, and what the client is told."""

    per_minute: int
    latency_s: float
    concurrency: int
    enforced: str
    """A key of `LIMITS`."""
    is_told: bool
    """The user sets the limit; otherwise it is learned from the answers' headers."""


def measure_requests(built: Path, tables: Sequence[Table], given: Conditions) -> Row:
    """Document a fresh copy of a project and return what the server saw."""
    limit = LIMITS[given.enforced](given.per_minute)
    script = LimitedScript(limit, given.per_minute, given.latency_s)
    with (
        tempfile.TemporaryDirectory() as scratch,
        LoopbackServer().running() as server,
    ):
        directory = Path(scratch) / "project"
        shutil.copytree(built, directory)
        server.script = script
        options = ["--llm-stats", "--llm-concurrency", str(given.concurrency)]
        if given.is_told:
            options += ["--llm-rate-limit", str(given.per_minute)]
        started = time.monotonic()
        run(directory, "--synthesize", *options, OPENAI_BASE_URL=server.url)
        run_s = time.monotonic() - started
    served = script.served
    refused = sum(one.status == 429 for one in served)
    first = min(one.arrived_at for one in served)
    phase_s = max(one.answered_at for one in served) - first
    count = len(served) - refused
    bounds = {
        "requests/min": 60 * count / given.per_minute,
        "concurrency": count * given.latency_s / given.concurrency,
        "longest path": longest_path(served, tables) * given.latency_s,
    }
    name, bound_s = max(bounds.items(), key=lambda item: item[1])
    return {
        "models": f"{sum(table.layer > 0 for table in tables)}",
        "enforced by": given.enforced,
        "limit known from": "option" if given.is_told else "headers",
        "concurrency": f"{given.concurrency}",
        "requests": f"{len(served)}",
        "429": f"{refused} ({refused / len(served):.1%})",
        "most at once": f"{most_at_once(served)}",
        "request phase": f"{phase_s:.2f} s",
        "lower bound": f"{bound_s:.2f} s ({name})",
        "ratio": f"{phase_s / bound_s:.3f}",
        "order violations": f"{order_violations(served, tables)}",
        "before first request": f"{first - started:.1f} s",
        "whole run": f"{run_s:.1f} s",
    }


def most_at_once(served: Sequence[Served]) -> int:
    """Return how many requests the server had at the same time."""
    steps = [(one.arrived_at, 1) for one in served] + [(one.answered_at, -1) for one in served]
    level = most = 0
    for _, step in sorted(steps):
        level += step
        most = max(most, level)
    return most


@dataclass(frozen=True)
class Took:
    """What one run of the command took."""

    seconds: float
    cpu_s: float
    peak_mb: float


def run(directory: Path, *arguments: str, **environ: str) -> Took:
    """Run ``dbt-osmosis yaml document`` in a project; it must succeed."""
    environ = clean_environment(LLM_PROVIDER="openai", OPENAI_API_KEY=KEY, **environ)
    command = [BIN / "dbt-osmosis", "yaml", "document", "--log-level", "ERROR", *arguments]
    started = time.monotonic()
    with (directory / "run.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environ, stdout=log, stderr=log)
        # Of this child alone: getrusage(RUSAGE_CHILDREN) has the largest of all there ever were.
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError((directory / "run.log").read_text()[-3000:])
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Took(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def measure_idle(directory: Path, models: int, repeats: int) -> list[Row]:
    """Run dbt-osmosis alternately without and with the plugin's work, nothing being missing."""
    generate(directory, models, described=True)
    run(directory, DBT_OSMOSIS_LLM="off")  # rewraps the YAML, and leaves dbt's parse cache
    before = _contents(directory)
    took: dict[str, list[Took]] = {"dbt-osmosis": [], "with --synthesize": []}
    with LoopbackServer().running() as server:
        for _ in range(repeats):
            took["dbt-osmosis"].append(run(directory, DBT_OSMOSIS_LLM="off"))
            plugin = run(directory, "--synthesize", OPENAI_BASE_URL=server.url)
            took["with --synthesize"].append(plugin)
        assert not server.requests, "something was missing"
    assert _contents(directory) == before, "something was written"
    rows = []
    for name, runs in took.items():
        base = took["dbt-osmosis"]
        row = {"": name, "models": f"{models}"}
        for field, unit in (("seconds", "s"), ("cpu_s", "s"), ("peak_mb", "MB")):
            values = [getattr(one, field) for one in runs]
            middle = statistics.median(values)
            ratio = middle / statistics.median(getattr(one, field) for one in base)
            spread = f"{min(values):.1f}-{max(values):.1f}"
            title = {"seconds": "time", "cpu_s": "CPU time", "peak_mb": "peak memory"}[field]
            row[title] = f"{middle:.1f} {unit} ({spread})"
            row[f"{title} ratio"] = f"{ratio:.3f}"
        rows.append(row)
    return rows


def _contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((directory / "models").rglob("*.yml"))}


def print_table(rows: Sequence[Row]) -> None:
    head = list(rows[0])
    for cells in (head, ["---"] * len(head), *(list(row.values()) for row in rows)):
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    asking = commands.add_parser("requests")
    asking.add_argument("--models", type=int, default=200)
    asking.add_argument("--depth", type=int, default=8)
    asking.add_argument("--seed", type=int, default=0)
    asking.add_argument("--per-minute", type=int, default=600)
    asking.add_argument("--latency", type=float, default=0.5, help="seconds")
    asking.add_argument("--concurrency", type=int, default=16)
    asking.add_argument("--enforced", choices=LIMITS, action="append")
    idle = commands.add_parser("idle")
    idle.add_argument("--models", type=int, default=2000)
    idle.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "built"
        if given.command == "idle":
            print_table(measure_idle(built, given.models, given.repeats))
            return
        tables = generate(built, given.models, depth=given.depth, seed=given.seed)
        rows = [
            measure_requests(
                built,
                tables,
                Conditions(given.per_minute, given.latency, given.concurrency, enforced, is_told),
            )
            for enforced in given.enforced or LIMITS
            for is_told in (True, False)
        ]
        print_table(rows)


if __name__ == "__main__":
    main()
