"""What a FROM clause gives: tables, joins, VALUES, table functions, LATERAL.

A join with USING makes one column of two, and which one a database shows depends on the side: such
columns stand in `Scope.merged`, before those of the sources. Whose columns cannot be listed is
`opaque`: every name may be one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.relation import (
    Definition,
    Entry,
    Joined,
    Part,
    Presence,
    Rest,
    Rows,
    Shape,
    Table,
    derived,
    member,
    opaque,
    tagged_column,
)
from dbt_osmosis_llm.evidence.lineage.reshaping import (
    has_scalars,
    lateral_values,
    offset_in,
    pivoted,
    renamed,
    unnested_at,
    values_of,
)
from dbt_osmosis_llm.evidence.lineage.scope import Clause, Scope, Source
from dbt_osmosis_llm.evidence.lineage.syntax import (
    QUERIES,
    SERIES,
    NameCase,
    columns_of_alias,
    is_parenthesised_join,
    keyword,
    names_of,
)
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbt_osmosis_llm.evidence.lineage.expressions import Expressions
    from dbt_osmosis_llm.evidence.lineage.scope import ReadQuery

_FLATTEN_COLUMNS = ("SEQ", "KEY", "PATH", "INDEX", "VALUE", "THIS")


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
            node = unnested_at(node)
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
        elif isinstance(node, exp.Lateral) and (values := lateral_values(node)) is not None:
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
            is_query = isinstance(node, (exp.Subquery, exp.Lateral))
            if is_query and not rows.part.name and label is not None:
                rows.part.name = str(label.name)
        pivots = node.args.get("pivots")
        for pivot in pivots or ():
            if not isinstance(node, exp.Subquery):  # which has read its own
                rows = pivoted(rows, pivot)
            label = pivot.args["alias"].this if pivot.args.get("alias") else label
        name = str(label.name) if label is not None else ""
        source = Source(folded(name), path if not alias else (), rows, visible)
        if scope.is_joined:
            is_table = isinstance(node, exp.Table)
            entry = Entry(name, rows, has_alias=is_table and bool(alias), is_visible=visible)
            scope.part.entries.append(entry)
            source = source._replace(rows=entry.all_passed(), entry=entry)
        scope.sources.append(source)
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
            definitions = [*definitions, derived(offset_in(arguments[0]), [value])]
        is_scalar = isinstance(call, exp.Unnest) and has_scalars(arguments[0])
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
            both = side == "full" or method == "positional" or (kind == "outer" and not side)
            if both or side != "right":
                _set_optional(scope.sources[len(before) :], scope.part)
            if both or side == "right":
                _set_optional(before, scope.part)
        clause = f"USING ({', '.join(using)})" if using else ""
        rows = joined.entry.rows if joined.entry else joined.rows
        alias = str(join.this.alias) if isinstance(join.this, exp.Table) else ""
        known = Joined(" ".join(words), rows, name, None if using else condition, clause, alias)
        scope.part.joins.append(known)
        if joined.entry is not None:
            joined.entry.joined = known

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


def _set_optional(sources: Sequence[Source], part: Part) -> None:
    for source in sources:
        if source.entry is not None:
            source.entry.is_optional = True
            source.entry.optional_since = len(part.joins)
