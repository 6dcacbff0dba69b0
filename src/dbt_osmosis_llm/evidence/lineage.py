"""Column lineage of one SELECT: of each output column its kind, its expression, its sources.

An edge that is not certain is left out: a wrong source would put another column's text into the
documentation, while `UNKNOWN` only costs a question to the model.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect, NormalizationStrategy
from sqlglot.errors import ErrorLevel
from sqlglot.tokens import TokenType

from dbt_osmosis_llm.evidence.facts import (
    EMPTY_FACTS,
    ColumnKind,
    ColumnLineage,
    Join,
    Leaf,
    QueryFacts,
    Schema,
)
from dbt_osmosis_llm.evidence.query import Reader, conjuncts, core_of
from dbt_osmosis_llm.evidence.relation import (
    TAG,
    Definition,
    Environment,
    Part,
    Rows,
    Shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MAX_EXPRESSION_LENGTH = 600
_CUT = " ..."
_MAX_PARENTHESES = 150  # sqlglot's parser recurses some ten frames a level

_DIALECT_OF_ADAPTER = {
    "alloydb": "postgres",
    "fabric": "tsql",
    "fabricspark": "spark",
    "glue": "spark",
    "greenplum": "postgres",
    "impala": "hive",
    "mariadb": "mysql",
    "mssql": "tsql",
    "postgresql": "postgres",
    "singlestore": "singlestore",
    "sqlserver": "tsql",
    "synapse": "tsql",
    "timescaledb": "postgres",
    "vertica": "postgres",
}

_QUERY_STARTS = (TokenType.SELECT, TokenType.WITH, TokenType.FROM)
_OUTER_MARK = re.compile(r"\(\s*\+\s*\)")
"""`a.id = b.id(+)`: searched in the text, because not every sqlglot keeps it."""
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\Z")


def read_query(
    sql: str,
    dialect: str | None = None,
    schema: Schema | None = None,
) -> QueryFacts:
    """Reads the compiled SQL of a model; `EMPTY_FACTS` for anything but one SELECT.

    Args:
        sql: One SELECT statement, without Jinja.
        dialect: The dbt adapter's type; an unknown one is read as generic SQL.
        schema: Column names (names to types will do) of relations, by unquoted name.
    """
    _quiet.reading = True
    try:
        reading = Dialect.get_or_raise(_sqlglot_dialect(dialect))
        statement = _parsed(sql, reading)
        if statement is None:
            return EMPTY_FACTS
        facts = _facts(statement, reading, schema or {})
        return replace(facts, has_outer_join=True) if _OUTER_MARK.search(sql) else facts
    except Exception:  # noqa: BLE001 - sqlglot's parsers raise any class on SQL they did not expect
        return EMPTY_FACTS
    finally:
        _quiet.reading = False


class _Quiet(threading.local):
    """Drops what sqlglot logs while this thread reads a query, and nothing else."""

    reading = False

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.reading


_quiet = _Quiet()
logging.getLogger("sqlglot").addFilter(_quiet)


def _sqlglot_dialect(adapter: str | None) -> str | None:
    name = (adapter or "").strip().lower()
    name = _DIALECT_OF_ADAPTER.get(name, name)
    return name if name and Dialect.get(name) is not None else None


def _parsed(sql: str, dialect: Any) -> Any:
    tokens = dialect.tokenize(sql)
    words = (token for token in tokens if token.token_type is not TokenType.L_PAREN)
    first = next(words, None)
    if first is None or first.token_type not in _QUERY_STARTS:
        return None  # sqlglot logs a warning for each statement it does not know
    depth = 0
    for token in tokens:
        if token.token_type is TokenType.L_PAREN:
            depth += 1
            if depth > _MAX_PARENTHESES:
                return None
        elif token.token_type is TokenType.R_PAREN:
            depth -= 1
        elif token.text[:1] == "{" and sql[token.start : token.start + 2] in ("{{", "{%", "{#"):
            return None
    parsed = dialect.parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, sql)
    statements = [one for one in parsed if one is not None and not isinstance(one, exp.Semicolon)]
    queries = (exp.Select, exp.SetOperation, exp.Subquery)
    return statements[0] if len(statements) == 1 and isinstance(statements[0], queries) else None


class _Schema:
    """Column names of a table node."""

    def __init__(self, schema: Schema) -> None:
        self._index: dict[str, list[tuple[int, Iterable[str]]]] = {}
        for name, columns in schema.items():
            parts = name.casefold().split(".")
            for start in range(len(parts)):
                self._index.setdefault(".".join(parts[start:]), []).append((start, columns))

    def columns_of(self, table: Any) -> Sequence[str]:
        """The table's column names; none if the schema does not know it, or not for sure."""
        parts = [str(part.name).casefold() for part in table.parts]
        for start in range(len(parts)):
            found = self._index.get(".".join(parts[start:]), [])
            whole = [columns for skipped, columns in found if skipped == 0]
            if start == 0 and not whole:
                whole = [columns for _, columns in found]
            if len(whole) == 1:
                return [str(name) for name in whole[0]]
        return []


class _TooLongError(Exception):
    """The text of an expression would pass the limit."""


class _Writer:
    """Prints expressions with every column replaced by what it is made of."""

    def __init__(self, dialect: Any, name_of: Callable[[Leaf], str]) -> None:
        self._dialect = dialect
        self._name_of = name_of
        self._texts: dict[Definition, str | None] = {}

    def text(self, definition: Definition) -> str | None:
        """The resolved text; None if it is too long or too deep."""
        if definition not in self._texts:
            try:
                self._texts[definition] = self._resolved(definition)
            except (_TooLongError, RecursionError):
                self._texts[definition] = None
        return self._texts[definition]

    def _resolved(self, definition: Definition) -> str:
        if definition.shape is Shape.COLUMN:
            return self._name_of(definition.leaves[0])
        if definition.shape is Shape.UNION:
            texts = [self.text(branch) for branch in definition.branches]
            unique = dict.fromkeys(text for text in texts if text is not None)
            if None in texts:
                raise _TooLongError
            return _limited(f" {definition.operator.upper()} ".join(unique))
        if definition.local is None or definition.too_deep:
            raise _TooLongError
        return self.resolved(definition.local)

    def resolved(self, node: Any) -> str:
        """The text of a node, its tagged columns replaced."""
        node = core_of(node)
        if isinstance(node, exp.Column) and TAG in node.meta:
            text = self.text(node.meta[TAG])
            if text is None:
                raise _TooLongError
            return text
        copy = node.copy()
        for column in list(copy.find_all(exp.Column)):
            definition = column.meta.get(TAG)
            if definition is None:
                continue
            if not definition.inline:
                column.replace(exp.Column(this=column.this))
                continue
            text = self.text(definition)
            if text is None:
                raise _TooLongError
            if definition.shape is not Shape.COLUMN and _needs_parentheses(
                core_of(definition.local), column.parent
            ):
                text = f"({text})"
            column.replace(exp.Column(this=exp.Var(this=text)))
        return _limited(self._printed(copy))

    def cut(self, definition: Definition) -> str | None:
        """The resolved text if it is short enough, else as written; None if it is too deep."""
        text = self.text(definition)
        if text is not None or definition.too_deep:
            return text
        if definition.shape is Shape.UNION:
            texts = dict.fromkeys(self.cut(branch) or "..." for branch in definition.branches)
            return _cut(f" {definition.operator.upper()} ".join(texts))
        return self.local(definition.local)

    def local(self, node: Any) -> str:
        """The text of a node as written, cut to the limit."""
        return _cut(self._printed(core_of(node).copy()))

    def whole(self, node: Any) -> str:
        """The resolved text of a node, or as written if that is too long; never cut."""
        try:
            try:
                return self.resolved(node)
            except _TooLongError:
                return self._printed(core_of(node).copy())
        except RecursionError:
            return ""

    def best(self, node: Any) -> str | None:
        """The resolved text of a node if it is short enough, else the text as written."""
        try:
            try:
                return self.resolved(node)
            except _TooLongError:
                return self.local(node)
        except RecursionError:
            return None

    def _printed(self, node: Any) -> str:
        for identifier in node.find_all(exp.Identifier):
            if identifier.args.get("quoted") and _PLAIN_NAME.match(str(identifier.this)):
                identifier.set("quoted", False)
        for table in node.find_all(exp.Table):
            table.set("db", None)
            table.set("catalog", None)
        text = node.sql(
            dialect=self._dialect,
            comments=False,
            normalize_functions=False,
            unsupported_level=ErrorLevel.IGNORE,
        )
        return " ".join(str(text).split())


def _limited(text: str) -> str:
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise _TooLongError
    return text


def _cut(text: str) -> str:
    if len(text) <= MAX_EXPRESSION_LENGTH:
        return text
    return text[: MAX_EXPRESSION_LENGTH - len(_CUT)].rstrip() + _CUT


def _needs_parentheses(inner: Any, above: Any) -> bool:
    operators = (exp.Binary, exp.Unary, exp.Between, exp.In, exp.Interval, exp.AtTimeZone)
    if not isinstance(inner, operators) or isinstance(inner, (exp.Paren, exp.Dot)):
        return False
    if isinstance(above, exp.Func) and not isinstance(above, (exp.Binary, exp.Connector)):
        # Date arithmetic is a function to sqlglot that some dialects write with an operator.
        return any(word in type(above).__name__ for word in ("Add", "Sub", "Diff"))
    closed = (exp.Paren, exp.Alias, exp.Tuple, exp.Ordered, exp.Distinct, exp.If, exp.Case)
    return not isinstance(above, (*closed, exp.Window, exp.Kwarg))


def _facts(statement: Any, dialect: Any, schema: Any) -> QueryFacts:
    signatures = _Writer(dialect, lambda leaf: f"{leaf.relation}.{leaf.column}")

    def same(one: Definition, other: Definition) -> bool:
        if one.shape is not other.shape or one.leaves != other.leaves:
            return False
        text = signatures.text(one)
        return text is not None and text == signatures.text(other)

    name = type(dialect).__name__.lower() if type(dialect) is not Dialect else ""
    reader = Reader(name, _name_case(dialect), _Schema(schema).columns_of, same)
    rows = reader.read(statement, Environment({}, {}))
    parts = list(_reached(rows.part))
    all_parts = _with_nested(parts)
    reached = {relation for part in all_parts for relation in part.relations}
    relations = tuple(relation for relation in reader.relations if relation in reached)
    writer = _Writer(dialect, _leaf_name(relations, dialect))
    # Whose column it is may be known only where the tables' columns are: it makes no difference.
    bare_writer = _Writer(dialect, lambda leaf: leaf.column)
    deciding = cache(lambda over: _rows_text(over, bare_writer))
    columns: dict[str, ColumnLineage] = {}
    for name in rows.names:
        if name and name not in columns:
            definition = rows.find(name)[1]
            found = _column(name, definition, writer)
            columns[name] = replace(found, rows=deciding(definition.over))
    return QueryFacts(
        MappingProxyType(columns),
        relations,
        _unique(writer.best(node) for part in parts for node in part.filters),
        tuple(_joins(parts, writer)),
        _group_by(rows.part, writer),
        _distinct(rows.part),
        tuple(operator for part in parts for operator in part.operators),
        _row_number_partition(rows.part, writer),
        _unique(", ".join(_group_keys(part, writer)) for part in parts),
        deciding((rows.part,) if rows.part else ()),
        any(part.has_outer_join for part in all_parts),
    )


def _name_case(dialect: Any) -> str:
    strategy = dialect.normalization_strategy
    if strategy is NormalizationStrategy.LOWERCASE:
        return "lower"
    if strategy is NormalizationStrategy.UPPERCASE:
        return "upper"
    return "sensitive" if type(dialect).__name__ == "ClickHouse" else "insensitive"


def _unique(texts: Iterator[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def _column(name: str, definition: Definition, writer: _Writer) -> ColumnLineage:
    kind = _kind(name, definition)
    if kind is ColumnKind.UNKNOWN:
        return ColumnLineage(name, kind, None, ())
    text = writer.cut(definition)
    return ColumnLineage(name, kind, text, definition.leaves, definition.is_plain)


def _kind(name: str, definition: Definition) -> ColumnKind:
    shape = definition.shape
    if shape is Shape.UNKNOWN:
        return ColumnKind.UNKNOWN
    if shape is Shape.UNION:
        return ColumnKind.UNION
    if definition.window:
        return ColumnKind.WINDOW
    if definition.aggregate:
        return ColumnKind.AGGREGATE
    if shape is Shape.COLUMN:
        same = definition.leaves[0].column.casefold() == name.casefold()
        return ColumnKind.PASS if same else ColumnKind.RENAME
    if shape is Shape.CAST:
        return ColumnKind.CAST
    return ColumnKind.LITERAL if shape is Shape.CONSTANT else ColumnKind.DERIVED


def _reached(part: Part | None) -> Iterator[Part]:
    """The query's parts, each after those it reads, in the order they are first met."""
    seen: set[int] = set()
    stack = [(part, False)] if part else []
    while stack:
        one, done = stack.pop()
        if done:
            yield one
        elif id(one) not in seen:
            seen.add(id(one))
            stack.append((one, True))
            stack += [(child, False) for child in reversed(one.children)]


def _with_nested(parts: list[Part]) -> list[Part]:
    """The parts and those of queries inside their expressions, in no order."""
    stack, found = list(parts), dict[int, Part]()
    while stack:
        part = stack.pop()
        if id(part) not in found:
            found[id(part)] = part
            stack += [*part.nested, *part.children]
    return list(found.values())


def _leaf_name(relations: tuple[str, ...], dialect: Any) -> Callable[[Leaf], str]:
    bare = [relation.rpartition(".")[2].casefold() for relation in relations]

    def quoted(name: str) -> str:
        if _PLAIN_NAME.match(name):
            return name
        return str(exp.to_identifier(name, quoted=True).sql(dialect=dialect))

    def name_of(leaf: Leaf) -> str:
        column = quoted(leaf.column)
        if len(relations) < 2:
            return column
        table = leaf.relation.rpartition(".")[2]
        if bare.count(table.casefold()) > 1:
            return f"{leaf.relation}.{column}"
        return f"{quoted(table)}.{column}"

    return name_of


def _joins(parts: list[Part], writer: _Writer) -> Iterator[Join]:
    for part in parts:
        for kind, rows, name, condition in part.joins:
            text = condition
            if condition is not None and not isinstance(condition, str):
                texts = [writer.best(node) for node in conjuncts(condition)]
                text = " AND ".join(one for one in texts if one)
            yield Join(kind, _joined_name(rows, name, writer), text or None)


def _joined_name(rows: Rows, name: str, writer: _Writer) -> str:
    """The real table behind an import CTE, else the name the query uses."""
    if rows.table is not None:
        return rows.table.relation
    part = rows.part
    while part is not None and _is_wrapper(part):
        if part.relations:
            return part.relations[0]
        part = part.children[0] if part.children else None
    if rows.value is not None:
        return writer.text(rows.value) or name
    return name


def _is_wrapper(part: Part) -> bool:
    """Whether a query gives the rows of its only source, one for one or fewer."""
    return (
        part.select is not None
        and len(part.relations) + len(part.children) == 1
        and not part.joins
        and not any(part.select.args.get(key) for key in ("group", "distinct", "laterals"))
    )


def _chain(part: Part | None) -> Iterator[Part]:
    """The outermost query and, while they alone decide its rows, the queries it reads."""
    while part is not None:
        yield part
        if not _is_wrapper(part) or not part.children:
            return
        if any(projection.aggregate for projection in part.projections):
            return
        part = part.children[0]


def _rows_text(over: Sequence[Part], writer: _Writer) -> str:
    """What decides which rows some queries give, their columns aside."""
    parts = dict.fromkeys(part for one in over for part in _reached(one))
    return "; ".join(text for part in parts for text in _deciding(part, writer))


def _deciding(part: Part, writer: _Writer) -> Iterator[str]:
    yield from sorted(part.relations)
    for kind, _, _, condition in part.joins:
        is_text = condition is None or isinstance(condition, str)
        texts = [condition or ""] if is_text else map(writer.whole, conjuncts(condition))
        yield f"{kind} join on {' and '.join(texts)}"
    yield from (f"where {writer.whole(node)}" for node in part.filters)
    if keys := _group_keys(part, writer):
        yield f"group by {', '.join(keys)}"
    yield from part.operators
    for clause in ("distinct", "limit", "offset"):
        if part.select is not None and (node := part.select.args.get(clause)):
            yield writer.whole(node)


def _group_by(part: Part | None, writer: _Writer) -> tuple[str, ...]:
    grouped = (keys for one in _chain(part) if (keys := _group_keys(one, writer)))
    return next(grouped, ())


def _group_keys(part: Part, writer: _Writer) -> tuple[str, ...]:
    """The GROUP BY list of one query, empty when it has none."""
    group = part.select.args.get("group") if part.select is not None else None
    if group is None:
        return ()
    if group.args.get("all"):
        keys = [one for one in part.projections if not one.aggregate and not one.window]
        return _unique(writer.text(key) for key in keys)
    nodes = list(group.expressions)
    for key in ("rollup", "cube", "grouping_sets"):
        value = group.args.get(key)
        nodes += (
            [node for node in value if isinstance(node, exp.Expression)]
            if isinstance(value, list)
            else []
        )
    return _unique(_group_key(node, part, writer) for node in nodes)


def _group_key(node: Any, part: Part, writer: _Writer) -> str | None:
    if isinstance(node, exp.Literal) and node.is_int:
        columns = part.select.expressions
        position = int(node.this) - 1
        if len(part.projections) == len(columns) and 0 <= position < len(columns):
            return writer.text(part.projections[position]) or writer.local(columns[position])
    return writer.best(node)


def _distinct(part: Part | None) -> bool:
    for one in _chain(part):
        if one.select is not None and one.select.args.get("distinct"):
            return True
        if one.select is None or not all(
            isinstance(projection, exp.Star) for projection in one.select.expressions
        ):
            return False
    return False


def _row_number_partition(part: Part | None, writer: _Writer) -> tuple[str, ...]:
    for one in _chain(part):
        for condition in one.filters:
            window = _first_of_window(condition)
            if window is not None:
                return _unique(writer.best(node) for node in window.args.get("partition_by") or ())
    return ()


def _first_of_window(condition: Any) -> Any:
    """The window of `row_number() over (...) = 1`, however the number is named."""
    if not isinstance(condition, (exp.EQ, exp.LTE, exp.LT)):
        return None
    limit = "2" if isinstance(condition, exp.LT) else "1"
    sides = [core_of(condition.this), core_of(condition.expression)]
    if isinstance(condition, exp.EQ) and isinstance(sides[0], exp.Literal):
        sides.reverse()
    number, value = sides
    if not isinstance(value, exp.Literal) or value.this != limit:
        return None
    if isinstance(number, exp.Column) and TAG in number.meta:
        number = core_of(number.meta[TAG].local)
    is_number = isinstance(number, exp.Window) and isinstance(number.this, exp.RowNumber)
    return number if is_number else None
