"""SQL as text for a prompt: tidied, freed of personal data, cut.

Where literals end depends on the dialect, which is not known here: a backslash, ``#``, ``//``,
``'''`` and ``[`` mean different things in different warehouses. So the text is read in the way of
every family of dialects, ways that end inside a quote are dropped, and the rest must agree: blanks
collapse only where each of them sees code, personal data goes wherever one of them sees a literal
or a comment. A parser is no way out: raw Jinja and Python models come through here, too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

_LINE_END = re.compile(r"\r\n?")
_ODD_BLANK = re.compile("[\x0b\x0c\x85]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_PYTHON_MODEL = re.compile(r"^def model\(", re.MULTILINE)
_BLANKS = re.compile(r"[ \t\n]+")
_TAB_CHARS = 4


class _Kind(Enum):
    LITERAL = "a string, or what is one in another dialect"
    NAME = "a quoted identifier"
    COMMENT = "a comment"


@dataclass(frozen=True)
class _Reading:
    """How a family of dialects finds literals, quoted names and comments."""

    comment: str = ""
    """What starts a comment to the end of the line, besides two dashes."""
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

    def without_what_is_not_in(self, sql: str) -> _Reading:
        """Return the reading that is the same for this text, and for other dialects as well."""
        backslash = "\\" in sql
        return _Reading(
            comment=self.comment if self.comment in sql else "",
            nested=self.nested or sql.count("/*") < 2,
            escaped=self.escaped if backslash else "",
            raw_escaped=self.raw_escaped and backslash,
            tripled=self.tripled and ("'''" in sql or '"""' in sql),
            brackets=self.brackets and "[" in sql,
        )


_READINGS = (
    _Reading(),  # Postgres, DuckDB
    _Reading(nested=False),  # Trino, Oracle
    _Reading(brackets=True),  # SQL Server
    _Reading(brackets=True, nested=False),  # SQLite
    _Reading(escaped="'"),  # Redshift, Athena
    _Reading(comment="//", nested=False, escaped="'"),  # Snowflake
    _Reading(escaped="'\""),  # Spark, Databricks
    _Reading(comment="#", nested=False, escaped="'\""),  # MySQL
    _Reading(comment="#", escaped="'\"`"),  # ClickHouse
    # BigQuery, Python
    _Reading(comment="#", nested=False, escaped="'\"`", raw_escaped=True, tripled=True),
)


@lru_cache(maxsize=64)
def _openers(reading: _Reading) -> re.Pattern[str]:
    """Return a pattern of all that starts something else than code."""
    quotes = "'''|\"\"\"|['\"`]" if reading.tripled else "['\"`]"
    return re.compile(
        rf"(?:--{f'|{reading.comment}' if reading.comment else ''})[^\n]*|/\*"
        r"|\{\#"  # of Jinja
        r"|(?<![\w$])\$(?:[^\W\d]\w*)?\$"
        r"|(?<!\w)[nN]?[qQ]'[^\s']"  # of Oracle
        rf"|(?:(?<!\w)(?:[eE](?=')|[bB]?[rR](?=['\"])|[rR][bB](?=['\"])))?(?:{quotes})"
        + (r"|\[[^\[\]\n]*(?:\]\][^\[\]\n]*)*\]" if reading.brackets else "")
    )


_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}


def without_control_characters(text: str) -> str:
    r"""Return the text without NUL, escapes and lone surrogates, which no request can carry well.

    Of control characters tabs and line ends stay, these as ``\n``; other ones that separate words
    become a blank.
    """
    return _CONTROL.sub("", _ODD_BLANK.sub(" ", _LINE_END.sub("\n", text)))


def tidy_sql(sql: str) -> str:
    r"""Return SQL that means the same and spends nothing on layout.

    Lines end in ``\n`` and control characters are gone. Outside of literals and quoted names, tabs
    and runs of blanks are one blank, blank lines are dropped, and one level of indentation is one
    blank: what belongs where still shows. From a quote that is never closed on, and in Python
    models, blanks stay as they are.
    """
    text = without_control_characters(sql)
    if _PYTHON_MODEL.search(text):
        return text.strip("\n")
    text = f"\n{text}"  # makes the first line's indentation one like all others
    layout = _Layout()
    pieces = []
    end = 0
    for start, stop in _spans(text, {_Kind.LITERAL, _Kind.NAME}):
        pieces += [_BLANKS.sub(layout.shortened, text[end:start]), text[start:stop]]
        end = stop
    pieces.append(_BLANKS.sub(layout.shortened, text[end:]).rstrip(" \n"))
    return "".join(pieces).removeprefix("\n")


class _Layout:
    """Follows the indentation of lines, from the outermost one to that of the last line."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def shortened(self, run: re.Match[str]) -> str:
        """Return one blank for a run of blanks, or one line end and its level's indentation."""
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

    Where lines are so long that this would lose half of what may be shown, the cut is at a blank,
    and where there is none either, at the limit.

    Args:
        sql: What to cut.
        max_chars: What to keep at most, the added line not counted; None keeps all.
    """
    if max_chars is None or len(sql) <= max_chars:
        return sql
    borders = (sql.rfind(border, 0, max_chars + 1) for border in "\n ")
    end = next((border for border in borders if border >= max_chars // 2), max_chars)
    kept = sql[:end].rstrip()
    return f"{kept}\n-- ({len(sql) - len(kept)} more characters of SQL are not shown)"


def code_only(sql: str) -> str:
    """Return SQL with blanks for all that is a literal, a quoted name or a comment in any dialect.

    Everything else stands where it stood.
    """
    pieces = []
    end = 0
    for start, stop in _spans(sql, set(_Kind)):
        pieces += [sql[end:start], " " * (stop - start)]
        end = stop
    return "".join([*pieces, sql[end:]])


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


def mask_personal_data_in_text(text: str) -> str:
    """Return a text with ``<email>``, ``<card>``, ``<ssn>`` and ``<phone>`` for personal data.

    Masked are e-mail addresses, payment card numbers (known issuer, right check digit), US social
    security numbers, international phone numbers (``+49 30 1234567``) and North American ones with
    their separators. A bare row of digits without a plus is an identifier unless it is a card, and
    other national ways to write phone numbers cannot be told from order numbers: they stay.
    """
    text = _EMAIL.sub("<email>", text)
    text = _CARD.sub(_masked_card, text)
    text = _SSN.sub("<ssn>", text)
    text = _INTERNATIONAL_PHONE.sub(_masked_phone, text)
    return _AMERICAN_PHONE.sub("<phone>", text)


# Regular expressions, because the libraries for this do not fit: phonenumbers (23 MB) takes the
# sizes "250 500 1000" for a phone number, scrubadub brings scikit-learn, presidio brings spaCy,
# and none of them knows a literal from code. No "%" before the @: LIKE '%@example.com' is a rule.
_EMAIL = re.compile(r"(?<![\w.+-])\w[\w.+-]{0,63}@(?:[\w-]+\.)+[^\W\d_]{2,}")
_CARD = re.compile(
    r"(?<![\w.-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"
    r"|\d{4}([ -])\d{6}\2\d{4,5})(?!\w|[.-]\w)"
)
_CARD_ISSUER = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12,15}|62\d{14,17}|(?:50[123]8|6304|6759|676[1-3])\d{8,15}"
)
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}([ -])(?!00)\d{2}\1(?!0000)\d{4}(?!\w|[.-]\w)")
_INTERNATIONAL_PHONE = re.compile(r"(?<![\w+])\+[1-9](?:[ ().\-/]{0,3}\d){7,14}(?!\w|[.-]\w)")
_AMERICAN_PHONE = re.compile(
    r"(?<![\w+-])(?<!\d\.)(?:(?:1[ .-])?\([2-9]\d{2}\)[ -]?\d{3}[ .-]\d{4}"
    r"|(?:1[.-])?[2-9]\d{2}([.-])\d{3}\1\d{4})(?: ?(?:x|ext\.?) ?\d{1,5})?(?!\w|[.-]\w)"
)
_MIN_BARE_PHONE_DIGITS = 10
"""Of what has a plus and no separators: fewer are offsets and amounts."""


def _masked_card(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[0])
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    is_card = (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0
    return "<card>" if is_card and _CARD_ISSUER.fullmatch(digits) else match[0]


def _masked_phone(match: re.Match[str]) -> str:
    number = match[0][1:]
    is_amount = re.fullmatch(r"\d+\.\d+", number) is not None
    is_short = number.isdigit() and len(number) < _MIN_BARE_PHONE_DIGITS
    return match[0] if is_amount or is_short else "<phone>"


def _spans(sql: str, kinds: Collection[_Kind]) -> list[tuple[int, int]]:
    """Return start and end of all that is of these kinds in any reading, in order, disjoint."""
    # Most texts hold nothing that dialects read differently: one reading is left of ten.
    different = dict.fromkeys(reading.without_what_is_not_in(sql) for reading in _READINGS)
    readings = [list(_read(sql, reading)) for reading in different]
    whole = [spans for spans in readings if not spans or spans[-1][2] is not None]
    all_spans = sorted(
        (start, len(sql) if end is None else end)
        for spans in whole or readings
        for kind, start, end in spans
        if kind in kinds
    )
    merged: list[tuple[int, int]] = []
    for start, end in all_spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _read(sql: str, reading: _Reading) -> Iterator[tuple[_Kind, int, int | None]]:
    """Yield kind, start and end of all that is no code; the end is None when it never comes."""
    openers = _openers(reading)
    position = 0
    while (opener := openers.search(sql, position)) is not None:
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
    if text[0] in "nNqQ":
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
    position = sql.find(closing, start)
    return None if position < 0 else position + len(closing)


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


_AS_PRINTED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), people)
    for pattern, people in (
        (
            r"\bIFF\((?P<by>[\w.]+) = 0 AND NOT (?P<of>[\w.]+) IS NULL, 0, (?P=of) / (?P=by)\)",
            r"DIV0(\g<of>, \g<by>)",
        ),
        (r"\bIFF\((?P<of>[\w.]+) IS NULL, 0, (?P=of)\)", r"ZEROIFNULL(\g<of>)"),
        (r"\bGET_PATH\(([\w.]+), '([\w.\[\]]+)'\)", r"\1:\2"),
        (r"\bNOT ([\w.]+) IS (NULL|TRUE|FALSE)\b", r"\1 IS NOT \2"),
        (r"\bNOT ([\w.]+) (IN|LIKE|ILIKE|BETWEEN)\b", r"\1 NOT \2"),
    )
)
"""What the parser's printer makes of SQL, and what people write in its place."""


def as_people_write(sql: str) -> str:
    """Return printed SQL in the forms that people write: ``x IS NOT NULL``, ``payload:device``."""
    for printed, people in _AS_PRINTED:
        sql = printed.sub(people, sql)
    return sql
