"""What tests and constraints promise of a table, in words a prompt can carry.

They are the project's own rules, run or declared: what the SQL alone does not show. A test that
looks at some rows only says so, or its promise would be taken for one about all of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dbt_osmosis_llm.evidence.cutting import one_line
from dbt_osmosis_llm.evidence.names import plain_name, same_name

_MAX_ACCEPTED_VALUES = 20
_MAX_CHARS = 300
"""Of one promise."""

_PLUMBING = ("model", "column_name")
_QUOTED = re.compile(r"['\"]([^'\"]+)['\"]")
_COMBINATIONS = {
    "unique_combination_of_columns": "combination_of_columns",
    "expect_compound_columns_to_be_unique": "column_list",
}
"""Tests of dbt_utils and dbt_expectations that several columns together are unique."""

_CONSTRAINTS = {
    "not_null": "never null",
    "unique": "unique",
    "primary_key": "primary key",
    "foreign_key": "foreign key",
    "check": "check",
}


@dataclass(frozen=True)
class DataTest:
    """A generic test of one table."""

    name: str
    """Without its package."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """As the YAML gives them."""
    column: str = ""
    """The column, or the expression, that it is about; empty for the whole table."""
    where: str | None = None
    """The condition of the rows that it looks at; None for all."""

    @property
    def promise(self) -> str:
        """Return what it promises, in words."""
        words = _words(self.name, _given(self.arguments))
        return one_line(f"{words} where {self.where}" if self.where else words, _MAX_CHARS)

    @property
    def unique_columns(self) -> tuple[str, ...]:
        """Return the columns that it promises to be unique in all rows, together."""
        if self.where:
            return ()
        if self.name == "unique":
            return (plain_name(self.column),) if self.column else ()
        return _combination(self.name, _given(self.arguments))


def promises_of_column(
    name: str, tests: Iterable[DataTest], constraints: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return what a table's tests and a column's own constraints promise of the column."""
    words = [test.promise for test in tests if same_name(test.column, name)]
    return tuple(dict.fromkeys([*words, *map(_constraint_in_words, constraints)]))


def promises_of_table(
    columns: Collection[str], tests: Iterable[DataTest], constraints: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return the promises that are about no single column of a table."""
    known = {plain_name(name) for name in columns}
    words = [
        f"{test.column}: {test.promise}" if test.column else test.promise
        for test in tests
        if plain_name(test.column) not in known
    ]
    return tuple(dict.fromkeys([*words, *map(_constraint_in_words, constraints)]))


def keys_of(
    tests: Iterable[DataTest], constraints: Iterable[Mapping[str, Any]]
) -> tuple[tuple[str, ...], ...]:
    """Return the columns that are unique, each set together.

    Args:
        tests: Of the table.
        constraints: Of the table and its columns, each with its ``columns``.
    """
    tested = [test.unique_columns for test in tests]
    declared = [
        tuple(plain_name(str(column)) for column in constraint.get("columns") or ())
        for constraint in constraints
        if _kind(constraint) in ("unique", "primary_key")
    ]
    return tuple(dict.fromkeys(filter(None, [*tested, *declared])))


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(arguments)
    if isinstance(given.get("arguments"), Mapping):  # as newer versions of dbt nest them
        given |= given.pop("arguments")
    return given


def _words(name: str, given: Mapping[str, Any]) -> str:
    if name == "not_null":
        return "never null"
    if name == "unique":
        return "unique"
    if combination := _combination(name, given):
        return f"unique together: {', '.join(combination)}"
    if name == "accepted_values" and isinstance(given.get("values"), list):
        values = given["values"]
        more = len(values) - _MAX_ACCEPTED_VALUES
        shown = ", ".join(repr(value) for value in values[:_MAX_ACCEPTED_VALUES])
        return f"one of {shown}{f' and {more} more' if more > 0 else ''}"
    if name == "relationships":
        return f"found in {_target(str(given.get('to', '')))}.{given.get('field')}"
    others = sorted((key, value) for key, value in given.items() if key not in _PLUMBING)
    shown = ", ".join(f"{key}={value!r}" for key, value in others)
    return f"{name}({shown})" if shown else name


def _combination(name: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    columns = given.get(_COMBINATIONS.get(name, ""))
    return tuple(plain_name(str(column)) for column in columns) if isinstance(columns, list) else ()


def _constraint_in_words(constraint: Mapping[str, Any]) -> str:
    kind = _kind(constraint)
    words = _CONSTRAINTS.get(kind, f"constraint {kind}")
    if columns := constraint.get("columns"):
        words += f": {', '.join(map(str, columns))}"
    if target := constraint.get("to"):
        to_columns = ", ".join(map(str, constraint.get("to_columns") or ()))
        words += f" to {_target(str(target))}{f' ({to_columns})' if to_columns else ''}"
    if expression := constraint.get("expression"):
        words += f" {expression}"
    return one_line(words, _MAX_CHARS)


def _kind(constraint: Mapping[str, Any]) -> str:
    kind = constraint.get("type")
    return str(getattr(kind, "value", kind))


def _target(reference: str) -> str:
    """Return what ``ref('x')``, ``source('a', 'x')`` or a quoted relation names."""
    if "(" in reference:
        return ".".join(_QUOTED.findall(reference))
    return re.sub(r'["`\[\]]', "", reference)
