"""Values of compiled SQL that are those of one build: of a variable, the target, the clock.

dbt compiles ``'{{ target.database }}'`` to a literal that is another one elsewhere. A literal is
taken for such a value when neither it nor pieces that make it up stand in the project's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbt_osmosis_llm.evidence.facts import MARKER

if TYPE_CHECKING:
    from sqlglot import Token

_MIN_PIECE_CHARS = 3
"""Of at least one piece of a word that is put together."""
_MAX_LEFT_OVER = 3
"""Underscores, and digits of what a loop counts, between the pieces of a word."""
_MAX_WORD_CHARS = 200
_MAX_BARE_DIGITS = 2
"""Of a number beside known words, and of one that a loop may have counted."""

_STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
# What is never closed goes on to the end: looking for one end after the other takes too long.
_JINJA_COMMENT = re.compile(r"\{#.*?(?:#\}|\Z)", re.DOTALL)
_SQL_COMMENT = re.compile(rf"({_STRING})|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TAG = re.compile(rf"\{{(?P<kind>[{{%])((?:{_STRING}|.)*?)(?:[%}}]\}}|\Z)", re.DOTALL)
_JINJA_STRING = re.compile(_STRING, re.DOTALL)
_HOLE = re.compile(r"%[sd]")
_CONDITION = re.compile(r"-?\s*(?:if|elif)\b")
_LOOP = re.compile(r"-?\s*for\b")
_LIST = rf"(?:{_STRING}|\[[^\]]{{0,999}}\]|\([^)]{{0,999}}\))"
_COMPARED = re.compile(rf"(?:[!=]=|\bin\b)\s*{_LIST}|(?:{_STRING})\s*[!=]=", re.DOTALL)
"""What a value is compared with; that a column could hold it, nobody says."""
_SETTING = re.compile(r"\b(?:var|env_var|config|target\.get)\s*\(")
_NUMBER = re.compile(r"(?<![\w.])(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w)")
_WORD = re.compile(r"\w+")
_NO_LETTER = re.compile(r"[\W_]+")

_OF_VALUES = (
    r"\b(?:var|env_var|target|run_started_at|modules|run_query|statement|load_result"
    r"|get_column_values|graph|flags|invocation_args_dict|dbt_metadata_envs)\b"
)
_OF_A_BUILD = re.compile(
    _OF_VALUES + r"|\b(?:this|model|schema|database|identifier|invocation_id|dbt_version|thread_id"
    r"|selected_resources|generate_\w+_name|\w*relations?)\b"
    r"|\badapter\s*\.\s*(?!dispatch\b|quote\b)|\b(?:ref|source)\s*\([^)]{0,199}\)\s*[.~|]"
)
_RELATION_IN_LITERAL = re.compile(r"['\"]\s*\{\{-?\s*(?:ref|source)\s*\(")
_OF_NUMBERS = re.compile(_OF_VALUES)
_COUNTS = re.compile(r"\brange\s*\(|\bloop\s*\.|\blength\b")


@dataclass(frozen=True)
class Source:
    """What the text of one file or macro, Jinja included, says of literals.

    Several of them are one text: see `joined`.
    """

    words: frozenset[str] = frozenset()
    """All words that a literal may hold, in lower case."""
    pieces: frozenset[str] = frozenset()
    """Those that Jinja may put together to longer ones."""
    numbers: frozenset[str] = frozenset()
    has_build_values: bool = False
    """Whether it uses anything that may be another value in another build."""
    has_build_numbers: bool = False
    counts: bool = False
    """Whether it may count, so that small numbers stand nowhere."""


@dataclass(frozen=True)
class MarkedSQL:
    """Compiled SQL with `MARKER` for values of the build."""

    sql: str
    listed: tuple[str, ...] = ()
    """Those that still stand in it: numbers, and strings that decide what the SQL means."""


def read_source(text: str, *, is_hosts: bool = False) -> Source:
    """Return what a file or macro says of the literals that it is compiled to.

    Args:
        text: With its Jinja.
        is_hosts: It is dbt's own: what it asks of the build are no values of columns.
    """
    text = _JINJA_COMMENT.sub(" ", text)
    text = _SQL_COMMENT.sub(lambda match: match[1] or " ", text)
    tags = [tag for tag in _TAG.finditer(text) if not _CONDITION.match(tag[2])]
    code = [_without_settings(_without_comparisons(tag[2])) for tag in tags]
    strings = [_HOLE.sub(" ", s[0][1:-1]) for part in code for s in _JINJA_STRING.finditer(part)]
    # An expression may go on a word; a tag such as `{% for %}` may not.
    outside = _TAG.sub(lambda tag: "\0" if tag["kind"] == "{" else " ", text).lower()
    affixes = re.findall(r"(?<=\0)\w+|\w+(?=\0)", outside)
    pieces = {word for string in strings for word in _words(string)} | set(affixes)
    names = "\n".join(_JINJA_STRING.sub("''", tag[2]) for tag in _TAG.finditer(text))
    uses_build = _OF_A_BUILD.search(names) or _RELATION_IN_LITERAL.search(text)
    return Source(
        words=frozenset(pieces | set(_words(outside))),
        pieces=frozenset(pieces),
        numbers=frozenset(_NUMBER.findall("\n".join([outside, *code]))),
        has_build_values=not is_hosts and bool(uses_build),
        has_build_numbers=not is_hosts and bool(_OF_NUMBERS.search(names)),
        counts=bool(_COUNTS.search(names)),
    )


def joined(sources: Iterable[Source]) -> Source:
    """Return several sources as one; an empty one where none has values of the build."""
    every = list(sources)
    if not any(source.has_build_values for source in every):
        return Source()
    return Source(
        words=frozenset().union(*(source.words for source in every)),
        pieces=frozenset().union(*(source.pieces for source in every)),
        numbers=frozenset().union(*(source.numbers for source in every)),
        has_build_values=True,
        has_build_numbers=any(source.has_build_numbers for source in every),
        counts=any(source.counts for source in every),
    )


def mark_build_values(sql: str, source: Source, dialect: str | None = None) -> MarkedSQL:
    """Return compiled SQL without the values that come from its build.

    Args:
        sql: Compiled.
        source: Of all files and macros that it is compiled from.
        dialect: The dbt adapter's type.
    """
    if not source.has_build_values:
        return MarkedSQL(sql)
    # Here, because it takes long to load, and most models have no such values.
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import SqlglotError

    from dbt_osmosis_llm.evidence.lineage import sqlglot_dialect

    try:
        tokens = Dialect.get_or_raise(sqlglot_dialect(dialect)).tokenize(sql)
    except SqlglotError:
        return MarkedSQL(sql)
    known = _Known(source, tokens)
    pieces: list[str] = []
    listed: list[str] = []
    end = 0
    for index, (token, call) in enumerate(zip(tokens, _calls(tokens), strict=True)):
        kind = token.token_type.name
        if kind == "NUMBER":
            if not known.has_number(token.text):
                listed.append(token.text)
        elif kind in _STRINGS and not known.has_text(token.text):
            quote = sql[token.end]
            is_plain = quote in "'\"" and sql[token.start] == quote
            if is_plain and kind == "STRING" and _is_value(tokens, index, call):
                pieces += [sql[end : token.start], quote, MARKER, quote]
                end = token.end + 1
            else:
                listed.append(token.text)
    return MarkedSQL("".join([*pieces, sql[end:]]), tuple(dict.fromkeys(listed)))


def build_value_in(text: str, listed: Iterable[str]) -> str | None:
    """Return a value of the build that a text, or an expression, quotes; None when it has none.

    Args:
        text: Any.
        listed: Values beside `MARKER`, see `MarkedSQL`.
    """
    if re.search(rf"['\"`]{re.escape(MARKER)}['\"`]", text):
        return MARKER
    return next((value for value in listed if _standing(value).search(text)), None)


def without_build_values(sql: str, listed: Iterable[str]) -> str:
    """Return SQL with `MARKER` for listed values, too; no parser could read it."""
    for value in listed:
        sql = _standing(value).sub(MARKER, sql)
    return sql


def _standing(value: str) -> re.Pattern[str]:
    """Return a pattern of a value, as SQL and texts write it, that is no part of a longer one."""
    if _NUMBER.fullmatch(value):
        with_commas = f"|{int(value):,}" if value.isdecimal() else ""
        pattern = f"(?:{re.escape(value)}{with_commas})"
    else:
        # Printed, `'7 days'` may be `'7' DAY`.
        pattern = r"\W+".join(map(re.escape, _WORD.findall(value))) or re.escape(value)
        pattern = f"{pattern.removesuffix('s')}s?" if pattern.endswith("s") else pattern
    return re.compile(rf"(?<!\w)(?<!\d[.,]){pattern}(?!\w|[.,]\d)", re.IGNORECASE)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _without_comparisons(code: str) -> str:
    return code if _LOOP.match(code) else _COMPARED.sub(" ", code)


def _without_settings(code: str) -> str:
    """Return Jinja without calls that give values of the build, their defaults included."""
    pieces = []
    end = 0
    for call in _SETTING.finditer(code):
        if call.start() >= end:
            pieces.append(code[end : call.start()])
            end = _after_parenthesis(code, call.end())
    return " ".join([*pieces, code[end:]])


def _after_parenthesis(code: str, start: int) -> int:
    depth = 1
    for token in re.compile(rf"{_STRING}|[()]", re.DOTALL).finditer(code, start):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if not depth:
            return token.end()
    return len(code)


class _Known:
    """What of the literals of one compiled SQL stands in the text that it is compiled from."""

    def __init__(self, source: Source, tokens: Sequence[Token]) -> None:
        # Macros make literals of the names of columns. What a dot follows may be a schema.
        names = {name for text in _names(tokens) for name in _words(text)}
        self._words = source.words | names
        self._pieces = source.pieces | names
        self._lengths = sorted({len(piece) for piece in self._pieces})
        self._letters = {_NO_LETTER.sub("", word) for word in self._words}
        self._source = source

    def has_text(self, text: str) -> bool:
        """Tell whether a literal, or what makes it up, is the project's own."""
        words = _words(text)
        numbers = {word for word in words if word.isdigit() and len(word) <= _MAX_BARE_DIGITS}
        # The day of a date is no index of a loop.
        may_count = self._source.counts and not all(map(str.isdigit, words))
        counted = numbers if may_count else ()
        return all(word in counted or self._has_word(word) for word in words) or (
            _NO_LETTER.sub("", text.lower()) in self._letters  # `credit card` of `credit_card`
        )

    def has_number(self, text: str) -> bool:
        """Tell whether a number is the project's own, or none that could be told from others."""
        source = self._source
        if not source.has_build_numbers or text in source.numbers or text in ("0", "1"):
            return True
        return source.counts and text.isdigit() and len(text) <= _MAX_BARE_DIGITS

    def _has_word(self, word: str) -> bool:
        if word in self._words:
            return True
        if len(word) > _MAX_WORD_CHARS:
            return False
        # For each length of the word's beginning: the fewest characters that are left over.
        left_over: list[float] = [0, *[float("inf")] * len(word)]
        longest = 0
        for end in range(1, len(word) + 1):
            if word[end - 1] == "_" or (self._source.counts and word[end - 1].isdigit()):
                left_over[end] = left_over[end - 1] + 1
            for length in self._lengths:
                if length > end:
                    break
                if word[end - length : end] in self._pieces:
                    longest = max(longest, length)
                    left_over[end] = min(left_over[end], left_over[end - length])
        return left_over[-1] <= _MAX_LEFT_OVER and longest >= _MIN_PIECE_CHARS


def _names(tokens: Sequence[Token]) -> Iterator[str]:
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        is_name = token.token_type.name in ("VAR", "IDENTIFIER")
        if is_name and (after is None or after.token_type.name != "DOT"):
            yield token.text


# By name: not every sqlglot has all of them.
_STRINGS = frozenset(
    ("STRING", "NATIONAL_STRING", "RAW_STRING", "HEREDOC_STRING", "UNICODE_STRING", "BYTE_STRING")
)
_ARROWS = frozenset(("ARROW", "DARROW", "HASH_ARROW", "DHASH_ARROW"))
_WORDS = frozenset(("INTERVAL", "ALIAS", "FROM", "JOIN", "COLLATE", "END"))
_OPERANDS = frozenset(("VAR", "IDENTIFIER", "R_PAREN", "R_BRACKET", "STRING"))
_BEFORE_NO_VALUE = _ARROWS | _WORDS | _OPERANDS | {"COLON", "DOT", "NUMBER"}
"""Behind these a string is a unit, a name, a file, a path, or goes on another one."""
_TAKES_NO_VALUE = re.compile(
    r"(?:un)?pivot|columns|glob|(?:read|scan)_\w+|\w+_scan"
    r"|json\w*|get(?:_\w+)?|struct\w*|named_struct|object_construct|map|extract\w*",
    re.IGNORECASE,
)
"""Calls that read a string as a name, a file or a path."""
_TAKES_FORMAT = re.compile(
    r"(?:try_)?(?:to|parse|from|safe)_\w+|strf\w+|(?:try_)?strptime|format\w*|date_?\w*"
    r"|time\w*|last_day|next_day",
    re.IGNORECASE,
)
"""Calls that take a format or a unit, and values beside it."""
_HAS_DATE = re.compile(r"\d\d")


def _is_value(tokens: Sequence[Token], index: int, call: str) -> bool:
    """Tell whether a string, in a call or not, is a value that any other could stand for."""
    kinds = [token.token_type.name for token in tokens[max(0, index - 2) : index]]
    two_before, before = ["", "", *kinds][-2:]
    after = tokens[index + 1].token_type.name if index + 1 < len(tokens) else ""
    is_distinct_from = (two_before, before) == ("DISTINCT", "FROM")
    if (before in _BEFORE_NO_VALUE and not is_distinct_from) or after == "COLON":
        return False
    if before == "L_BRACKET" and two_before in _OPERANDS:
        return False
    if _TAKES_NO_VALUE.fullmatch(call):
        return False
    return not _TAKES_FORMAT.fullmatch(call) or bool(_HAS_DATE.search(tokens[index].text))


def _calls(tokens: Sequence[Token]) -> Iterator[str]:
    """Yield for each token the name of the call that it is an argument of, else nothing."""
    calls, before = [""], ""
    for token in tokens:
        kind = token.token_type.name
        if kind == "R_PAREN" and len(calls) > 1:
            calls.pop()
        yield calls[-1]
        if kind == "L_PAREN":
            # `PIVOT (… FOR month IN (…))`: what is listed is still the pivot's.
            calls.append(calls[-1] if before.upper() == "IN" else before)
        elif kind == "SELECT":
            calls[-1] = ""
        before = token.text
