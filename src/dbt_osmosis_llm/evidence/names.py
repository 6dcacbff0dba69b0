"""Names of columns and tables, compared: one rule for all that asks whether two are the same.

YAML may keep the quotes around a name, SQL that was parsed has none, and each writes it in the case
it likes. So quotes go first, then case. Case goes by `str.lower`, never by `casefold`: hashes and
lock files are written with it, and `casefold` takes "maße" and "masse" for one column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

_QUOTES = '"`'
_PIECE = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

Value = TypeVar("Value")


def unquoted(name: str) -> str:
    """Return a name without the quotes that YAML keeps around it."""
    return name.strip(_QUOTES)


def folded(name: str) -> str:
    """Return what is the same for all cases of a name that has no quotes."""
    return name.lower()


def plain_name(name: str) -> str:
    """Return what is the same for all spellings of one name."""
    return folded(unquoted(name))


def same_name(one: str, other: str) -> bool:
    """Tell whether two spellings are of one name."""
    return plain_name(one) == plain_name(other)


def entry(name: str, entries: Mapping[str, Value]) -> Value | None:
    """Return the entry of a name, whatever its case in a mapping."""
    if name in entries:
        return entries[name]
    wanted = folded(name)
    return next((value for known, value in entries.items() if folded(known) == wanted), None)


def pieces(text: str) -> list[str]:
    """Return the words in lower case, with snake_case and camelCase taken apart."""
    return _PIECE.findall(_CAMEL.sub(" ", text).lower())


def word_set(words: str) -> frozenset[str]:
    """Return the words of a list that is written as one text."""
    return frozenset(words.split())
