"""New parts of a YAML file, written in the file's own layout."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from dbt_osmosis_llm.writing.layout import Layout
from dbt_osmosis_llm.writing.scalars import (
    BLOCKS,
    QUOTES,
    chomping,
    folded_lines,
    literal_lines,
    quoted,
    scalar_text,
    works_plain,
    wrapped,
)
from dbt_osmosis_llm.writing.styles import Style
from dbt_osmosis_llm.writing.tree import Node, UnsafeYamlError


class Renderer:
    """Writes values in the form of `tree.normal` as lines of YAML.

    Functions that return lines leave the first one without indentation: it goes on a line that is
    begun by a dash, a key or the caller.
    """

    def __init__(self, layout: Layout, *, cautious: bool = False) -> None:
        """Take the layout of a file; a cautious renderer puts every text in double quotes."""
        self.layout = layout
        self.cautious = cautious

    def text(self, text: str, style: Style, base: int, column: int) -> list[str]:
        """Write a text; block scalars have their first line, such as `>-`, on the first line.

        Args:
            text: The text.
            style: How to write it where that is possible.
            base: The column of the key or dash that the text belongs to.
            column: Where its first line begins.
        """
        if self.cautious:
            return [quoted(text, '"')]
        margin = base + style.indent
        if style.mark in BLOCKS:
            lines = (
                folded_lines(text, style.width - margin)
                if style.mark == ">"
                else literal_lines(text)
            )
            if lines is not None:
                indented = [" " * margin + line if line else "" for line in lines]
                return [f"{style.mark}{chomping(text)}", *indented]
        if style.mark in QUOTES:
            written = quoted(text, style.mark)
        else:
            written = text if works_plain(text) else quoted(text, self.layout.texts.quote(text))
        if not style.wrapped:
            return [written]
        first, *more = wrapped(written, style.width - column, style.width - margin)
        return [first, *(" " * margin + line for line in more)]

    def scalar(self, value: Any, key: str, base: int, column: int, mark: str | None) -> list[str]:
        """Write a scalar of a key as the file writes such; `mark` overrides how."""
        if not isinstance(value, str):
            written = scalar_text(value)
            if written is None:
                raise UnsafeYamlError(f"the value of {key!r} cannot be written: {value!r}")
            return [written]
        style = self.layout.texts.style(key, value, column)
        # Descriptions are quoted by what they say and how long they are, not like their siblings.
        if mark is not None and style.mark not in BLOCKS and key != "description":
            style = Style(mark)
        return self.text(value, style, base, column)

    def entry(
        self, key: Any, value: Any, column: int, context: str | None, mark: str | None = None
    ) -> list[str]:
        """Write `key: value` of a block mapping whose keys stand at a column."""
        name = self.key(key)
        if isinstance(value, dict | list) and value and not self.layout.is_flow(name):
            below = column + (
                self.layout.key_offset()
                if isinstance(value, dict)
                else self.layout.dash_offset(name)
            )
            first, *more = self.block(value, below, name)
            return [f"{name}:", " " * below + first, *more]
        if isinstance(value, dict | list):
            return [f"{name}: {self.flow(value, name)}"]
        if value is None:
            return [f"{name}:"]
        first, *more = self.scalar(value, name, column, column + len(name) + 2, mark)
        return [f"{name}: {first}", *more]

    def key(self, key: Any) -> str:
        """Write a key."""
        if isinstance(key, str):
            is_plain = works_plain(key, in_flow=True)
            if self.cautious and not key.isidentifier():
                return quoted(key, '"')
            return key if is_plain else quoted(key, self.layout.texts.quote(key))
        written = scalar_text(key)
        if written is None:
            raise UnsafeYamlError(f"a key cannot be written: {key!r}")
        return written

    def block(self, value: dict[Any, Any] | list[Any], column: int, key: str | None) -> list[str]:
        """Write a mapping with its keys, or a sequence with its dashes, at a column."""
        if isinstance(value, dict):
            return self.mapping(value, column, key, {})
        lines: list[str] = []
        for item in value:
            if lines:
                lines += [""] * self.layout.gap(key)
            written = self.item(item, column, self.layout.dash_width(), key, {})
            lines += [(" " * column if lines else "") + written[0], *written[1:]]
        return lines

    def item(
        self, value: Any, column: int, dash_width: int, key: str | None, marks: Mapping[str, str]
    ) -> list[str]:
        """Write an item of a block sequence, dash included.

        Args:
            value: The item.
            column: The column of the dash.
            dash_width: The columns from the dash to what it begins.
            key: The key that the sequence stands below.
            marks: How the other items quote the scalars of their keys.
        """
        inner = column + dash_width
        if isinstance(value, dict) and value:
            lines = self.mapping(value, inner, key, marks)
        elif isinstance(value, list) and value:
            lines = self.block(value, inner, None)
        elif isinstance(value, dict | list):
            lines = [self.flow(value, key)]
        else:
            lines = self.scalar(value, key or "", column, inner, marks.get(""))
        return ["-".ljust(dash_width) + lines[0], *lines[1:]]

    def mapping(
        self, value: dict[Any, Any], column: int, key: str | None, marks: Mapping[str, str]
    ) -> list[str]:
        """Write a block mapping with its keys at a column."""
        lines: list[str] = []
        for name in self.ordered(value, key):
            mark = marks.get(name) if isinstance(name, str) else None
            written = self.entry(name, value[name], column, key, mark)
            lines += [(" " * column if lines else "") + written[0], *written[1:]]
        return lines

    def ordered(self, value: dict[Any, Any], context: str | None) -> list[Any]:
        """Return the keys of a new mapping in the order that the file has them."""
        placed = [name for name in ("description", "data_type") if name in value]
        keys = [name for name in value if name not in placed]
        for name in placed:
            present = {other: not isinstance(value[other], dict | list) for other in keys}
            behind = self.layout.place(name, present, context)
            keys.insert(keys.index(behind) + 1 if behind in keys else 0, name)
        return keys

    def flow(
        self, value: Any, key: str | None, mark: str | None = None, *, quotes_keys: bool = False
    ) -> str:
        """Write a value in brackets, on one line.

        Args:
            value: The value.
            key: The key that it, or the sequence that it is in, stands below.
            mark: The quote of its texts; None asks the file.
            quotes_keys: Write keys in double quotes, as JSON does.
        """
        if isinstance(value, dict):
            entries = (
                self.flow_entry(name, value[name], mark, quotes_keys=quotes_keys)
                for name in self.ordered(value, key)
            )
            return "{" + ", ".join(entries) + "}"
        if isinstance(value, list):
            items = (self.flow(item, key, mark, quotes_keys=quotes_keys) for item in value)
            return "[" + ", ".join(items) + "]"
        if not isinstance(value, str):
            return self.scalar(value, key or "", 0, 0, None)[0]
        if mark is None:
            style = self.layout.texts.style(key or "", value, 0)
            mark = style.mark if style.mark in QUOTES else ""
        return self.flow_text(value, mark)

    def flow_entry(
        self, key: Any, value: Any, mark: str | None, *, quotes_keys: bool = False
    ) -> str:
        """Write `key: value` of a mapping in brackets."""
        name = quoted(key, '"') if quotes_keys and isinstance(key, str) else self.key(key)
        context = key if isinstance(key, str) else None
        return f"{name}: {self.flow(value, context, mark, quotes_keys=quotes_keys)}"

    def flow_text(self, text: str, mark: str) -> str:
        """Write a text inside of brackets, plain where an empty `mark` asks for it and it works."""
        if not mark and not self.cautious and works_plain(text, in_flow=True):
            return text
        return quoted(text, '"' if self.cautious else mark or self.layout.texts.quote(text))


class Siblings:
    """The items of a block sequence, as examples for new ones."""

    def __init__(self, layout: Layout, sequence: Node, key: str | None) -> None:
        """Look at the items of a sequence that stands below a key."""
        self.key = key
        self.dashes = layout.dashes(sequence)
        self.column = layout.dash_column(sequence)
        placed = list(zip(self.dashes, sequence.items, strict=True))
        widths = Counter(
            item.body - dash
            for dash, item in placed
            if item.body > dash + 1 and "\n" not in layout.text[dash : item.body]
        )
        self.dash_width = widths.most_common(1)[0][0] if widths else layout.dash_width()
        gaps = layout.gap_counts([(dash, item.end) for dash, item in placed])
        self.gap = gaps.most_common(1)[0][0] if gaps else layout.gap(key)
        self.in_brackets = all(item.style == "flow" for item in sequence.items)
        self.padded = self.in_brackets and all(
            layout.text[item.body + 1] == " " for item in sequence.items
        )
        self.marks = _marks(sequence)

    def lines(self, renderer: Renderer, value: Any) -> list[str]:
        """Write a new item, its indentation included."""
        if self.in_brackets and isinstance(value, dict | list):
            written = renderer.flow(value, self.key)
            if self.padded and value:
                written = f"{written[0]} {written[1:-1]} {written[-1]}"
            return [" " * self.column + "-".ljust(self.dash_width) + written]
        lines = renderer.item(value, self.column, self.dash_width, self.key, self.marks)
        return [" " * self.column + lines[0], *lines[1:]]


def _marks(sequence: Node) -> dict[str, str]:
    """Return the quote of each key's texts, where all items agree; "" for items that are texts."""
    styles: dict[str, set[str]] = defaultdict(set)
    for item in sequence.items:
        named = [(key.value, value) for key, value in item.pairs] or [("", item)]
        for name, value in named:
            if isinstance(name, str) and value.kind == "scalar" and isinstance(value.value, str):
                styles[name].add(value.style)
    return {name: quotes.pop() for name, quotes in styles.items() if len(quotes) == 1}
