"""What places of a YAML file share by anchors, aliases and merge keys, and what may change of it.

A list that two tables share is one list: it can hold only what both of them want. So before a file
is changed, what is wanted of its places is brought down to what can be written where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbt_osmosis_llm.writing.alignment import align
from dbt_osmosis_llm.writing.reconcile import LISTS, EntryPath, step
from dbt_osmosis_llm.writing.tree import Node, UnsafeYamlError, read_tree

# What dbt reads a meaning into. All else, such as `anchors:`, is there for those who refer to it.
_SECTIONS = {
    *("models", "seeds", "snapshots", "sources", "version", "analyses", "data_tests", "docs"),
    *("exposures", "functions", "groups", "macros", "metrics", "saved_queries", "semantic_models"),
    *("tests", "unit_tests"),
}
_MISSING: Any = object()
_COLLECTIONS = ("mapping", "sequence")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a file: a table, a version, a column."""

    path: EntryPath
    node: Node
    """What it is written as, behind all aliases."""
    via: Node
    """The last alias on the way to it; itself when there is none."""


def shared(text: str) -> list[list[EntryPath]]:
    """Return the entries of a file that are one and the same part of its text, in groups.

    Whatever is written at one of a group is written at all of them.

    Raises:
        UnsafeYamlError: The file cannot be read.
    """
    if "&" not in text:
        return []
    groups: dict[int, list[EntryPath]] = {}
    for entry in entries(read_tree(text)):
        groups.setdefault(id(entry.node), []).append(entry.path)
    return [paths for paths in groups.values() if len(paths) > 1]


def entries(root: Node | None) -> Iterator[Entry]:
    """Yield all entries of a file, those that it gets from anchors included."""
    if root is not None and root.kind == "mapping":
        yield from _entries(root, (), None)


def _entries(section: Node, path: EntryPath, via: Node | None) -> Iterator[Entry]:
    for key, (value, merge) in _effective(section).items():
        items = value.target or value
        if key not in LISTS or items.kind != "sequence":
            continue
        way = value if value.kind == "alias" else merge or via
        for item in items.items:
            node = item.target or item
            if node.kind != "mapping" or (next_step := step(key, node.value)) is None:
                continue
            place = (*path, next_step)
            behind = item if item.kind == "alias" else way
            yield Entry(place, node, behind or node)
            yield from _entries(node, place, behind)


def _effective(mapping: Node) -> dict[Any, tuple[Node, Node | None]]:
    """Return the values of a mapping, merged ones with the merge key's value."""
    merged: dict[Any, tuple[Node, Node | None]] = {}
    own: dict[Any, tuple[Node, Node | None]] = {}
    for key, value in mapping.pairs:
        if key.is_merge:
            for source in reversed(_sources(value)):
                merged |= {name: (v, value) for name, (v, _) in _effective(source).items()}
        else:
            own[key.value] = value, None
    return merged | own


def _sources(value: Node) -> list[Node]:
    """Return the mappings that a merge key merges, the first of which wins."""
    value = value.target or value
    several = value.items if value.kind == "sequence" else [value]
    return [source.target or source for source in several]


def agreed(root: Node | None, goal: dict[Any, Any]) -> dict[Any, Any]:
    """Return a goal without what those who share a part of a file do not all want.

    A part that no table stands in, such as a list below ``anchors:``, gets what all who refer to it
    want. Items that are aliases may have more keys than their anchor: they can merge it.

    Args:
        root: The file.
        goal: What it should hold, in the form of `normal`.
    """
    if root is None or not any(entry.kind == "alias" for entry in _walk(root)):
        return goal
    result = _Agreement(root, goal).final(root)
    if not isinstance(result, dict):
        raise UnsafeYamlError("its top level would be no mapping")
    return result


def _walk(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += node.items
        stack += [value for _, value in node.pairs]


@dataclass(frozen=True, slots=True)
class _Demand:
    """What one place wants of a node."""

    value: Any
    is_own: bool
    """The node stands there; else an alias of it."""
    can_extend: bool
    """The alias may become a mapping that merges the node and has more keys."""


@dataclass(frozen=True, slots=True)
class _Merger:
    """A mapping that merges another one."""

    node: Node
    goal: Mapping[Any, Any]

    def can_take(self, key: Any) -> bool:
        """Tell whether the other one may get a key: this one has it, too, or wants it."""
        return key in self.goal or any(name.value == key for name, _ in self.node.pairs)


class _Agreement:
    """What each node of a file can become: from the top, so that all who refer to it are heard."""

    def __init__(self, root: Node, goal: dict[Any, Any]) -> None:
        self._root = root
        self._demands: dict[int, list[_Demand]] = {id(root): [_Demand(goal, True, False)]}
        # Of each merged mapping: which new keys those who merge it can take.
        self._mergers: dict[int, list[_Merger]] = {}
        self._settled: dict[int, Any] = {}
        self._kept: dict[int, dict[int, int]] = {}
        self._final: dict[int, Any] = {}
        for node in _parents_first(root):
            self._settle(node)

    def _settle(self, node: Node) -> None:
        demands = self._demands.get(id(node), [])
        mergers = self._mergers.get(id(node), [])
        value = _settled(node, demands)
        if isinstance(value, dict) and mergers:
            # Who merges it would get each new key as well.
            value = {
                key: inner
                for key, inner in value.items()
                if key in node.value or all(merger.can_take(key) for merger in mergers)
            }
        self._settled[id(node)] = value
        if node.kind == "mapping":
            self._hand_down_keys(node, value, mergers, is_wanted=bool(demands))
        elif demands and isinstance(value, list):
            self._hand_down_items(node, value)

    def _hand_down_keys(
        self,
        node: Node,
        value: Any,
        mergers: Sequence[_Merger],
        *,
        is_wanted: bool,
    ) -> None:
        for key, child in node.pairs:
            if key.is_merge:
                for source in _sources(child):
                    said = self._mergers.setdefault(id(source), [])
                    if is_wanted and isinstance(value, dict):
                        said.append(_Merger(node, value))
                    else:
                        said += mergers
                continue
            is_read = node is not self._root or key.value in _SECTIONS
            if is_wanted and is_read and isinstance(value, dict) and key.value in value:
                self._demand(child, value[key.value], can_extend=False)

    def _hand_down_items(self, node: Node, value: list[Any]) -> None:
        alignment = align(node.value, value)
        if alignment is None:
            return
        self._kept[id(node)] = {new: old for old, new in alignment.kept}
        for old, new in alignment.kept:
            self._demand(node.items[old], value[new], can_extend=node.style == "block")

    def _demand(self, child: Node, value: Any, *, can_extend: bool) -> None:
        real = child.target or child
        is_own = child is real
        self._demands.setdefault(id(real), []).append(
            _Demand(value, is_own, can_extend and not is_own)
        )

    def final(self, node: Node) -> Any:
        """Return what a node can become, all that it holds included."""
        if id(node) not in self._final:
            self._final[id(node)] = self._composed(node)
        return self._final[id(node)]

    def _composed(self, node: Node) -> Any:
        value = self._settled[id(node)]
        if isinstance(value, dict) and node.kind == "mapping":
            children = {key.value: child for key, child in node.pairs if not key.is_merge}
            if id(node) in self._demands:
                return {
                    key: self._at(children[key], inner) if key in children else inner
                    for key, inner in value.items()
                }
            merged: dict[Any, Any] = {}
            for key, child in node.pairs:
                for source in reversed(_sources(child)) if key.is_merge else ():
                    merged |= self.final(source)
            return merged | {key: self._at(child, child.value) for key, child in children.items()}
        if isinstance(value, list) and node.kind == "sequence":
            if id(node) not in self._demands:
                return [self._at(item, item.value) for item in node.items]
            kept, block = self._kept.get(id(node), {}), node.style == "block"
            return [
                self._at(node.items[kept[new]], item, can_extend=block) if new in kept else item
                for new, item in enumerate(value)
            ]
        return value

    def _at(self, child: Node, wanted: Any, *, can_extend: bool = False) -> Any:
        real = child.target or child
        if real.kind not in _COLLECTIONS:
            return wanted
        final = self.final(real)
        extends = can_extend and child is not real and final != wanted
        if extends and isinstance(final, dict) and isinstance(wanted, dict):
            return wanted if final.keys() <= wanted.keys() else final
        return final


def _parents_first(root: Node) -> list[Node]:
    """Return all mappings and sequences, each behind all that hold, name or merge it."""
    done: list[Node] = []
    seen: set[int] = set()

    def visit(node: Node) -> None:
        node = node.target or node
        if id(node) in seen or node.kind not in _COLLECTIONS:
            return
        seen.add(id(node))
        for item in node.items:
            visit(item)
        for _, value in node.pairs:
            visit(value)
        done.append(node)

    visit(root)
    return done[::-1]


def _settled(node: Node, demands: Sequence[_Demand]) -> Any:
    if not demands:
        return node.value
    values = [demand.value for demand in demands]
    own = next((demand.value for demand in demands if demand.is_own), None)
    others = [demand for demand in demands if not demand.is_own]
    # Where all others can have keys of their own, what stands at the anchor is its own matter.
    if isinstance(own, dict) and all(demand.can_extend for demand in others):
        return {
            key: value
            for key, value in own.items()
            if key in node.value
            or all(isinstance(other.value, dict) and key in other.value for other in others)
        }
    return _common(node.value, values)


def _common(old: Any, wanted: Sequence[Any]) -> Any:
    """Return what of a change of a value all want, the old value where they do not."""
    first = wanted[0]
    if all(value == first for value in wanted):
        return first
    if all(isinstance(value, dict) for value in wanted):
        before = old if isinstance(old, dict) else {}
        result = {}
        for key in {**before, **first}:
            inner = before.get(key, _MISSING)
            if all(key in value for value in wanted):
                inner = _common(inner, [value[key] for value in wanted])
            if inner is not _MISSING:
                result[key] = inner
        return result
    if all(isinstance(value, list) for value in wanted) and isinstance(old, list):
        return _common_items(old, wanted)
    return old


def _common_items(old: list[Any], wanted: Sequence[list[Any]]) -> list[Any]:
    alignments = [align(old, value) for value in wanted]
    places = [dict(alignment.kept) for alignment in alignments if alignment is not None]
    if len(places) < len(wanted):
        return old
    result: list[Any] = []
    for index in range(-1, len(old)):
        if index >= 0 and any(index in place for place in places):
            kept = all(index in place for place in places)
            pairs = zip(wanted, places, strict=True)
            new = [value[place[index]] for value, place in pairs] if kept else [old[index]]
            result.append(_common(old[index], new))
        first, *others = (
            [value[new] for new in alignment.added.get(index, ())]
            for value, alignment in zip(wanted, alignments, strict=True)
            if alignment is not None
        )
        result += [item for item in first if all(item in other for other in others)]
    return result
