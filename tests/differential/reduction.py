"""Takes out of a project what its fault does not need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

from tests.differential.oracle import Fault
from tests.differential.play import Playground, play
from tests.differential.projects import Project


def reduce(project: Project, rule: str, playground: Playground) -> list[Fault]:
    """Play a smaller project with the same fault last, and return its faults."""
    found = True
    while found:
        found = False
        for change in _changes(project):
            smaller = deepcopy(project)
            change(smaller)
            if _shows(smaller, rule, playground):
                project, found = smaller, True
                break
    return play(deepcopy(project), playground, until=rule)


def _shows(project: Project, rule: str, playground: Playground) -> bool:
    try:
        faults = play(deepcopy(project), playground, until=rule)
    except Exception:  # noqa: BLE001  (it makes no sense without what was taken out)
        return False
    return any(fault.rule == rule for fault in faults)


def _changes(project: Project) -> Iterator[Callable[[Project], None]]:
    """Yield what can be taken out, the most first."""
    for name in [t.name for t in project.tables]:
        if not any(name in t.reads for t in project.tables):

            def without_table(p: Project, name: str = name) -> None:
                p.tables = [t for t in p.tables if t.name != name]
                used = {t.file for t in p.tables}
                p.files = {path: f for path, f in p.files.items() if path in used}

            yield without_table
    for index in range(len(project.edits)):

        def without_edit(p: Project, index: int = index) -> None:
            p.edits.pop(index)

        yield without_edit
    for index in range(len(project.options)):

        def without_option(p: Project, index: int = index) -> None:
            p.options.pop(index)

        yield without_option
    if project.kill_at:
        yield lambda p: setattr(p, "kill_at", 0)
    if project.nulls:
        yield lambda p: setattr(p, "nulls", 0)
    for number, table in enumerate(project.tables):
        if table.entry is not None and table.kind != "source":

            def without_entry(p: Project, number: int = number) -> None:
                p.tables[number].entry, p.tables[number].file = None, ""
                used = {t.file for t in p.tables}
                p.files = {path: f for path, f in p.files.items() if path in used}

            yield without_entry
        if table.entry is not None and len(table.entry.columns) > 0:
            for column in range(len(table.entry.columns)):

                def without_column(p: Project, number: int = number, column: int = column) -> None:
                    entry = p.tables[number].entry
                    if entry is not None:
                        entry.columns.pop(column)

                yield without_column
