"""Whether texts can be put into a file, tried before anybody pays for them.

The trial is the change itself, with texts that stand for those to come: a second set of rules would
allow one day what the first one refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from dbt_osmosis_llm.writing.changes import Changes
from dbt_osmosis_llm.writing.layout import Layout
from dbt_osmosis_llm.writing.patch import patched_tree, root_of
from dbt_osmosis_llm.writing.reconcile import (
    JINJA,
    LISTS,
    EntryPath,
    doubled,
    plain,
    step,
    step_to,
)
from dbt_osmosis_llm.writing.rewriting import goal_of
from dbt_osmosis_llm.writing.sharing import Entry
from dbt_osmosis_llm.writing.sharing import entries as entries_of
from dbt_osmosis_llm.writing.tree import READ_ERRORS, UnsafeYamlError, line_of

_TEXT = "A text: with `signs`, as language models write them."
_ERRORS = (UnsafeYamlError, *READ_ERRORS)

Place = tuple[EntryPath, str]
"""An entry, and the name of one of its columns; an empty name stands for the entry itself."""


def refusals(
    text: str,
    entries: Mapping[str, tuple[EntryPath, Collection[str]]],
    *,
    alike: bool = False,
) -> dict[str, dict[str, str]]:
    """Return what of a file's entries cannot be given a text.

    Args:
        text: The file.
        entries: Of any key: where the entry stands, and the names of the columns that need a text;
            an empty name stands for the entry itself.
        alike: Columns that share one place in the file will get the same text, see `shared`; else
            each gets one of its own.

    Returns:
        Key to name, as given, to the reason; without the keys of which all can be written.
    """
    asked = {(path, name): key for key, (path, names) in entries.items() for name in names}
    if not text and all(_can_be_encoded(*path[-1], name) for path, name in asked):
        return {}  # a new file can hold anything else
    try:
        trial = _Trial(text, list(asked), alike)
    except _ERRORS as error:
        reasons = dict.fromkeys(asked, _line(error))
    else:
        reasons = trial.reasons()
    found: dict[str, dict[str, str]] = {}
    for (path, name), reason in reasons.items():
        found.setdefault(asked[path, name], {})[name] = reason
    return found


class _Trial:
    def __init__(self, text: str, places: Sequence[Place], alike: bool) -> None:
        self._text = text
        self._places = places
        self._root = root_of(text)
        self._layout = Layout(text, self._root)
        self._texts = {
            place: _TEXT if alike else f"{_TEXT} {number}" for number, place in enumerate(places)
        }

    def reasons(self) -> dict[Place, str]:
        """Return the places that cannot be given a text, each with the reason."""
        accepted, refused = self._divided(self._places, self._planned)
        if accepted:
            # What the edits come to is read again only once, unless something is wrong with it.
            refused |= self._divided(accepted, self._written)[1]
        return refused

    def _divided(
        self, places: Sequence[Place], attempt: Callable[[Sequence[Place]], object]
    ) -> tuple[list[Place], dict[Place, str]]:
        """Return what can be written together, and the reasons for the rest, by halving."""
        accepted: list[Place] = []
        refused: dict[Place, str] = {}
        waiting = [list(places)]
        while waiting:
            part = waiting.pop()
            if not part:
                continue
            try:
                attempt([*accepted, *part])
                accepted += part
            except _RefusedError as error:
                refused |= error.reasons
                accepted = [place for place in accepted if place not in refused]
                waiting.append([place for place in part if place not in refused])
            except _ERRORS as error:
                if len(part) == 1:
                    refused[part[0]] = _line(error)
                    continue
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
        return accepted, refused

    def _planned(self, places: Sequence[Place]) -> None:
        goal = self._goal(places)
        Changes(self._text, self._root, self._layout, cautious=False).make(goal)
        held = _index(goal)
        lost = [
            place
            for place in places
            if not self._is_settled(place, held.get(_path(place), {}).get("description"))
        ]
        if lost:
            raise _RefusedError({place: self._reason(place) for place in lost})

    def _is_settled(self, place: Place, description: Any) -> bool:
        """Tell whether a place has its text, or one by Jinja that stays: then it needs none."""
        return description == self._texts[place] or (
            isinstance(description, str) and JINJA.search(description) is not None
        )

    def _written(self, places: Sequence[Place]) -> None:
        patched_tree(self._text, self._root, self._goal(places))

    def _goal(self, places: Sequence[Place]) -> dict[Any, Any]:
        wanted = plain(self._root.value) if self._root else {}
        index = _index(wanted)
        for place in places:
            entry = _entry_at(index, _path(place), place[1])
            entry["description"] = self._texts[place]
        return goal_of(self._root, wanted)

    def _reason(self, place: Place) -> str:
        """Return why a place keeps what it has."""
        if _path(place) in self._doubled:
            return "it is listed more than once"
        mine = self._entries.get(_path(place))
        if mine is None:  # it would be one more of a list
            siblings = (e for e in self._entries.values() if e.path[:-1] == place[0])
            mine = next(siblings, self._entries.get(place[0]))
        if mine is None:
            return "its place in the file takes no text"
        others = [path for path in self._sharing[id(mine.node)] if path != mine.path]
        names = dict.fromkeys(path[max(len(path) - 2, 0)][1] for path in others)
        line = line_of(self._text, mine.via.start)
        return f"line {line} is shared with {', '.join(names) or 'others'}"

    @cached_property
    def _doubled(self) -> Collection[EntryPath]:
        return doubled(self._root.value if self._root else {})

    @cached_property
    def _entries(self) -> dict[EntryPath, Entry]:
        return {entry.path: entry for entry in entries_of(self._root)}

    @cached_property
    def _sharing(self) -> dict[int, list[EntryPath]]:
        sharing: dict[int, list[EntryPath]] = {}
        for path, entry in self._entries.items():
            sharing.setdefault(id(entry.node), []).append(path)
        return sharing


class _RefusedError(Exception):
    """Some places keep what they have though nothing stops the change of the file."""

    def __init__(self, reasons: dict[Place, str]) -> None:
        super().__init__()
        self.reasons = reasons


def _can_be_encoded(*names: str) -> bool:
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(place: Place) -> EntryPath:
    path, name = place
    return (*path, step_to("columns", name)) if name else path


def _line(error: Exception) -> str:
    return (str(error).splitlines() or ["it cannot be changed"])[0]


def _index(document: dict[str, Any]) -> dict[EntryPath, dict[str, Any]]:
    """Return all entries of a document by where they stand, itself included."""
    found: dict[EntryPath, dict[str, Any]] = {}

    def walk(section: dict[str, Any], path: EntryPath) -> None:
        found.setdefault(path, section)
        for key in LISTS & set(section):
            items = section[key] if isinstance(section[key], list) else ()
            for item in items:
                place = step(key, item) if isinstance(item, dict) else None
                if place is not None:
                    walk(item, (*path, place))

    walk(document, ())
    return found


def _entry_at(index: dict[EntryPath, dict[str, Any]], path: EntryPath, name: str) -> dict[str, Any]:
    """Return an entry, made where there is none; with a name as it is written."""
    if path not in index:
        key, identity = path[-1]
        parent = _entry_at(index, path[:-1], "")
        items = parent.get(key)
        if not isinstance(items, list):
            items = parent[key] = []
        index[path] = {"v" if key == "versions" else "name": name or identity}
        items.append(index[path])
    return index[path]
