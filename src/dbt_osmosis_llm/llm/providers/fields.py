"""Reads JSON of servers that may send anything: what is not of the right kind counts as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_COUNT = 10**12
"""No answer has more tokens; larger numbers do not fit a float."""


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list."""
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def count(fields: Any, key: str) -> int:
    """Return a number of tokens; what is no such number counts as 0."""
    value = mapping(fields).get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return min(max(0, value), _MAX_COUNT)
