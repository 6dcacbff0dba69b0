"""What a FROM clause gives: tables, joins, VALUES, table functions, LATERAL.

A join with USING makes one column of two, and which one a database shows depends on the side: such
columns stand in `Scope.merged`, before those of the sources. Whose columns cannot be listed is
`opaque`: every name may be one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.relation import (
    Clause,
    Definition,
    Joined,
    Presence,
    Rest,
    Rows,
    Scope,
    Shape,
    Source,
    Table,
    derived,
    member,
    opaque,
    tagged_column,
    united,
)
from dbt_osmosis_llm.evidence.lineage.syntax import (
    QUERIES,
    SERIES,
    NameCase,
    columns_of_alias,
    core_of,
    is_parenthesised_join,
    keyword,
    names_of,
)
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbt_osmosis_llm.evidence.lineage.expressions import Expressions
    from dbt_osmosis_llm.evidence.lineage.relation import ReadQuery

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
_FLATTEN_COLUMNS = ("SEQ", "KEY", "PATH", "INDEX", "VALUE", "THIS")


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


def _lateral_values(node: exp.Lateral) -> exp.Values | None:
    """The VALUES of `lateral (values (t.a), (t.b))`."""
    inner = node.this
    if isinstance(inner, exp.Subquery) and not inner.args.get("alias"):
        inner = inner.this
    return inner if isinstance(inner, exp.Values) else None


def _unnested_at(node: exp.Expr) -> exp.Expr:
    """Redshift's `o.items as i at n`, as the unnesting it is."""
    array, name = node.this, node.this.args.get("alias")
    alias = exp.TableAlias(columns=[name]) if name is not None else None
    return exp.Unnest(expressions=[core_of(array)], alias=alias, offset=node.expression)


def _offset_in(array: exp.Expr) -> exp.Expr:
    """The expression of an element's place in an array: no value of it, but made of it."""
    return exp.Anonymous(this="OFFSET_IN", expressions=[array.copy()])


def _has_scalars(array: exp.Expr) -> bool:
    """Whether the elements of an array are surely no structs."""
    if isinstance(array, exp.Array):
        return all(isinstance(element, exp.Literal) for element in array.expressions)
    return isinstance(array, SERIES)


class Tables:
    """Reads FROM clauses, and knows all real tables that one statement names.

    Args:
        dialect: Of sqlglot, by name.
        name_case: Of the dialect.
        columns_of: Gives the columns of a real table, none if they are not known for sure.
        expressions: Defines conditions and the arguments of table functions.
        read: Reads subqueries.
    """

    def __init__(
        self,
        dialect: str,
        name_case: NameCase,
        columns_of: Callable[[exp.Table], Sequence[str]],
        expressions: Expressions,
        read: ReadQuery,
    ) -> None:
        self._dialect = dialect
        self._name_case = name_case
        self._columns_of = columns_of
        self._expressions = expressions
        self._read = read
        self._tables: dict[tuple[str, ...], Table] = {}

    @property
    def relations(self) -> list[str]:
        """The real tables met so far, in order of appearance."""
        return [table.relation for table in self._tables.values()]

    def add(self, node: exp.Expr, scope: Scope, *, visible: bool = True) -> None:
        """Adds what stands in a FROM clause to the names of its SELECT."""
        if isinstance(node, exp.AtIndex):
            node = _unnested_at(node)
        alias = node.args.get("alias")
        label = alias.this if isinstance(alias, exp.TableAlias) else None
        path: tuple[str, ...] = ()
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            rows = self._table(node, scope)
            label = label or node.this
            path = tuple(folded(str(part.name)) for part in node.parts)
            rows = renamed(rows, node)
        elif isinstance(node, exp.Subquery) and not alias and is_parenthesised_join(node.this):
            self.add(node.this, scope, visible=visible)
            self.add_joins(node, scope)
            return
        elif isinstance(node, exp.Subquery):
            rows = self._read(node, scope.environment, scope.outer, nested=scope.nested)
        elif isinstance(node, exp.Values):
            rows = self._values(node, scope)
        elif isinstance(node, exp.Lateral) and (values := _lateral_values(node)) is not None:
            rows = renamed(self._values(values, scope), node)
        elif isinstance(node, exp.Lateral) and isinstance(node.this, QUERIES):
            rows = self._read(node.this, scope.environment, scope, nested=scope.nested)
            rows = renamed(rows, node)
        elif isinstance(node, (exp.Unnest, exp.Lateral, exp.Table, exp.TableFromRows)):
            rows = self._function(node, scope)
            label = label or next(iter(columns_of_alias(node)), None)
        else:
            rows = opaque()
        if rows.part is not None:
            scope.part.children.append(rows.part)
        pivots = node.args.get("pivots")
        for pivot in pivots or ():
            if not isinstance(node, exp.Subquery):  # which has read its own
                rows = pivoted(rows, pivot)
            label = pivot.args["alias"].this if pivot.args.get("alias") else label
        name = folded(str(label.name)) if label is not None else ""
        scope.sources.append(Source(name, path if not alias else (), rows, visible))
        self.add_joins(node, scope)

    def add_joins(self, node: exp.Expr, scope: Scope) -> None:
        """Adds what is joined to a source or, in most dialects, to a SELECT."""
        for join in node.args.get("joins") or ():
            self._join(join, scope)
        for lateral in node.args.get("laterals") or ():
            self.add(lateral, scope)

    def _table(self, node: exp.Table, scope: Scope) -> Rows:
        parts = names_of(node.parts)
        if len(parts) == 1:
            rows = scope.environment.tables.get(self._name_case.folded(node.this))
            if rows is not None:
                return rows
        key = tuple(map(self._name_case.folded, node.parts))
        table = self._tables.get(key)
        if table is None:
            table = Table(".".join(parts), tuple(self._columns_of(node)))
            self._tables[key] = table
        scope.part.relations.append(table.relation)
        definitions = [table.leaf(name) for name in table.columns]
        return Rows(list(table.columns), definitions, [Rest(table)], table=table)

    def _values(self, node: exp.Values, scope: Scope) -> Rows:
        def define(cell: exp.Expr) -> Definition:
            return self._expressions.define(cell, scope, Clause.FROM)

        return values_of(node, self._dialect, define)

    def _function(self, node: exp.Expr, scope: Scope) -> Rows:
        """An unnested array or a table function: its columns come from its arguments."""
        alias = node.args.get("alias")
        label = alias.this if alias else None
        names = names_of(columns_of_alias(node))
        call = node if isinstance(node, exp.Unnest) else node.this
        whole = self._expressions.define(call, scope, Clause.FROM)
        known = isinstance(call, (exp.Unnest, *SERIES)) or whole.leaves
        if whole.shape is Shape.UNKNOWN or not known:
            return opaque(None, names)
        arguments = call.expressions if isinstance(call, exp.Unnest) else [call]
        values = [self._element(array, call, scope) for array in arguments]
        flatten = isinstance(call, exp.Explode) and self._dialect == "snowflake"
        if flatten:
            names = [*map(str, _FLATTEN_COLUMNS)]
            definitions = [member(values[0], [name.lower()]) for name in names]
            return Rows(names, definitions)
        if not names:
            definitions_of_columns = call.find_all(exp.OpenJSONColumnDef, exp.JSONColumnDef)
            names = list(filter(None, names_of(definitions_of_columns)))
        value = values[0] if len(values) == 1 else derived(call, values)
        offset = node.args.get("offset")
        explicit = bool(names) and (label is not None or bool(node.args.get("view")))
        if not names and label is not None and not node.args.get("view"):
            names = [str(label.name)]
        if len(values) == len(names) and len(values) > 1:
            definitions = values
        else:
            definitions = [value] * len(names)
        rests = [] if explicit or self._dialect == "redshift" else [Rest(value=value)]
        if offset is not None and offset is not False:
            names = [*names, str(offset.name) if isinstance(offset, exp.Identifier) else "offset"]
            definitions = [*definitions, derived(_offset_in(arguments[0]), [value])]
        is_scalar = isinstance(call, exp.Unnest) and _has_scalars(arguments[0])
        return Rows(
            names,
            definitions,
            rests,
            value=None if explicit else value,
            may_be_struct=self._dialect == "bigquery" and bool(names) and not is_scalar,
        )

    def _element(self, array: exp.Expr, call: exp.Expr, scope: Scope) -> Definition:
        """One element of an array that a FROM clause unnests."""
        source = self._expressions.define(array, scope, Clause.FROM)
        local = array
        if isinstance(call, exp.Unnest):
            local = exp.Anonymous(this="UNNEST", expressions=[array.copy()])
        elif isinstance(call, exp.Explode) and self._dialect == "snowflake":
            inner = call.this.expression if isinstance(call.this, exp.Kwarg) else call.this
            local = exp.Anonymous(this="FLATTEN", expressions=[inner.copy()])
        return derived(local, [source])

    def _join(self, join: exp.Expr, scope: Scope) -> None:
        before = list(scope.sources)
        kind, side, method = (keyword(join, key) for key in ("kind", "side", "method"))
        if kind == "array":
            self._array_join(join, scope)
            return
        self.add(join.this, scope, visible=kind not in ("semi", "anti"))
        joined = scope.sources[len(before)] if len(scope.sources) > len(before) else None
        if joined is None:
            return
        condition: exp.Expr | None = join.args.get("on")
        if condition is not None:
            self._expressions.define(condition, scope, Clause.FILTER)
        using = names_of(join.args.get("using"))
        if isinstance(join.this, exp.Lateral) and join.this.args.get("cross_apply") is False:
            side = "left"  # OUTER APPLY
        if method == "natural":
            using = self._common_names(before, joined, scope)
        for name in using:
            merged = self._merged(name, side, before, joined, scope)
            scope.merged[folded(name)] = (name, merged)
        words = ["natural"] if method == "natural" else []
        words += [side] if side else []
        words += [kind] if kind and not (side and kind == "outer") else []
        if not side and not kind:
            words.append("inner" if condition or using or method else "cross")
        name = str(join.this.name if isinstance(join.this, exp.Table) else join.this.alias)
        if join.args.get("pivots"):  # of all that was joined so far
            scope.hide_columns()
        if self._is_outer(kind, side, method):
            scope.part.has_outer_join = True
        clause = f"USING ({', '.join(using)})" if using else ""
        scope.part.joins.append(
            Joined(" ".join(words), joined.rows, name, None if using else condition, clause)
        )

    def _is_outer(self, kind: str, side: str, method: str) -> bool:
        if method == "positional" or (method == "asof" and self._dialect == "snowflake"):
            return True  # rows without a partner stay, whatever the join's side
        return kind == "outer" or (bool(side) and kind not in ("semi", "anti"))

    def _common_names(self, before: list[Source], joined: Source, scope: Scope) -> list[str]:
        if not joined.rows.closed or not all(source.rows.closed for source in before):
            scope.hide_columns()  # which of them are shared cannot be known
            return []
        left = [name for source in before for name in source.rows.names]
        return [name for name in left if name and joined.rows.find(name)[0] is Presence.YES]

    def _merged(
        self, name: str, side: str, before: list[Source], joined: Source, scope: Scope
    ) -> Definition:
        left = scope.candidates(name, before)[1]
        right = joined.rows.find(name)[1]
        if side == "right":
            return right
        if side != "full":
            return left
        sides = [tagged_column(name, left), tagged_column(name, right)]
        return derived(exp.Coalesce(this=sides[0], expressions=sides[1:]), [left, right])

    def _array_join(self, join: exp.Expr, scope: Scope) -> None:
        for item in [join.this, *(join.args.get("expressions") or ())]:
            array = item.this if isinstance(item, exp.Alias) else item
            if isinstance(array, exp.Table):  # to some versions of sqlglot
                array = array.to_column()
            definition = self._expressions.define(array, scope, Clause.FROM)
            name = str(item.alias_or_name)
            local = exp.Anonymous(this="arrayJoin", expressions=[tagged_column(name, definition)])
            scope.merged[folded(name)] = (name, derived(local, [definition]))
