"""Schema files as people write them, drawn at random; each line knows what it belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Owner = tuple[str, ...]
"""The path of what a line writes: `("m0", "c1", "description")`; empty for all that must stay."""

_WORDS = """
    the order customer amount of which was paid for it's a net gross (in cents) key, when id
    100% e-mail café first/last \U0001f600 A-1 don't see: #3
"""
WORDS = _WORDS.split()
PLAIN = [word for word in WORDS if word not in ("see:", "#3")]


@dataclass
class File:
    """A file in the making."""

    lines: list[tuple[str, Owner]] = field(default_factory=list)
    newline: str = "\n"
    start: str = ""
    ends: bool = True

    def add(self, line: str, owner: Owner = ()) -> None:
        self.lines.append((line, owner))

    @property
    def text(self) -> str:
        body = self.newline.join(line for line, _ in self.lines)
        return self.start + body + (self.newline if self.ends else "")


@dataclass(frozen=True)
class Habits:
    """How one author lays a file out."""

    dash_offset: int
    dash_width: int
    gap: int
    comments: bool
    anchors: bool
    styles: tuple[str, ...]


@st.composite
def sentences(draw: st.DrawFn, words: list[str] = PLAIN, most: int = 25) -> str:
    drawn = draw(st.lists(st.sampled_from(words), min_size=1, max_size=most))
    return " ".join(["Text", *drawn])


class Author:
    """Draws a file."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.file = File(
            newline=draw(st.sampled_from(["\n", "\n", "\r\n"])),
            start=draw(st.sampled_from(["", "", "\ufeff"])),
            ends=draw(st.integers(0, 3)) > 0,
        )
        self.habits = Habits(
            dash_offset=draw(st.sampled_from([0, 2, 2, 4])),
            dash_width=draw(st.sampled_from([2, 2, 2, 4])),
            gap=draw(st.integers(0, 1)),
            comments=draw(st.booleans()),
            anchors=draw(st.integers(0, 2)) == 0,
            styles=tuple(
                draw(
                    st.lists(
                        st.sampled_from(["plain", "'", '"', ">", ">-", "|", "|-", "wrapped"]),
                        min_size=1,
                        max_size=3,
                    )
                )
            ),
        )
        self.anchored: list[str] = []
        self.comments = 0

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def comment(self, column: int, owner: Owner = (), one_in: int = 4) -> None:
        if self.habits.comments and self.chance(one_in):
            self.comments += 1
            self.file.add(f"{' ' * column}# comment {self.comments}", owner)

    def trailing(self) -> str:
        if not self.habits.comments or not self.chance(3):
            return str(self.pick("", "", "", "", "  "))
        self.comments += 1
        return f"{self.pick(' ', '   ')}# trailing {self.comments}"

    def blank(self, one_in: int = 5) -> None:
        if self.chance(one_in):
            self.file.add(self.pick("", "", "  "))

    def description(self, prefix: str, column: int, owner: Owner) -> None:
        """Write `description: …` behind a prefix that ends at the column of the key."""
        style = self.pick(*self.habits.styles)
        kind = self.pick("text", "text", "text", "text", "empty", "alias")
        head = f"{prefix}description:"
        if kind == "empty":
            self.file.add(head + self.pick("", ' ""', " ''", " ~") + self.trailing(), owner)
            return
        if kind == "alias" and self.habits.anchors:
            if self.anchored and self.chance(2):
                name = self.pick(*self.anchored)
                self.file.add(f"{head} *{name}{self.trailing()}", ("alias",))
                return
            self.anchored.append(f"a{len(self.anchored)}")
            head = f"{head} &{self.anchored[-1]}"
            owner = ("alias",)
        text = self.draw(sentences(WORDS if style in ("'", '"', ">", "|", ">-", "|-") else PLAIN))
        if style in ("plain", "'", '"'):
            single = "'" + text.replace("'", "''") + "'"
            written = {"plain": text, "'": single, '"': json.dumps(text, ensure_ascii=False)}[style]
            self.file.add(f"{head} {written}{self.trailing()}", owner)
            return
        margin = " " * (column + self.pick(2, 2, 2, 4))
        lines = self.wrapped(text)
        if style == "wrapped":
            first, *rest = lines
            if not rest:
                self.file.add(f"{head} {first}{self.trailing()}", owner)
                return
            self.file.add(f"{head} {first}", owner)
            for line in rest:
                self.file.add(margin + line, owner)
            return
        self.file.add(f"{head} {style}{self.trailing()}", owner)
        for line in lines:
            self.file.add(margin + line, owner)
            if self.chance(12) and line is not lines[-1]:
                self.file.add("", owner)

    def wrapped(self, text: str) -> list[str]:
        width = self.pick(30, 60, 90)
        lines = [""]
        for word in text.split():
            if len(lines[-1]) + len(word) >= width and not word.startswith("#"):
                lines.append(word)
            else:
                lines[-1] = f"{lines[-1]} {word}".strip()
        return lines

    def entries(self, prefix: str, column: int, owner: Owner, name: str) -> None:
        """Write the keys of a column; the first one stands behind a prefix."""
        keys = self.draw(
            st.lists(
                st.sampled_from(["description", "data_type", "tests", "meta", "tags", "x_extra"]),
                unique=True,
                max_size=4,
            )
        )
        quote = self.pick("", "", "'", '"')
        if self.habits.anchors and self.chance(4):
            self.file.add(f"{prefix}<<: *base", owner)
            prefix = " " * column
        self.file.add(f"{prefix}name: {quote}{name}{quote}{self.trailing()}", owner)
        margin = " " * column
        for key in keys:
            self.comment(column, owner, 6)
            self.entry(key, margin, column, owner)
            self.blank(12)

    def entry(self, key: str, margin: str, column: int, owner: Owner) -> None:
        if key == "description":
            self.description(margin, column, (*owner, key))
        elif key == "data_type":
            written = self.pick("integer", '"integer"', "numeric(38,0)")
            self.file.add(f"{margin}{key}: {written}{self.trailing()}", (*owner, key))
        elif key == "meta":
            self.file.add(f"{margin}meta:{self.trailing()}", owner)
            self.file.add(f"{margin}  owner: 'x y'{self.trailing()}", owner)
            self.file.add(f"{margin}  on: yes", owner)
        elif key == "x_extra":
            self.file.add(
                f"{margin}x_extra: {self.pick('1_000', '12:30', 'null', '{a: 1}')}", owner
            )
        elif self.chance(2):
            written = self.pick("[]", "[unique]", "[unique, 'not_null']", "[ a, b ]")
            self.file.add(f"{margin}{key}: {written}{self.trailing()}", (*owner, key))
        else:
            self.file.add(f"{margin}{key}:{self.trailing()}", (*owner, f"{key}:"))
            dash = " " * (column + self.habits.dash_offset)
            for test in ("unique", "not_null")[: self.pick(1, 2)]:
                self.file.add(f"{dash}- {test}{self.trailing()}", (*owner, key))
                self.comment(column + self.habits.dash_offset, owner, 8)

    def columns(self, margin: str, column: int, owner: Owner) -> None:
        count = self.draw(st.integers(0, 4))
        if not count:
            self.file.add(
                f"{margin}columns:{self.pick('', ' []')}{self.trailing()}", (*owner, "columns")
            )
            return
        self.file.add(f"{margin}columns:{self.trailing()}", (*owner, "columns:"))
        dash = column + self.habits.dash_offset
        flow = self.chance(8)
        for index in range(count):
            item: Owner = (*owner, f"c{index}")
            if index and self.habits.gap:
                self.file.add("")
            self.comment(dash, (*item, "above"))
            prefix = " " * dash + "-".ljust(self.habits.dash_width)
            if flow:
                line = f"{prefix}{{name: c{index}, description: 'Text {index}'}}{self.trailing()}"
                self.file.add(line, (*item, "flow"))
            else:
                self.entries(prefix, dash + self.habits.dash_width, item, f"c{index}")
                self.comment(dash + self.habits.dash_width, item)
            self.blank(20)

    def models(self, section: str, count: int, first: int) -> None:
        self.comment(0, (section,))
        self.file.add(f"{section}:{self.trailing()}", (section,))
        dash = self.habits.dash_offset
        for index in range(first, first + count):
            item: Owner = (f"m{index}",)
            if index > first and self.habits.gap:
                self.file.add("")
            self.comment(dash, (*item, "above"))
            prefix = " " * dash + "-".ljust(self.habits.dash_width)
            column = dash + self.habits.dash_width
            self.entries(prefix, column, item, f"m{index}")
            if self.chance(4):
                self.blank(2)
            if not self.chance(5):
                self.columns(" " * column, column, item)
            self.comment(column, item)

    def write(self) -> File:
        for _ in range(self.pick(0, 0, 2)):
            self.comment(0, one_in=1)
        if self.chance(6):
            self.file.add("---")
        self.file.add(f"version: 2{self.trailing()}")
        self.blank(2)
        if self.habits.anchors:
            self.file.add("x-base: &base {data_type: text, x_base: [1]}")
        self.models("models", self.draw(st.integers(1, 3)), 0)
        if self.chance(2):
            self.blank(2)
            self.models("seeds", 1, 10)
        if self.chance(4):
            self.blank(1)
            self.file.add("exposures: []  # none")
        self.comment(0)
        if self.chance(10):
            self.file.add("...")
        return self.file


@st.composite
def files(draw: st.DrawFn) -> File:
    return Author(draw).write()


TRICKY = [
    "yes", "on", "1_000", "12:30", "=", "~", "null", "<<", "2001-12-14", "-", "- a", "? a", ": a",
    "a: b", "a #b", "#a", "a:", "[a]", "{a}", "*a", "&a", "!a", "%a", "@a", "`a`", "|", ">", "'",
    '"', "'a'", '"a"', "a\\b", "\\", "---", "... a", "--- a", "a\n---\nb", " a", "a ", "a\n",
    "\na", "a\n\n", "a\n  b", "a  \nb", "a\n\n\nb", "\ta", "a\tb", "a\t\nb", "a\r\nb", "\x85",
    "a\u2028b", "\ufeffa", "\u00a0", "\x07", "\x00", "\U0001f600", "{{ doc('x') }}", "{% if x %}",
    "a, b", "a]", "0x1f", "1e3", ".5", "1.", "+1", "0o7", ".inf", ".NaN", "True", "NULL",
    "x" * 150, "a " * 80, "", "a\\\nb", "''", "it's", 'say "hi"', "100%", "a:b",
    "http://x.y/z?a=b#c", "a\n# b", "a\n- b\n- c", "a  b", "é" * 60,
]  # fmt: skip


def new_texts() -> st.SearchStrategy[str]:
    alphabet = st.sampled_from(
        "ab .,:#-?[]{}&*!|>'\"%@`\\/=~<0159_\n\n\t  é\U0001f600\u2028\x85\ufeff"
    )
    return st.one_of(
        sentences(WORDS, 60),
        sentences(WORDS, 15),
        st.sampled_from(TRICKY),
        st.lists(st.sampled_from([*TRICKY, "word", "words"]), min_size=2, max_size=12).map(
            " ".join
        ),
        st.text(alphabet, max_size=60),
        st.lists(sentences(WORDS, 20), min_size=2, max_size=4).map("\n".join),
    )
