"""What one SELECT says of the columns and rows it gives; `lineage` reads it out of the SQL.

Plain data that needs no parser: what only looks at facts does not load sqlglot for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from dbt_osmosis_llm.evidence.names import entry

Schema = Mapping[str, Iterable[str]]
"""Names of relations, unquoted, to the names of their columns in order."""

MARKER = "(set by the build)"
"""Stands in the SQL for a value of one build, where a string may be any other one."""

CUT_MARK = " ..."
"""The end of an expression that is not whole."""


@dataclass(frozen=True)
class Leaf:
    """One column of one real table."""

    relation: str
    """As qualified in the SQL, without quotes: "db.schema.stg_orders"."""
    column: str


class ColumnKind(str, Enum):
    """How an output column comes from the columns of real tables."""

    PASS = "pass"  # noqa: S105
    RENAME = "rename"
    CAST = "cast"
    DERIVED = "derived"
    AGGREGATE = "aggregate"
    WINDOW = "window"
    UNION = "union"
    LITERAL = "literal"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Passage:
    """A relation of a FROM clause through which a column comes."""

    name: str
    """As the query calls it."""
    relation: str
    """The real table behind it, as qualified in the SQL without quotes, else a CTE."""
    kind: str = ""
    """Of join, e.g. ``left``; empty for what stands first."""
    condition: str = ""
    """As written."""
    is_optional: bool = False
    """Whether rows without a partner in it stay."""
    has_alias: bool = False
    is_repeated: bool = False
    """Whether the query has the same relation under another name, too."""
    picks: str = ""
    """By what it is one row of several for each partner, empty where it is not."""


class Equality(NamedTuple):
    """Two columns that are joined with each other."""

    one: Leaf
    other: Leaf
    one_alias: str = ""
    """Of the relation that it comes through, empty where it has none."""
    other_alias: str = ""


class Absence(NamedTuple):
    """What a column is in rows without a partner in a joined relation."""

    passage: Passage
    value: str
    """A literal of SQL; ``NULL`` where the column is empty."""


@dataclass(frozen=True)
class Restriction:
    """A filter on one column that all rows of a query have passed."""

    text: str
    leaves: tuple[Leaf, ...]
    """What the column is made of."""
    values: tuple[str, ...] = ()
    """Literals that it is compared with, without quotes."""


@dataclass(frozen=True)
class ColumnLineage:
    """Where one output column comes from."""

    name: str
    kind: ColumnKind
    expression: str | None
    """Defining SQL down to real tables, on one line; None if unknown."""
    leaves: tuple[Leaf, ...]
    """In order of first appearance, unique; empty if unknown."""
    is_plain: bool = False
    """Whether its values are those of its leaves, unchanged or only cast, also through unions."""
    rows: str = ""
    """What decides which rows its aggregates and windows see; empty when it has none."""
    passages: tuple[Passage, ...] = ()
    """Of a plain column, the joined relations through which it comes, outer ones first."""
    absences: tuple[Absence, ...] = ()
    """What it is where a joined relation has no row, as far as that is known."""
    casts: tuple[str, ...] = ()
    """The types that a plain column is cast to, inner ones first."""
    fixed: str = ""
    """The literal that it always is, by the filters of its query; empty where there is none."""
    over: tuple[str, ...] = ()
    """The steps (see `Step.name`) over whose rows its aggregates and windows are taken."""


@dataclass(frozen=True)
class Join:
    """One joined relation."""

    kind: str
    """Empty for what stands first in a FROM clause."""
    relation: str
    condition: str | None
    """As written."""
    alias: str = ""


@dataclass(frozen=True)
class Step:
    """One query inside a SELECT that does more than passing rows on, in its own names."""

    name: str
    """Of the CTE or subquery, empty for the outermost query."""
    sources: tuple[Join, ...] = ()
    filters: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Set operations, DISTINCT, LIMIT."""


@dataclass(frozen=True)
class QueryFacts:
    """What one SELECT says about the columns and rows it gives."""

    columns: Mapping[str, ColumnLineage] = field(default_factory=lambda: MappingProxyType({}))
    """By name as written; columns of a star over an unknown table are missing."""
    relations: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    """Those that each of its rows has passed."""
    restrictions: tuple[Restriction, ...] = ()
    """Those of `filters` that are about one column."""
    steps: tuple[Step, ...] = ()
    """Inner ones first."""
    equalities: tuple[Equality, ...] = ()
    inner_restrictions: tuple[Restriction, ...] = ()
    """Filters on one column that not each of its rows has passed: of a branch, of a CTE joined."""
    joins: tuple[Join, ...] = ()
    group_by: tuple[str, ...] = ()
    distinct: bool = False
    set_operations: tuple[str, ...] = ()
    row_number_partition: tuple[str, ...] = ()
    groupings: tuple[str, ...] = ()
    """GROUP BY lists of all queries that it reads, inner ones first."""
    rows: str = ""
    """What decides which rows it gives: the joins, filters, grouping and so on of all queries."""
    has_outer_join: bool = False
    """Whether anything it reads is joined so that rows without a partner stay, with nulls."""
    keeps_rows: bool = False
    """Whether it gives each row of the table that it begins with at most once."""
    is_complete: bool = False
    """Whether `columns` has each column, with no star left whose table may have more of them."""
    failure: str = ""
    """The error of ours that kept the SQL from being read, on one line; empty when there was none.
    SQL that sqlglot does not know is no failure: it gives no facts, and nothing is wrong."""

    def column(self, name: str) -> ColumnLineage | None:
        """The column of that name, whatever its case; a field of a struct is made as its column."""
        found = entry(name, self.columns)
        column, _, rest = name.partition(".")
        if found is not None or not rest or (whole := entry(column, self.columns)) is None:
            return found
        expression = whole.expression and f"({whole.expression}).{rest}"
        empty = tuple(one for one in whole.absences if one.value.upper() == "NULL")
        whole = replace(whole, fixed="", casts=(), absences=empty)
        if whole.is_plain:
            fields = tuple(Leaf(leaf.relation, f"{leaf.column}.{rest}") for leaf in whole.leaves)
            return replace(whole, name=name, expression=expression, leaves=fields)
        stays = whole.kind in (ColumnKind.UNKNOWN, ColumnKind.LITERAL)
        kind = whole.kind if stays else ColumnKind.DERIVED
        return replace(whole, name=name, expression=expression, kind=kind)

    def expressions_of(self, keys: Iterable[str]) -> tuple[str, ...]:
        """What columns of a grouping are made of, which stand there by their own names."""
        columns = ((key, self.column(key)) for key in keys)
        return tuple((column and column.expression) or key for key, column in columns)

    def known_column(self, name: str) -> ColumnLineage | None:
        """The column of that name, if what it is made of is certain."""
        column = self.column(name)
        return column if column is not None and column.kind is not ColumnKind.UNKNOWN else None


EMPTY_FACTS = QueryFacts()
