"""Changes of what stands on lines of its own: keys below one another, items behind dashes."""

from __future__ import annotations

from typing import Any

from dbt_osmosis_llm.writing.alignment import Alignment
from dbt_osmosis_llm.writing.edits import Edits
from dbt_osmosis_llm.writing.layout import SECTIONS, Layout
from dbt_osmosis_llm.writing.rendering import Renderer, Siblings
from dbt_osmosis_llm.writing.tree import Node, UnsafeYamlError, line_of


class BlockChanges:
    """Adds entries to collections without brackets and removes them."""

    def __init__(self, edits: Edits, layout: Layout, renderer: Renderer) -> None:
        """Take where edits go to, and how new parts are written."""
        self.text = edits.text
        self.edits = edits
        self.layout = layout
        self.renderer = renderer

    def add_keys(
        self, node: Node, added: dict[Any, Any], context: str | None, *, is_top: bool
    ) -> None:
        """Add keys to a block mapping, each behind the key that the file would have it behind."""
        column = node.pairs[0][0].column
        gap = self.layout.gap(SECTIONS, 1) if is_top else 0
        for index, names in self.layout.places(node, added, context):
            entries = []
            for name in names:
                first, *more = self.renderer.entry(name, added[name], column, context)
                entries.append([" " * column + first, *more])
            if index < 0:
                self.insert_before(node.pairs[0][0].start, entries, gap)
                continue
            key, value = node.pairs[index]
            line_end = self.edits.tail_end(max(key.end, value.end), column)
            for entry in entries:
                self.edits.insert_lines(line_end, [""] * gap + entry)

    def insert_before(self, start: int, entries: list[list[str]], gap: int) -> None:
        """Insert entries before the first one, which is at the start of its line."""
        newline = self.edits.newline_at(self.edits.line_end(start))
        for entry in entries:
            lines = [*entry, *[""] * gap]
            self.edits.replace(start, start, "".join(line + newline for line in lines))

    def remove_keys(self, node: Node, names: set[Any]) -> None:
        """Remove keys of the top level."""
        spans = [(key.start, max(key.end, value.end)) for key, value in node.pairs]
        gone = {index for index, (key, _) in enumerate(node.pairs) if key.value in names}
        self.remove(spans, gone, 0, is_top=True)

    def change_items(
        self, node: Node, wanted: list[Any], alignment: Alignment, key: str | None
    ) -> None:
        """Add items to a sequence in the layout of those that it has, and remove some."""
        if not alignment.added and not alignment.gone:
            return
        siblings = Siblings(self.layout, node, key)
        empties = len(alignment.gone) == len(node.items)
        for index, added in alignment.added.items():
            entries = [siblings.lines(self.renderer, wanted[new]) for new in added]
            gap = [""] * siblings.gap
            if index >= 0:
                line_end = self.edits.tail_end(node.items[index].end, siblings.column)
                for entry in entries:
                    self.edits.insert_lines(line_end, gap + entry)
                continue
            self.line_begins_at(siblings.dashes[0])
            head = self.edits.head_start(siblings.dashes[0], siblings.column)
            line_end = self.edits.previous_line_end(head)
            for entry in entries[:-1]:
                self.edits.insert_lines(line_end, entry + gap)
            self.edits.insert_lines(line_end, entries[-1] + ([] if empties else gap))
        spans = [(dash, item.end) for dash, item in zip(siblings.dashes, node.items, strict=True)]
        self.remove(spans, alignment.gone, siblings.column)

    def remove(
        self, spans: list[tuple[int, int]], gone: set[int], column: int, *, is_top: bool = False
    ) -> None:
        """Remove whole entries with the comments that belong to them.

        Args:
            spans: Start and end of all entries of a block.
            gone: Indexes of those that go.
            column: Where the entries begin.
            is_top: They are the file's sections.
        """
        first_kept = next((index for index in range(len(spans)) if index not in gone), len(spans))
        done = 0
        for index in sorted(gone):
            start, end = spans[index]
            self.line_begins_at(start)
            line_end = self.edits.tail_end(end, column)
            head = self.edits.head_start(start, column, removes=True)
            if index > 0:
                begin = self.edits.behind_blank_lines_above(head)
            elif is_top:  # what stands above it is about the file
                begin = start
            else:
                begin = self.edits.previous_line_end(head)
            # What stays is the first then: the blank lines that parted it from those before go too.
            if index + 1 == first_kept < len(spans):
                line_end = self.edits.blank_lines_end(line_end)
            if index < first_kept and is_top:
                line_end = self.edits.next_line(line_end)
            # Two that go side by side share the blank lines between them.
            self.edits.replace(max(begin, done), line_end, "")
            done = line_end

    def line_begins_at(self, offset: int) -> None:
        """Make sure that nothing stands before an offset on its line."""
        before = self.text[self.edits.line_start(offset) : offset]
        if before.strip(" \ufeff"):
            line = line_of(self.text, offset)
            raise UnsafeYamlError(f"line {line} has two lists in one line")
