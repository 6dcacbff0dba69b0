"""Changes a YAML file by the edits that a change of its data needs, and by nothing else.

Pure: text in, text out. Dumping a file anew, even by a round-trip dumper, changes quotes, indents,
widths and comments all over it; here every byte outside of an edit is that of the file. The result
is loaded again by every reader that will meet it, and is refused if one of them sees other data.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import yaml
from ruamel.yaml import YAML

from dbt_osmosis_llm.writing.changes import Changes
from dbt_osmosis_llm.writing.dbt_reader import read_by_dbt
from dbt_osmosis_llm.writing.excerpts import excerpts_of
from dbt_osmosis_llm.writing.layout import Layout
from dbt_osmosis_llm.writing.tree import (
    READ_ERRORS,
    Node,
    UnsafeYamlError,
    can_be_fast,
    normal,
    read_tree,
)

__all__ = ["UnsafeYamlError", "check", "patched", "patched_tree", "reads_as", "root_of"]


def check(text: str) -> None:
    """Look whether a YAML file can be changed safely at all.

    Raises:
        UnsafeYamlError: It cannot: it is no valid YAML, has several documents, or a key twice.
    """
    root_of(text, fast=False)


def root_of(text: str, *, fast: bool = True) -> Node | None:
    """Return the nodes of a YAML file, None for one without data; see `read_tree`.

    Raises:
        UnsafeYamlError: See `check`.
    """
    root = read_tree(text, fast=fast)
    if root is not None and root.kind != "mapping":
        raise UnsafeYamlError("it has no keys at its top level")
    return root


def patched(text: str, wanted: Mapping[str, Any]) -> str:
    """Return the text of a YAML file changed so that it holds `wanted`.

    Changed scalars are written in their own style, new ones as the file writes others like them.
    Sequences get and lose whole items, mappings get keys; only the top level may lose some.

    Args:
        text: The file, with its line ends and its byte order mark.
        wanted: What it shall load to, as plain data or as ruamel.yaml loads it. The order of keys
            does not count; items that the file has are in the file's order.

    Raises:
        UnsafeYamlError: The file cannot be changed safely, or not in this way.
    """
    root = root_of(text)
    try:
        goal = normal(wanted)
    except RecursionError as error:
        raise UnsafeYamlError("the wanted data refers to itself") from error
    return patched_tree(text, root, goal)


def patched_tree(text: str, root: Node | None, goal: dict[Any, Any]) -> str:
    """Do what `patched` does, with a file that is read and a goal in the form of `normal`."""
    if (root.value if root else {}) == goal:
        return text
    layout = Layout(text, root)
    # In double quotes every reader takes every text for that text.
    for cautious in (False, True):
        changes = Changes(text, root, layout, cautious=cautious)
        new = changes.make(goal)
        # What an anchor gives to others is not where it was written.
        if not layout.has_anchors and _holds_by_excerpt(text, new, goal, changes.written):
            return new
        if _holds(text, new, goal, changes.written):
            return new
    raise UnsafeYamlError("no way was found to change it that every YAML reader understands")


def reads_as(text: str, wanted: Mapping[str, Any]) -> bool:
    """Tell whether each reader that will meet a new file sees in it what is wanted."""
    return _holds("", text, normal(wanted), [()])


def _holds(old: str, new: str, goal: dict[Any, Any], written: list[tuple[Any, ...]]) -> bool:
    """Tell whether a changed text loads to what is wanted, in YAML 1.2 and what is new in 1.1."""
    try:
        root = read_tree(new, fast=False)
        if (root.value if root else {}) != goal:
            return False
        if normal(YAML().load(new) or {}) != goal:
            return False
    except READ_ERRORS:
        return False
    return _holds_for_dbt(old, new, goal, written)


def _holds_by_excerpt(
    old: str, new: str, goal: dict[Any, Any], written: list[tuple[Any, ...]]
) -> bool:
    """Tell what `_holds` does in less time, of what can be read without the rest of the file.

    The rest is that of the old file, byte for byte; libyaml sees all of it where it was. False is
    no answer.
    """
    if not can_be_fast(old) or not can_be_fast(new):
        return False
    try:
        root = read_tree(new)
        if root is None or root.value != goal:
            return False
        excerpts = excerpts_of(new, root, written)
        return excerpts is not None and all(_reads_as(*excerpt) for excerpt in excerpts)
    except (yaml.YAMLError, *READ_ERRORS):
        return False


def _reads_as(text: str, values: list[Any]) -> bool:
    data, doubled = read_by_dbt(text)
    return not doubled and normal(YAML().load(text)) == values and _same_texts(values, data)


def _holds_for_dbt(
    old: str, new: str, goal: dict[Any, Any], written: list[tuple[Any, ...]]
) -> bool:
    try:
        _, doubled_before = read_by_dbt(old)
    except (yaml.YAMLError, ValueError):
        return True  # dbt cannot read the file as it is
    try:
        data, doubled = read_by_dbt(new)
        if doubled > doubled_before:
            return False
        return all(_same_texts(*_both_at(goal, data, path)) for path in written)
    except (yaml.YAMLError, ValueError, LookupError, TypeError):
        return False


def _both_at(goal: Any, data: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    for step in path:
        # Keys that are no texts are (type, value) in the form of `normal`.
        goal, data = goal[step], data[step[1] if isinstance(step, tuple) else step]
    return goal, data


def _same_texts(wanted: Any, loaded: Any) -> bool:
    if isinstance(wanted, str):
        return bool(loaded == wanted)
    if isinstance(wanted, dict):
        return all(
            _same_texts(value, loaded[key]) for key, value in wanted.items() if isinstance(key, str)
        )
    if isinstance(wanted, list):
        pairs = itertools.zip_longest(wanted, loaded)
        return all(_same_texts(value, other) for value, other in pairs)
    return True
