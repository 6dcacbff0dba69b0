"""Numbers of a text against those of the evidence.

What is compared are values, not digits: 0.19 in the SQL is 19 % in a text, ``/ 100`` may be
100.0 or 0.01, and 1,234 is either of two numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cached_property

from dbt_osmosis_llm.evidence.names import pieces
from dbt_osmosis_llm.synthesis.checks.words import stem

_MAX_DIGITS = 25
"""Of a number that is reckoned with; longer ones are compared as they are written."""

_BLANKS = "\u00a0\u202f"
_NUMBER = re.compile(
    rf"(?P<digits>[0-9]+(?:[-.,_:/'{_BLANKS}][0-9]+)*)(?P<suffix>\w*)"
    rf"[ {_BLANKS}-]?(?P<unit>%|[a-zA-Z]*)"
)
_DIGITS = re.compile(r"[0-9]+")
_GROUPED = re.compile(rf"\d{{1,3}}(?:[.,_'{_BLANKS}]\d{{3}})+")
_FRACTION = re.compile(r"(.*)[.,](\d+)", re.DOTALL)
_EXPONENT = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)[eE]([+-]?\d{1,2})(?!\w)")

_PART_OF_A_WORD = re.compile(r"(?:\w|[^\W\d_][-+/.])\Z")
"""Before the digits of Q1, SHA-256, UTC+1."""
_STANDARD = re.compile(r"\b(?:ISO|RFC|EPSG|WGS|ANSI|IEEE|IEC|DIN|IFRS|ICD|IAS|ASC)[ /:-]*\Z")
_NO_UNIT = {"bit", "byte"}
"""After the digits of a kind of integer."""

_SUFFIXES = {
    **dict.fromkeys(("", "h", "d", "m", "s", "min", "ms", "x"), 1),
    "k": 1000,
    "M": 1_000_000,
}
_MAGNITUDES = {"thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_PERCENT = {"%", "percent", "per", "pct", "percentage"}
_VALUE_OF_WORD = {
    "zero": 0,
    **dict.fromkeys(("two", "twice", "double", "both", "second"), 2),
    **dict.fromkeys(("three", "triple", "third"), 3),
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
    "thirty": 30,
    "sixty": 60,
    "ninety": 90,
    "hundred": 100,
    "thousand": 1000,
    "percent": 100,
    "percentage": 100,
}

_CALENDAR_CALL = re.compile(
    r"\b(?:extract|date_?part)\s*\(\s*'?(\w+)|\b(hour|minute|second|month|quarter|week|day|"
    r"day_?of_?week|weekday|day_?of_?month|day_?of_?year|week_?of_?year|iso_?week)\s*\(",
    re.IGNORECASE,
)
_LARGEST = {
    "hour": 24,
    "minute": 60,
    "second": 60,
    "dow": 7,
    "isodow": 7,
    "dayofweek": 7,
    "weekday": 7,
    "day": 31,
    "dayofmonth": 31,
    "week": 53,
    "weekofyear": 53,
    "isoweek": 53,
    "month": 12,
    "quarter": 4,
    "doy": 366,
    "dayofyear": 366,
}
"""Part of a date to the largest number it has."""
_SAME_SPAN: dict[tuple[Decimal | int, str], set[str]] = {
    (24, "h"): {"day", "daily", "time"},
    (24, "hour"): {"day", "daily", "time"},
    (7, "day"): {"week", "weekly"},
    (12, "month"): {"year", "yearly", "annual"},
    (60, "minut"): {"hour"},
    (60, "second"): {"minute", "minutes"},
}
"""A number and the stem of its unit to the words that mean as much."""


class Figures:
    """The numbers that some evidence states.

    Args:
        text: The evidence.
        sizes: How many there are of what it lists.
    """

    def __init__(self, text: str, sizes: Iterable[int] = ()) -> None:
        self._text = text
        self._sizes = tuple(sizes)

    def unknown_in(self, text: str, name: str, expression: str | None) -> Iterator[str]:
        """Yield the numbers of a text, as written, that do not follow from the evidence.

        Args:
            text: What to look at.
            name: Of the column or table: an ``order_hour`` may have any hour.
            expression: What defines the column; None if that may be anywhere in the evidence.
        """
        says_percent = "%" in text or "percent" in text.lower()
        calls = self._calendar_parts if expression is None else _calendar_parts(expression)
        parts = calls.union(pieces(name))
        largest = max((_LARGEST.get(part, 1) for part in parts), default=1)
        for number in _NUMBER.finditer(text):
            if not self._is_known(text, number, largest, says_percent):
                yield number["digits"] + ("%" if number["unit"] == "%" else "")

    def _is_known(self, text: str, number: re.Match[str], largest: int, says_percent: bool) -> bool:
        digits, suffix, unit = number["digits"], number["suffix"], number["unit"].lower()
        before = text[max(0, number.start() - 16) : number.start()]
        if suffix not in _SUFFIXES or unit in _NO_UNIT or _PART_OF_A_WORD.search(before):
            return True
        if _STANDARD.search(before):
            return True
        factor = _SUFFIXES[suffix] * _MAGNITUDES.get(unit, 1)
        is_percent = unit in _PERCENT

        def is_known(digits: str) -> bool:
            readings = _readings(digits)
            values = [value * factor for value in readings if isinstance(value, Decimal)]
            return (
                bool(readings & self._numbers)
                # What is given in percent goes up to 100.
                or (says_percent and 100 in values)
                # Any hour of an `order_hour`; of other columns 0 and 1.
                or any(value <= largest and not value % 1 and not is_percent for value in values)
                or any(self._is_span(value, unit or suffix) for value in values)
                or any(self._follows(value, is_percent=is_percent) for value in values)
            )

        parts = _DIGITS.findall(digits)
        # A date, a time, a range or a version stands in the evidence if its parts do.
        return is_known(digits) or (len(parts) > 1 and all(map(is_known, parts)))

    def _follows(self, value: Decimal, *, is_percent: bool) -> bool:
        same = {value, 1 / value if value else value}
        if is_percent:
            # 19 % is 0.19 in the SQL, or 1.19 where it is added and 0.81 where it is taken off.
            same |= {value / 100, 1 + value / 100, 1 - value / 100}
        if value < 1:
            same.add(value * 100)
        return bool(same & self._numbers)

    def _is_span(self, value: Decimal, unit: str) -> bool:
        return bool(_SAME_SPAN.get((value, stem(unit)), set()) & self._words)

    @cached_property
    def _words(self) -> set[str]:
        return set(pieces(self._text))

    @cached_property
    def _numbers(self) -> set[Decimal | str]:
        # Zero and one say yes and no, and what takes the place of null.
        numbers: set[Decimal | str] = {Decimal(0), Decimal(1), *map(Decimal, self._sizes)}
        for number in _NUMBER.finditer(self._text):
            numbers |= _readings(number["digits"])
            for part in _DIGITS.findall(number["digits"]):
                numbers |= _readings(part)
        numbers.update(Decimal(number[0]) for number in _EXPONENT.finditer(self._text))
        words = self._words & _VALUE_OF_WORD.keys()
        return numbers.union(Decimal(_VALUE_OF_WORD[word]) for word in words)

    @cached_property
    def _calendar_parts(self) -> set[str]:
        return _calendar_parts(self._text)


def _calendar_parts(sql: str) -> set[str]:
    """Return what SQL takes out of dates, such as ``hour``."""
    calls = _CALENDAR_CALL.finditer(sql)
    return {(call[1] or call[2]).lower().replace("_", "") for call in calls}


def _readings(digits: str) -> set[Decimal | str]:
    """Return what a number can mean as a whole: 1,234 is 1234, or 1.234 elsewhere."""
    if len(digits) > _MAX_DIGITS:
        return {digits}
    readings: set[Decimal | str] = set()
    if digits.isdigit():
        readings.add(Decimal(digits))
    if _GROUPED.fullmatch(digits):
        readings.add(Decimal(_only_digits(digits)))
    fraction = _FRACTION.fullmatch(digits)
    if fraction and (fraction[1].isdigit() or _GROUPED.fullmatch(fraction[1])):
        readings.add(Decimal(f"{_only_digits(fraction[1])}.{fraction[2]}"))
    return readings


def _only_digits(number: str) -> str:
    return "".join(filter(str.isdigit, number))
