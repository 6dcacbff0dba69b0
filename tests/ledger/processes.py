"""Real processes that do the same thing at the same time."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from tests.limits import HANG_S

Result = TypeVar("Result")

# Forked from a process that has loaded everything and has one thread: 30 ms each.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [__name__, "alembic.command", "dbt_osmosis_llm.ledger.client", "openai", "psycopg", "pytest"]
)

_start: threading.Barrier | None = None


def _prepare(barrier: Any) -> None:
    global _start
    _start = barrier


def at_once(count: int, work: Callable[..., Result], *arguments: Any) -> list[Result]:
    """Run ``work(number, *arguments)`` in so many processes; an error of one is raised here."""
    barrier = CONTEXT.Barrier(count)
    with ProcessPoolExecutor(
        count, mp_context=CONTEXT, initializer=_prepare, initargs=(barrier,)
    ) as pool:
        futures = [pool.submit(_wait_and_work, work, n, arguments) for n in range(count)]
        return [future.result(HANG_S) for future in futures]


def _wait_and_work(work: Callable[..., Any], number: int, arguments: tuple[Any, ...]) -> Any:
    assert _start is not None
    _start.wait(HANG_S)
    return work(number, *arguments)
