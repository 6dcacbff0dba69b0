"""What a run shows while it goes on."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from dbt_osmosis_llm.cli.progress import Progress, progress_line
from dbt_osmosis_llm.llm.batch import LLMBatchStats
from dbt_osmosis_llm.llm.exceptions import LLMTimeoutError
from dbt_osmosis_llm.synthesis.report import RunReport

STATS = LLMBatchStats(
    items=100,
    done=20,
    in_flight=16,
    failed=1,
    total_tokens=12345,
    total_cost_usd=0.5,
    elapsed_seconds=30.0,
    errors={"model.shop.orders": LLMTimeoutError("no answer")},
)


def test_one_line_says_how_far_and_how_long() -> None:
    assert progress_line(STATS) == (
        "20 of 100 tables, 16 requests in flight, 1 failed, 12,345 tokens, $0.50, "
        "40 tables/min, 2:00 left"
    )
    start = LLMBatchStats(items=3, in_flight=1, total_cost_usd=None)
    assert progress_line(start) == "0 of 3 tables, 1 request in flight, 0 tokens, unknown"


def test_a_terminal_gets_a_live_line_with_the_failures_below() -> None:
    logging.getLogger("dbt-osmosis").setLevel(logging.INFO)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Progress(console) as progress:
        progress.update(RunReport(), STATS)
    shown = out.getvalue()
    assert "20 of 100 tables" in shown
    assert "model.shop.orders: no answer" in shown


@pytest.mark.parametrize(("level", "lines"), [(logging.INFO, 2), (logging.WARNING, 0)])
def test_a_pipe_gets_a_plain_line_every_ten_seconds(
    caplog: pytest.LogCaptureFixture, level: int, lines: int
) -> None:
    now = [0.0]
    with caplog.at_level(level, "dbt-osmosis"):
        progress = Progress(Console(file=io.StringIO()), clock=lambda: now[0])
        for now[0] in (1.0, 9.0, 10.0, 12.0, 19.0, 21.0):
            progress.update(RunReport(), STATS)
    assert len([r for r in caplog.records if "20 of 100 tables" in r.getMessage()]) == lines
