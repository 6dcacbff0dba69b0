"""Reads JSON objects out of text, with the liberties that models take with JSON.

Whatever is read stands in the text as it is: a text that ends early loses the property that was
being written, and what is malformed in its middle is a problem to report, never a guess. The
libraries that repair JSON close half a string and call it a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MAX_DEPTH = 100
"""Levels of nesting; far from where Python's recursion ends for whoever takes the answer on."""

_MAX_DIGITS = 4000
"""Of an integer; reading more takes quadratic time, and Python refuses it from 4,300."""

_MAX_ATTEMPTS = 10_000
"""Braces tried in one text: keeps a megabyte of braces from costing seconds."""

_DOUBLE, _SINGLE = "\u201c\u201d\u201e\u201f", "\u2018\u2019\u201a\u201b"
_CLOSERS = {'"': '"', "'": "'"} | dict.fromkeys(_DOUBLE, _DOUBLE) | dict.fromkeys(_SINGLE, _SINGLE)
_QUOTES = "".join(_CLOSERS)
_APOSTROPHES = f"'{_SINGLE}"
_STOPS = {quote: re.compile(rf"[{closers}\\]") for quote, closers in _CLOSERS.items()}

_BLANK = r"[\s\x00-\x1f\ufeff\u200b\u2060]"
_COMMENT = r"(?://|\#)[^\n]*|/\*(?s:.*?)(?:\*/|\Z)"
_ELLIPSIS = r"\.\.\.|\u2026"
_GAP = re.compile(rf"(?:{_BLANK}+|{_COMMENT}|{_ELLIPSIS})*")
_BEGIN = re.compile(
    # Braces of prose and templates, {% … %} or {# … #}, begin no object.
    rf"\{{(?!\#)(?={_BLANK}*[{_QUOTES}\w$/\#,}}\u2026.])|\[(?={_BLANK}*\{{)"
)
_BRACKETS = re.compile(r"[{}\[\]]")
_FENCES = ("```", "~~~")
_NAME = re.compile(r"[\w$.-]+")
_WORD = re.compile(r"-?[A-Za-z]+")
_LITERALS = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "undefined": None,
    # As JavaScript writes them: JSON has no other word for what is no number.
    "nan": None,
    "infinity": None,
    "-infinity": None,
}
_NUMBER_LIKE = re.compile(r"[-+.0-9eE]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(
    # The last two are Python's.
    rf"\\(u{_HEX}{{4}}|x{_HEX}{{2}}|U00(?:0{_HEX}|10){_HEX}{{4}}|.)",
    re.DOTALL,
)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def _quoted(begin: str, inside: str, end: str) -> str:
    """Return a pattern of a quoted key and its colon, or of as much as is there of both."""
    text = rf"[^{inside}\\]*(?:\\.[^{inside}\\]*)*"
    return rf"{begin}{text}(?:\\?\Z|{end}{_BLANK}*(?::|\Z))"


_KEY = "|".join(
    [
        _quoted('"', '"', '"'),
        _quoted("'", "'", "'"),
        _quoted(f"[{_DOUBLE}]", _DOUBLE, f"[{_DOUBLE}]"),
        _quoted(f"[{_SINGLE}]", _SINGLE, f"[{_SINGLE}]"),
        rf"[\w$.-]+{_BLANK}*:",
    ]
)
_AFTER_PROPERTY = re.compile(
    rf"{_BLANK}*(?:\}}|```|~~~|,{_BLANK}*(?:\Z|[}}/\#]|{_KEY}))", re.DOTALL
)
_AFTER_ELEMENT = re.compile(rf"{_BLANK}*(?:\]|```|~~~|,)")
_BEFORE_VALUE = re.compile(rf"[:,{{\[]{_BLANK}?\Z")
_AFTER_QUOTE = re.compile(rf"{_BLANK}*(?::|[{_QUOTES}]|,{_BLANK}*[{_QUOTES}])")


@dataclass(frozen=True)
class Reading:
    """What stands at one brace or bracket of a text."""

    start: int
    end: int
    """Where reading stopped, in characters of the text."""
    value: dict[str, Any] | list[Any] | None = None
    """None where there is nothing whole."""
    is_whole: bool = True
    """False where the text ends, or its code fence does, before the closing bracket."""
    problem: str = ""
    """What was expected instead of what stands at ``end``, where an object had begun."""

    @property
    def is_prose(self) -> bool:
        """Tell whether the brace begins no object at all."""
        return self.value is None and self.is_whole and not self.problem


class _CutError(Exception):
    """The text ends here."""


class _MalformedError(Exception):
    """The text goes on with something that is no JSON, however tolerantly read."""


def read_json(text: str) -> Iterator[Reading]:
    """Yield each object of a text, and each list of objects, but not what stands inside of them.

    Takes linear time. Keys are strings, values what JSON knows, with U+FFFD for lone surrogates
    and None for numbers without a value. An object read up to the end of the text has its whole
    properties only, at each level; a list its whole elements.
    """
    position = 0
    for _ in range(_MAX_ATTEMPTS):
        begin = _BEGIN.search(text, position)
        if begin is None:
            return
        reading = _read(text, begin.start())
        if not reading.is_prose:
            yield reading
        position = max(reading.end, begin.end())
        if reading.problem:
            # What a broken object holds is no answer on its own.
            position = max(position, _end_of_broken(text, begin.start()))


def unescape(text: str) -> str:
    """Return a text with the escapes of JSON and Python resolved and no lone surrogates."""
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    # Models escape what needs none, `\_` or `\'`; of `\d` the backslash is meant.
    return _CONTROLS.get(code) or (escape[0] if code.isalnum() else code)


def _end_of_broken(text: str, start: int) -> int:
    """Return where the bracket at ``start`` closes, counting those in strings too."""
    depth = 0
    for bracket in _BRACKETS.finditer(text, start):
        depth += 1 if bracket[0] in "{[" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def _read(text: str, start: int) -> Reading:
    """Return what stands at a bracket."""
    reading = _Reader(text, start).read()
    if reading.problem:
        # Only where the quotes make no sense as they are may some of them be part of a text.
        second = _Reader(text, start, bare_quotes=True).read()
        if second.value:
            return second
    return reading


@dataclass
class _Frame:
    """An object or a list that is open."""

    value: dict[str, Any] | list[Any]
    key: str = ""

    def add(self, value: Any) -> None:
        if isinstance(self.value, dict):
            self.value[self.key] = value
        else:
            self.value.append(value)


class _Reader:
    """Reads one object or list with a stack of its own, so that no nesting ends Python's."""

    def __init__(self, text: str, start: int, *, bare_quotes: bool = False) -> None:
        self._text = text
        self._start = start
        self._at = start
        self._bare_quotes = bare_quotes
        self._frames: list[_Frame] = []
        self._root: dict[str, Any] | list[Any] | None = None
        self._has_begun = False
        """A key and its colon were read: this is no brace of prose."""

    def read(self) -> Reading:
        """Return what was read up to the closing bracket, the end or what makes no sense."""
        try:
            self._read_value()
            while self._frames:
                self._read_item()
        except _CutError:
            return Reading(self._start, self._at, self._what_is_whole() or None, is_whole=False)
        except _MalformedError as error:
            return Reading(self._start, self._at, problem=str(error) if self._has_begun else "")
        return Reading(self._start, self._at, self._root)

    def _what_is_whole(self) -> dict[str, Any] | list[Any]:
        """Close all that is open, without what was being written."""
        root = self._frames[0].value
        while len(self._frames) > 1:
            value, parent = self._frames.pop().value, self._frames[-1]
            # Half an element of a list is none: what it lacks would read as left out on purpose.
            # Not so in a list around all: its elements tell a wrapped answer from a list of many.
            keeps = bool(value) if isinstance(parent.value, dict) else parent.value is root
            if keeps:
                parent.add(value)
        return root

    def _read_item(self) -> None:
        """Read one property, one element or a closing bracket."""
        frame = self._frames[-1]
        in_object = isinstance(frame.value, dict)
        follows_comma = self._skip_gap_and_commas()
        char = self._text[self._at]
        if char == ("}" if in_object else "]"):
            self._at += 1
            self._frames.pop()
            self._take(frame.value)
            return
        # A comma forgotten before a quoted key is no riddle, any other is.
        if frame.value and not follows_comma and not (in_object and char in _QUOTES):
            raise _MalformedError("a comma or a closing bracket")
        if in_object:
            frame.key = self._read_key()
        self._read_value()

    def _take(self, value: Any) -> None:
        if self._frames:
            self._frames[-1].add(value)
        else:
            self._root = value

    def _cut(self) -> _CutError:
        self._at = len(self._text)
        return _CutError()

    def _skip_gap(self) -> str:
        """Go to the next character that means something, and return it."""
        if gap := _GAP.match(self._text, self._at):
            self._at = gap.end()
        # A code fence closes the answer, even one that is not complete.
        if self._at >= len(self._text) or self._text.startswith(_FENCES, self._at):
            raise _CutError
        return self._text[self._at]

    def _skip_gap_and_commas(self) -> bool:
        """Go to the next item, and tell whether a comma stands before it."""
        has_comma = False
        while self._skip_gap() == ",":
            has_comma = True
            self._at += 1
        return has_comma

    def _read_key(self) -> str:
        if self._text[self._at] in _QUOTES:
            key = self._read_string(is_key=True)
        else:
            name = _NAME.match(self._text, self._at)
            if name is None:
                raise _MalformedError("a key in double quotes")
            key = name[0]
            self._at = name.end()
        if self._skip_gap() != ":":
            raise _MalformedError("a colon after a key")
        self._at += 1
        self._has_begun = True
        self._skip_gap()
        return key

    def _read_value(self) -> None:
        char = self._text[self._at]
        if char in "{[":
            if len(self._frames) == _MAX_DEPTH:
                raise _MalformedError(f"no more than {_MAX_DEPTH} levels")
            self._at += 1
            self._frames.append(_Frame({} if char == "{" else []))
        elif char in _QUOTES:
            self._take(self._read_string(is_key=False))
        elif word := _WORD.match(self._text, self._at):
            self._take(self._read_literal(word[0].lower()))
        else:
            self._take(self._read_number())

    def _read_literal(self, word: str) -> Any:
        end = self._at + len(word)
        if word not in _LITERALS:
            if end == len(self._text) and any(name.startswith(word) for name in _LITERALS):
                raise self._cut()
            raise _MalformedError("a value")
        self._at = end
        return _LITERALS[word]

    def _read_number(self) -> int | float | None:
        token = _NUMBER_LIKE.match(self._text, self._at)
        if token is None:
            raise _MalformedError("a value")
        if token.end() == len(self._text):
            raise self._cut()  # more digits may have been to come
        if not _NUMBER.fullmatch(token[0]):
            raise _MalformedError("a value")
        self._at = token.end()
        if token[0].lstrip("+-").isdigit() and len(token[0]) <= _MAX_DIGITS:
            return int(token[0])
        value = float(token[0])
        return value if math.isfinite(value) else None

    def _read_string(self, *, is_key: bool) -> str:
        text, quote = self._text, self._text[self._at]
        parts: list[str] = []
        begin = at = self._at + 1
        while stop := _STOPS[quote].search(text, at):
            at = stop.end()
            if stop[0] == "\\":
                at += 1
            elif at == len(text) and stop[0] in _APOSTROPHES:
                break  # of the customer's, maybe
            elif is_key or not self._bare_quotes or self._ends_string(at):
                self._at = at
                return unescape("".join([*parts, text[begin : at - 1]]))
            elif text[at : at + 1] == stop[0]:  # doubled, as SQL escapes it
                parts.append(text[begin:at])
                begin = at = at + 1
            elif _AFTER_QUOTE.match(text, at) or _BEFORE_VALUE.search(text, at - 3, at - 1):
                # It may belong to another property: what ends where is anyone's guess.
                raise _MalformedError("a comma or a closing bracket")
        raise self._cut()

    def _ends_string(self, at: int) -> bool:
        """Tell whether what stands after a quote can follow a value."""
        in_object = isinstance(self._frames[-1].value, dict)
        after = _AFTER_PROPERTY if in_object else _AFTER_ELEMENT
        return after.match(self._text, at) is not None
