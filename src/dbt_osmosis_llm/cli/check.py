"""``dbt-osmosis llm check``: which texts are missing, stale, orphaned or at odds, without a model.

Every dbt-osmosis command imports this module: what it needs is loaded in its functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dbt_osmosis_llm.cli.loading import project_options, stdout_to_stderr

if TYPE_CHECKING:
    from dbt_osmosis_llm.inspection.check import CheckReport
    from dbt_osmosis_llm.synthesis.freshness import Findings


@click.command()
@click.argument("selection", nargs=-1)
@click.option("--fqn", multiple=True, help="Select by fully qualified name, as dbt-osmosis does.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Accept missing texts as long as so many of all are there; without it none may miss.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "markdown"]),
    default="text",
    show_default=True,
    help="For people, programs, GitHub's annotations, or a comment.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Fail also for columns that no YAML lists yet, that exist in the YAML alone, and for SQL "
    "that does not compile.",
)
@project_options
def check(
    selection: tuple[str, ...],
    fqn: tuple[str, ...],
    min_coverage: float | None,
    form: str,
    *,
    strict: bool,
    project_dir: str,
    **host_options: Any,
) -> None:
    """List texts that are missing, stale, orphaned or at odds.

    At odds: a text that differs from the one that a run would copy. No model is asked, no
    warehouse is read, nothing is written. SELECTION is paths or names, as for `yaml document`.
    Exit code 0: all is well, 1: something is listed, 2: it could not be checked.
    """
    from dbt_osmosis_llm.cli.errors import user_errors
    from dbt_osmosis_llm.cli.summary import print_not_compiled
    from dbt_osmosis_llm.host.context import open_context
    from dbt_osmosis_llm.host.inspection import HostInspection
    from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
    from dbt_osmosis_llm.host.project import HostProject
    from dbt_osmosis_llm.inspection.check import CheckReport
    from dbt_osmosis_llm.synthesis.lock import LOCK_NAME, LockFile

    with (
        stdout_to_stderr(),
        user_errors(),
        open_context(
            project_dir, models=selection, fqn=fqn, disable_introspection=True, **host_options
        ) as context,
    ):
        lock = LockFile(Path(context.project.runtime_cfg.project_root, LOCK_NAME))
        # Knows which files can be changed, and changes none.
        project = HostProject(context, lock=lock, writing=MinimalWriting())
        inspection = HostInspection(project)
        is_whole = not selection and not fqn
        report = CheckReport(
            list(inspection.findings()),
            inspection.orphaned_nodes() if is_whole else [],
            lambda node_id, column: (
                inspection.repository_file(node_id),
                inspection.line(node_id, column),
            ),
        )
        print_not_compiled(project.queries.compile_errors)
        said = "\n".join(_FORMS[form](report))
    click.echo(said)
    is_covered = report.coverage >= (100 if min_coverage is None else min_coverage)
    if report.has_faults or not is_covered or (strict and report.is_unsettled):
        raise SystemExit(1)


def _as_text(report: CheckReport) -> Iterator[str]:
    for table in report.tables:
        lines = list(_table_as_text(table))
        if lines:
            yield f"{table.node_id}{f' ({table.file})' if table.file else ''}"
            yield from lines
    for node_id in report.orphaned:
        yield f"{node_id}\n  orphaned     the table does not exist any more"
    yield report.summary()
    if report.has_faults:
        yield "`dbt-osmosis yaml document --synthesize --llm-refresh stale` writes these anew."


def _table_as_text(table: Findings) -> Iterator[str]:
    from dbt_osmosis_llm.inspection.check import faults_of, states_of

    for fault in faults_of(table):
        yield f"  {fault.kind:<11}  {fault.column or '(table)'}: {fault.why}"
        yield from (f"{'':<15}{side}  {sql}" for side, sql in fault.sides)
    if table.missing:
        yield f"  {'missing':<11}  {', '.join(name or '(table)' for name in table.missing)}"
    for reason, names in _by_reason(table).items():
        yield f"  {'left alone':<11}  {', '.join(names)}: {reason}"
    for state in states_of(table):
        columns = f"{', '.join(state.columns)}: " if state.columns else ""
        yield f"  {state.kind:<11}  {columns}{state.remedy}"


def _by_reason(table: Findings) -> dict[str, list[str]]:
    """Return the columns that no run can write, by what is in the way."""
    reasons: dict[str, list[str]] = {}
    for name, reason in table.left_alone.items():
        reasons.setdefault(reason, []).append(name or "(table)")
    return reasons


def _as_json(report: CheckReport) -> Iterator[str]:
    import json
    from dataclasses import asdict

    def plain(table: Findings) -> Mapping[str, Any]:
        return {
            "node": table.node_id,
            "file": table.file or None,
            "texts": table.texts,
            "missing": list(table.missing),
            "stale": [{"column": name, **asdict(change)} for name, change in table.stale.items()],
            "orphaned": list(table.orphaned),
            "conflicting": [
                {"column": name, "differs_from": other} for name, other in table.conflicting.items()
            ],
            "left_alone": [
                {"column": name, "why": reason} for name, reason in table.left_alone.items()
            ],
            "not_listed": list(table.not_listed),
            "not_there": list(table.not_there),
            "misplaced": [
                {"column": name, "has_text_of": other, "comes_from": own}
                for name, (other, own) in table.misplaced.items()
            ],
            "is_checked": not table.is_unknown,
        }

    result = {
        "coverage": round(report.coverage, 2),
        "texts": report.texts,
        "missing": report.missing,
        "nodes": [plain(table) for table in report.tables],
        "orphaned_nodes": list(report.orphaned),
    }
    yield json.dumps(result, indent=2)


def _as_github(report: CheckReport) -> Iterator[str]:
    """Yield workflow commands, which GitHub shows beside the lines of the file."""
    from dbt_osmosis_llm.inspection.check import faults_of, states_of

    def command(level: str, title: str, table: Findings, column: str, text: str) -> str:
        file, line = report.place(table.node_id, column)
        place = f"file={_property(file)}," if file else ""
        place += f"line={line}," if line else ""
        return f"::{level} {place}title={title}::{_message(text)}"

    for table in report.tables:
        for fault in faults_of(table):
            sides = "".join(f"\n{side}: {sql}" for side, sql in fault.sides)
            column = f".{fault.column}" if fault.column else ""
            text = f"{table.node_id}{column}: {fault.why}{sides}"
            yield command("error", f"{fault.kind} text", table, fault.column, text)
        if table.missing:
            names = ", ".join(name or "(table)" for name in table.missing)
            text = f"{table.node_id}: {names}"
            yield command("warning", "missing texts", table, table.missing[0], text)
        for reason, columns_of_it in _by_reason(table).items():
            text = f"{table.node_id}: {', '.join(columns_of_it)}: {reason}"
            yield command("warning", "left alone", table, "", text)
        for state in states_of(table):
            columns = f"{', '.join(state.columns)}: " if state.columns else ""
            first = state.columns[0] if state.columns else ""
            text = f"{table.node_id}: {columns}{state.remedy}"
            yield command("notice", state.kind, table, first, text)
    for node_id in report.orphaned:
        yield f"::error title=orphaned texts::{_message(node_id)} does not exist any more"
    yield report.summary()


def _message(text: str) -> str:
    # Percent signs first, or those of the other escapes would be escaped as well.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    # Both end a property of a workflow command.
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _as_markdown(report: CheckReport) -> Iterator[str]:
    from dbt_osmosis_llm.inspection.check import faults_of, states_of

    yield f"**{report.summary()}**"
    faults = [(table.node_id, fault) for table in report.tables for fault in faults_of(table)]
    rows = [
        (
            _code(node_id),
            _code(fault.column or "(table)"),
            fault.kind,
            fault.why,
            _code(dict(fault.sides).get("was")),
            _code(dict(fault.sides).get("now")),
        )
        for node_id, fault in faults
    ]
    gone = "it does not exist any more"
    rows += [(_code(node_id), "", "orphaned", gone, "", "") for node_id in report.orphaned]
    if rows:
        yield "\n| table | column | | why | was | now |\n|---|---|---|---|---|---|"
    yield from (f"| {' | '.join(cells)} |" for cells in rows)
    lacking = [table for table in report.tables if table.missing]
    if lacking:
        yield "\n| table | texts missing |\n|---|---|"
    for table in lacking:
        names = ", ".join(_code(name or "(table)") for name in table.missing)
        yield f"| {_code(table.node_id)} | {names} |"
    others = [
        (_code(table.node_id), ", ".join(map(_code, names)), "left alone", reason)
        for table in report.tables
        for reason, names in _by_reason(table).items()
    ] + [
        (_code(table.node_id), ", ".join(map(_code, state.columns)), state.kind, state.remedy)
        for table in report.tables
        for state in states_of(table)
    ]
    if others:
        yield "\n| table | columns | | what to do |\n|---|---|---|---|"
    yield from (f"| {' | '.join(cells)} |" for cells in others)


def _code(text: str | None) -> str:
    # A bar ends a cell of GitHub's tables, back-ticks or not.
    return f"`{text}`".replace("|", "\\|") if text else ""


_FORMS = {"text": _as_text, "json": _as_json, "github": _as_github, "markdown": _as_markdown}
