"""Time limits of tests: they end what hangs and tell linear from quadratic, and measure nothing.

So they hold on any machine: what hangs is given very long, what computes is given the CPU seconds
that the same work may take here, on a machine as slow as this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANG_S = 600.0
"""After so long a process hangs, on whatever machine."""

SOON_S = 60.0
"""After so long something hangs that takes milliseconds in this process."""

_REFERENCE_S = 0.034
"""Seconds that ``_work`` took where the limits of computations were set."""


def slowness(clock: Callable[[], float] = time.process_time) -> float:
    """Return how many times slower this machine is just now; 1 where it is faster."""
    started = clock()
    _work()
    return max(1.0, (clock() - started) / _REFERENCE_S)


def patience() -> float:
    """Return what to multiply the time with in which others have to act.

    More on a slow machine, and more while others make this one slow.
    """
    return slowness(time.perf_counter)


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
