"""Time limits of tests: they end what hangs and tell linear from quadratic, and measure nothing.

So they hold on any machine: what hangs is given very long, what computes is given the CPU seconds
that the same work may take here, on a machine as slow as this one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

HANG_S = 600.0
"""After so long a process hangs, on whatever machine."""

SOON_S = 60.0
"""After so long something hangs that takes milliseconds in this process."""

_REFERENCE_S = 0.034
"""CPU seconds that ``_work`` took where the limits of computations were set."""


def slowness() -> float:
    """Return how many times slower this machine is just now; 1 where it is faster."""
    started = time.process_time()
    _work()
    return max(1.0, (time.process_time() - started) / _REFERENCE_S)


@lru_cache(maxsize=1)
def patience() -> float:
    """Return what to multiply a time with that a test waits for others to act in: one for all."""
    return max(slowness() for _ in range(3))


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Let what is inside take no more CPU seconds, as counted where the limit was set."""
    started = time.process_time()
    yield
    taken = time.process_time() - started
    assert taken < seconds or taken < seconds * slowness()


def _work() -> None:
    sums: dict[int, int] = {}
    for number in range(200_000):
        sums[number % 1000] = sums.get(number % 1000, 0) + number * number
