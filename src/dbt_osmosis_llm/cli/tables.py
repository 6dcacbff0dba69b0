"""What the ledger's commands print: tables for people, JSON and CSV for programs.

Tables are as wide as what is in them, whatever the terminal: half a number is worse than a long
line.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dbt_osmosis_llm.cli.summary import WIDE, money
from dbt_osmosis_llm.ledger import records
from dbt_osmosis_llm.ledger.records import Call, Hit, Run
from dbt_osmosis_llm.ledger.statistics import GROUPS, By, Statistics, total

_ID_DIGITS = 14
"""Ids begin with their time: so many digits tell a quarter of a microsecond."""
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}
_KILLED = "running or killed"
_NOTHING: tuple[Any, ...] = (None, "", {}, [])


def print_json(value: Any) -> None:
    """Print JSON; moments are written as ISO 8601 in UTC."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_csv(groups: Sequence[Statistics], by: By) -> None:
    """Print the groups' rows as CSV; what is not known is an empty field."""
    # From no group at all: an empty result has its header, too.
    names = list(Statistics(dict.fromkeys(GROUPS[by], "")).as_row())
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(group.as_row() for group in groups)


def print_runs(
    runs: Sequence[Run], by_run: Mapping[str, Statistics], *, as_json: bool = False
) -> None:
    """Print runs with their numbers.

    Args:
        runs: In the order of printing.
        by_run: Run id to numbers; a run that is not in it made no calls.
        as_json: A JSON array instead of a table.
    """
    numbers = {run.run_id: by_run.get(run.run_id, Statistics()) for run in runs}
    if as_json:
        print_json([_run_as_json(run, numbers[run.run_id]) for run in runs])
        return
    table = _table("run", "started", "command", "outcome", calls=1, hits=1, cost=1)
    for run in runs:
        row = numbers[run.run_id]
        table.add_row(
            run.run_id[:_ID_DIGITS],
            _local(run.started_at),
            printable(run.command),
            run.outcome or _KILLED,
            f"{row.calls:,}",
            f"{row.hits:,}",
            money(row.cost_usd),
        )
    _print_table(table, "No runs on record.")


def print_run(run: Run, numbers: Statistics, *, as_json: bool = False) -> None:
    """Print all that is known of a run."""
    if as_json:
        print_json(_run_as_json(run, numbers))
        return
    took = (
        ""
        if run.ended_at is None
        else f" ({(run.ended_at - run.started_at).total_seconds():,.0f} s)"
    )
    print_facts(
        {
            "run": run.run_id,
            "command": run.command,
            "selection": " ".join(run.selection) or "everything",
            "project": run.project,
            "git commit": run.git_commit,
            "started": _local(run.started_at),
            "ended": run.ended_at and _local(run.ended_at) + took,
            "outcome": run.outcome or _KILLED,
            "calls": f"{numbers.calls:,} ({numbers.failures:,} failed or unusable)",
            "hits": f"{numbers.hits:,}",
            "requests": f"{numbers.requests:,}",
            "tokens": _tokens(numbers),
            "cost": money(numbers.cost_usd),
        }
    )
    for name, values in (
        ("versions", run.versions),
        ("configuration", run.config),
        ("settings", run.settings),
    ):
        if values:
            print_title(name)
            print_facts(values)


def print_calls(calls: Sequence[Call], *, as_json: bool = False) -> None:
    """Print calls, one a row, or all that is known of them as a JSON array."""
    if as_json:
        print_json([_plain(call) for call in calls])
        return
    table = _table("call", "started", "about", "model", "status", tokens=1, cost=1, ms=1)
    for call in calls:
        table.add_row(
            call.call_id[:_ID_DIGITS],
            _local(call.started_at),
            printable(_about(call.custom_id, call.part)),
            printable(call.model),
            call.status if call.error_class is None else f"{call.status}, {call.error_class}",
            f"{call.input_tokens:,} + {call.output_tokens:,}",
            _cost(call),
            f"{call.latency_ms:,.0f}",
        )
    _print_table(table, "No call on record is like that.")


def print_call(
    call: Call,
    children: Sequence[Call],
    hits: Sequence[Hit],
    texts: Sequence[records.Text],
    *,
    as_json: bool = False,
) -> None:
    """Print a call and what hangs on it.

    Args:
        call: What was asked and answered.
        children: Calls that repair, halve or complete it.
        hits: Where its answer was used again.
        texts: What its answer became.
        as_json: A JSON object instead.
    """
    if as_json:
        child_ids = [child.call_id for child in children]
        lists = {"hits": [_plain(hit) for hit in hits], "texts": [_plain(text) for text in texts]}
        print_json({**_plain(call), "children": child_ids, **lists})
        return
    is_alias = call.answered_by not in (None, call.model)
    print_facts(
        {
            "call": call.call_id,
            "run": call.run_id,
            "parent": call.parent_call_id,
            "children": " ".join(child.call_id for child in children),
            "started": _local(call.started_at),
            "about": _about(call.custom_id, call.part),
            "asked for": call.description,
            "provider": call.provider,
            "model": f"{call.model} (answers as {call.answered_by})" if is_alias else call.model,
            "parameters": json.dumps(call.request.get("parameters"), ensure_ascii=False),
            "status": call.status,
            "error": ": ".join(filter(None, (call.error_class, call.error))),
            "finish reason": call.finish_reason,
            "request id": call.request_id,
            "requests": f"{call.attempts:,}",
            "latency": f"{call.latency_ms:,.0f} ms",
            "tokens": _tokens(call),
            "cost": _cost(call),
            "used again": f"{len(hits):,} times" if len(hits) != 1 else "once",
        }
    )
    for message in call.request.get("messages", ()):
        print_title(str(message.get("role")))
        click.echo(printable(str(message.get("content"))))
    if call.response is not None:
        print_title("answer")
        click.echo(printable(call.response))
    if texts:
        print_title("written")
    for text in texts:
        place = f"{text.node_id}, column {text.column}" if text.column else text.node_id
        click.echo(printable(f"{place}: {text.text}"))


def print_statistics(groups: Sequence[Statistics], by: By) -> None:
    """Print a row of numbers for each group, and one for all together where there are several."""
    names = [{"run_id": "run", "day": "day (UTC)"}.get(name, name) for name in GROUPS[by]]
    numbers = ("calls", "failed", "requests", "hits", "hit rate", "input", "cached", "output")
    more_numbers = ("reasoning", "cost", "median ms", "p95 ms")
    table = _table(*names, **dict.fromkeys((*numbers, *more_numbers), 1))
    for group in groups:
        values = [group.group[name] for name in GROUPS[by]]
        shown = [value[:_ID_DIGITS] if by == "run" else printable(value) for value in values]
        table.add_row(*shown, *_cells(group))
    if len(groups) > 1:
        table.add_row("total", *[""] * (len(names) - 1), *_cells(total(groups)))
    _print_table(table, "No calls on record.")


def _cells(row: Statistics) -> list[str]:
    times = (row.median_latency_ms, row.p95_latency_ms)
    rate = row.hit_rate
    return [
        f"{row.calls:,}",
        f"{row.failures:,}",
        f"{row.requests:,}",
        f"{row.hits:,}",
        "" if rate is None else f"{rate:.0%}",
        f"{row.input_tokens:,}",
        f"{row.cached_tokens:,}",
        f"{row.output_tokens:,}",
        f"{row.reasoning_tokens:,}",
        money(row.cost_usd),
        *("" if time is None else f"{time:,.0f}" for time in times),
    ]


def _run_as_json(run: Run, numbers: Statistics) -> dict[str, Any]:
    return {**_plain(run), **numbers.as_row()}


def _plain(record: Any) -> dict[str, Any]:
    """Return a record's fields, moments as text."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {
        name: value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _about(custom_id: str, part: str) -> str:
    return f"{custom_id} ({part})" if part else custom_id


def _tokens(counted: Call | Statistics) -> str:
    return (
        f"{counted.input_tokens:,} in ({counted.cached_tokens:,} cached), "
        f"{counted.output_tokens:,} out ({counted.reasoning_tokens:,} reasoning)"
    )


def _cost(call: Call) -> str:
    return "" if call.cost_usd is None and call.status == "failed" else money(call.cost_usd)


def printable(text: str) -> str:
    """Return text that does nothing to a terminal and that stdout can take."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # None: closed
    # A line end of Windows is none of the control characters that are shown.
    shown = text.replace("\r\n", "\n").translate(_CONTROLS)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _table(*names: str, **numbers: int) -> Table:
    """Return a table with columns of text, and columns of numbers at their right."""
    table = Table(*names, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _print_table(table: Table, empty: str) -> None:
    if not table.row_count:
        click.echo(empty, err=True)
        return
    console = Console(highlight=False, markup=False, emoji=False, width=WIDE)
    console.print(table)


def print_title(title: str) -> None:
    """Print a heading after an empty line."""
    click.secho(f"\n{printable(title)}", bold=True)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print a line for each fact that there is."""
    shown = {name: value for name, value in facts.items() if value not in _NOTHING}
    width = max(map(len, shown), default=0) + 2
    for name, value in shown.items():
        click.echo(printable(f"{name + ':':<{width}}{value}"))
