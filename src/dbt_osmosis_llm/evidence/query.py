"""Resolves the columns of one parsed SELECT down to the real tables it reads.

Each SELECT is read once, inner ones first, and every output column keeps a `Definition`: its own
expression and what the column references in it mean. sqlglot's `qualify` and `lineage` are not
used: they rewrite the statement once per column and guess where the schema is not known. Here a
reference that could mean two things is `UNRESOLVED`, and so is everything made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from dbt_osmosis_llm.evidence.relation import (
    TAG,
    UNRESOLVED,
    Clause,
    Definition,
    Environment,
    Part,
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
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAX_DEPTH = 300  # sqlglot's generator recurses some three frames a level


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Where a name defined earlier in the same SELECT list cannot be used by its neighbours.
_NO_LATERAL_ALIAS = _words(
    "athena bigquery doris drill fabric hive materialize mysql oracle postgres presto"
    " risingwave sqlite starrocks trino tsql"
)
_DOTTED_FIELDS = _words(
    "athena bigquery clickhouse databricks duckdb hive presto redshift spark spark2 trino"
)
_OPTIONAL_RECURSIVE = frozenset(["", "fabric", "oracle", "snowflake", "sqlite", "teradata", "tsql"])
_UNALIASED_CAST_KEEPS_NAME = frozenset(["materialize", "postgres", "redshift", "risingwave"])

# Names that parse as columns but are not, unless the schema says so.
_PSEUDO_CONSTANTS = _words(
    "current_catalog current_database current_date current_role current_schema current_time"
    " current_timestamp current_user localtime localtimestamp session_user sysdate"
    " systimestamp sysdatetime"
)
_CONNECT_BY_COLUMNS = frozenset(["level", "connect_by_iscycle", "connect_by_isleaf"])
_NEVER_COLUMNS = frozenset(["currval", "nextval", "rownum", "user"])
_DATE_PARTS = _words(
    "year quarter month week day hour minute second millisecond microsecond nanosecond"
    " dayofweek dayofyear isoweek isoyear epoch yy yyyy qq mm ww wk dd hh mi ss ms dow doy"
)
_AGGREGATE_NAMES = _words(
    "any_value approx_distinct argmax argmin bitand_agg bool_and bool_or collect_list"
    " collect_set countif every group_concat hll listagg max_by median min_by mode percentile"
    " quantile sumif uniq wm_concat"
)
_VOLATILE_NAMES = _words(
    "gen_random_uuid generate_uuid newid nextval rand random randstr seq1 seq2 seq4 seq8"
    " uniform uuid uuid_string uuidv4 generateuuidv4"
)
_FLATTEN_COLUMNS = ("SEQ", "KEY", "PATH", "INDEX", "VALUE", "THIS")

_FROM = "from_" if "from_" in exp.Select.arg_types else "from"
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)
_SERIES = tuple(
    getattr(exp, name)
    for name in (
        "ExplodingGenerateSeries",
        "GenerateSeries",
        "GenerateDateArray",
        "GenerateTimestampArray",
        "Generator",
    )
    if hasattr(exp, name)
)
_VOLATILE = (exp.Rand, exp.Randn, exp.Uuid)


def argument(node: Any, name: str) -> Any:
    """An argument by name, in the spelling (`from` or `from_`) of any supported sqlglot."""
    return node.args.get(name + "_") or node.args.get(name)


def core_of(expression: Any) -> Any:
    """The expression without its alias and outer parentheses."""
    while isinstance(expression, (exp.Alias, exp.Paren)):
        expression = expression.this
    return expression


def conjuncts(condition: Any) -> list[Any]:
    """The conditions of a chain of ANDs, in order."""
    found, stack = [], [condition]
    while stack:
        node = stack.pop()
        inner = core_of(node)
        if isinstance(inner, exp.And):
            stack += [inner.expression, inner.this]
        else:
            found.append(inner)
    return found


def _text(node: Any, name: str) -> str:
    return str(node.args.get(name) or "").lower()


def _function_name(function: Any) -> str:
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    return str(name).lower()


def _is_aggregate(node: Any) -> bool:
    if isinstance(node, exp.AggFunc):
        return True
    if isinstance(node, exp.Window):
        return str(node.args.get("over")).upper() == "KEEP"
    if not isinstance(node, exp.Anonymous):
        return False
    name = _function_name(node)
    return name.endswith("agg") or name.startswith("approx_") or name in _AGGREGATE_NAMES


def _is_volatile(node: Any) -> bool:
    return isinstance(node, (*_VOLATILE, *_SERIES)) or (
        isinstance(node, exp.Anonymous) and _function_name(node) in _VOLATILE_NAMES
    )


def _is_date_part(column: Any) -> bool:
    """Whether a column node is really the unit in date_part(month, x), say."""
    if column.name.lower() not in _DATE_PARTS or len(column.parts) > 1:
        return False
    function = column.parent
    if not isinstance(function, exp.Func) or isinstance(function, (exp.AggFunc, exp.Binary)):
        return False
    arguments = list(function.iter_expressions())
    units = [one.name.lower() for one in arguments if isinstance(one, exp.Var)]
    elsewhere = any(unit in _DATE_PARTS for unit in units)
    if len(arguments) == 1 or elsewhere or any(one.is_string for one in arguments):
        return False
    name = _function_name(function)
    return any(word in name for word in ("date", "time", "trunc", "last_day", "extract"))


def _star_of(projection: Any) -> Any:
    """The star of a projection that gives many columns, else None."""
    if isinstance(projection, (exp.Star, exp.Columns)):
        return projection
    if isinstance(projection, (exp.Column, exp.Like, exp.ILike)):
        return projection.this if isinstance(projection.this, exp.Star) else None
    if isinstance(projection, exp.Dot) and isinstance(projection.expression, exp.Star):
        return projection.expression
    return None


def _is_parenthesised_join(node: Any) -> bool:
    """Whether (node) only groups sources, whose names stay visible outside."""
    if isinstance(node, exp.Subquery):
        return bool(node.args.get("alias") or node.args.get("joins"))
    return isinstance(node, exp.Table)


def _answers_to(source: Source, path: tuple[str, ...]) -> bool:
    if len(path) == 1:
        return source.name == path[0]
    return source.path[-len(path) :] == path


def _position(node: Any) -> int:
    """Where a node starts in the SQL: sqlglot sorts some functions' arguments anew."""
    identifier = node.find(exp.Identifier)
    return int(identifier.meta.get("start", 0)) if identifier is not None else 0


def _inline_named_windows(query: Any) -> None:
    """Rewrites `over w` into what the WINDOW clause says of `w`."""
    named = {str(one.this.name).casefold(): one for one in query.args.get("windows") or ()}
    if not named:
        return
    for window in query.find_all(exp.Window):
        seen: set[str] = set()
        while (alias := window.args.get("alias")) is not None:
            key = str(alias.name).casefold()
            definition = named.get(key)
            if definition is None or key in seen:
                break
            seen.add(key)
            for part in ("partition_by", "order", "spec"):
                value = definition.args.get(part)
                if value and not window.args.get(part):
                    copied = (
                        [one.copy() for one in value] if isinstance(value, list) else value.copy()
                    )
                    window.set(part, copied)
            inherited = definition.args.get("alias")
            window.set("alias", inherited.copy() if inherited is not None else None)


class Reader:
    """Reads one statement; holds what all its queries share."""

    def __init__(
        self,
        dialect: str,
        name_case: str,
        columns_of: Callable[[Any], Sequence[str]],
        same: Callable[[Definition, Definition], bool],
    ) -> None:
        self.dialect = dialect
        self._name_case = name_case
        self._columns_of = columns_of
        self._same = same
        self._tables: dict[tuple[str, ...], Table] = {}

    @property
    def relations(self) -> list[str]:
        """The real tables met so far, in order of appearance."""
        return [table.relation for table in self._tables.values()]

    # -- queries ---------------------------------------------------------------------------

    def read(
        self,
        query: Any,
        environment: Environment,
        outer: Scope | None = None,
        gathered: list[tuple[Clause, Definition]] | None = None,
        nested: bool = False,
    ) -> Rows:
        """The columns a query gives; `gathered` collects all it refers to."""
        environment = self._with(query, environment, nested)
        if isinstance(query, exp.Subquery):
            return self._subquery(query, environment, outer, gathered, nested)
        if isinstance(query, exp.SetOperation):
            return self._set_operation(query, environment, outer, gathered, nested)
        if isinstance(query, exp.Select):
            return self._select(query, Scope(environment, outer, nested, gathered))
        return opaque(Part())

    def _subquery(
        self,
        query: Any,
        environment: Environment,
        outer: Scope | None,
        gathered: list[tuple[Clause, Definition]] | None,
        nested: bool,
    ) -> Rows:
        if isinstance(query.this, _QUERIES):
            rows = self.read(query.this, environment, outer, gathered, nested)
        else:  # a parenthesised join: (a join b on ...)
            inner = exp.Select(expressions=[exp.Star()], **{_FROM: exp.From(this=query.this)})
            rows = self.read(inner, environment, outer, gathered, nested)
        if query.args.get("pivots"):
            return opaque(rows.part)
        return self._renamed(rows, query)

    def _with(self, query: Any, environment: Environment, nested: bool) -> Environment:
        clause = argument(query, "with")
        if not clause:
            return environment
        tables, scalars = dict(environment.tables), dict(environment.scalars)
        expressions = clause.expressions
        for position, cte in enumerate(expressions):
            seen = dict(tables)
            if clause.args.get("recursive"):
                forward = expressions[position:]
            elif self.dialect in _OPTIONAL_RECURSIVE and isinstance(cte.this, exp.SetOperation):
                forward = [cte]
            else:
                forward = []
            for later in forward:
                seen[self._folded(later.args["alias"].this)] = opaque(Part())
            inner = Environment(seen, dict(scalars))
            if cte.args.get("scalar"):
                scope = Scope(inner, None, nested)
                scalar = self.define(cte.this, scope, Clause.FROM)
                scalars[cte.alias.casefold()] = (scalar, scope.part)
                continue
            if isinstance(cte.this, exp.Values):
                rows = self._values(cte.this)
            else:
                rows = self.read(cte.this, inner, nested=nested)
            rows = self._renamed(rows, cte)
            tables[self._folded(cte.args["alias"].this)] = rows
        return Environment(tables, scalars)

    def _folded(self, identifier: Any) -> str:
        name = str(identifier.name)
        if self._name_case == "sensitive":
            return name
        if identifier.args.get("quoted") and self._name_case in ("lower", "upper"):
            return name
        return name.upper() if self._name_case == "upper" else name.lower()

    def _renamed(self, rows: Rows, node: Any) -> Rows:
        """The rows under an alias with a column list: `as t(a, b)`."""
        alias = node.args.get("alias")
        columns = alias.args.get("columns") if isinstance(alias, exp.TableAlias) else None
        if not columns:
            return rows
        names = [str(column.name) for column in columns]
        if not rows.closed or len(names) > len(rows.names):
            return opaque(rows.part, names)
        return Rows(names + rows.names[len(names) :], rows.definitions, [], part=rows.part)

    def _set_operation(
        self,
        query: Any,
        environment: Environment,
        outer: Scope | None,
        gathered: list[tuple[Clause, Definition]] | None,
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
            self.read(branch, environment, outer, gathered, nested) for branch in branches[::-1]
        ]
        part = Part(children=[rows.part for rows in read if rows.part])
        for operation in operations:
            word = type(operation).__name__.lower()
            part.operators.append(word if operation.args.get("distinct") else f"{word} all")
        operator = part.operators[0]
        if any(one.args.get(key) for one in operations for key in ("side", "kind", "on")):
            return opaque(part)
        first = read[0]
        if any(one.args.get("by_name") for one in operations):
            names = list(dict.fromkeys(name for rows in read for name in rows.names))
            if not all(rows.closed for rows in read):
                return opaque(part, names)
            columns = [[rows.find(name) for rows in read] for name in names]
            combined = [
                self._combined([one for presence, one in column if presence], operator)
                for column in columns
            ]
            return Rows(names, combined, part=part)
        if all(rows.names == [] and rows.rests == first.rests for rows in read):
            return Rows([], [], first.rests, part=part)  # one table, read twice with other filters
        if not first.closed:
            return opaque(part, first.names)
        if any(not rows.closed or len(rows.names) != len(first.names) for rows in read):
            return Rows(first.names, [UNRESOLVED] * len(first.names), part=part)
        by_position = zip(*(rows.definitions for rows in read), strict=True)
        combined = [self._combined(column, operator) for column in by_position]
        return Rows(first.names, combined, part=part)

    def _combined(self, definitions: Sequence[Definition], operator: str) -> Definition:
        first = definitions[0]
        if any(one.shape is Shape.UNKNOWN for one in definitions):
            return UNRESOLVED
        if all(one is first or self._same(one, first) for one in definitions):
            return first
        result = derived(None, definitions)
        result.shape = Shape.UNION
        result.branches, result.operator = tuple(definitions), operator
        result.inline = False
        result.is_plain = all(one.is_plain for one in definitions)
        return result

    # -- one SELECT ------------------------------------------------------------------------

    def _select(self, query: Any, scope: Scope) -> Rows:
        part = scope.part
        part.select = query
        _inline_named_windows(query)
        source = argument(query, "from")
        if source:
            self._add_source(source.this, scope)
        self._add_joins(query, scope)
        if query.args.get("match"):  # MATCH_RECOGNIZE makes its own columns
            scope.sources = [one._replace(rows=opaque(one.rows.part)) for one in scope.sources]
        if self.dialect == "clickhouse":
            scope.later_aliases = {
                one.alias.casefold() for one in query.expressions if isinstance(one, exp.Alias)
            }
        rows = self._projections(query, scope)
        for key in ("prewhere", "where", "having", "qualify"):
            clause = query.args.get(key)
            for condition in conjuncts(clause.this) if clause else ():
                self.define(condition, scope, Clause.FILTER)
                part.filters.append(condition)
        if query.args.get("group"):
            self.define(query.args["group"], scope, Clause.FILTER)
        return rows

    def _projections(self, query: Any, scope: Scope) -> Rows:
        rows = Rows(part=scope.part)
        if query.args.get("kind") == "VALUE":
            rows.rests.append(Rest())
        for projection in query.expressions:
            star = _star_of(projection)
            if star is not None:
                self._expand(star, projection, scope, rows)
                continue
            if isinstance(projection, exp.Alias):
                scope.later_aliases.discard(projection.alias.casefold())
            definition = self.define(projection, scope, Clause.PROJECTION)
            scope.part.projections.append(definition)
            if isinstance(projection, exp.Aliases):
                names = [str(name) for name in projection.aliases]
                rows.names += names
                rows.definitions += [definition] * len(names)
                continue
            name = self._output_name(projection)
            rows.names.append(name)
            rows.definitions.append(definition)
            if isinstance(projection, exp.Alias):
                scope.aliases[name.casefold()] = definition
            elif isinstance(projection, (exp.Unnest, exp.Explode, exp.Inline)):
                rows.ordered = False
        excluded = {one.name.casefold() for one in query.args.get("exclude") or ()}
        if excluded:
            kept = [at for at, name in enumerate(rows.names) if name.casefold() not in excluded]
            rows.names = [rows.names[at] for at in kept]
            rows.definitions = [rows.definitions[at] for at in kept]
            rows.rests = [rest.restricted(excluded, ()) for rest in rows.rests]
        return rows

    def _output_name(self, projection: Any) -> str:
        if isinstance(projection, (exp.Alias, exp.Column)):
            return str(projection.alias_or_name)
        if isinstance(projection, exp.Dot):
            return str(projection.expression.name)
        if isinstance(projection, exp.Paren):
            return self._output_name(projection.this)
        if type(projection) is exp.Cast and self.dialect in _UNALIASED_CAST_KEEPS_NAME:
            return self._output_name(projection.this)
        return ""

    def _expand(self, star: Any, projection: Any, scope: Scope, rows: Rows) -> None:
        qualifier = projection.args.get("table") if isinstance(projection, exp.Column) else None
        sources = [one for one in scope.sources if one.visible]
        if qualifier is not None:
            path = tuple(str(part.name).casefold() for part in projection.parts[:-1])
            sources = [one for one in scope.sources if _answers_to(one, path)][:2]
        plain = isinstance(projection, (exp.Star, exp.Column)) and not star.args.get("ilike")
        if not plain or (qualifier is not None and len(sources) != 1):
            rows.rests.append(Rest())
            return
        excluded = {one.name.casefold() for one in argument(star, "except") or ()}
        renamed = [(str(one.alias), str(one.this.name)) for one in star.args.get("rename") or ()]
        new_names = {old.casefold(): new for new, old in renamed}
        replaced = {
            str(one.alias).casefold(): self.define(one, scope, Clause.PROJECTION)
            for one in star.args.get("replace") or ()
        }

        def add(name: str, definition: Definition) -> None:
            key = name.casefold()
            if key not in excluded:
                rows.names.append(new_names.get(key, name))
                rows.definitions.append(replaced.pop(key, definition))

        merged = {} if qualifier is not None else scope.merged
        for name, definition in merged.values():
            add(name, definition)
        if merged and list(merged) != [
            name.casefold() for name in sources[0].rows.names[: len(merged)]
        ]:
            rows.ordered = False  # databases differ in where they put the columns of USING
        for source in sources:
            listed = set(merged)
            for name, definition in zip(source.rows.names, source.rows.definitions, strict=True):
                if name.casefold() not in merged:
                    add(name, definition)
                listed.add(name.casefold())
            rows.rests += [
                rest.restricted(excluded | set(merged) | set(replaced), renamed)
                for rest in source.rows.rests
            ]
            rows.ordered = rows.ordered and source.rows.ordered
        for key, definition in replaced.items():  # of columns that no schema lists
            rows.names.append(key)
            rows.definitions.append(definition)

    # -- FROM ------------------------------------------------------------------------------

    def _add_source(self, node: Any, scope: Scope, visible: bool = True) -> None:
        alias = node.args.get("alias")
        label = alias.this if isinstance(alias, exp.TableAlias) else None
        path: tuple[str, ...] = ()
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            rows = self._table(node, scope)
            label = label or node.this
            path = tuple(str(one.name).casefold() for one in node.parts)
            rows = self._renamed(rows, node)
        elif isinstance(node, exp.Subquery) and not alias and _is_parenthesised_join(node.this):
            self._add_source(node.this, scope, visible)
            self._add_joins(node, scope)
            return
        elif isinstance(node, exp.Subquery):
            rows = self.read(node, scope.environment, scope.outer, nested=scope.nested)
        elif isinstance(node, exp.Values):
            rows = self._values(node)
        elif isinstance(node, exp.Lateral) and isinstance(node.this, _QUERIES):
            rows = self.read(node.this, scope.environment, scope, nested=scope.nested)
            rows = self._renamed(rows, node)
        elif isinstance(node, (exp.Unnest, exp.Lateral, exp.Table, exp.TableFromRows)):
            rows = self._function(node, scope)
            columns = alias.args.get("columns") if alias else None
            label = label or (columns[0] if columns else None)
        else:
            rows = opaque()
        if rows.part is not None:
            scope.part.children.append(rows.part)
        pivots = node.args.get("pivots")
        if pivots:
            rows = opaque(rows.part)
            for pivot in pivots:
                label = pivot.args["alias"].this if pivot.args.get("alias") else label
        name = str(label.name).casefold() if label is not None else ""
        scope.sources.append(Source(name, path if not alias else (), rows, visible))
        self._add_joins(node, scope)

    def _add_joins(self, node: Any, scope: Scope) -> None:
        for join in node.args.get("joins") or ():
            self._join(join, scope)
        for lateral in node.args.get("laterals") or ():
            self._add_source(lateral, scope)

    def _table(self, node: Any, scope: Scope) -> Rows:
        parts = [str(one.name) for one in node.parts]
        if len(parts) == 1:
            rows = scope.environment.tables.get(self._folded(node.this))
            if rows is not None:
                return rows
        key = tuple(self._folded(one) for one in node.parts)
        table = self._tables.get(key)
        if table is None:
            table = Table(".".join(parts), tuple(self._columns_of(node)))
            self._tables[key] = table
        scope.part.relations.append(table.relation)
        definitions = [table.leaf(name) for name in table.columns]
        return Rows(list(table.columns), definitions, [Rest(table)], table=table)

    def _values(self, node: Any) -> Rows:
        rows = [
            one.expressions if isinstance(one, exp.Tuple) else [one] for one in node.expressions
        ]
        width = len(rows[0]) if rows else 0
        alias = node.args.get("alias")
        columns = (alias.args.get("columns") if alias else None) or ()
        names = [str(one.name) for one in columns]
        if any(len(row) != width for row in rows) or node.find(exp.Column, exp.Query):
            return opaque(None, names)
        definitions = []
        for position in range(width):
            local = exp.Anonymous(this="VALUES", expressions=[row[position].copy() for row in rows])
            definitions.append(Definition(Shape.CONSTANT, local=local, inline=False))
        names += [""] * (width - len(names))
        return Rows(names[:width], definitions)

    def _function(self, node: Any, scope: Scope) -> Rows:
        """An unnested array or a table function: its columns come from its arguments."""
        alias = node.args.get("alias")
        columns = (alias.args.get("columns") if alias else None) or []
        label = alias.this if alias else None
        names = [str(one.name) for one in columns]
        call = node if isinstance(node, exp.Unnest) else node.this
        whole = self.define(call, scope, Clause.FROM)
        known = isinstance(call, (exp.Unnest, *_SERIES)) or whole.leaves
        if whole.shape is Shape.UNKNOWN or not known:
            return opaque(None, names)
        arguments = call.expressions if isinstance(call, exp.Unnest) else [call]
        values = [self._element(one, call, scope) for one in arguments]
        flatten = isinstance(call, exp.Explode) and self.dialect == "snowflake"
        if flatten:
            names = list(_FLATTEN_COLUMNS)
            definitions = [member(values[0], [name.lower()]) for name in names]
            return Rows(names, definitions)
        if not names:
            names = [
                str(one.name)
                for one in call.find_all(exp.OpenJSONColumnDef, exp.JSONColumnDef)
                if one.name
            ]
        value = values[0] if len(values) == 1 else derived(call, values)
        offset = node.args.get("offset")
        explicit = bool(names) and (label is not None or bool(node.args.get("view")))
        if not names and label is not None and not node.args.get("view"):
            names = [str(label.name)]
        if len(values) == len(names) and len(values) > 1:
            definitions = values
        else:
            definitions = [value] * len(names)
        rests = [] if explicit or self.dialect == "redshift" else [Rest(value=value)]
        if offset is not None and offset is not False:
            names = [*names, str(offset.name) if isinstance(offset, exp.Identifier) else "offset"]
            definitions = [*definitions, value]
        return Rows(names, definitions, rests, value=None if explicit else value)

    def _element(self, array: Any, call: Any, scope: Scope) -> Definition:
        """One element of an array that a FROM clause unnests."""
        source = self.define(array, scope, Clause.FROM)
        local = array
        if isinstance(call, exp.Unnest):
            local = exp.Anonymous(this="UNNEST", expressions=[array.copy()])
        elif isinstance(call, exp.Explode) and self.dialect == "snowflake":
            inner = call.this.expression if isinstance(call.this, exp.Kwarg) else call.this
            local = exp.Anonymous(this="FLATTEN", expressions=[inner.copy()])
        return derived(local, [source])

    def _join(self, join: Any, scope: Scope) -> None:
        before = list(scope.sources)
        kind, side, method = (_text(join, key) for key in ("kind", "side", "method"))
        if kind == "array":
            self._array_join(join, scope)
            return
        self._add_source(join.this, scope, visible=kind not in ("semi", "anti"))
        joined = scope.sources[len(before)] if len(scope.sources) > len(before) else None
        if joined is None:
            return
        condition: Any = join.args.get("on")
        if condition is not None:
            self.define(condition, scope, Clause.FILTER)
        using = [str(one.name) for one in join.args.get("using") or ()]
        if isinstance(join.this, exp.Lateral) and join.this.args.get("cross_apply") is False:
            side = "left"  # OUTER APPLY
        if method == "natural":
            using = self._common_names(before, joined, scope)
        for name in using:
            merged = self._merged(name, side, before, joined, scope)
            scope.merged[name.casefold()] = (name, merged)
        if using:
            condition = f"USING ({', '.join(using)})"
        words = ["natural"] if method == "natural" else []
        words += [side] if side else []
        words += [kind] if kind and not (side and kind == "outer") else []
        if not side and not kind:
            words.append("inner" if condition is not None or method else "cross")
        name = str(join.this.name if isinstance(join.this, exp.Table) else join.this.alias)
        if self._is_outer(kind, side, method):
            scope.part.has_outer_join = True
        scope.part.joins.append((" ".join(words), joined.rows, name, condition))

    def _is_outer(self, kind: str, side: str, method: str) -> bool:
        if method == "positional" or (method == "asof" and self.dialect == "snowflake"):
            return True  # rows without a partner stay, whatever the join's side
        return kind == "outer" or (bool(side) and kind not in ("semi", "anti"))

    def _common_names(self, before: list[Source], joined: Source, scope: Scope) -> list[str]:
        if not joined.rows.closed or not all(one.rows.closed for one in before):
            unsure = [one._replace(rows=opaque(one.rows.part)) for one in scope.sources]
            scope.sources = unsure  # which columns are shared cannot be known
            return []
        left = [name for one in before for name in one.rows.names]
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

    def _array_join(self, join: Any, scope: Scope) -> None:
        for item in [join.this, *(join.args.get("expressions") or ())]:
            array = item.this if isinstance(item, exp.Alias) else item
            if isinstance(array, exp.Table):
                array = exp.column(*[one.copy() for one in reversed(array.parts)])
            definition = self.define(array, scope, Clause.FROM)
            name = str(item.alias_or_name)
            local = exp.Anonymous(this="arrayJoin", expressions=[tagged_column(name, definition)])
            scope.merged[name.casefold()] = (name, derived(local, [definition]))

    # -- expressions -----------------------------------------------------------------------

    def define(self, expression: Any, scope: Scope, clause: Clause) -> Definition:
        """What an expression is made of; tags its column nodes on the way."""
        core = core_of(expression)
        if isinstance(core, exp.Column) and not isinstance(core.this, exp.Star):
            definition = self._column(core, scope, clause)
        else:
            definition = self._compound(core, scope, clause)
        if scope.gathered is not None:
            scope.gathered.append((clause, definition))
        return definition

    def _compound(self, core: Any, scope: Scope, clause: Clause) -> Definition:
        used: list[tuple[int, Definition]] = []
        aggregate = window = False
        constant, deepest = True, 0
        stack = [(core, 1)]
        while stack:
            node, depth = stack.pop()
            deepest = max(deepest, depth)
            if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
                if not _is_date_part(node):
                    used.append((_position(node), self._column(node, scope, clause)))
                elif node.parent.args.get("unit") is not None:
                    return UNRESOLVED  # generic SQL takes datediff's last argument for the unit
                continue
            if isinstance(node, _QUERIES):
                used.append((_position(node), self._inside(node, scope)))
                constant = False
                continue
            if isinstance(node, (exp.Star, exp.Column)):
                if not node.find_ancestor(exp.Count):
                    return UNRESOLVED
                continue
            if isinstance(node, (exp.Columns, exp.Comprehension)) or (
                isinstance(node, exp.Parameter) and self.dialect == "snowflake"
            ):
                return UNRESOLVED
            aggregate = aggregate or _is_aggregate(node)
            window = window or (isinstance(node, exp.Window) and not _is_aggregate(node))
            constant = constant and not _is_volatile(node)
            stack += [(child, depth + 1) for child in reversed(list(node.iter_expressions()))]
        sources = [one for _, one in sorted(used, key=lambda pair: pair[0])]
        definition = derived(core, sources)
        if definition is UNRESOLVED:
            return UNRESOLVED
        definition.too_deep = deepest > _MAX_DEPTH
        definition.aggregate = definition.aggregate or aggregate
        definition.window = definition.window or window
        if aggregate or window:
            definition.over = tuple(dict.fromkeys((*definition.over, scope.part)))
        plain = constant and not (aggregate or window)
        if plain and all(one.shape is Shape.CONSTANT for one in sources):
            definition.shape = Shape.CONSTANT
        elif type(core) in (exp.Cast, exp.TryCast) and len(sources) == 1:
            inner = core
            while type(inner) in (exp.Cast, exp.TryCast, exp.Paren):
                inner = inner.this
            if isinstance(inner, exp.Column) and sources[0].is_plain:
                definition.shape = Shape.CAST
                definition.is_plain = True
        return definition

    def _inside(self, query: Any, scope: Scope) -> Definition:
        """What a query inside an expression refers to: its aggregates are its own affair."""
        gathered: list[tuple[Clause, Definition]] = []
        rows = self.read(query, scope.environment, scope, gathered, nested=True)
        if rows.part is not None:
            scope.part.nested.append(rows.part)
        above = query.parent
        while isinstance(above, (exp.Paren, exp.Subquery)):
            above = above.parent
        if isinstance(above, exp.Exists):
            used = [one for clause, one in gathered if clause is not Clause.PROJECTION]
        elif rows.closed:
            used = [*(one for _, one in gathered), *rows.definitions]
        else:
            used = [UNRESOLVED]
        whole = derived(None, used)
        return whole if whole is UNRESOLVED else Definition(Shape.OTHER, whole.leaves)

    def _column(self, column: Any, scope: Scope, clause: Clause) -> Definition:
        parts = column.parts
        if not all(isinstance(part, exp.Identifier) for part in parts):
            return UNRESOLVED  # $1 of a staged file
        names = [str(part.name) for part in parts]
        if len(names) > 1:
            definition, found = self._qualified(names, scope)
        else:
            key = names[0].casefold()
            if not parts[0].args.get("quoted") and scope.candidates(names[0])[0] < Presence.YES:
                if key in _PSEUDO_CONSTANTS:
                    return Definition(Shape.CONSTANT, local=column)
                hierarchical = scope.part.select is not None and scope.part.select.args.get(
                    "connect"
                )
                if key in _NEVER_COLUMNS or (hierarchical and key in _CONNECT_BY_COLUMNS):
                    return UNRESOLVED
            definition, found = self._unqualified(names[0], scope, clause)
        if definition.shape is not Shape.UNKNOWN and not (scope.nested and found.nested):
            column.meta[TAG] = definition
        return definition

    def _unqualified(self, name: str, scope: Scope, clause: Clause) -> tuple[Definition, Scope]:
        key = name.casefold()
        if key in scope.environment.scalars:
            scalar, part = scope.environment.scalars[key]
            scope.part.nested.append(part)
            return scalar, scope
        alias = scope.aliases.get(key)
        if self.dialect == "clickhouse" and clause is Clause.PROJECTION:
            if key in scope.later_aliases:
                return UNRESOLVED, scope
            if alias is not None:  # ClickHouse prefers the alias to the column
                return alias, scope
        presence, definition = scope.candidates(name)
        if presence is Presence.YES:
            return definition, scope
        if clause is Clause.FROM or (
            clause is Clause.PROJECTION and self.dialect in _NO_LATERAL_ALIAS
        ):
            alias = None
        if alias is not None and not (presence is Presence.MAYBE and key in scope.read_names):
            sure = presence is not Presence.MAYBE or clause is Clause.FILTER
            return (alias if sure else UNRESOLVED), scope
        if presence is Presence.MAYBE and clause is Clause.PROJECTION:
            scope.read_names.add(key)
            return definition, scope  # an outer query could have it too, but hardly
        return self._lookup(name, scope)[1:]

    def _lookup(self, name: str, scope: Scope) -> tuple[Presence, Definition, Scope]:
        presence, definition = scope.candidates(name)
        if presence is Presence.YES or scope.outer is None:
            return presence, definition, scope
        outer = self._lookup(name, scope.outer)
        if name.casefold() in scope.outer.aliases and outer[0] is not Presence.YES:
            outer = Presence.MAYBE, UNRESOLVED, scope.outer
        if presence is Presence.MAYBE and outer[0] >= Presence.MAYBE:
            return presence, UNRESOLVED, scope
        if presence is Presence.NO or (presence is Presence.STALE and outer[0] > presence):
            return outer
        return presence, definition, scope

    def _qualified(self, names: list[str], scope: Scope) -> tuple[Definition, Scope]:
        folded = tuple(name.casefold() for name in names)
        at: Scope | None = scope
        while at is not None:
            for length in range(1, len(names)):
                sources = [one for one in at.sources if _answers_to(one, folded[:length])]
                if len(sources) > 1:
                    return UNRESOLVED, at
                if sources:
                    rows, rest = sources[0].rows, names[length:]
                    presence, definition = rows.find(rest[0])
                    if presence is not Presence.YES and rows.value is not None:
                        return member(rows.value, rest), at
                    if presence is Presence.NO:
                        return UNRESOLVED, at
                    at.read_names.add(folded[length])
                    return (member(definition, rest[1:]) if rest[1:] else definition), at
            at = at.outer
        presence, definition, found = self._lookup(names[0], scope)
        sure = presence is Presence.YES or self.dialect in _DOTTED_FIELDS
        if not sure or folded[-1] in _NEVER_COLUMNS:
            return UNRESOLVED, scope
        return member(definition, names[1:]), found
