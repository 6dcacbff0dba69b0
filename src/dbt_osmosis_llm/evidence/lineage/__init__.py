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
from typing import TYPE_CHECKING

from sqlglot import TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, ParseError

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.cutting import one_line
from dbt_osmosis_llm.evidence.facts import (
    EMPTY_FACTS,
    ColumnKind,
    ColumnLineage,
    QueryFacts,
    Schema,
)
from dbt_osmosis_llm.evidence.lineage.grain import (
    distinct,
    group_by,
    group_keys,
    joins,
    keeps_rows,
    reached,
    row_number_partition,
    rows_text,
    unique,
    with_nested,
)
from dbt_osmosis_llm.evidence.lineage.mending import without_entry
from dbt_osmosis_llm.evidence.lineage.printing import Writer, leaf_name
from dbt_osmosis_llm.evidence.lineage.query import Reader
from dbt_osmosis_llm.evidence.lineage.relation import Definition, Shape
from dbt_osmosis_llm.evidence.lineage.scope import Environment
from dbt_osmosis_llm.evidence.lineage.shortening import shortened
from dbt_osmosis_llm.evidence.lineage.spelling import tell_apart
from dbt_osmosis_llm.evidence.lineage.standing import Standing
from dbt_osmosis_llm.evidence.lineage.syntax import QUERIES, NameCase
from dbt_osmosis_llm.evidence.names import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlglot import Token

_MAX_ERROR_CHARS = 200
_MAX_UNREADABLE_ENTRIES = 5  # each costs another attempt
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

_SQLGLOT = exp.__name__.partition(".")[0]
_OURS = __name__.partition(".")[0]

_QUERY_STARTS = (TokenType.SELECT, TokenType.WITH, TokenType.FROM)
_OUTER_MARK = re.compile(r"\(\s*\+\s*\)")
"""`a.id = b.id(+)`: searched in the text, because not every sqlglot keeps it."""


def read_query(
    sql: str,
    dialect: str | None = None,
    schema: Schema | None = None,
) -> QueryFacts:
    """Reads the compiled SQL of a model; `EMPTY_FACTS` for anything but one SELECT.

    It never raises: a query that shows a fault in our own code costs a question to the model, not
    the run. `QueryFacts.failure` then says so, for the caller, who knows what was read, to tell.

    Args:
        sql: One SELECT statement, without Jinja.
        dialect: The dbt adapter's type; an unknown one is read as generic SQL.
        schema: Column names (names to types will do) of relations, by unquoted name.
    """
    _quiet.reading = True
    try:
        reading = Dialect.get_or_raise(sqlglot_dialect(dialect))
        statement = _parsed(sql, reading)
        if statement is None:
            return EMPTY_FACTS
        facts = _facts(statement, reading, schema or {})
        return _without_joins(facts) if _OUTER_MARK.search(sql) else facts
    except Exception as error:  # noqa: BLE001  # sqlglot raises any class on SQL it does not know
        if not _is_of_sqlglot(error):
            return _failed(error)
        logger.debug("sqlglot cannot read a query (%s)", _on_one_line(error))
        return EMPTY_FACTS
    finally:
        _quiet.reading = False


def _without_joins(facts: QueryFacts) -> QueryFacts:
    """Return the facts without those for which it has to be known which joins are outer ones."""
    columns = {
        name: replace(column, passages=(), absences=(), fixed="")
        for name, column in facts.columns.items()
    }
    known = MappingProxyType(columns)
    return replace(facts, columns=known, filters=(), restrictions=(), has_outer_join=True)


def _is_of_sqlglot(error: Exception) -> bool:
    """Whether sqlglot's code, not ours, was at work last when an exception was raised."""
    last = ""
    traceback = error.__traceback__
    while traceback is not None:
        package = str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if package in (_SQLGLOT, _OURS):  # either may have called the standard library
            last = package
        traceback = traceback.tb_next
    return last == _SQLGLOT


def _failed(error: Exception) -> QueryFacts:
    """Return the facts of a query on which our own code failed; tests raise the error instead."""
    logger.debug("Reading a query failed", exc_info=error)
    return QueryFacts(failure=_on_one_line(error))


def _on_one_line(error: Exception) -> str:
    # The first line alone: those after it are the SQL, as sqlglot marks it with control characters.
    first = next(iter(str(error).splitlines()), "")
    return one_line(f"{type(error).__name__}: {first}", _MAX_ERROR_CHARS)


class _Quiet(threading.local):
    """Drops what sqlglot logs while this thread reads a query, and nothing else."""

    reading = False

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.reading


_quiet = _Quiet()
logging.getLogger("sqlglot").addFilter(_quiet)


def sqlglot_dialect(adapter: str | None) -> str | None:
    """Return sqlglot's name of an adapter's dialect, None where it has none."""
    name = (adapter or "").strip().lower()
    name = _DIALECT_OF_ADAPTER.get(name, name)
    return name if name and Dialect.get(name) is not None else None


def _parsed(sql: str, dialect: Dialect) -> exp.Expr | None:
    """Return the one SELECT that the SQL is; None if it is anything else."""
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
    statements = _statements(list(shortened(tokens)), dialect, sql)
    return statements[0] if len(statements) == 1 and isinstance(statements[0], QUERIES) else None


def _statements(
    tokens: list[Token], dialect: Dialect, sql: str, attempts: int = _MAX_UNREADABLE_ENTRIES
) -> list[exp.Expr]:
    """The statements of some tokens; entries of SELECT lists that do not parse are left out."""
    try:
        parsed = dialect.parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, sql)
    except ParseError as error:
        mended = without_entry(tokens, error) if attempts else None
        if mended is None:
            raise
        return _statements(mended, dialect, sql, attempts - 1)
    return [node for node in parsed if node and not isinstance(node, exp.Semicolon)]


class _Schema:
    """Column names of tables, which the SQL may qualify more or less than the schema does."""

    def __init__(self, schema: Schema) -> None:
        self._index: dict[str, list[tuple[int, Iterable[str]]]] = {}
        # By every ending of its name a table's columns, with how many parts the ending leaves out.
        for name, columns in schema.items():
            parts = folded(name).split(".")
            for start in range(len(parts)):
                self._index.setdefault(".".join(parts[start:]), []).append((start, columns))

    def columns_of(self, table: exp.Table) -> Sequence[str]:
        """The table's column names; none if the schema does not know it, or not for sure."""
        parts = [folded(str(part.name)) for part in table.parts]
        for start in range(len(parts)):
            candidates = self._index.get(".".join(parts[start:]), [])
            matching = [columns for left_out, columns in candidates if left_out == 0]
            if start == 0 and not matching:
                matching = [columns for _, columns in candidates]
            if len(matching) == 1:
                return [str(name) for name in matching[0]]
        return []


def _facts(statement: exp.Expr, dialect: Dialect, schema: Schema) -> QueryFacts:
    signatures = Writer(dialect, lambda leaf: f"{leaf.relation}.{leaf.column}")

    def same(one: Definition, other: Definition) -> bool:
        if one.shape is not other.shape or one.leaves != other.leaves:
            return False
        text = signatures.text(one)
        return text is not None and text == signatures.text(other)

    name = type(dialect).__name__.lower() if type(dialect) is not Dialect else ""
    name_case = NameCase.of(dialect)
    tell_apart(statement, name_case, schema)
    reader = Reader(name, name_case, _Schema(schema).columns_of, same)
    rows = reader.read(statement, Environment({}, {}))
    parts = list(reached(rows.part))
    all_parts = with_nested(parts)
    read = {relation for part in all_parts for relation in part.relations}
    relations = tuple(relation for relation in reader.relations if relation in read)
    writer = Writer(dialect, leaf_name(relations, dialect), tells_apart=True)
    # Whose column it is may be known only where the tables' columns are: it makes no difference.
    bare_writer = Writer(dialect, lambda leaf: leaf.column)
    deciding = cache(lambda queries: rows_text(queries, bare_writer))
    standing = Standing(rows.part, writer)
    columns: dict[str, ColumnLineage] = {}
    for name in rows.names:
        if name and name not in columns:
            definition = rows.find(name)[1]
            column = _column(name, definition, writer, standing)
            columns[name] = replace(column, rows=deciding(definition.over))
    return QueryFacts(
        columns=MappingProxyType(columns),
        relations=relations,
        filters=standing.filters(),
        restrictions=tuple(standing.restrictions()),
        steps=tuple(standing.steps()),
        equalities=tuple(dict.fromkeys(standing.equalities())),
        inner_restrictions=tuple(dict.fromkeys(standing.inner_restrictions())),
        joins=tuple(joins(parts, writer)),
        group_by=group_by(rows, writer),
        distinct=distinct(rows.part),
        set_operations=tuple(operator for part in parts for operator in part.operators),
        row_number_partition=row_number_partition(rows, writer),
        groupings=unique(", ".join(group_keys(part, writer)) for part in parts),
        rows=deciding((rows.part,) if rows.part else ()),
        has_outer_join=any(part.has_outer_join for part in all_parts),
        keeps_rows=keeps_rows(rows.part),
        is_complete=bool(columns) and rows.ordered and not rows.rests,
    )


def _column(name: str, definition: Definition, writer: Writer, standing: Standing) -> ColumnLineage:
    kind = _kind(name, definition)
    if kind is ColumnKind.UNKNOWN:
        return ColumnLineage(name, kind, None, ())
    is_plain = definition.is_plain
    return ColumnLineage(
        name,
        kind,
        writer.cut(definition),
        definition.leaves,
        is_plain,
        passages=standing.passages(definition) if is_plain else (),
        absences=standing.absences(definition),
        casts=standing.casts(definition) if is_plain else (),
        fixed=standing.fixed(definition),
        over=standing.over(definition),
    )


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
        same = folded(definition.leaves[0].column) == folded(name)
        return ColumnKind.PASS if same else ColumnKind.RENAME
    if shape is Shape.CAST:
        return ColumnKind.CAST
    return ColumnKind.LITERAL if shape is Shape.CONSTANT else ColumnKind.DERIVED
