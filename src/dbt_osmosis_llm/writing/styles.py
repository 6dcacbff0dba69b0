"""How the texts of a YAML file are written, and how a new one like them would be."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from dbt_osmosis_llm.writing.scalars import BLOCKS, QUOTES, works_plain
from dbt_osmosis_llm.writing.tree import Node

DEFAULT_WIDTH = 100
# Widths of wrapped texts outside of these come from a long word or a short text.
_NARROWEST, _WIDEST = 40, 160
_LEAST_WIDTH = 80
_DESCRIPTION = "description"
_SINGLE_LINE_END = re.compile(r"[^\n]\n[^\n]")


@dataclass(frozen=True, slots=True)
class Style:
    """How a text stands in a file."""

    mark: str
    """The quote, `|` or `>`; empty for plain."""
    wrapped: bool = False
    """Of plain and quoted ones: goes over several lines."""
    indent: int = 2
    """Columns from the key to the lines below it."""
    width: int = DEFAULT_WIDTH
    """The column that lines reach at most."""

    @property
    def on_one_line(self) -> bool:
        """Tell whether a text in this style is one line, behind its key."""
        return not self.wrapped and self.mark not in BLOCKS


_Votes = Counter[tuple[str, bool]]


class TextHabits:
    """The styles of the texts of one file, counted.

    What is counted of descriptions: their styles by length, where lines end, and how far the lines
    of blocks are indented. Of all other texts: their quotes, by key.
    """

    def __init__(self, text: str) -> None:
        """Take the text of the file; `count` takes what is in it."""
        self.text = text
        self.width = DEFAULT_WIDTH
        self.line_limit = DEFAULT_WIDTH
        """The column that a text may reach that is not wrapped."""
        self._quotes: Counter[str] = Counter()
        self._marks: dict[str, Counter[str]] = defaultdict(Counter)
        self._by_size: dict[int, _Votes] = defaultdict(Counter)
        self._short: _Votes = Counter()
        self._long: _Votes = Counter()
        self._with_lines: _Votes = Counter()
        self._empty: Counter[str] = Counter()
        self._indents: Counter[int] = Counter()
        self._widths: list[int] = []
        self._longest_line = 0

    @property
    def has_descriptions(self) -> bool:
        """Tell whether the file shows how it writes descriptions."""
        return bool(self._by_size or self._with_lines)

    def count(self, key: Node, value: Node) -> None:
        """Take a text that stands behind a key into account."""
        can_be_plain = works_plain(value.value)
        if value.style in QUOTES:
            self._quotes[value.style] += 1
        # A text that needs quotes says nothing of the quotes of others.
        if can_be_plain or value.style not in QUOTES:
            self._marks[key.value][value.style] += 1
        if key.value == _DESCRIPTION and value.value.strip():
            self._count_description(key, value, is_choice=can_be_plain or value.style not in QUOTES)
        elif key.value == _DESCRIPTION and value.style in QUOTES:
            self._empty[value.style] += 1

    def _count_description(self, key: Node, value: Node, *, is_choice: bool) -> None:
        style = self.style_of(key.column, value)
        vote = (style.mark, style.wrapped)
        if style.on_one_line:
            end_column = value.end - self.text.rfind("\n", 0, value.body) - 1
            self._longest_line = max(self._longest_line, end_column)
        else:
            end_column = style.width
            self._indents[style.indent] += 1
        if "\n" in value.value.rstrip("\n"):
            if style.mark in BLOCKS:
                self._with_lines[vote] += 1
            return
        is_full = len(value.value) > end_column - style.indent
        if not style.on_one_line and is_full and _NARROWEST <= end_column <= _WIDEST:
            self._widths.append(end_column)
        if not is_choice:
            return
        # By powers of two: hardly two texts are of one length.
        self._by_size[len(value.value).bit_length()][vote] += 1
        if style.on_one_line:
            self._short[vote] += 1
        if not style.on_one_line or end_column > DEFAULT_WIDTH:
            self._long[vote] += 1

    def finish(self) -> None:
        """Draw the conclusions, once all texts are counted."""
        # Nobody who wraps earlier does so for want of room.
        self.width = max(_LEAST_WIDTH, *self._widths) if self._widths else DEFAULT_WIDTH
        self.line_limit = max(self.width, self._longest_line)

    def style_of(self, column: int, node: Node) -> Style:
        """Return the style of a text that stands behind or below a key at a column."""
        first, *lines = self.text[node.body : node.end].split("\n")
        below = [line.rstrip() for line in lines if line.strip()]
        if not below:
            return Style(node.style, indent=self.indent, width=self.width)
        wrapped = node.style not in BLOCKS
        line_start = self.text.rfind("\n", 0, node.body) + 1
        first_width = node.body - line_start + len(first.rstrip()) if wrapped else 0
        return Style(
            node.style,
            wrapped=wrapped,
            indent=max(1, len(below[0]) - len(below[0].lstrip()) - column),
            width=max(first_width, *map(len, below)),
        )

    @property
    def indent(self) -> int:
        """The columns from a key to the lines below it."""
        return self._indents.most_common(1)[0][0] if self._indents else 2

    def quote(self, text: str) -> str:
        """Return the quote for a text that cannot stand without."""
        if not self._quotes and "'" in text:
            return '"'
        return "'" if self._quotes["'"] >= self._quotes['"'] else '"'

    def style(self, key: str, text: str, column: int) -> Style:
        """Return the style for a new text.

        Args:
            key: The key that it stands behind, such as `description`.
            text: The text.
            column: Where it begins if it is on the line of its key.
        """
        if "\n" in text.rstrip("\n"):
            # Folded, each line of a list would need an empty one behind it.
            folds = key == _DESCRIPTION and not _SINGLE_LINE_END.search(text)
            votes = {vote: n for vote, n in self._with_lines.items() if folds or vote[0] != ">"}
            return self._voted(Counter(votes) if key == _DESCRIPTION else None, "|")
        if key != _DESCRIPTION:
            marks = {mark: n for mark, n in self._marks[key].items() if mark not in BLOCKS}
            return Style(max(marks, key=lambda mark: marks[mark], default=""))
        if column + len(text) > self.line_limit:
            folded = any(votes[">", False] for votes in self._by_size.values())
            return self._voted(None if folded else self._long, ">")
        size = len(text).bit_length()
        near = self._by_size.get(size) or (
            self._by_size.get(size - 1, Counter()) + self._by_size.get(size + 1, Counter())
        )
        # Empty quotes ask for a text between them, unless the file has texts without.
        default = self._empty.most_common(1)[0][0] if self._empty else ""
        return self._voted(near or self._short or self._long, default)

    def _voted(self, votes: _Votes | None, default: str) -> Style:
        mark, wrapped = votes.most_common(1)[0][0] if votes else (default, False)
        return Style(mark, wrapped, self.indent, self.width)
