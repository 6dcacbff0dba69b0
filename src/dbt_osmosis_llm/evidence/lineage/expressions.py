"""What an expression is made of: its columns, found by their names in the queries around it.

A name that could mean two things is `UNRESOLVED`, and so is all that is made of it: a guess that is
right most of the time still puts another column's text into the documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_osmosis_llm.evidence.lineage.mending import UNREADABLE
from dbt_osmosis_llm.evidence.lineage.relation import (
    TAG,
    UNRESOLVED,
    Definition,
    Presence,
    Shape,
    derived,
    member,
)
from dbt_osmosis_llm.evidence.lineage.scope import Clause, Scope
from dbt_osmosis_llm.evidence.lineage.syntax import (
    QUERIES,
    core_of,
    is_aggregate,
    is_date_part,
    is_volatile,
    makes_rows,
    position_of,
)
from dbt_osmosis_llm.evidence.names import folded, word_set

if TYPE_CHECKING:
    from dbt_osmosis_llm.evidence.lineage.scope import Gathered, ReadQuery

_MAX_DEPTH = 300  # sqlglot's generator recurses some three frames a level

# Where a name defined earlier in the same SELECT list cannot be used by its neighbours.
_NO_LATERAL_ALIAS = word_set(
    "athena bigquery doris drill fabric hive materialize mysql oracle postgres presto"
    " risingwave sqlite starrocks trino tsql"
)
_DOTTED_FIELDS = word_set(
    "athena bigquery clickhouse databricks duckdb hive presto redshift spark spark2 trino"
)

# Names that parse as columns but are not, unless the schema says so.
_PSEUDO_CONSTANTS = word_set(
    "current_catalog current_database current_date current_role current_schema current_time"
    " current_timestamp current_user localtime localtimestamp session_user sysdate"
    " systimestamp sysdatetime"
)
_CONNECT_BY_COLUMNS = frozenset(["level", "connect_by_iscycle", "connect_by_isleaf"])
_NEVER_COLUMNS = frozenset(["currval", "nextval", "rownum", "user"])


_CASTS = (exp.Cast, exp.TryCast, exp.CastToStrType)


def _is_cast_of_column(expression: exp.Expr) -> bool:
    # By exact type: what is derived from Cast (JSON_EXTRACT's, say) changes the value.
    if type(expression) not in _CASTS:
        return False
    while type(expression) in (*_CASTS, exp.Paren):
        expression = expression.this
    return isinstance(expression, exp.Column)


class Expressions:
    """Defines expressions.

    Args:
        dialect: Of sqlglot, by name.
        read: Reads the queries inside expressions.
    """

    def __init__(self, dialect: str, read: ReadQuery) -> None:
        self._dialect = dialect
        self._read = read

    def define(self, expression: exp.Expr, scope: Scope, clause: Clause) -> Definition:
        """What an expression is made of; tags its column nodes on the way."""
        core = core_of(expression)
        if isinstance(core, exp.Column) and not isinstance(core.this, exp.Star):
            definition = self._column(core, scope, clause)
        else:
            definition = self._compound(core, scope, clause)
        if scope.gathered is not None:
            scope.gathered.append((clause, definition))
        return definition

    def _compound(self, core: exp.Expr, scope: Scope, clause: Clause) -> Definition:
        used: list[tuple[int, Definition]] = []  # each with its place in the SQL
        aggregate = window = False
        constant, deepest = True, 0
        stack: list[tuple[exp.Expr, int]] = [(core, 1)]
        while stack:
            node, depth = stack.pop()
            deepest = max(deepest, depth)
            if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
                if not is_date_part(node):
                    used.append((position_of(node), self._column(node, scope, clause)))
                elif node.parent is not None and node.parent.args.get("unit") is not None:
                    return UNRESOLVED  # generic SQL takes datediff's last argument for the unit
                continue
            if isinstance(node, QUERIES):
                used.append((position_of(node), self._inside(node, scope)))
                constant = False
                continue
            if isinstance(node, (exp.Star, exp.Column)):
                if not node.find_ancestor(exp.Count):
                    return UNRESOLVED
                continue
            if isinstance(node, (exp.Columns, exp.Comprehension)) or (
                isinstance(node, exp.Parameter) and self._dialect == "snowflake"
            ):
                return UNRESOLVED
            if isinstance(node, exp.Anonymous) and node.name == UNREADABLE:
                return Definition(Shape.UNKNOWN, aggregate=True)  # or the rows would be for sure
            aggregate = aggregate or is_aggregate(node)
            window = window or (isinstance(node, exp.Window) and not is_aggregate(node))
            constant = constant and not is_volatile(node)
            if clause is Clause.PROJECTION and makes_rows(node):
                scope.part.multiplies = True
            if isinstance(node, exp.NextValueFor):  # of a sequence, which parses as a column
                continue
            stack += [(child, depth + 1) for child in reversed(list(node.iter_expressions()))]
        sources = [source for _, source in sorted(used, key=lambda pair: pair[0])]
        definition = derived(core, sources)
        if definition is UNRESOLVED:
            return UNRESOLVED
        definition.too_deep = deepest > _MAX_DEPTH
        definition.aggregate = definition.aggregate or aggregate
        definition.window = definition.window or window
        if aggregate or window:
            definition.over = tuple(dict.fromkeys((*definition.over, scope.part)))
        plain = constant and not (aggregate or window)
        if plain and all(source.shape is Shape.CONSTANT for source in sources):
            definition.shape = Shape.CONSTANT
        elif _is_cast_of_column(core) and len(sources) == 1 and sources[0].is_plain:
            definition.shape = Shape.CAST
            definition.is_plain = True
        return definition

    def _inside(self, query: exp.Expr, scope: Scope) -> Definition:
        """What a query inside an expression refers to: its aggregates are its own affair."""
        gathered: Gathered = []
        rows = self._read(query, scope.environment, scope, gathered, nested=True)
        if rows.part is not None:
            scope.part.nested.append(rows.part)
        above = query.parent
        while isinstance(above, (exp.Paren, exp.Subquery)):
            above = above.parent
        if isinstance(above, exp.Exists):
            # What it selects does not matter.
            used = [use for clause, use in gathered if clause is not Clause.PROJECTION]
        elif rows.closed:
            used = [*(use for _, use in gathered), *rows.definitions]
        else:
            used = [UNRESOLVED]
        whole = derived(None, used)
        return whole if whole is UNRESOLVED else Definition(Shape.OTHER, whole.leaves)

    def _column(self, column: exp.Column, scope: Scope, clause: Clause) -> Definition:
        parts = column.parts
        if not all(isinstance(part, exp.Identifier) for part in parts):
            return UNRESOLVED  # $1 of a staged file
        names = [str(part.name) for part in parts]
        if len(names) > 1:
            definition, owner = self._qualified(names, scope)
        else:
            key = folded(names[0])
            if not parts[0].args.get("quoted") and scope.candidates(names[0])[0] < Presence.YES:
                if key in _PSEUDO_CONSTANTS:
                    return Definition(Shape.CONSTANT, local=column)
                select = scope.part.select
                hierarchical = select is not None and select.args.get("connect")
                if key in _NEVER_COLUMNS or (hierarchical and key in _CONNECT_BY_COLUMNS):
                    return UNRESOLVED
            definition, owner = self._unqualified(names[0], scope, clause)
        if definition.shape is not Shape.UNKNOWN and not (scope.nested and owner.nested):
            column.meta[TAG] = definition
        return definition

    def _unqualified(self, name: str, scope: Scope, clause: Clause) -> tuple[Definition, Scope]:
        """What a bare name means, and the query whose FROM clause or list has it."""
        key = folded(name)
        if key in scope.environment.scalars and key not in scope.aliases:
            scalar, part = scope.environment.scalars[key]
            scope.part.nested.append(part)
            return scalar, scope
        alias = scope.aliases.get(key)
        if self._dialect == "clickhouse" and clause is Clause.PROJECTION:
            if key in scope.later_aliases:
                alias = self._ahead(key, scope)
            elif key in scope.open_aliases:  # of itself it means the column
                alias = None if key == scope.open_aliases[-1] else UNRESOLVED
            if alias is not None:  # ClickHouse prefers the alias to the column
                return alias, scope
        presence, definition = scope.candidates(name)
        if presence is Presence.YES:
            return definition, scope
        if clause is Clause.FROM or (
            clause is Clause.PROJECTION and self._dialect in _NO_LATERAL_ALIAS
        ):
            alias = None
        if alias is not None and not (presence is Presence.MAYBE and key in scope.read_names):
            sure = presence is not Presence.MAYBE or clause is Clause.FILTER
            return (alias if sure else UNRESOLVED), scope
        if presence is Presence.MAYBE and clause is Clause.PROJECTION:
            scope.read_names.add(key)
            return definition, scope  # an outer query could have it too, but hardly
        return self._lookup(name, scope)[1:]

    def _ahead(self, key: str, scope: Scope) -> Definition:
        """What a name means that stands further right in the same SELECT list."""
        projection = scope.later_aliases[key]
        if projection is None:
            return UNRESOLVED
        del scope.later_aliases[key]
        scope.open_aliases.append(key)
        definition = self.define(projection, scope, Clause.PROJECTION)
        scope.open_aliases.pop()
        scope.aliases[key] = scope.read_ahead[id(projection)] = definition
        return definition

    def _lookup(self, name: str, scope: Scope) -> tuple[Presence, Definition, Scope]:
        """Looks a bare name up in the FROM clause of a query and of those around it."""
        presence, definition = scope.candidates(name)
        if presence is Presence.YES or scope.outer is None:
            return presence, definition, scope
        outer = self._lookup(name, scope.outer)
        if folded(name) in scope.outer.aliases and outer[0] is not Presence.YES:
            outer = Presence.MAYBE, UNRESOLVED, scope.outer
        if presence is Presence.MAYBE and outer[0] >= Presence.MAYBE:
            return presence, UNRESOLVED, scope
        if presence is Presence.NO or (presence is Presence.STALE and outer[0] > presence):
            return outer
        return presence, definition, scope

    def _qualified(self, names: list[str], scope: Scope) -> tuple[Definition, Scope]:
        """What `a.b.c` means, of which any part but the last may be a table's name."""
        path = tuple(map(folded, names))
        at: Scope | None = scope
        while at is not None:
            for length in range(1, len(names)):
                sources = [source for source in at.sources if source.answers_to(path[:length])]
                if len(sources) > 1:
                    return UNRESOLVED, at
                if sources:
                    rows, rest = sources[0].rows, names[length:]
                    presence, definition = rows.find(rest[0])
                    if presence is not Presence.YES and rows.value is not None:
                        return member(rows.value, rest), at
                    if presence is Presence.NO:
                        return UNRESOLVED, at
                    at.read_names.add(path[length])
                    return (member(definition, rest[1:]) if rest[1:] else definition), at
            at = at.outer
        presence, definition, owner = self._lookup(names[0], scope)
        sure = presence is Presence.YES or self._dialect in _DOTTED_FIELDS
        if presence is Presence.MAYBE and owner.may_lack(names[0]):
            sure = False
        if not sure or path[-1] in _NEVER_COLUMNS:
            return UNRESOLVED, scope
        return member(definition, names[1:]), owner
