"""SQL as text for a prompt: tidied, freed of personal data, cut.

Where literals end depends on the dialect, which is not known here: a backslash, ``#``, ``//``,
``'''`` and ``[`` mean different things in different warehouses. So the text is read in the way of
every family of dialects, ways that end inside a quote are dropped, and the rest must agree: blanks
collapse only where each of them sees code, personal data goes wherever one of them sees a literal
or a comment. A parser is no way out: raw Jinja and Python models come through here, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from dbt_osmosis_llm.evidence.personal_data import mask_personal_data_in_text

_LINE_END = re.compile(r"\r\n?")
_ODD_BLANK = re.compile("[\x0b\x0c\x85]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t\n]+")
_TAB_CHARS = 4


class _Kind(Enum):
    LITERAL = "a string, or what is one in another dialect"
    NAME = "a quoted identifier"
    COMMENT = "a comment"


@dataclass(frozen=True)
class _Reading:
    """How a family of dialects finds literals, quoted names and comments."""

    line_comment: str = "--"
    """A pattern of what starts a comment that ends with its line."""
    nested: bool = True
    """Block comments hold block comments."""
    escaped: str = ""
    """Quotes that a backslash keeps from ending what they enclose."""
    raw_escaped: bool = False
    r"""It does so in r'…', too."""
    tripled: bool = False
    """Three quotes enclose what may hold one."""
    brackets: bool = False
    """[…] encloses a name; an array elsewhere."""

    @cached_property
    def openers(self) -> re.Pattern[str]:
        """Return a pattern of all that starts something else than code."""
        quotes = "'''|\"\"\"|['\"`]" if self.tripled else "['\"`]"
        return re.compile(
            rf"(?:{self.line_comment})[^\n]*|/\*"
            r"|\{\#"  # of Jinja
            r"|(?<![\w$])\$(?:[^\W\d]\w*)?\$"
            r"|(?<!\w)[nN]?[qQ]'[^\s']"  # of Oracle
            rf"|(?:(?<!\w)(?:[eE](?=')|[bB]?[rR](?=['\"])|[rR][bB](?=['\"])))?(?:{quotes})"
            + (r"|\[[^\[\]\n]*(?:\]\][^\[\]\n]*)*\]" if self.brackets else "")
        )


_READINGS = (
    _Reading(),  # Postgres, DuckDB, Trino, Oracle
    _Reading(brackets=True),  # SQL Server, SQLite
    _Reading(escaped="'"),  # Redshift, Athena
    _Reading(line_comment="--|//", nested=False, escaped="'"),  # Snowflake
    _Reading(escaped="'\""),  # Spark, Databricks
    _Reading(line_comment="--|[#]", nested=False, escaped="'\""),  # MySQL
    _Reading(line_comment="--|[#]", escaped="'\"`"),  # ClickHouse
    _Reading(  # BigQuery, Python
        line_comment="--|[#]", nested=False, escaped="'\"`", raw_escaped=True, tripled=True
    ),
)
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}


def tidy_sql(sql: str) -> str:
    """Return SQL that means the same and spends nothing on layout.

    Lines end in ``\\n``, control characters are gone, and outside of literals and quoted names
    tabs and runs of blanks are one blank, blank lines are dropped, and each level of indentation
    is one blank: who reads it still sees what belongs where, and Python stays Python. From a
    quote that is never closed on all stays as it is.
    """
    text = _CONTROL.sub("", _ODD_BLANK.sub(" ", _LINE_END.sub("\n", sql)))
    # The line end in front makes the first line's indentation one like all others.
    text = f"\n{text}"
    layout = _Layout()
    pieces = []
    end = 0
    for start, stop in (*_spans(text, {_Kind.LITERAL, _Kind.NAME}), (len(text), len(text))):
        pieces += [_BLANKS.sub(layout.blanks, text[end:start]), text[start:stop]]
        end = stop
    if not pieces[-1] and len(pieces) > 1:
        pieces[-2] = pieces[-2].rstrip(" \n")
    return "".join(pieces).removeprefix("\n")


class _Layout:
    """Follows the indentation of lines, from the outermost one to that of the last line."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def blanks(self, run: re.Match[str]) -> str:
        """Return what stands for a run of blanks: one blank, or one line end and its indentation."""
        _, line_end, indentation = run[0].rpartition("\n")
        if not line_end:
            return " "
        width = len(indentation.expandtabs(_TAB_CHARS))
        while self._widths and self._widths[-1] > width:
            self._widths.pop()
        if not self._widths or self._widths[-1] < width:
            self._widths.append(width)
        return "\n" + " " * (len(self._widths) - 1)


def cut_sql(sql: str, max_chars: int | None) -> str:
    """Return the SQL up to a line end within the limit, and a line that says how much is missing.

    Where lines are so long that this would lose half of what may be shown, the cut is at a blank.

    Args:
        sql: What to cut.
        max_chars: What to keep at most, the added line not counted; None keeps all.
    """
    if max_chars is None or len(sql) <= max_chars:
        return sql
    border = sql.rfind("\n", 0, max_chars + 1)
    if border < max_chars // 2:
        border = max(border, sql.rfind(" ", 0, max_chars + 1))
    kept = sql[: border if border > 0 else max_chars].rstrip()
    return f"{kept}\n-- ({len(sql) - len(kept)} more characters of SQL are not shown)"


def mask_personal_data(sql: str) -> str:
    """Return SQL without the personal data in its literals and comments.

    Names and numbers in the code stay. What one dialect reads as a name and another one as a
    literal, ``"…"``, counts as a literal.
    """
    pieces = []
    end = 0
    for start, stop in _spans(sql, {_Kind.LITERAL, _Kind.COMMENT}):
        pieces += [sql[end:start], mask_personal_data_in_text(sql[start:stop])]
        end = stop
    return "".join([*pieces, sql[end:]])


def _spans(sql: str, kinds: Collection[_Kind]) -> list[tuple[int, int]]:
    """Return start and end of all that is of these kinds in any reading, in order, disjoint."""
    readings = [list(_read(sql, reading)) for reading in _READINGS]
    whole = [spans for spans in readings if not spans or spans[-1][2] is not None]
    found = sorted(
        (start, len(sql) if end is None else end)
        for spans in whole or readings
        for kind, start, end in spans
        if kind in kinds
    )
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _read(sql: str, reading: _Reading) -> Iterator[tuple[_Kind, int, int | None]]:
    """Yield kind, start and end of all that is no code; the end is None when it never comes."""
    position = 0
    while (opener := reading.openers.search(sql, position)) is not None:
        kind, end = _closed(sql, opener, reading)
        # Whatever it is, it may hold anything when it has no end.
        yield (_Kind.LITERAL if end is None else kind), opener.start(), end
        if end is None:
            return
        position = end


def _closed(sql: str, opener: re.Match[str], reading: _Reading) -> tuple[_Kind, int | None]:
    """Return the kind of what begins here and where it ends."""
    text, start = opener[0], opener.end()
    if text == "/*":
        return _Kind.COMMENT, _comment_end(sql, start, nested=reading.nested)
    if text == "{#":
        return _Kind.COMMENT, _after(sql, "#}", start)
    if text[0] == "[":
        return _Kind.NAME, start
    if text[-1] == "$" and text[0] == "$":
        return _Kind.LITERAL, _after(sql, text, start)
    if text.startswith(("--", "//", "#")):
        return _Kind.COMMENT, start
    if text[-1] not in "'\"`":
        return _Kind.LITERAL, _after(sql, _CLOSING.get(text[-1], text[-1]) + "'", start)
    prefix = text.rstrip("'\"`").lower()
    quote = text[len(prefix) :]
    escaped = quote[0] in reading.escaped or prefix == "e"
    if "r" in prefix:
        escaped = reading.raw_escaped
    kind = _Kind.NAME if quote == "`" else _Kind.LITERAL
    return kind, _quote_end(sql, quote, start) if escaped else _after(sql, quote, start)


def _after(sql: str, closing: str, start: int) -> int | None:
    # A doubled quote needs no care: it closes one literal and opens the next one at once.
    found = sql.find(closing, start)
    return None if found < 0 else found + len(closing)


def _quote_end(sql: str, quote: str, start: int) -> int | None:
    for token in re.compile(rf"\\.|{quote}", re.DOTALL).finditer(sql, start):
        if token[0] == quote:
            return token.end()
    return None


def _comment_end(sql: str, start: int, *, nested: bool) -> int | None:
    depth = 1
    for token in re.compile(r"/\*|\*/" if nested else r"\*/").finditer(sql, start):
        depth += 1 if token[0] == "/*" else -1
        if not depth:
            return token.end()
    return None
