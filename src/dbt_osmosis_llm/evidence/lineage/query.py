"""Resolves the columns of one parsed SELECT down to the real tables it reads.

Each SELECT is read once, inner ones first, and every output column keeps a `Definition`: its own
expression and what the column references in it mean. sqlglot's `qualify` and `lineage` are not
used: they rewrite the statement once per column and guess where the schema is not known.

Here are whole queries: WITH, set operations and the order in which the clauses of a SELECT are
read. `tables`, `projection` and `expressions` read the clauses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.absence import settle
from dbt_osmosis_llm.evidence.lineage.expressions import Expressions
from dbt_osmosis_llm.evidence.lineage.grain import mark_repeated
from dbt_osmosis_llm.evidence.lineage.projection import Projections, numbered
from dbt_osmosis_llm.evidence.lineage.relation import (
    UNRESOLVED,
    Definition,
    Part,
    Rows,
    Shape,
    opaque,
    united,
)
from dbt_osmosis_llm.evidence.lineage.reshaping import pivoted, renamed, values_of
from dbt_osmosis_llm.evidence.lineage.scope import Clause, Environment, Scope
from dbt_osmosis_llm.evidence.lineage.syntax import (
    FROM,
    QUERIES,
    NameCase,
    argument,
    conjuncts,
    core_of,
    inline_named_windows,
    is_parenthesised_join,
)
from dbt_osmosis_llm.evidence.lineage.tables import Tables
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbt_osmosis_llm.evidence.lineage.relation import Entry
    from dbt_osmosis_llm.evidence.lineage.scope import Gathered

_OPTIONAL_RECURSIVE = frozenset(["", "fabric", "oracle", "snowflake", "sqlite", "teradata", "tsql"])


def _is_joined(query: exp.Select, source: exp.Expr) -> bool:
    """Whether a FROM clause has more than one relation."""
    clauses = (query, source)
    joins = any(node.args.get(key) for node in clauses for key in ("joins", "laterals"))
    is_group = isinstance(source, exp.Subquery) and not source.args.get("alias")
    return joins or (is_group and is_parenthesised_join(source.this))


def _way(entry: Entry) -> tuple[object, ...]:
    """What makes columns through a joined relation the same."""
    kind = entry.joined.kind if entry.joined else ""
    return folded(entry.name), entry.rows.table or entry.rows.part, kind, entry.is_optional


class Reader:
    """Reads one statement; holds what all its queries share.

    Args:
        dialect: Of sqlglot, by name.
        name_case: Of the dialect.
        columns_of: Gives the columns of a real table, none if they are not known for sure.
        same: Tells whether two definitions print the same.
    """

    def __init__(
        self,
        dialect: str,
        name_case: NameCase,
        columns_of: Callable[[exp.Table], Sequence[str]],
        same: Callable[[Definition, Definition], bool],
    ) -> None:
        self._dialect = dialect
        self._name_case = name_case
        self._same = same
        self._passed_on: dict[int, list[Definition]] = {}
        """Of recursive queries, by their node: how their branches know their columns."""
        self._expressions = Expressions(dialect, self.read)
        self._projections = Projections(dialect, self._expressions)
        self._tables = Tables(dialect, name_case, columns_of, self._expressions, self.read)

    @property
    def relations(self) -> list[str]:
        """The real tables met so far, in order of appearance."""
        return self._tables.relations

    def read(
        self,
        query: exp.Expr,
        environment: Environment,
        outer: Scope | None = None,
        gathered: Gathered | None = None,
        *,
        nested: bool = False,
    ) -> Rows:
        """The columns a query gives; `gathered` collects all it refers to."""
        environment = self._with(query, environment, nested=nested)
        if isinstance(query, exp.Subquery):
            return self._subquery(query, environment, outer, gathered, nested=nested)
        if isinstance(query, exp.SetOperation):
            return self._set_operation(query, environment, outer, gathered, nested=nested)
        if isinstance(query, exp.Select):
            return self._select(query, Scope(environment, outer, nested, gathered))
        return opaque(Part())

    def _subquery(
        self,
        query: exp.Expr,
        environment: Environment,
        outer: Scope | None,
        gathered: Gathered | None,
        *,
        nested: bool,
    ) -> Rows:
        if isinstance(query.this, QUERIES):
            rows = self.read(query.this, environment, outer, gathered, nested=nested)
        else:  # a parenthesised join: (a join b on ...)
            inner = exp.Select(expressions=[exp.Star()], **{FROM: exp.From(this=query.this)})
            rows = self.read(inner, environment, outer, gathered, nested=nested)
        for pivot in query.args.get("pivots") or ():
            rows = pivoted(rows, pivot)
        return renamed(rows, query)

    def _with(self, query: exp.Expr, environment: Environment, *, nested: bool) -> Environment:
        clause = argument(query, "with")
        if not clause:
            return environment
        tables, scalars = dict(environment.tables), dict(environment.scalars)
        expressions = clause.expressions
        for position, cte in enumerate(expressions):
            seen = dict(tables)
            if clause.args.get("recursive"):
                forward = expressions[position:]
            elif self._dialect in _OPTIONAL_RECURSIVE and isinstance(cte.this, exp.SetOperation):
                forward = [cte]
            else:
                forward = []
            for later in forward:
                seen[self._name_case.folded(later.args["alias"].this)] = opaque(Part())
            inner = Environment(seen, dict(scalars))
            if forward and isinstance(cte.this, exp.SetOperation):
                own = self._name_case.folded(cte.args["alias"].this)
                seen[own] = self._itself(cte, inner, nested=nested)
            if cte.args.get("scalar"):
                scope = Scope(inner, None, nested)
                scalar = self._expressions.define(cte.this, scope, Clause.FROM)
                scalars[folded(cte.alias)] = (scalar, scope.part)
                continue
            if isinstance(cte.this, exp.Values):
                rows = values_of(cte.this, self._dialect)
            else:
                rows = self.read(cte.this, inner, nested=nested)
            if rows.part is not None and not rows.part.name:
                rows.part.name = str(cte.alias)
            tables[self._name_case.folded(cte.args["alias"].this)] = renamed(rows, cte)
        return Environment(tables, scalars)

    def _itself(self, cte: exp.Expr, environment: Environment, *, nested: bool) -> Rows:
        """What a recursive query sees of itself: the columns of its first branch, not yet known.

        What the other branches pass on where it stood adds no values to it.
        """
        first, operations = cte.this, []
        while isinstance(first, exp.SetOperation) and not argument(first, "with"):
            operations.append(first)
            first = first.this
        if not all(isinstance(operation, exp.Union) for operation in operations):
            return opaque(Part())
        rows = renamed(self.read(first, environment, nested=nested), cte)
        if not rows.closed:
            return opaque(Part())
        columns = [Definition(Shape.UNKNOWN) for _ in rows.names]
        self._passed_on[id(cte.this)] = columns
        return Rows(rows.names, columns, part=Part())

    def _set_operation(
        self,
        query: exp.Expr,
        environment: Environment,
        outer: Scope | None,
        gathered: Gathered | None,
        *,
        nested: bool,
    ) -> Rows:
        operations, branches = [query], [query.expression]
        while isinstance(operations[-1].this, exp.SetOperation) and not argument(
            operations[-1].this, "with"
        ):
            operations.append(operations[-1].this)
            branches.append(operations[-1].expression)
        branches.append(operations[-1].this)
        operations.reverse()
        read = [
            self.read(branch, environment, outer, gathered, nested=nested)
            for branch in reversed(branches)
        ]
        part = Part(children=[rows.part for rows in read if rows.part])
        for operation in operations:
            word = type(operation).__name__.lower()
            part.operators.append(word if operation.args.get("distinct") else f"{word} all")
        operator = part.operators[0]
        if any(node.args.get(key) for node in operations for key in ("side", "kind", "on")):
            return opaque(part)
        first = read[0]
        if any(node.args.get("by_name") for node in operations):
            names = list(dict.fromkeys(name for rows in read for name in rows.names))
            if not all(rows.closed for rows in read):
                return opaque(part, names)
            by_name = [[rows.find(name) for rows in read] for name in names]
            combined = [
                self._combined([column for presence, column in branches if presence], operator)
                for branches in by_name
            ]
            return Rows(names, combined, part=part)
        if all(rows.names == [] and rows.rests == first.rests for rows in read):
            return Rows([], [], first.rests, part=part)  # one table, read twice with other filters
        if not first.closed:
            return opaque(part, first.names)
        if any(not rows.closed or len(rows.names) != len(first.names) for rows in read):
            return Rows(first.names, [UNRESOLVED] * len(first.names), part=part)
        by_position = list(zip(*(rows.definitions for rows in read), strict=True))
        for at, itself in enumerate(self._passed_on.get(id(query), ())[: len(by_position)]):
            anchor, *others = by_position[at]
            by_position[at] = (anchor, *(other for other in others if other is not itself))
        combined = [self._combined(column, operator) for column in by_position]
        return Rows(first.names, combined, part=part)

    def _combined(self, definitions: Sequence[Definition], operator: str) -> Definition:
        first = definitions[0]
        if any(branch.shape is Shape.UNKNOWN for branch in definitions):
            return UNRESOLVED
        if all(branch is first or self._same(branch, first) for branch in definitions):
            ways = {tuple(map(_way, branch.entries)) for branch in definitions}
            return first if len(ways) == 1 else first.origin
        return united(definitions, operator)

    def _look_ahead(self, query: exp.Select, scope: Scope) -> None:
        """Lets a ClickHouse query know its aliases, and those of its WITH that read its rows."""
        for projection in query.expressions:
            if isinstance(projection, exp.Alias):
                key = folded(projection.alias)
                scope.later_aliases[key] = None if key in scope.later_aliases else projection
        clause = argument(query, "with")
        for cte in clause.expressions if clause else ():
            key = folded(cte.alias)
            is_unread = cte.args.get("scalar") and not isinstance(core_of(cte.this), QUERIES)
            if is_unread and scope.environment.scalars[key][0] is UNRESOLVED:
                scope.aliases[key] = self._expressions.define(cte.this, scope, Clause.FILTER)

    def _select(self, query: exp.Select, scope: Scope) -> Rows:
        part = scope.part
        part.select = query
        inline_named_windows(query)
        source = argument(query, "from")
        scope.is_joined = bool(source) and _is_joined(query, source.this)
        if source:
            self._tables.add(source.this, scope)
        self._tables.add_joins(query, scope)
        mark_repeated(part)
        if query.args.get("match"):  # MATCH_RECOGNIZE makes its own columns
            scope.hide_columns()
        if self._dialect == "clickhouse":
            self._look_ahead(query, scope)
        rows = self._projections.read(query, scope)
        if self._dialect == "duckdb":
            rows = numbered(rows)
        for key in ("prewhere", "where", "having", "qualify"):
            clause = query.args.get(key)
            for condition in conjuncts(clause.this) if clause else ():
                self._expressions.define(condition, scope, Clause.FILTER)
                part.filters.append(condition)
        settle(part)
        if query.args.get("group"):
            self._expressions.define(query.args["group"], scope, Clause.FILTER)
        return rows
