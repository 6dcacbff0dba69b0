"""What a run wrote, what it cost and what it could not do, on stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from dbt_osmosis_llm.config import Settings
from dbt_osmosis_llm.llm.exceptions import LLMError
from dbt_osmosis_llm.llm.messages import LLMClient
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.synthesis.estimate import EstimatingClient, NodeEstimate
from dbt_osmosis_llm.synthesis.report import NodeOutcome, RunReport, no_warehouse

_MAX_LINES = 20
_MAX_NOT_COMPILED = 5
"""Often they all fail for one reason."""
WIDE = 100_000
"""Columns; no table has as many. Half a number is worse than a long line."""


def print_plan(report: RunReport, client: EstimatingClient, stats: LLMUsageStats) -> None:
    """Print what a run would ask, table by table, and what that would cost."""
    console = Console(stderr=True, highlight=False, markup=False, width=WIDE)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("table", overflow="fold")
    for name in ("texts", "inherited", "copied", "requests", "prompt", "completion", "cost"):
        table.add_column(name, justify="right", no_wrap=True)

    def row(name: str, texts: int, free: tuple[int, int], estimate: NodeEstimate) -> None:
        usage = estimate.usage
        tokens = (f"{usage.input_tokens:,}", f"{usage.output_tokens:,}")
        cost = money(estimate.cost_usd)
        free_texts = (f"{count}" for count in free)
        table.add_row(name, f"{texts}", *free_texts, f"{estimate.requests}", *tokens, cost)

    for outcome in report.outcomes:
        estimate = client.by_node.get(outcome.node_id, NodeEstimate())
        free = (len(outcome.inherited), len(outcome.copied))
        row(outcome.node_id, outcome.asked, free, estimate)
    counts = _counts(report)
    asked = sum(outcome.asked for outcome in report.outcomes)
    row("total", asked, (counts["inherited"], counts["copied"]), client.total())
    console.print(
        f"What {client.provider} (model {client.model}) would be asked, tokens estimated:"
    )
    console.print(table)
    if hits := stats.summary()["hits"]:
        console.print(f"{hits} more questions were answered before; the ledger has the answers.")
    _print_limits(console, report)
    _print_left_out(console, report)
    console.print("Nothing was asked, nothing was written.")


def print_summary(
    report: RunReport,
    client: LLMClient,
    settings: Settings,
    stats: LLMUsageStats,
    *,
    interrupted: bool = False,
) -> None:
    """Print one line, or the whole statistics with ``--llm-stats``, and every failure."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if settings.show_stats:
        _print_statistics(console, report, client, stats)
        _print_empty(console, report)
    elif report.selected:
        console.print(_one_line(report, stats))
    if not report.selected:
        console.print("No table matched the selection.")
    _print_limits(console, report)
    _print_complaints(console, report)
    _print_failures(console, report)
    if interrupted:
        tables = f"{report.not_asked} table{'s' if report.not_asked != 1 else ''}"
        console.print(f"Interrupted; {tables} still to document, run again to go on.")
        if report.abandoned:
            requests = f"{report.abandoned} request{'s' if report.abandoned != 1 else ''}"
            console.print(f"Not in these figures: {requests} without an answer.")


def money(cost_usd: float | None) -> str:
    """Return dollars as people read them; unknown is said, never shown as 0."""
    if cost_usd is None:
        return "unknown"
    if 0 < cost_usd < 0.01:
        # Two digits would make most requests free.
        return f"${cost_usd:.6f}".rstrip("0")
    return f"${cost_usd:.2f}"


def _counts(report: RunReport) -> dict[str, int]:
    outcomes = report.outcomes
    return {
        "tables_generated": sum(o.description_written for o in outcomes),
        "tables_empty": sum(o.description_unknown for o in outcomes),
        "generated": sum(len(o.generated) for o in outcomes),
        "inherited": sum(len(o.inherited) for o in outcomes),
        "copied": sum(len(o.copied) for o in outcomes),
        "empty": sum(len(o.unknown + o.unanswered + o.waiting) + len(o.refused) for o in outcomes),
        "failed": sum(o.failed for o in report.failures),
        "not_asked": report.texts_not_asked,
    }


def _one_line(report: RunReport, stats: LLMUsageStats) -> str:
    counts, totals = _counts(report), stats.summary()
    not_asked = f", {counts['not_asked']} not asked" if counts["not_asked"] else ""
    again = f", {totals['hits']} answered before" if totals["hits"] else ""
    return (
        f"dbt-osmosis-llm: {counts['tables_generated']} table and {counts['generated']} column "
        f"texts generated, {counts['inherited']} inherited, {counts['copied']} copied, "
        f"{counts['empty'] + counts['tables_empty']} left empty, "
        f"{counts['failed']} failed{not_asked}; "
        f"{totals['requests']} request{'' if totals['requests'] == 1 else 's'}{again}, "
        f"cost {money(totals['cost_usd'])}."
    )


def _print_statistics(
    console: Console, report: RunReport, client: LLMClient, stats: LLMUsageStats
) -> None:
    counts, totals = _counts(report), stats.summary()
    errors = Counter(totals["errors"])
    by_class = ", ".join(f"{name} {count}" for name, count in sorted(errors.items()))
    rows = [
        ("tables", f"{counts['tables_generated']} generated, {counts['tables_empty']} left empty"),
        (
            "columns",
            f"{counts['generated']} generated, {counts['inherited']} inherited, "
            f"{counts['copied']} copied, {counts['empty']} left empty",
        ),
        *([("failed", f"{counts['failed']} texts, see below")] if counts["failed"] else []),
        *([("not asked", f"{counts['not_asked']} texts")] if counts["not_asked"] else []),
        ("requests", f"{totals['requests']:,} ({totals['retries']:,} of them repetitions)"),
        *(
            [("answered before", f"{totals['hits']:,}, saving {money(totals['saved_usd'])}")]
            if totals["hits"]
            else []
        ),
        ("prompt tokens", f"{totals['input_tokens']:,} ({totals['cached_tokens']:,} cached)"),
        (
            "completion tokens",
            f"{totals['output_tokens']:,} ({totals['reasoning_tokens']:,} reasoning)",
        ),
        ("cost", money(totals["cost_usd"])),
        ("failed requests", f"{sum(errors.values())} ({by_class})" if errors else "0"),
        ("time", f"{report.seconds:.1f} s ({totals['seconds']:.1f} s in requests, side by side)"),
    ]
    console.print(f"\nDocumentation by {client.provider}, model {client.model}")
    table = Table.grid(padding=(0, 2), pad_edge=True)
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


def _print_empty(console: Console, report: RunReport) -> None:
    empty = [
        f"{outcome.node_id}: {', '.join(_empty_texts(outcome))}"
        for outcome in report.outcomes
        if _empty_texts(outcome)
    ]
    if empty:
        _print_list(console, "Left empty, because the evidence does not say what they mean:", empty)


def _empty_texts(outcome: NodeOutcome) -> list[str]:
    return [*(["(table)"] if outcome.description_unknown else []), *outcome.unknown]


def print_not_compiled(reasons: Mapping[str, str], console: Console | None = None) -> None:
    """Print which models do not compile, unless all do.

    Args:
        reasons: Unique id to what dbt says of it.
        console: Instead of one on stderr.
    """
    if reasons:
        console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        lines = [f"{node_id}: {reason}" for node_id, reason in sorted(reasons.items())]
        heading = f"Read as written, without lineage, because they do not compile ({len(lines)}):"
        _print_list(console, heading, lines, max_lines=_MAX_NOT_COMPILED)


def _print_limits(console: Console, report: RunReport) -> None:
    """Say where less was known than a project holds."""
    if report.no_warehouse:
        console.print(no_warehouse(report.no_warehouse))
    print_not_compiled(report.not_compiled, console)
    if count := report.with_older_prompts:
        texts = "1 text that is" if count == 1 else f"{count} texts that are"
        console.print(
            f"The prompts are newer than {texts} still right; --llm-refresh all-generated "
            "writes these anew, too."
        )


def _print_complaints(console: Console, report: RunReport) -> None:
    lines = [
        f"{outcome.node_id}{f'.{complaint.column}' if complaint.column else ''}: "
        f"the text {complaint.message}"
        for outcome in report.outcomes
        for complaint in outcome.complaints
    ]
    if lines:
        _print_list(console, "Texts to look at:", lines)


def _print_failures(console: Console, report: RunReport) -> None:
    stopped = report.stopped_by
    by_reason: dict[str, list[NodeOutcome]] = {}
    for outcome in report.failures:
        # What stopped the run is said once, at the end; each request has an error of its own.
        if stopped is None or str(outcome.error) != str(stopped):
            by_reason.setdefault(str(outcome.error), []).append(outcome)
    for reason, outcomes in by_reason.items():
        heading = f"Failed, left for the next run: {reason}"
        _print_list(console, heading, [outcome.node_id for outcome in outcomes])
    for path, node_ids in report.not_written.items():
        _print_list(console, f"Error: {path} could not be written; texts lost of:", node_ids)
    refused = [
        f"{o.node_id}{f'.{name}' if name else ''}: the text {reason}"
        for o in report.outcomes
        for name, reason in o.refused.items()
    ]
    if refused:
        # Each by its name: somebody may be trying something.
        _print_list(console, "Refused, left empty:", refused, max_lines=len(refused))
    if report.not_read:
        lines = [f"{node_id}: {failure}" for node_id, failure in sorted(report.not_read.items())]
        heading = "Documented without lineage, for a fault of ours in reading their SQL:"
        _print_list(console, heading, lines)
    _print_left_out(console, report)
    unanswered = [
        f"{o.node_id}: {', '.join(o.unanswered)}" for o in report.outcomes if o.unanswered
    ]
    if unanswered:
        _print_list(console, "Left out by the answer; the next run asks again:", unanswered)
    waiting = [f"{o.node_id}: {', '.join(o.waiting)}" for o in report.outcomes if o.waiting]
    if waiting:
        _print_list(console, "Left empty, because they come from a table that failed:", waiting)
    if stopped is not None:
        cut_short = sum(str(outcome.error) == str(stopped) for outcome in report.failures)
        console.print(_stopped_line(stopped, report.not_asked + cut_short))


def _print_left_out(console: Console, report: RunReport) -> None:
    """Name all that the selection or the project lets expect, and that gets no text."""
    if report.unmatched:
        console.print(f"Matches no table: {', '.join(report.unmatched)}")
    if report.left_alone:
        lines = [f"{path}: {reason}" for path, reason in sorted(report.left_alone.items())]
        heading = "Left alone, because they cannot be changed safely:"
        _print_list(console, heading, lines, max_lines=len(lines))
    for line in report.without_path:
        console.print(line)
    not_built = [] if report.no_warehouse else report.not_built
    if not_built and len(not_built) == report.selected:
        console.print(
            f"None of the {report.selected} tables is in the warehouse ({report.warehouse}); "
            "`dbt build` makes them. Is it the right one? A relative path in profiles.yml counts "
            "from the folder that the command is run in."
        )
    elif not_built:
        heading = (
            f"Not in the warehouse ({report.warehouse}), documented by what their YAML lists and "
            "their SQL says; `dbt build` makes them:"
        )
        _print_list(console, heading, not_built)
    if report.not_there:
        lines = [f"{uid}: {', '.join(names)}" for uid, names in report.not_there.items()]
        _print_list(console, "Columns that neither the warehouse nor the SQL has:", lines)


def _stopped_line(error: LLMError, nodes: int) -> str:
    tables = f"{nodes} table{'s' if nodes != 1 else ''}"
    reason = str(error).rstrip(".")
    stop = "" if reason.endswith("?") else "."  # after "Did you mean …?"
    return f"Error: {reason}{stop} Stopped; {tables} still to document, run again to go on."


def _print_list(
    console: Console, heading: str, lines: Iterable[str], *, max_lines: int = _MAX_LINES
) -> None:
    shown = list(lines)
    console.print(heading)
    for line in shown[:max_lines]:
        console.print(f"  {line}")
    if len(shown) > max_lines:
        console.print(f"  … and {len(shown) - max_lines} more")
