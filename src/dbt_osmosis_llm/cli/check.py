"""``dbt-osmosis llm check``: which texts are missing, stale, orphaned or at odds, without a model.

Every dbt-osmosis command imports this module: what it needs is loaded in its functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dbt_osmosis_llm.cli.loading import project_options, stdout_to_stderr

if TYPE_CHECKING:
    from dbt_osmosis_llm.synthesis.freshness import Change, Findings

_WORDS = {
    "expression": "its SQL changed",
    "upstream": "what it is made of changed",
    "tests": "its tests changed",
    "type": "its type changed",
}
_SAME_EXPRESSION = "the joins, filters or grouping behind it changed"


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
@project_options
def check(
    selection: tuple[str, ...],
    fqn: tuple[str, ...],
    min_coverage: float | None,
    form: str,
    project_dir: str,
    **host_options: Any,
) -> None:
    """List texts that are missing, stale, orphaned or at odds.

    At odds: a copied text that differs from that of the column it copies. No model is asked, no
    warehouse is read, nothing is written. SELECTION is paths or names, as for `yaml document`.
    Exit code 0: all is well, 1: something is listed, 2: it could not be checked.
    """
    from dbt_osmosis_llm.cli.errors import user_errors
    from dbt_osmosis_llm.host.context import open_context
    from dbt_osmosis_llm.host.inspection import HostInspection
    from dbt_osmosis_llm.host.project import HostProject
    from dbt_osmosis_llm.synthesis.lock import LOCK_NAME, LockFile

    with (
        stdout_to_stderr(),
        user_errors(),
        open_context(
            project_dir, models=selection, fqn=fqn, disable_introspection=True, **host_options
        ) as context,
    ):
        lock = LockFile(_path(context.project.runtime_cfg.project_root, LOCK_NAME))
        inspection = HostInspection(HostProject(context, lock=lock))
        is_whole = not selection and not fqn
        report = Report(
            list(inspection.findings()), inspection.orphaned_nodes() if is_whole else []
        )
    click.echo("\n".join(_FORMS[form](report)))
    is_covered = report.coverage >= (100 if min_coverage is None else min_coverage)
    if report.has_faults or not is_covered:
        raise SystemExit(1)


def _path(*parts: str) -> Any:
    from pathlib import Path

    return Path(*parts)


@dataclass(frozen=True)
class Report:
    """What was found in a project."""

    tables: Sequence[Findings]
    orphaned: Sequence[str]
    """Tables that do not exist any more."""

    @property
    def texts(self) -> int:
        """Return how many texts there should be."""
        return sum(table.texts for table in self.tables)

    @property
    def missing(self) -> int:
        """Return how many there are not."""
        return sum(len(table.missing) for table in self.tables)

    @property
    def coverage(self) -> float:
        """Return the share of texts that are there, in percent."""
        return 100 * (1 - self.missing / self.texts) if self.texts else 100.0

    @property
    def has_faults(self) -> bool:
        """Tell whether a text is there that should be another one."""
        return bool(self.orphaned) or any(table.has_faults for table in self.tables)

    def summary(self) -> str:
        """Return one line about all."""
        stale = sum(len(table.stale) for table in self.tables)
        orphaned = sum(len(table.orphaned) for table in self.tables) + len(self.orphaned)
        conflicting = sum(len(table.conflicting) for table in self.tables)
        return (
            f"{len(self.tables)} table{_s(len(self.tables))}, {self.texts - self.missing} of "
            f"{self.texts} texts ({self.coverage:.1f} %): {self.missing} missing, {stale} stale, "
            f"{orphaned} orphaned, {conflicting} conflicting."
        )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _findings(table: Findings) -> Iterator[tuple[str, str, str, Change | None]]:
    """Yield what is wrong: kind, column or an empty name, why, and what has changed."""
    for name, change in sorted(table.stale.items()):
        words = (_WORDS[aspect] for aspect in change.aspects)
        said = change.new_expression
        if said and said == change.old_expression and not said.endswith("…"):
            words = (_SAME_EXPRESSION if word == _WORDS["expression"] else word for word in words)
        yield "stale", name, "; ".join(words), change
    for name, other in sorted(table.conflicting.items()):
        yield "conflicting", name, f"it is {other}, whose text differs", None
    for name in table.orphaned:
        yield "orphaned", name, "the column does not exist any more", None


def _sides(change: Change | None) -> Iterator[tuple[str, str]]:
    """Yield what stood there and what stands there now, where both are known."""
    if change is None:
        return
    said = change.new_expression
    if "expression" in change.aspects and (said != change.old_expression or not said):
        yield "was", change.old_expression or "(not known)"
        yield "now", change.new_expression or "(not known)"
    if "type" in change.aspects:
        yield "was", change.old_type
        yield "now", change.new_type


def _as_text(report: Report) -> Iterator[str]:
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
    if table.is_unknown:
        yield "  not checked  its SQL does not compile"
    for kind, name, why, change in _findings(table):
        yield f"  {kind:<11}  {name or '(table)'}: {why}"
        yield from (f"{'':<15}{side}  {sql}" for side, sql in _sides(change))
    if table.missing:
        yield f"  {'missing':<11}  {', '.join(name or '(table)' for name in table.missing)}"


def _as_json(report: Report) -> Iterator[str]:
    import json
    from dataclasses import asdict

    def plain(table: Findings) -> Mapping[str, Any]:
        return {
            "node": table.node_id,
            "file": table.file or None,
            "texts": table.texts,
            "missing": list(table.missing),
            "stale": [{"column": name, **asdict(one)} for name, one in table.stale.items()],
            "orphaned": list(table.orphaned),
            "conflicting": [
                {"column": name, "differs_from": other} for name, other in table.conflicting.items()
            ],
            "is_checked": not table.is_unknown,
        }

    found = {
        "coverage": round(report.coverage, 2),
        "texts": report.texts,
        "missing": report.missing,
        "nodes": [plain(table) for table in report.tables],
        "orphaned_nodes": list(report.orphaned),
    }
    yield json.dumps(found, indent=2)


def _as_github(report: Report) -> Iterator[str]:
    """Yield workflow commands, which GitHub shows beside the file."""
    for table in report.tables:
        place = f"file={_property(table.file)}," if table.file else ""
        for kind, name, why, change in _findings(table):
            sides = "".join(f"\n{side}: {sql}" for side, sql in _sides(change))
            text = f"{table.node_id}{f'.{name}' if name else ''}: {why}{sides}"
            yield f"::error {place}title={kind} text::{_message(text)}"
        if table.missing:
            names = ", ".join(name or "(table)" for name in table.missing)
            text = f"{table.node_id}: {names}"
            yield f"::warning {place}title=missing texts::{_message(text)}"
    for node_id in report.orphaned:
        yield f"::error title=orphaned texts::{_message(node_id)} does not exist any more"
    yield report.summary()


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _as_markdown(report: Report) -> Iterator[str]:
    yield f"**{report.summary()}**"
    rows = [
        (table.node_id, kind, name or "(table)", why, change)
        for table in report.tables
        for kind, name, why, change in _findings(table)
    ]
    rows += [
        (node_id, "orphaned", "", "it does not exist any more", None) for node_id in report.orphaned
    ]
    if rows:
        yield "\n| table | column | | why | was | now |\n|---|---|---|---|---|---|"
    for node_id, kind, name, why, change in rows:
        sides = dict(_sides(change))
        cells = (
            _code(node_id),
            _code(name),
            kind,
            why,
            _code(sides.get("was")),
            _code(sides.get("now")),
        )
        yield f"| {' | '.join(cells)} |"
    lacking = [table for table in report.tables if table.missing]
    if lacking:
        yield "\n| table | texts missing |\n|---|---|"
    for table in lacking:
        names = ", ".join(_code(name or "(table)") for name in table.missing)
        yield f"| {_code(table.node_id)} | {names} |"


def _code(text: str | None) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


_FORMS = {"text": _as_text, "json": _as_json, "github": _as_github, "markdown": _as_markdown}
