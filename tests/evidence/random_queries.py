"""Random queries, and whether what is read out of them holds for the rows that DuckDB gives.

Whether a row has a partner is not asked of the facts: the query is run with a column more, that the
joined relation alone fills and that every query above passes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import NamedTuple

import duckdb
from sqlglot import exp, parse_one

from dbt_osmosis_llm.evidence.facts import QueryFacts
from dbt_osmosis_llm.evidence.lineage import read_query

TABLES = {
    name: {"id": "int", "k": "int", "n": "int", "s": "text", "flag": "bool"}
    for name in ("ta", "tb", "tc")
}
_DUCKDB_TYPES = {"int": "integer", "text": "varchar", "bool": "boolean"}
_LITERALS = {
    "int": ("0", "1", "2", "0.0", "1.0"),
    "text": ("'a'", "'b'", "'A'", "'1'", "''"),
    "bool": ("true", "false"),
}
_SIDES = ("inner", "inner", "left", "left", "left", "right", "full", "cross")


class Column(NamedTuple):
    """A column as SQL names it."""

    sql: str
    type: str


@dataclass(eq=False)
class Source:
    """What stands in a FROM clause."""

    alias: str
    query: Query | None = None
    table: str = ""
    join: str = ""
    on: str = ""
    where: str = ""
    """Of a lateral subquery, which gives one row."""
    order: str = ""
    group: list[Source] = field(default_factory=list)
    """What else stands in the same parentheses."""

    @property
    def columns(self) -> list[Column]:
        """Its columns, qualified."""
        types = self.query.types if self.query else TABLES[self.table]
        return [Column(f"{self.alias}.{name}", type_) for name, type_ in types.items()]


@dataclass(eq=False)
class Query:
    """A CTE, or the outermost query."""

    name: str
    types: dict[str, str]
    items: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    clauses: str = ""
    group: bool = False
    aggregates: bool = False
    distinct: bool = False
    branches: list[Query] = field(default_factory=list)
    operator: str = ""
    star: bool = False


class Generator:
    """Makes one query of random parts."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._names = 0
        self._queries: list[Query] = []

    def query(self) -> list[Query]:
        """The CTEs and, last, the outermost query."""
        for _ in range(self._random.randint(1, 4)):
            self._queries.append(self._cte())
        return self._queries

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _cte(self) -> Query:
        if self._chance(0.12):
            first = self._select(["int", "text"])
            others = [
                self._select(list(first.types.values())) for _ in range(self._random.randint(1, 2))
            ]
            operator = self._random.choice(("union all", "union all", "union"))
            return Query(self._name("q"), first.types, branches=[first, *others], operator=operator)
        return self._select()

    def _source(self, columns: Sequence[Column]) -> Source:
        alias = self._name("j")
        if self._queries and self._chance(0.65):
            query = self._random.choice(self._queries[-3:])
            if self._chance(0.25) and all(s.alias != query.name for s in self._joined):
                alias = query.name
            return Source(alias, query)
        return Source(alias, table=self._random.choice(list(TABLES)))

    def _select(self, types: list[str] | None = None) -> Query:
        random = self._random
        self._joined: list[Source] = []
        first = self._source(())
        self._joined.append(first)
        if self._chance(0.6):
            for _ in range(random.choice((1, 1, 2, 2, 3))):
                self._join()
        sources = self._joined
        columns = [column for source in sources for column in source.columns]
        using = [s for s in sources if s.on.startswith("using")]
        query = Query(self._name("q"), {}, sources=sources)
        if using and self._chance(0.8):
            columns += [Column(using[0].on[7:-1], "int")] * 3
        conditions = [self._condition(columns) for _ in range(random.choice((0, 0, 1, 1, 2)))]
        where = f" where {' and '.join(conditions)}" if conditions else ""
        shape = random.choice(("plain",) * 4 + ("group", "number", "distinct", "star"))
        if types is not None and shape in ("star", "number"):
            shape = "plain"
        if shape == "star" and len(sources) == 1:
            query.star = True
            query.types = {c.sql.partition(".")[2]: c.type for c in columns}
            query.items = [c.sql for c in columns]
            query.clauses = where
            if self._chance(0.4):
                over = self._over(columns)
                query.clauses += f" qualify row_number() over {over} = 1"
            return query
        if shape == "group":
            self._grouped(query, columns, where, types)
            return query
        wanted = types or [
            random.choice(("int", "int", "text", "bool")) for _ in range(random.randint(2, 6))
        ]
        for number, type_ in enumerate(wanted):
            plain = self._chance(0.6)
            expression = self._column(columns, type_) if plain else self._value(columns, type_, 2)
            self._add(query, expression, type_, number, keep=types is None)
        if shape == "number":
            name = self._name("rn")
            window = f"row_number() over {self._over(columns)}"
            query.items.append(f"{window} as {name}")
            query.types[name] = "int"
            if self._chance(0.5):
                where += f" qualify {name} {random.choice(('= 1', '< 2', '<= 1'))}"
        elif self._chance(0.1):
            where += f" qualify row_number() over {self._over(columns)} = 1"
        query.distinct = shape == "distinct"
        query.clauses = where
        return query

    def _add(self, query: Query, sql: str, type_: str, number: int, *, keep: bool) -> None:
        name = sql.rpartition(".")[2]
        if not (keep and self._chance(0.6) and name.isidentifier() and name not in query.types):
            taken = ("s", "n", "k", "id", "flag")[number % 5]
            name = taken if self._chance(0.2) and taken not in query.types else f"c{number}"
            if name in query.types:
                name = self._name("x")
        query.items.append(f"{sql} as {name}")
        query.types[name] = type_

    def _over(self, columns: Sequence[Column]) -> str:
        keys = self._random.sample(columns, self._random.choice((0, 1, 1, 1, 2)))
        partition = ", ".join(dict.fromkeys(key.sql for key in keys))
        order = self._random.choice(columns).sql
        return f"({f'partition by {partition} ' if partition else ''}order by {order})"

    def _join(self) -> None:
        random, before = self._random, [c for s in self._joined for c in s.columns]
        source = self._source(before)
        if self._chance(0.12) and source.table:
            key = self._column(before, "int")
            condition = f"{source.table}.k = {key}"
            if self._chance(0.3):
                condition += f" and {source.table}.{random.choice(('flag', 'n = 1'))}"
            source.where = condition
            source.order = random.choice(("id", "n"))
            source.join, source.on = random.choice((("left", "on true"), ("cross", "")))
            self._joined.append(source)
            return
        source.join = random.choice(_SIDES)
        if source.join != "cross":
            shared = {c.sql.partition(".")[2] for c in source.columns if c.type == "int"}
            left = {c.sql.partition(".")[2] for c in before if c.type == "int"}
            is_first = len(self._joined) == 1
            if is_first and (names := sorted(shared & left)) and self._chance(0.25):
                source.on = f"using ({random.choice(names)})"
            else:
                inner = None
                if self._chance(0.12):
                    inner = self._source(before)
                    if any(s.alias == inner.alias for s in (*self._joined, source)):
                        inner = None
                if inner is not None:
                    inner.join = random.choice(("inner", "left"))
                    inner.on = f"on {self._equality(source.columns, inner)}"
                    source.group = [inner]
                source.on = f"on {self._equality(before, source)}"
                if self._chance(0.3):
                    both = [*before, *source.columns]
                    source.on += f" and {self._condition(both)}"
                numbers = [c.sql for c in source.columns if ".rn" in c.sql]
                if numbers and self._chance(0.7):
                    source.on += f" and {random.choice(numbers)} = 1"
        self._joined += [source, *source.group]

    def _equality(self, before: Sequence[Column], source: Source) -> str:
        random = self._random
        own = [c.sql for c in source.columns if c.type == "int"] or ["1"]
        preferred = [name for name in own if name.endswith((".id", ".k"))]
        one = random.choice(preferred if preferred and self._chance(0.7) else own)
        return f"{self._column(before, 'int')} = {one}"

    def _grouped(
        self, query: Query, columns: Sequence[Column], where: str, types: list[str] | None
    ) -> None:
        random = self._random
        query.aggregates = True
        wanted = types or [random.choice(("int", "text", "bool")) for _ in range(3)]
        count = 0 if self._chance(0.1) else random.randint(1, len(wanted))
        keys: list[str] = []
        for number, type_ in enumerate(wanted):
            if number < count:
                is_plain = self._chance(0.7)
                sql = self._column(columns, type_) if is_plain else self._value(columns, type_, 1)
                self._add(query, sql, type_, number, keep=types is None)
                named = list(query.types)[-1]
                is_free = all(not c.sql.endswith(f".{named}") for c in columns)
                by = [str(number + 1), sql if not sql[0].isdigit() else str(number + 1)]
                keys.append(random.choice(by + [named] * is_free))
            else:
                self._add(query, self._aggregate(columns, type_), type_, number, keep=False)
        query.group = bool(keys)
        query.clauses = where
        if keys:
            if self._chance(0.08):
                query.clauses += f" group by rollup ({', '.join(keys)})"
            elif self._chance(0.15) and types is None:
                extra = random.choice(columns).sql
                query.clauses += f" group by {', '.join([*keys, extra])}"
            else:
                query.clauses += f" group by {', '.join(keys)}"
        if self._chance(0.25):
            of = random.choice(columns).sql
            query.clauses += random.choice(
                (
                    f" having count({of}) > 0",
                    f" having count({of}) = 0",
                    f" having max({of}) is not null",
                    " having count(*) > 1",
                    f" having {self._aggregate(columns, 'int')} > 0",
                )
            )

    def _aggregate(self, columns: Sequence[Column], type_: str) -> str:
        random = self._random
        any_column = random.choice(columns).sql
        if type_ == "int":
            value = (
                self._column(columns, "int")
                if self._chance(0.6)
                else (self._value(columns, "int", 1))
            )
            text = random.choice(
                (
                    f"sum({value})",
                    f"count({any_column})",
                    f"count(distinct {any_column})",
                    "count(*)",
                    f"max({value})",
                    f"count(case when {self._condition(columns)} then 1 end)",
                )
            )
            return f"coalesce({text}, {random.choice(('0', '-1'))})" if self._chance(0.3) else text
        if type_ == "text":
            text = f"max({self._column(columns, 'text')})"
            return f"coalesce({text}, 'none')" if self._chance(0.4) else text
        return random.choice(
            (
                f"max({any_column}) is null",
                f"count({any_column}) > 0",
                f"coalesce(count({any_column}), 0) = 0",
                f"sum({self._column(columns, 'int')}) > 1",
            )
        )

    def _column(self, columns: Sequence[Column], type_: str) -> str:
        fitting = [column.sql for column in columns if column.type == type_]
        if fitting:
            return self._random.choice(fitting)
        return self._random.choice(_LITERALS[type_])

    def _value(self, columns: Sequence[Column], type_: str, depth: int) -> str:
        random = self._random
        if depth == 0 or self._chance(0.15):
            if self._chance(0.3):
                return random.choice(_LITERALS[type_])
            return self._column(columns, type_)

        def value(of: str = type_) -> str:
            return self._value(columns, of, depth - 1)

        forms = [
            lambda: f"coalesce({value()}, {random.choice(_LITERALS[type_])})",
            lambda: f"coalesce({value()}, {value()}, {random.choice(_LITERALS[type_])})",
            lambda: f"coalesce({value()}, {value()})",
            lambda: f"case when {self._condition(columns)} then {value()} else {value()} end",
            lambda: f"case when {self._condition(columns)} then {value()} end",
            lambda: f"case {value('int')} when 0 then {value()} when 1.0 then {value()} end",
            lambda: f"nullif({value()}, {random.choice(_LITERALS[type_])})",
            lambda: f"if({self._condition(columns)}, {value()}, {value()})",
        ]
        if type_ == "int":
            forms += [
                lambda: f"({value()} {random.choice('+-*')} {value()})",
                lambda: f"abs({value()})",
                lambda: f"length({value('text')})",
            ]
        elif type_ == "text":
            forms += [
                lambda: f"upper({value()})",
                lambda: f"cast({value('int')} as varchar)",
                lambda: f"({value()} || {value()})",
                lambda: f"concat({value()}, {value()})",
            ]
        else:
            forms += [lambda: f"({self._condition(columns)})"] * 6
        return random.choice(forms)()

    def _condition(self, columns: Sequence[Column], depth: int = 1) -> str:
        random = self._random
        column = random.choice(columns)
        literal = random.choice(_LITERALS[column.type])
        other = random.choice(_LITERALS[column.type])
        default = random.choice(_LITERALS[column.type])
        same = self._column(columns, column.type)
        boolean = self._column(columns, "bool")
        forms = [
            f"{column.sql} = {literal}",
            f"{column.sql} = {literal}",
            f"{literal} = {column.sql}",
            f"{column.sql} <> {literal}",
            f"{column.sql} is null",
            f"{column.sql} is not null",
            f"{column.sql} in ({literal}, {other})",
            f"{column.sql} in ({literal})",
            f"{column.sql} not in ({literal}, {other})",
            f"{column.sql} not in (select {('k', 's', 'flag')[column.type != 'int']} from tb"
            " where id > 90)"
            if column.type != "bool"
            else f"{column.sql}",
            f"coalesce({column.sql}, {default}) = {literal}",
            f"coalesce({column.sql}, {default}) in ({literal}, {other})",
            f"{column.sql} = {same}",
            f"{column.sql} is distinct from {literal}",
            f"{column.sql} is not distinct from {same}",
            boolean,
            f"not {boolean}",
            f"{boolean} is true",
            f"{boolean} is not true",
            f"coalesce({boolean}, {random.choice(('true', 'false'))})",
        ]
        if column.type == "int":
            forms += [
                f"{column.sql} > {literal}",
                f"coalesce({column.sql}, {default}) >= {literal}",
                f"{column.sql} between 0 and 1",
                f"(coalesce({column.sql}, 1)) is true",
            ]
        if depth and self._chance(0.3):
            sides = [self._condition(columns, depth - 1) for _ in range(2)]
            joined = random.choice(
                ("({} or {})", "({} and {})", "not ({} and {})", "not ({} or {})")
            )
            return joined.format(*sides)
        return random.choice(forms)


class Rendered(NamedTuple):
    """A query as SQL, with the columns that say whether a relation has a row, each by its path."""

    sql: str
    markers: dict[str, tuple[str, ...]]


def rendered(queries: Sequence[Query], target: str = "") -> Rendered:
    """The SQL of a query, with a marker of the relation that is called so."""
    marks: dict[Query, dict[str, tuple[str, ...]]] = {}
    texts: list[str] = []
    for query in queries:
        body, own = _body(query, target, marks)
        marks[query] = own
        texts.append(body)
    ctes = ", ".join(
        f"{q.name} as ({text})" for q, text in zip(queries[:-1], texts[:-1], strict=True)
    )
    return Rendered(f"with {ctes} {texts[-1]}" if ctes else texts[-1], marks[queries[-1]])


def _body(
    query: Query, target: str, marks: dict[Query, dict[str, tuple[str, ...]]]
) -> tuple[str, dict[str, tuple[str, ...]]]:
    if query.branches:
        bodies = [_body(branch, target, marks) for branch in query.branches]
        every = {name: path for _, marked in bodies for name, path in marked.items()}
        texts = []
        for at, (_, marked) in enumerate(bodies):
            more = [name if name in marked else f"null as {name}" for name in every]
            names = ", ".join([*query.branches[at].types, *more])
            texts.append(f"select {names} from ({bodies[at][0]})" if every else bodies[at][0])
        return f" {query.operator} ".join(texts), every
    own: dict[str, tuple[str, ...]] = {}
    extra: list[str] = []
    for source in query.sources:
        found: dict[tuple[str, tuple[str, ...]], str] = {}
        if source.alias == target:
            found["m__", ()] = f"coalesce({source.alias}.m__, 0)"
        below = marks.get(source.query, {}) if source.query is not None else {}
        found.update({(name, path): f"{source.alias}.{name}" for name, path in below.items()})
        for (_, path), sql in found.items():
            name = f"m{len(own)}__{query.name}"
            own[name] = (source.alias, *path)
            extra.append(f"{f'max({sql})' if query.aggregates else sql} as {name}")
    items = ["*"] if query.star and not extra else [*query.items, *extra]
    select = "select distinct" if query.distinct else "select"
    return f"{select} {', '.join(items)} from {_from(query, {target})}{query.clauses}", own


def _from(query: Query, marked: set[str], mark: str = "1") -> str:
    def one(source: Source) -> str:
        name = source.query.name if source.query else source.table
        if source.where:
            extra = f", {mark} as m__" if source.alias in marked else ""
            inner = f"select *{extra} from {name} where {source.where}"
            return f"lateral ({inner} order by {source.order} limit 1) as {source.alias}"
        if source.alias in marked:
            return f"(select *, {mark} as m__ from {name}) as {source.alias}"
        return name if source.alias == name else f"{name} as {source.alias}"

    grouped = {inner for source in query.sources for inner in source.group}
    text = ""
    for source in query.sources:
        if source in grouped:
            continue
        relation = one(source)
        for inner in source.group:
            relation = f"({relation} {inner.join} join {one(inner)} {inner.on})"
        text += f" {source.join} join {relation} {source.on}" if source.join else relation
    return text


class Database:
    """Small tables of random rows, and what facts say of queries over them that is not so."""

    def __init__(self, random: Random) -> None:
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self._connection.execute("pragma disable_optimizer")
        for name, columns in TABLES.items():
            types = ", ".join(f"{c} {_DUCKDB_TYPES[type_]}" for c, type_ in columns.items())
            rows = [
                (
                    at if random.random() < 0.9 else None,
                    random.choice((0, 1, 2, 3, None)),
                    random.choice((0, 1, 2, None)),
                    random.choice(("a", "b", "A", "1", None)),
                    random.choice((True, False, None)),
                )
                for at in range(random.randint(3, 7))
            ]
            values = ", ".join(map(str, rows)).replace("None", "null")
            self._connection.execute(
                f"create table {name} ({types}); insert into {name} values {values}"
            )

    def _rows(self, sql: str) -> list[tuple[int, ...]]:
        return self._connection.execute(sql).fetchall()

    def is_valid(self, sql: str) -> bool:
        """Whether DuckDB runs a query."""
        try:
            self._rows(f"select count(*) from ({sql})")
        except duckdb.Error:
            return False
        return True

    def faults(self, queries: Sequence[Query], facts: QueryFacts) -> Iterator[str]:
        """What is said of a query and does not hold."""
        sql = rendered(queries).sql
        wrong = {
            f"{c.name} is not always {c.fixed}": f'"{c.name}" is distinct from {c.fixed}'
            for c in facts.columns.values()
            if c.fixed
        }
        if "group by rollup" not in sql:  # rows of totals have not passed any, but are of some
            wrong |= {f"not every row has passed {text}": no for text, no in _unpassed(facts)}
        yield from (fault for fault, (found,) in self._found(sql, wrong, [""]) if found)
        passages = {p for c in facts.columns.values() for p in c.passages}
        passages |= {absence.passage for c in facts.columns.values() for absence in c.absences}
        for passage in passages:
            query, markers = rendered(queries, passage.name)
            wrong = {
                f"{c.name}: {passage.name} may be without a partner": "true"
                for c in facts.columns.values()
                if passage in c.passages and not passage.is_optional
            }
            wrong |= {
                f"{c.name} is not {value} without {passage.name}": (
                    f'"{c.name}" is distinct from {value}'
                )
                for c in facts.columns.values()
                for one, value in c.absences
                if one == passage
            }
            absent = [f" and {marker} = 0" for marker in markers]
            for fault, found in self._found(query, wrong, absent):
                if found and all(found):
                    yield fault
            if passage.picks and self._has_several(queries, passage.name):
                yield f"{passage.name} picks {passage.picks} and has several rows"
        for what in ("group_by", "row_number_partition"):
            keys = getattr(facts, what)
            if keys and all(facts.columns.get(key) for key in keys):
                names = ", ".join(keys)
                if self._rows(f"select 1 from ({sql}) group by {names} having count(*) > 1"):
                    yield f"{what} ({names}) is not unique"
        if facts.distinct and facts.columns:
            of = f"from (select distinct * from ({sql}))"
            if self._rows(f"select (select count(*) from ({sql})) - count(*) {of}") != [(0,)]:
                yield "distinct has rows twice"

    def _found(
        self, sql: str, wrong: dict[str, str], restrictions: Sequence[str]
    ) -> Iterator[tuple[str, list[int]]]:
        """Of each condition that no row should meet, how many meet it under each restriction."""
        if not wrong or not restrictions:
            return
        counts = ", ".join(
            f"count(*) filter (where ({condition}){restriction})"
            for condition in wrong.values()
            for restriction in restrictions
        )
        (row,) = self._rows(f"select {counts} from ({sql})")
        for at, fault in enumerate(wrong):
            width = len(restrictions)
            yield fault, list(row[at * width : (at + 1) * width])

    def _has_several(self, queries: Sequence[Query], alias: str) -> bool:
        """Whether some row of what is joined before a relation has several partners in it."""
        selects = [s for q in queries for s in (q.branches or [q])]
        query = next(q for q in selects if any(s.alias == alias for s in q.sources))
        before: list[Source] = []
        for source in query.sources:
            before.append(source)
            if source.alias == alias:
                break
        # Parentheses come with their last relation.
        for source in before:
            if any(inner not in before for inner in source.group):
                return False
        part = Query(query.name, {}, sources=before)
        others = [source.alias for source in before[:-1]]
        if not others:
            return False
        clause = _from(part, {source.alias for source in before}, "row_number() over ()")
        ctes = ", ".join(f"{q.name} as ({_body(q, '', {})[0]})" for q in queries[:-1])
        keys = ", ".join(f"{other}.m__" for other in others)
        there = " and ".join(f"{other}.m__ is not null" for other in others)
        return bool(
            self._rows(
                f"{f'with {ctes} ' if ctes else ''}select 1 from {clause} where {there}"
                f" group by {keys} having count(distinct {alias}.m__) > 1"
            )
        )


def _unpassed(facts: QueryFacts) -> Iterator[tuple[str, str]]:
    """Of filters whose columns are among the output, what no row of it should meet."""
    named: dict[str, list[str]] = {}
    for output in facts.columns.values():
        sure = not any(passage.is_optional for passage in output.passages)
        if output.is_plain and not output.casts and output.expression and sure:
            named.setdefault(output.expression, []).append(output.name)
    for text in (*facts.filters, *(one.text for one in facts.restrictions)):
        node = parse_one(text, dialect="duckdb")
        known = [named.get(column.sql(dialect="duckdb")) for column in node.find_all(exp.Column)]
        if node.find(exp.AggFunc, exp.Window, exp.Select) or not known or None in known:
            continue
        for at in range(max(len(names) for names in known if names)):
            copy = exp.Paren(this=node.copy())
            for column, names in zip(list(copy.find_all(exp.Column)), known, strict=True):
                if names:
                    column.replace(exp.column(names[min(at, len(names) - 1)], quoted=True))
            condition = copy.sql(dialect="duckdb")
            yield f"{text} ({condition})", f"not coalesce({condition}, false)"


@cache
def _database(seed: int) -> Database:
    return Database(Random(seed))


def checked(seed: int) -> tuple[str, list[str]]:
    """A query and what is said of it that does not hold; no query where DuckDB runs none."""
    random = Random(seed)
    queries = Generator(random).query()
    sql = rendered(queries).sql
    schema = TABLES if random.random() < 0.7 else None
    database = _database(random.randint(1, 20))
    if not database.is_valid(sql):
        return "", []
    return sql, list(database.faults(queries, read_query(sql, "duckdb", schema)))
