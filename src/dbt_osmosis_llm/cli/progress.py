"""How far a run is: one live line on a terminal, a plain one every ten seconds elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.cli.summary import money
from dbt_osmosis_llm.llm.batch import LLMBatchStats
from dbt_osmosis_llm.synthesis.report import RunReport

_SHOWN_FAILURES = 3
_PLAIN_EVERY_S = 10.0


class Progress:
    """Shows a run's statistics while it goes on; a context manager.

    Args:
        console: Where to show; the console of dbt-osmosis's own log lines when None, so that
            these and the live line do not tear each other.
        clock: Seconds, for rates and the time left.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or _log_console()
        self._clock = clock
        self._plain_line_at = clock()
        # Who asks for warnings alone gets no line on a terminal either.
        is_live = self._console.is_terminal and logger.isEnabledFor(logging.INFO)
        self._live = (
            Live(console=self._console, transient=True, refresh_per_second=4) if is_live else None
        )

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, report: RunReport, stats: LLMBatchStats) -> None:
        """Show how far the run is."""
        if self._live is not None:
            lines = [progress_line(stats), *_latest_failures(stats)]
            self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"))
        elif self._clock() - self._plain_line_at >= _PLAIN_EVERY_S:
            self._plain_line_at = self._clock()
            logger.info(progress_line(stats))


def progress_line(stats: LLMBatchStats) -> str:
    """Return one line: tables, requests, tokens, cost, rate, time left."""
    done = stats.done
    requests = f"{stats.in_flight} request{'' if stats.in_flight == 1 else 's'} in flight"
    parts = [f"{done} of {stats.items} tables", requests]
    if stats.failed:
        parts.append(f"{stats.failed} failed")
    parts += [f"{stats.total_tokens:,} tokens", money(stats.total_cost_usd)]
    if done and stats.elapsed_seconds >= 1:
        rate = done / stats.elapsed_seconds
        left = (stats.items - done) / rate
        parts += [f"{rate * 60:.0f} tables/min", f"{left // 60:.0f}:{left % 60:02.0f} left"]
    return ", ".join(parts)


def _latest_failures(stats: LLMBatchStats) -> list[str]:
    latest = list(stats.errors.items())[-_SHOWN_FAILURES:]
    return [f"  {getattr(item, 'node_id', item)}: {error}" for item, error in latest]


def _log_console() -> Console:
    for handler in logging.getLogger("dbt-osmosis").handlers:
        if isinstance(handler, RichHandler):
            return handler.console
    return Console(stderr=True)
