"""Rows that are not those of a table: renamed, pivoted, of VALUES, unnested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.relation import Definition, Rest, Rows, Shape, opaque, united
from dbt_osmosis_llm.evidence.lineage.syntax import (
    SERIES,
    columns_of_alias,
    core_of,
    names_of,
)
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NAMES_OF_VALUES = {
    "databricks": ("col", 1),
    "duckdb": ("col", 0),
    "mysql": ("column_", 0),
    "postgres": ("column", 1),
    "snowflake": ("column", 1),
    "spark": ("col", 1),
    "sqlite": ("column", 1),
    "trino": ("_col", 0),
}
"""What columns of VALUES are called that nobody has named, and where counting begins."""
_MAX_SHOWN_VALUES = 300
"""More than an expression has room for."""


def renamed(rows: Rows, node: exp.Expr) -> Rows:
    """The rows under an alias with a column list: `as t(a, b)`."""
    if not isinstance(node.args.get("alias"), exp.TableAlias):
        return rows
    names = names_of(columns_of_alias(node))
    if not names:
        return rows
    if not rows.closed or len(names) > len(rows.names):
        return opaque(rows.part, names)
    return Rows(names + rows.names[len(names) :], rows.definitions, [], part=rows.part)


def pivoted(rows: Rows, pivot: exp.Expr) -> Rows:
    """The rows of PIVOT or UNPIVOT: the columns it does not name stand first, as they are."""
    fields = pivot.args.get("fields") or ()
    is_standard = fields and all(isinstance(field, exp.In) for field in fields)
    is_joined = isinstance(pivot.parent and pivot.parent.parent, exp.Join)  # then of both sides
    if not is_standard or is_joined or not rows.closed or pivot.args.get("group"):
        return opaque(rows.part)
    if pivot.args.get("unpivot"):
        used = [value for field in fields for value in field.expressions]
    else:
        used = [*pivot.expressions, *(field.this for field in fields)]
    names = {folded(str(node.name)) for value in used for node in value.find_all(exp.Column)}
    if not names <= set(map(folded, rows.names)):
        return opaque(rows.part)  # or the others are not known for sure
    kept = [at for at, name in enumerate(rows.names) if folded(name) not in names]
    keys = Rows([rows.names[at] for at in kept], [rows.definitions[at] for at in kept])
    keys.rests, keys.ordered, keys.part = [Rest()], False, rows.part
    aliases = names_of(columns_of_alias(pivot))
    if aliases:
        keys.names = (aliases + keys.names[len(aliases) :])[: len(kept)]
    return keys


def values_of(
    node: exp.Values, dialect: str, define: Callable[[exp.Expr], Definition] | None = None
) -> Rows:
    """The columns of `values (1, 'a'), (2, 'b')`.

    Args:
        node: Of sqlglot.
        dialect: Of sqlglot, by name: it decides what columns without a name are called.
        define: Of an expression of the rows, if they can read tables that stand before them.
    """
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in node.expressions]
    width = len(rows[0]) if rows else 0
    names = names_of(columns_of_alias(node))
    form, first = _NAMES_OF_VALUES.get(dialect, ("", 0))
    names += [form and form + str(at + first) for at in range(len(names), width)]
    if any(len(row) != width for row in rows) or node.find(exp.Query):
        return opaque(None, names)
    if not node.find(exp.Column):
        return Rows(names[:width], [_listed([row[at] for row in rows]) for at in range(width)])
    if define is None:
        return opaque(None, names)
    columns = []
    for cells in zip(*rows, strict=True):
        if any(cell.find(exp.Column) for cell in cells):
            columns.append(united([define(cell) for cell in cells], "union all"))
        else:
            columns.append(_listed(cells))
    return Rows(names[:width], columns)


def _listed(values: Sequence[exp.Expr]) -> Definition:
    """A column of literals, of which a text can show the first ones alone."""
    shown = [value.copy() for value in values[:_MAX_SHOWN_VALUES]]
    local = exp.Anonymous(this="VALUES", expressions=shown)
    return Definition(Shape.CONSTANT, local=local, inline=False)


def lateral_values(node: exp.Lateral) -> exp.Values | None:
    """The VALUES of `lateral (values (t.a), (t.b))`."""
    inner = node.this
    if isinstance(inner, exp.Subquery) and not inner.args.get("alias"):
        inner = inner.this
    return inner if isinstance(inner, exp.Values) else None


def unnested_at(node: exp.Expr) -> exp.Expr:
    """Redshift's `o.items as i at n`, as the unnesting it is."""
    array, name = node.this, node.this.args.get("alias")
    alias = exp.TableAlias(columns=[name]) if name is not None else None
    return exp.Unnest(expressions=[core_of(array)], alias=alias, offset=node.expression)


def offset_in(array: exp.Expr) -> exp.Expr:
    """The expression of an element's place in an array: no value of it, but made of it."""
    return exp.Anonymous(this="OFFSET_IN", expressions=[array.copy()])


def has_scalars(array: exp.Expr) -> bool:
    """Whether the elements of an array are surely no structs."""
    if isinstance(array, exp.Array):
        return all(isinstance(element, exp.Literal) for element in array.expressions)
    return isinstance(array, SERIES)
