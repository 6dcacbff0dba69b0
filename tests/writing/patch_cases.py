"""A file before and after a change, for the tables of `test_patch`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

Change = Callable[[Any], None]


def at(data: Any, path: str) -> Any:
    for step in path.split("/") if path else []:
        data = data[int(step) if step.isdigit() else step]
    return data


def put(path: str, value: Any) -> Change:
    """Set what a path such as `models/0/description` leads to."""
    parent, _, last = path.rpartition("/")

    def change(data: Any) -> None:
        at(data, parent)[int(last) if last.isdigit() else last] = value

    return change


def add(path: str, index: int, item: Any) -> Change:
    """Insert an item into the list that a path leads to."""
    return lambda data: at(data, path).insert(index, item)


def drop(path: str) -> Change:
    """Remove what a path leads to from the list or the mapping that it is in."""
    parent, _, last = path.rpartition("/")

    def change(data: Any) -> None:
        del at(data, parent)[int(last) if last.isdigit() else last]

    return change


@dataclass
class Case:
    id: str
    before: str
    changes: list[Change]
    after: str


def case(id: str, before: str, *changes: Change, after: str) -> Case:
    return Case(id, dedent(before), list(changes), dedent(after))
