"""Changes of what stands in brackets: `[a, b]` and `{name: id}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbt_osmosis_llm.writing.alignment import Alignment, runs
from dbt_osmosis_llm.writing.edits import Edits
from dbt_osmosis_llm.writing.layout import Layout
from dbt_osmosis_llm.writing.rendering import Renderer
from dbt_osmosis_llm.writing.tree import Node, gap_end


class FlowChanges:
    """Adds entries to collections in brackets and removes them."""

    def __init__(self, edits: Edits, layout: Layout, renderer: Renderer) -> None:
        """Take where edits go to, and how new parts are written."""
        self.text = edits.text
        self.edits = edits
        self.layout = layout
        self.renderer = renderer

    def add_keys(self, node: Node, added: dict[Any, Any], key: str | None) -> None:
        """Add keys to a mapping in brackets, each behind the key the file would have it behind."""
        mark = _common_mark([value for _, value in node.pairs])
        quotes_keys = _quotes_keys([node])
        entries = {
            name: self.renderer.flow_entry(name, value, mark, quotes_keys=quotes_keys)
            for name, value in added.items()
        }
        spans = [(name.start, max(name.end, value.end)) for name, value in node.pairs]
        for index, names in self.layout.places(node, list(added), key):
            self.insert(node, spans, index, [entries[name] for name in names])

    def change_items(
        self, node: Node, wanted: list[Any], alignment: Alignment, key: str | None
    ) -> None:
        """Add items to a sequence in brackets, and remove some."""
        mark = _common_mark(node.items)
        quotes_keys = _quotes_keys(node.items)
        spans = [(item.start, item.end) for item in node.items]
        written = {
            index: [
                self.renderer.flow(wanted[new], key, mark, quotes_keys=quotes_keys) for new in added
            ]
            for index, added in alignment.added.items()
        }
        if len(alignment.gone) == len(spans):
            entries = [entry for index in sorted(written) for entry in written[index]]
            self.edits.replace(node.body, node.end, "[" + ", ".join(entries) + "]")
            return
        for index, entries in written.items():
            self.insert(node, spans, index, entries)
        for first, last in runs(alignment.gone):
            self.remove(spans, first, last)

    def insert(
        self, node: Node, spans: list[tuple[int, int]], index: int, entries: list[str]
    ) -> None:
        """Insert entries behind that of an index, -1 for the first place."""
        start, end = spans[max(index, 0)]
        line_start = self.edits.line_start(start)
        margin = self.text[line_start:start]
        own_lines = not margin.strip()
        newline = self.edits.newline_at(self.edits.line_end(start))
        if index < 0:
            between = f",{newline}{margin}" if own_lines else ", "
            self.edits.replace(start, start, "".join(entry + between for entry in entries))
            return
        if not own_lines:
            self.edits.replace(end, end, "".join(f", {entry}" for entry in entries))
            return
        comma = gap_end(self.text, end)
        has_comma = self.text[comma] == ","
        line_end = self.edits.line_end(comma if has_comma else end)
        if line_end >= node.end or self.text[end:line_end].strip(" \t,")[:1] not in ("", "#"):
            between = f",{newline}{margin}"
            self.edits.replace(end, end, "".join(between + entry for entry in entries))
            return
        if not has_comma:
            self.edits.replace(end, end, ",")
        lines = [f"{margin}{entry}," for entry in entries]
        if not has_comma:
            lines[-1] = lines[-1][:-1]
        self.edits.insert_lines(line_end, lines)

    def remove(self, spans: list[tuple[int, int]], first: int, last: int) -> None:
        """Remove the entries from one index to another; at least one other stays."""
        if last + 1 < len(spans):
            self.edits.replace(spans[first][0], spans[last + 1][0], "")
            return
        start = spans[first - 1][1]
        if "#" in self.text[start : spans[first][0]]:
            start = spans[first][0]  # a comma may stand before a closing bracket
        self.edits.replace(start, spans[last][1], "")


def _quotes_keys(nodes: Sequence[Node]) -> bool:
    """Tell whether all keys of some mappings are in double quotes."""
    styles = {key.style for node in nodes for key, _ in node.pairs}
    return styles == {'"'}


def _common_mark(nodes: Sequence[Node]) -> str | None:
    """Return the quote that all texts of some nodes have, empty for none, None if they differ."""
    texts = [
        inner
        for node in nodes
        for inner in ([value for _, value in node.pairs] if node.pairs else [node])
        if inner.kind == "scalar" and isinstance(inner.value, str)
    ]
    marks = {text.style for text in texts}
    return marks.pop() if len(marks) == 1 else None
