"""Takes out of a project what its fault does not need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import MISSING, Field, fields
from itertools import islice
from typing import Any

from tests.differential.oracle import Fault
from tests.differential.play import Playground, play
from tests.differential.projects import Entry, File, Listed, Project

Change = Callable[[Project], None]


def reduce(project: Project, rule: str, playground: Playground) -> list[Fault]:
    """Play a smaller project with the same fault last, and return its faults.

    No faults where it does not show again.
    """
    if not _shows(project, rule, playground):
        return []
    found = True
    while found:
        found, number = False, 0
        while change := next(islice(_changes(project), number, None), None):
            smaller = deepcopy(project)
            change(smaller)
            if _shows(smaller, rule, playground):
                project, found = smaller, True  # what is behind the change moves up
            else:
                number += 1
    return play(deepcopy(project), playground, until=rule)


def _shows(project: Project, rule: str, playground: Playground) -> bool:
    try:
        faults = play(deepcopy(project), playground, until=rule)
    except Exception:  # noqa: BLE001  (it makes no sense without what was taken out)
        return False
    return any(fault.rule == rule for fault in faults)


def _changes(project: Project) -> Iterator[Change]:
    """Yield what can be taken out, the most first."""
    for name in [t.name for t in project.tables]:
        if not any(name in t.reads for t in project.tables):

            def without_table(p: Project, name: str = name) -> None:
                p.tables = [t for t in p.tables if t.name != name]
                _drop_unused_files(p)

            yield without_table
    for listed in ("edits", "options"):
        for index in range(len(getattr(project, listed))):

            def without_one(p: Project, listed: str = listed, index: int = index) -> None:
                getattr(p, listed).pop(index)

            yield without_one
    for number, table in enumerate(project.tables):
        if table.entry is not None and table.kind != "source":

            def without_entry(p: Project, number: int = number) -> None:
                p.tables[number].entry, p.tables[number].file = None, ""
                _drop_unused_files(p)

            yield without_entry
        if table.versions:

            def without_versions(p: Project, number: int = number) -> None:
                p.tables[number].versions = ""
                p.tables[number].columns.pop()  # the one that its second version has more

            yield without_versions
    yield from _plainer(project)
    for number, table in enumerate(project.tables):
        for index in range(len(table.entry.columns) if table.entry else 0):

            def without_column(p: Project, number: int = number, index: int = index) -> None:
                if (entry := p.tables[number].entry) is not None:
                    entry.columns.pop(index)

            yield without_column


def _drop_unused_files(project: Project) -> None:
    used = {table.file for table in project.tables}
    project.files = {path: file for path, file in project.files.items() if path in used}


def _plainer(project: Project) -> Iterator[Change]:
    """Yield what makes details those of a plain project: of all parts at once, then of each."""
    for kind in (Project, File, Entry, Listed):
        for detail in fields(kind):
            default = _default(detail)
            places = [
                number
                for number, part in enumerate(_parts(project))
                if isinstance(part, kind) and getattr(part, detail.name) != default
            ]
            if default is MISSING or not places:
                continue
            for chosen in [places, *([place] for place in places if len(places) > 1)]:

                def plainer(
                    p: Project, detail: Field[Any] = detail, chosen: list[int] = chosen
                ) -> None:
                    parts = _parts(p)
                    for number in chosen:
                        setattr(parts[number], detail.name, _default(detail))

                yield plainer


def _parts(project: Project) -> list[object]:
    entries = [table.entry for table in project.tables if table.entry is not None]
    columns = [column for entry in entries for column in entry.columns]
    return [project, *project.files.values(), *entries, *columns]


def _default(detail: Field[Any]) -> Any:
    if detail.default_factory is not MISSING:
        return detail.default_factory()
    return detail.default
