"""What is wrong with the texts of a project, counted and said in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dbt_osmosis_llm.synthesis.freshness import Change, Findings

_WORDS = {
    "expression": "its SQL changed",
    "upstream": "what it is made of changed",
    "tests": "its tests changed",
    "type": "its type changed",
}
_SAME_EXPRESSION = "the joins, filters or grouping behind it changed"


@dataclass(frozen=True)
class CheckReport:
    """What was found in a project."""

    tables: Sequence[Findings]
    orphaned: Sequence[str]
    """Tables that do not exist any more."""
    place: Callable[[str, str], tuple[str, int | None]] = lambda node_id, column: ("", None)
    """Returns the file of a text, from the root of the repository, and the line of its entry."""

    @property
    def texts(self) -> int:
        """Return how many texts there should be."""
        return sum(table.texts for table in self.tables)

    @property
    def missing(self) -> int:
        """Return how many there are not."""
        return sum(len(table.missing) + len(table.left_alone) for table in self.tables)

    @property
    def is_unsettled(self) -> bool:
        """Tell whether a table cannot be documented as a whole yet, which is no fault of a text."""
        return any(t.not_listed or t.not_there or t.misplaced or t.is_unknown for t in self.tables)

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
        unsettled = {
            "not listed": sum(len(table.not_listed) for table in self.tables),
            "not there": sum(len(table.not_there) for table in self.tables),
            "misplaced": sum(len(table.misplaced) for table in self.tables),
            "not checked": sum(table.is_unknown for table in self.tables),
        }
        more = "".join(f", {count} {words}" for words, count in unsettled.items() if count)
        return (
            f"{len(self.tables)} table{'' if len(self.tables) == 1 else 's'}, "
            f"{self.texts - self.missing} of {self.texts} texts ({self.coverage:.1f} %): "
            f"{self.missing} missing, {stale} stale, {orphaned} orphaned, "
            f"{conflicting} conflicting{more}."
        )


@dataclass(frozen=True)
class Fault:
    """A text that should be another one."""

    kind: str
    """``stale``, ``conflicting`` or ``orphaned``."""
    column: str
    """Empty for the table's own text."""
    why: str
    sides: tuple[tuple[str, str], ...] = ()
    """``was`` and ``now``, each with the SQL or type, where both are known."""


def faults_of(table: Findings) -> Iterator[Fault]:
    """Yield what is wrong with the texts of a table, those that are missing apart."""
    for name, change in sorted(table.stale.items()):
        words = (_WORDS[aspect] for aspect in change.aspects)
        expression = change.new_expression
        # One that was cut may differ where it is not shown.
        is_same = expression == change.old_expression and not expression.endswith("…")
        if expression and is_same:
            words = (_SAME_EXPRESSION if word == _WORDS["expression"] else word for word in words)
        yield Fault("stale", name, "; ".join(words), tuple(_sides(change)))
    for name, other in sorted(table.conflicting.items()):
        yield Fault("conflicting", name, f"it is {other}, whose text differs")
    for name in table.orphaned:
        yield Fault("orphaned", name, "the column does not exist any more")


@dataclass(frozen=True)
class State:
    """What keeps columns, or a whole table, from being documented, and what to do."""

    kind: str
    """``not listed``, ``not there``, ``misplaced`` or ``not checked``."""
    columns: tuple[str, ...]
    remedy: str


def states_of(table: Findings) -> Iterator[State]:
    """Yield why a table cannot be documented as a whole yet."""
    if table.is_unknown:
        yield State("not checked", (), "its SQL does not compile; `dbt compile` says why")
    if table.not_listed:
        remedy = "in the SQL alone; `dbt build`, then a run adds them"
        yield State("not listed", table.not_listed, remedy)
    if table.not_there:
        remedy = "in the YAML alone; `dbt build`, or take them out"
        yield State("not there", table.not_there, remedy)
    for column, (other, own) in sorted(table.misplaced.items()):
        yield State("misplaced", (column,), f"has the text of {other}, but comes from {own}")


def _sides(change: Change) -> Iterator[tuple[str, str]]:
    expression = change.new_expression
    if "expression" in change.aspects and (expression != change.old_expression or not expression):
        yield "was", change.old_expression or "(not known)"
        yield "now", expression or "(not known)"
    if "type" in change.aspects:
        yield "was", change.old_type
        yield "now", change.new_type
