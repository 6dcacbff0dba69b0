"""How a YAML file is laid out: what a person would copy when adding to it.

Everything is counted over the whole file once; what the file says nothing of has the layout that
dbt-osmosis writes (2 spaces, folded texts of 100 columns).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, groupby, pairwise, takewhile
from typing import Any

from dbt_osmosis_llm.writing.styles import TextHabits
from dbt_osmosis_llm.writing.tree import Node, gap_end

# Stands for the key that the top level does not stand below.
SECTIONS = "/"
# What new keys stand behind, where the file has no example of the two in one place.
_PLACES = {"description": ("name", "v", "<<"), "data_type": ("description", "name", "<<")}
# They are long: what stands behind them is hard to find.
_LAST = ("columns", "tables")
# More keys than this are data and have no habitual order.
_MOST_KEYS = 20


class Layout:
    """The habits of one file."""

    def __init__(self, text: str, root: Node | None) -> None:
        self.text = text
        self.newline = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
        self.texts = TextHabits(text)
        self.dash_offsets: dict[str | None, Counter[int]] = defaultdict(Counter)
        self.dash_widths: Counter[int] = Counter()
        self.key_offsets: Counter[int] = Counter()
        self.gaps: dict[str | None, Counter[int]] = defaultdict(Counter)
        # How often one key stands before another in what stands below a third.
        self.orders: Counter[tuple[str | None, str, str]] = Counter()
        self.flows: dict[str | None, Counter[bool]] = defaultdict(Counter)
        self.has_anchors = False
        if root is not None:
            for node, key in _walk(root):
                self.has_anchors = self.has_anchors or bool(node.anchor)
                if node.kind == "mapping":
                    self._count_mapping(node, key)
                elif node.kind == "sequence":
                    self._count_sequence(node, key)
            if root.kind == "mapping":
                spans = [(key.start, max(key.end, value.end)) for key, value in root.pairs]
                self.gaps[SECTIONS] += self.gap_counts(spans)
        self.texts.finish()

    def _count_mapping(self, node: Node, context: str | None) -> None:
        names = [key.value for key, _ in node.pairs if isinstance(key.value, str)]
        if len(names) <= _MOST_KEYS:
            self.orders.update((context, *pair) for pair in combinations(names, 2))
        for key, value in node.pairs:
            name = key.value if isinstance(key.value, str) else None
            if name and value.kind == "scalar" and isinstance(value.value, str):
                self.texts.count(key, value)
            if node.style != "block" or value.kind not in ("sequence", "mapping"):
                continue
            if value.items or value.pairs:
                self.flows[name][value.style == "flow"] += 1
            if value.style == "flow":
                continue
            if value.kind == "sequence":
                # Under None for keys below which the file has no list.
                for seen in (name, None):
                    self.dash_offsets[seen][self.dash_column(value) - key.column] += 1
            elif value.pairs:
                self.key_offsets[value.pairs[0][0].column - key.column] += 1

    def _count_sequence(self, node: Node, context: str | None) -> None:
        if node.style == "flow" or not node.items:
            return
        dashes = self.dashes(node)
        for dash, item in zip(dashes, node.items, strict=True):
            if "\n" not in self.text[dash : item.body]:
                self.dash_widths[item.body - dash] += 1
        self.gaps[context] += self.gap_counts(
            [(dash, item.end) for dash, item in zip(dashes, node.items, strict=True)]
        )

    def gap_counts(self, spans: list[tuple[int, int]]) -> Counter[int]:
        """Count the blank lines between entries, which are given by start and end."""
        counts: Counter[int] = Counter()
        for (_, end), (start, _) in pairwise(spans):
            lines = self.text[end:start].split("\n")[1:-1]
            # A comment may stand between the two, with blank lines on either side of it.
            blank = [len(list(run)) for full, run in groupby(lines, key=_is_full) if not full]
            counts[max(blank, default=0)] += 1
        return counts

    def dashes(self, sequence: Node) -> list[int]:
        """Return where the dashes of a block sequence stand."""
        offsets = []
        offset = sequence.body
        for item in sequence.items:
            offsets.append(gap_end(self.text, offset))
            offset = item.end
        return offsets

    def dash_column(self, sequence: Node) -> int:
        """Return the column of the dashes of a block sequence."""
        offset = gap_end(self.text, sequence.body)
        return offset - self.text.rfind("\n", 0, offset) - 1

    def dash_offset(self, key: str | None) -> int:
        """Return the columns from a key to the dashes below it."""
        return _usual(self.dash_offsets[key] or self.dash_offsets[None], 2)

    def dash_width(self) -> int:
        """Return the columns from a dash to what it begins."""
        return _usual(self.dash_widths, 2)

    def key_offset(self) -> int:
        """Return the columns from a key to the keys below it."""
        return _usual(self.key_offsets, 2)

    def gap(self, key: str | None, default: int = 0) -> int:
        """Return how many blank lines stand between the items of a sequence."""
        return _usual(self.gaps[key], default)

    def is_flow(self, key: str | None, default: bool = False) -> bool:
        """Tell whether what stands below a key is written in brackets."""
        seen = self.flows[key]
        return seen[True] > seen[False] if seen else default

    def place(self, key: str, present: Mapping[str, bool], context: str | None) -> str | None:
        """Return the key that a new one goes behind, None for the first place.

        Args:
            key: The new key.
            present: The keys there are, in order; whether each has a scalar for a value.
            context: The key that the mapping, or the sequence that it is in, stands below.
        """
        if key in _LAST and present:
            return list(present)[-1]
        if key == "version" and context is None:
            return None
        before = [name for name in present if self._stands_behind(key, name, context)]
        if before:
            return before[-1]
        scalars = list(takewhile(lambda name: present[name], present))
        keys = scalars if key in _PLACES and scalars else list(present)
        return keys[-1] if keys else None

    def _stands_behind(self, key: str, other: str, context: str | None) -> bool:
        behind = self.orders[context, other, key] - self.orders[context, key, other]
        return behind > 0 or (behind == 0 and other in _PLACES.get(key, ()))

    def places(
        self, node: Node, added: Iterable[Any], context: str | None
    ) -> list[tuple[int, list[Any]]]:
        """Return where new keys of a mapping go: the index of the pair before them, -1 for none."""
        names: list[Any] = ["<<" if key.is_merge else key.value for key, _ in node.pairs]
        pairs = zip(names, node.pairs, strict=True)
        scalars = {name: value.kind in ("scalar", "alias") for name, (_, value) in pairs}
        # A description first: a data type goes behind it.
        first = [name for name in ("description", "data_type") if name in added]
        for name in [*first, *(name for name in added if name not in first)]:
            present = {key: scalars.get(key, True) for key in names if isinstance(key, str)}
            behind = self.place(name, present, context) if isinstance(name, str) else names[-1]
            if behind is None:
                names.insert(0 if present else len(names), name)
            else:
                names.insert(names.index(behind) + 1, name)
        result: list[tuple[int, list[Any]]] = [(-1, [])]
        for name in names:
            if name in added:
                result[-1][1].append(name)
            else:
                result.append((result[-1][0] + 1, []))
        return [(index, new) for index, new in result if new]


def _is_full(line: str) -> bool:
    return bool(line.strip())


def _usual(counts: Counter[int], default: int = 0) -> int:
    return counts.most_common(1)[0][0] if counts else default


def _walk(root: Node) -> Iterator[tuple[Node, str | None]]:
    """Yield each node with the key that it, or the sequence that it is in, stands below."""
    stack: list[tuple[Node, str | None]] = [(root, None)]
    while stack:
        node, key = stack.pop()
        yield node, key
        inner: Iterable[tuple[Node, str | None]] = [(item, key) for item in node.items]
        stack.extend(inner)
        for name, value in node.pairs:
            yield name, None
            stack.append((value, name.value if isinstance(name.value, str) else None))
