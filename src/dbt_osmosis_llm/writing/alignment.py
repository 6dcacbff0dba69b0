"""Which items of a changed list are those of the old one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any


@dataclass(slots=True)
class Alignment:
    """How a list becomes another one that has its items in the same order."""

    kept: list[tuple[int, int]] = field(default_factory=list)
    """Index before and after, of each item that is in both."""
    added: dict[int, list[int]] = field(default_factory=dict)
    """Index before, of the item that new ones follow (-1: they come first), to indexes after."""
    gone: set[int] = field(default_factory=set)
    """Indexes before, of the items that are removed."""


def align(old: Sequence[Any], new: Sequence[Any]) -> Alignment | None:
    """Match the items of two lists, in the form of `tree.normal`; None if some change places.

    Mappings are one another if their `name` (or `v`, of model versions) is.
    """
    before, after = _identities(old, new)
    result = Alignment()
    previous = -1
    for tag, i1, i2, j1, j2 in _opcodes(before, after):
        paired = tag == "replace" and _replaces_in_place(before[i1:i2], after[j1:j2])
        if tag == "equal" or paired:
            result.kept += zip(range(i1, i2), range(j1, j2), strict=True)
            previous = i2 - 1
            continue
        result.gone.update(range(i1, i2))
        if j2 > j1:
            result.added.setdefault(previous, []).extend(range(j1, j2))
    moved = {before[i] for i in result.gone} & {
        after[j] for added in result.added.values() for j in added
    }
    return None if moved else result


def runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each group of indexes that follow one another."""
    groups: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if groups and groups[-1][1] == index - 1:
            groups[-1] = (groups[-1][0], index)
        else:
            groups.append((index, index))
    return groups


def _identities(old: Sequence[Any], new: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    # Whatever their case, as columns are compared, unless two items differ in it alone.
    exact = [[_identity(item, folded=False) for item in items] for items in (old, new)]
    folded = [[_identity(item, folded=True) for item in items] for items in (old, new)]
    differ = any(len({*a}) != len({*b}) for a, b in zip(exact, folded, strict=True))
    before, after = exact if differ else folded
    return before, after


def _identity(item: Any, *, folded: bool) -> Any:
    if isinstance(item, dict):
        for key in ("name", "v"):
            if key in item and not isinstance(item[key], dict | list):
                value = item[key]
                return (key, value.lower() if folded and isinstance(value, str) else value)
        # A test with arguments has its name for its only key.
        if len(item) == 1:
            return ("only", *item)
    return ("value", _frozen(item))


def _frozen(item: Any) -> Any:
    if isinstance(item, dict):
        return frozenset((key, _frozen(value)) for key, value in item.items())
    if isinstance(item, list):
        return tuple(map(_frozen, item))
    return item


def _replaces_in_place(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Tell whether items without a name are changed where they stand."""
    return len(before) == len(after) and all(
        identity[0] not in ("name", "v") for identity in [*before, *after]
    )


def _opcodes(before: list[Any], after: list[Any]) -> Sequence[tuple[str, int, int, int, int]]:
    # `autojunk` would ignore items that are frequent in lists of 200 and more.
    return SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
