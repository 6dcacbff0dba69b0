"""What must hold after a run, judged from the files and from what the generator knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from dbt_osmosis_llm.evidence.fingerprint import text_hash
from tests.differential.projects import PLACEHOLDERS, Project, Table, tokens_in

Files = Mapping[str, bytes]
Place = tuple[str, str, str, str, int]
"""File, kind, table, column or an empty name, and which of several of that name."""


@dataclass(frozen=True)
class Fault:
    """One broken rule."""

    rule: str
    message: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.message}"


class _Loader(yaml.SafeLoader):
    """Reads scalars as they are written, but for null."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in rows if tag.endswith((":merge", ":null"))]
    for key, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(content: bytes) -> Any:
    return yaml.load(content.decode(), _Loader) or {}


def unreadable(files: Files) -> Iterator[Fault]:
    """Each file is YAML."""
    for file, content in files.items():
        with suppress(yaml.YAMLError, UnicodeDecodeError):
            load(content)
            continue
        yield Fault("no YAML", f"{file}: {content!r}")


def entries(files: Files) -> dict[Place, dict[str, Any]]:
    """Return every entry of every file, by its place."""
    found: dict[Place, dict[str, Any]] = {}

    def note(file: str, kind: str, table: str, column: str, entry: dict[str, Any]) -> None:
        number = 0
        while (file, kind, table, column, number) in found:
            number += 1
        found[file, kind, table, column, number] = entry

    for file, content in files.items():
        data = load(content)
        groups = [("models", data.get("models")), ("seeds", data.get("seeds"))]
        groups += [("sources", s.get("tables")) for s in data.get("sources") or []]
        for kind, tables in groups:
            for table in tables or []:
                name = str(table.get("name"))
                note(file, kind, name, "", table)
                for column in table.get("columns") or []:
                    note(file, kind, name, str(column.get("name")), column)
                for version in table.get("versions") or []:
                    of = f"{name}.v{version.get('v')}"
                    note(file, kind, of, "", version)
                    for column in version.get("columns") or []:
                        if "include" not in column:
                            note(file, kind, of, str(column.get("name")), column)
    return found


def without_version(name: str) -> str:
    return re.sub(r"\.v\d+$", "", name)


def text_of(entry: Mapping[str, Any]) -> str:
    text = str(entry.get("description") or "")
    return "" if text in PLACEHOLDERS else text


def _subject(place: Place) -> str:
    file, _, table, column, number = place
    which = f" (number {number + 1} of that name)" if number else ""
    return f"{file}: {table}{'.' + column if column else ''}{which}"


def _same_names(project: Project) -> bool:
    """Tell whether the host writes names in another case than the warehouse has."""
    return project.has("output-to-lower") or project.has("output-to-upper")


def _keyed(
    found: Mapping[Place, dict[str, Any]], folds: bool
) -> dict[tuple[object, ...], dict[str, Any]]:
    return {_place(place, folds): entry for place, entry in found.items()}


def _place(place: Place, folds: bool) -> tuple[object, ...]:
    file, kind, table, column, number = place
    return (file, kind, table, column.lower() if folds else column, number)


# 1 and 2: nothing of a person's is lost


def kept(project: Project, before: Files, after: Files) -> Iterator[Fault]:
    """Human texts, entries and keys that were there are there."""
    folds = _same_names(project)
    old, exact = entries(before), entries(after)
    new = _keyed(exact, folds)
    humans = human_words(project)
    forced = project.has("force-inherit-descriptions")
    for place, entry in old.items():
        # To the letter first: two names may differ by case alone, and are left as they are.
        other = exact.get(place) or new.get(_place(place, folds))
        if other is None:
            yield Fault("entry lost", _subject(place))
            continue
        text = text_of(entry)
        if text and other.get("description") != entry.get("description"):
            is_human = bool(tokens_in(text) & humans)
            if not (forced and place[3]) and (is_human or not tokens_in(text)):
                yield Fault(
                    "human text changed",
                    f"{_subject(place)}: {text!r} became {other.get('description')!r}",
                )
        for path, value in _leaves(entry):
            if path[0] in ("description", "name", "columns", "data_type", "versions"):
                continue
            if not _has(other, path, value):
                yield Fault("key lost", f"{_subject(place)}: {'.'.join(path)}: {value!r}")


def _leaves(entry: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(entry, dict):
        for key, value in entry.items():
            if path or key not in ("columns", "tables"):
                yield from _leaves(value, (*path, str(key)))
    elif isinstance(entry, list):
        for value in entry:
            yield (*path, "[]"), value
    else:
        yield path, entry


def _has(entry: Any, path: tuple[str, ...], value: Any) -> bool:
    for key in path:
        if key == "[]":
            return isinstance(entry, list) and value in entry
        if not isinstance(entry, dict) or key not in entry:
            return False
        entry = entry[key]
    return bool(entry == value)


_HOSTS_KEYS = re.compile(r"\s*(?:- )?(?:(?:description|data_type|name|tags|meta|config)\b|\{).*")


_MERGE = re.compile(r"\s*(?:- )?<<:")


def lines_kept(project: Project, before: Files, after: Files) -> Iterator[Fault]:
    """Every old line is there still, in its order, but for what an option of the host moves."""
    sorts = project.has("sort-by")
    for file, content in before.items():
        if file not in after:
            yield Fault("file lost", file)
            continue
        old, new = content.decode(), after[file].decode()
        if ("\r\n" in old) != ("\r\n" in new) or ("\r\n" in new and re.search(r"[^\r]\n", new)):
            yield Fault("line ends changed", file)
        if sorts:
            remaining = Counter(new.splitlines())
            lost = [line for line in old.splitlines() if not _take(remaining, line)]
        else:
            # Lines of these keys may move or change: matched, they would hide what follows them.
            lines = [line for line in old.splitlines() if not _HOSTS_KEYS.fullmatch(line)]
            # A merge key goes before keys that it would double for dbt.
            merges = [line for line in lines if _MERGE.match(line)]
            lines = [line for line in lines if not _MERGE.match(line)]
            remaining = Counter(line.strip(" -") for line in new.splitlines())
            lost = _not_in_order(lines, new.splitlines())
            lost += [line for line in merges if not _take(remaining, line.strip(" -"))]
        # What of these may change is looked at as data.
        lost = [line for line in lost if line.strip() and not _HOSTS_KEYS.fullmatch(line)]
        lost = [line for line in lost if not _of_changed_text(line, project)]
        if lost:
            yield Fault("line lost", f"{file}: {lost[:3]}")


def _take(remaining: Counter[str], line: str) -> bool:
    remaining[line] -= 1
    return remaining[line] >= 0


def _not_in_order(old: list[str], new: list[str]) -> list[str]:
    lost, place = [], 0
    for line in old:
        if line in new[place:]:
            place = new.index(line, place) + 1
        else:
            lost.append(line)
    return lost


def _of_changed_text(line: str, project: Project) -> bool:
    words = tokens_in(line)
    is_ours = bool(words) and not words & human_words(project)
    forced = project.has("force-inherit-descriptions") and line.lstrip()[:1] not in ("#", "-")
    return forced or (project.refresh and is_ours)


# 4: each text is at the right column


def human_words(project: Project) -> set[str]:
    words = {w for w, s in project.tokens.subjects().items() if s[0] == "human"}
    return words | {f"doc:{name}" for name in project.docs}


def allowed_words(project: Project) -> Callable[[str, str], set[str]]:
    """Return what tells the words that a column, or a table under an empty name, may have."""
    own: dict[tuple[str, str], set[str]] = {}
    for word, (table_name, column_name) in project.tokens.places():
        own.setdefault((table_name.lower(), column_name.lower()), set()).add(word)
    found: dict[tuple[str, str], set[str]] = {}

    def words_of(table: Table, name: str) -> set[str]:
        key = (table.name.lower(), name.lower())
        if key not in found:
            found[key] = set(own.get(key, ()))
            column = table.column(name)
            whole, dot, field = name.partition(".")
            if column is None and dot:  # of a struct that has a new name
                column = table.column(whole)
            else:
                dot = field = ""
            if column is not None and column.made == "copy":
                branches = [
                    words_of(origin, f"{of}{dot}{field}")
                    for parent, of in column.origins
                    if (origin := project.table(parent)) is not None
                ]
                found[key] |= set.intersection(*branches) if branches else set()
            # Of a column that is in no SQL, names are all that is known.
            if name and (column is None or project.has("force-inherit-descriptions")):
                for ancestor in _ancestors(project, table):
                    found[key] |= own.get((ancestor.name.lower(), name.lower()), set())
                    found[key] |= words_of(ancestor, name)
        return found[key]

    def allowed(name: str, column: str) -> set[str]:
        table = project.table(name)
        return words_of(table, column) if table is not None else set()

    return allowed


def _ancestors(project: Project, table: Table) -> list[Table]:
    found: list[Table] = []
    for parent in map(project.table, table.reads):
        if parent is not None:
            found += [parent, *_ancestors(project, parent)]
    return found


def right_words(project: Project, before: Files, files: Files) -> Iterator[Fault]:
    """No column got a text that is about another one."""
    old = {place: text_of(entry) for place, entry in entries(before).items()}
    allowed = allowed_words(project)
    subjects = project.tokens.subjects()
    places: dict[str, set[tuple[str, str]]] = {}
    for word, (of, name) in project.tokens.places():
        places.setdefault(word, set()).add((of.lower(), name.lower()))
    for place, entry in entries(files).items():
        table, column = without_version(place[2]), place[3]
        text = text_of(entry)
        if text == old.get(place):
            continue  # it may be left of a column that is no more
        wrong = tokens_in(text) - allowed(table, column)
        if wrong:
            about = [".".join(subjects.get(word, (word,))) for word in sorted(wrong)]
            found = project.table(table)
            names = [
                (ancestor.name.lower(), column.lower())
                for ancestor in (_ancestors(project, found) if found else [])
            ]
            is_by_name = all(places.get(word, set()) & set(names) for word in wrong)
            yield Fault(
                "wrong text by name" if is_by_name else "wrong text",
                f"{_subject(place)}: has the text of {about}: {text!r}",
            )


def named_once(before: Files, after: Files) -> Iterator[Fault]:
    """No entry was added that is there already, in whatever case."""

    def counts(files: Files) -> Counter[tuple[str, str, str]]:
        return Counter((p[1], p[2].lower(), p[3].lower()) for p in entries(files))

    old = counts(before)
    for key, count in counts(after).items():
        if count > max(1, old[key]):
            yield Fault("entry doubled", ".".join(key))


# 6 and 7


_BLOCK = "of a doc block"


def lock_agrees(lock: Any, files: Files) -> Iterator[Fault]:
    """Each line of the lock file is about a text that is in a file."""
    texts: dict[tuple[str, str], set[str]] = {}
    for (_, _, table, column, _), entry in entries(files).items():
        key = (without_version(table).lower(), column.lower())
        known = texts.setdefault(key, set())
        known.add(text_hash(text_of(entry)) if text_of(entry) else "")
        if "doc(" in text_of(entry):
            known.add(_BLOCK)  # the lock file has what dbt makes of it
    for node, names in (lock.get("nodes") or {}).items():
        table = without_version(node).split(".")[-1].lower()
        for name, line in (names or {}).items():
            found = texts.get((table, str(name).lower()))
            wanted = line.get("text") or ""
            if not wanted:
                continue
            if found is None:
                yield Fault("lock", f"{node}: {name!r} has a line and no entry")
            elif wanted not in found and _BLOCK not in found:
                yield Fault("lock", f"{node}: {name!r} has another text than its line says")


# 8


def asked_once(asked: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    for (table, column), count in Counter(asked).items():
        if count > 1 and column:  # each version of a model has a text of its own
            yield Fault("asked twice", f"{table}.{column}: {count} times")


_REASONS = re.compile(
    r"Left alone|Left empty|Left out by the answer|Failed, left for|Refused|could not be written"
    r"|Interrupted|^Error",
    re.MULTILINE,
)


def ended_well(code: int, said: str) -> Iterator[Fault]:
    if "Traceback" in said:
        yield Fault("traceback", said[said.index("Traceback") :][:1500])
    elif code not in (0, 1) or (code == 1 and not _REASONS.search(said)):
        yield Fault("exit code", f"{code}: {said[-800:]}")
    elif "a fault of ours" in said:
        yield Fault("fault of ours", said[said.index("a fault of ours") - 60 :][:500])
