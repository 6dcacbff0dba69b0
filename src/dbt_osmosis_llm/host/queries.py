"""A model's SQL, compiled, and what it says of the model's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.build_values import mark_build_values
from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS, QueryFacts
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.names import plain_name, unquoted
from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.host.compiling import Compiler
from dbt_osmosis_llm.host.nodes import Nodes, is_ephemeral, on_one_line, relation_of
from dbt_osmosis_llm.host.sources import Sources
from dbt_osmosis_llm.host.warehouse import secrets_of
from dbt_osmosis_llm.llm.redaction import redact_secrets


class Queries:
    """Compiles and reads each model once.

    Args:
        context: Of dbt-osmosis, the project loaded.
        nodes: Its tables.
        read_query: Instead of reading each query anew.
    """

    def __init__(
        self, context: Any, nodes: Nodes, read_query: Callable[..., QueryFacts] = read_query
    ) -> None:
        self._context = context
        self._nodes = nodes
        self._read_query = read_query
        self._compiler = Compiler(context)
        self._sources = Sources(context, nodes)
        self._columns_in_database: dict[str, dict[str, str]] = {}
        self._queries: dict[str, tuple[str | None, QueryFacts]] = {}
        self._declared: dict[str, tuple[str | None, QueryFacts]] = {}
        self._sql: dict[str, tuple[str | None, bool]] = {}
        self._build_values: dict[str, tuple[str, ...]] = {}
        self.compile_errors: dict[str, str] = {}
        self.read_failures: dict[str, str] = {}

    def query(self, node: Any) -> tuple[str | None, QueryFacts]:
        """Return a model's SQL and what it says of its columns, worked out once until `forget`."""
        if node.unique_id not in self._queries:
            self._queries[node.unique_id] = self._read(node, self.database_columns)
        return self._queries[node.unique_id]

    def forget(self, node_id: str) -> None:
        """Let go of what a node's SQL says."""
        self._queries.pop(node_id, None)

    def declared(self, node: Any) -> tuple[str | None, QueryFacts]:
        """Return what `query` does, by the columns that the project declares, wherever it runs."""
        if node.unique_id not in self._declared:
            sql, _ = self.sql(node)
            columns_of = self._declared_columns if "*" in (sql or "") else _listed_columns
            self._declared[node.unique_id] = self._read(node, columns_of)
        return self._declared[node.unique_id]

    def _declared_columns(self, node: Any) -> dict[str, str]:
        """Return the columns that a star over a table gives, as far as the project tells.

        Those of its SQL, where that shows all: its YAML may list others that do not exist.
        """
        listed = _listed_columns(node)
        facts = self.declared(node)[1] if node.resource_type == "model" else EMPTY_FACTS
        if not facts.is_complete:
            return listed
        types = {plain_name(name): data_type for name, data_type in listed.items()}
        return {name: types.get(plain_name(name), "") for name in facts.columns}

    def _read(
        self, node: Any, columns_of: Callable[[Any], Mapping[str, str]]
    ) -> tuple[str | None, QueryFacts]:
        sql, is_compiled = self.sql(node)
        if not sql or not is_compiled:
            return sql, EMPTY_FACTS
        tables = self._nodes.tables_read(node).values()
        real = [table for table in tables if not is_ephemeral(table)]
        schema = {relation_of(table): c for table in real if (c := columns_of(table))}
        dialect = self._context.project.runtime_cfg.credentials.type
        facts = self._read_query(sql, dialect, schema)
        if facts.failure and node.unique_id not in self.read_failures:
            self.read_failures[node.unique_id] = facts.failure
            logger.warning(
                "%s: reading its SQL failed (%s), which is a fault of dbt-osmosis-llm; "
                "its columns have no lineage",
                node.unique_id,
                facts.failure,
            )
        return sql, facts

    def sql(self, node: Any) -> tuple[str | None, bool]:
        """Return a model's SQL and whether it is compiled; never an invented SELECT.

        Compiled, it has `MARKER` for values of its build. It is read, and sent to no warehouse.
        """
        if node.unique_id not in self._sql:
            sql, is_compiled = self._compiled(node)
            if sql and is_compiled:
                dialect = self._context.project.runtime_cfg.credentials.type
                marked = mark_build_values(sql, self._sources.of(node), dialect)
                sql, self._build_values[node.unique_id] = marked.sql, marked.listed
            self._sql[node.unique_id] = sql, is_compiled
        return self._sql[node.unique_id]

    def build_values(self, node: Any) -> tuple[str, ...]:
        """Return the values of its build that still stand in a model's compiled SQL."""
        self.sql(node)
        return self._build_values.get(node.unique_id, ())

    def _compiled(self, node: Any) -> tuple[str | None, bool]:
        if node.resource_type != "model":
            return None, False
        if compiled := getattr(node, "compiled_code", None):
            return compiled, True
        if getattr(node, "language", "sql") != "sql":
            return node.raw_code or None, False
        try:
            return self._compiler.compile(node), True
        except Exception as error:  # noqa: BLE001  # macros and adapters raise whatever they like
            secrets = secrets_of(self._context.project.runtime_cfg.credentials)
            said = self.compile_errors[node.unique_id] = on_one_line(error, secrets)
            logger.debug("%s does not compile; its raw SQL is used (%s)", node.unique_id, said)
            return node.raw_code or None, False

    @property
    def warehouse(self) -> str:
        """Return which warehouse is read: its kind, and where it is."""
        credentials = self._context.project.runtime_cfg.credentials
        where = next(
            filter(None, (getattr(credentials, n, None) for n in ("path", "host", "database"))), ""
        )
        # Behind a question mark there may be a token.
        place = str(where).partition("?")[0]
        return redact_secrets(f"{credentials.type} {place}".strip(), secrets_of(credentials))

    def is_not_built(self, node: Any) -> bool:
        """Tell whether the warehouse, where it is read, has no table of a node's."""
        is_read = not self._context.project.config.disable_introspection
        return is_read and not is_ephemeral(node) and not self.database_columns(node)

    def database_columns(self, node: Any) -> dict[str, str]:
        """Return column name to type as the catalog or the warehouse has them, asked for once.

        All of them in their order, or none: dbt-osmosis's own list leaves out ignored columns and
        adds nested ones, which would shift the columns of a `select *`.
        """
        if node.unique_id in self._columns_in_database:
            return self._columns_in_database[node.unique_id]
        context = self._context
        relation, _ = compat.relation_of_columns(context, node)
        name = compat.rendered_relation_name(relation)
        found = compat.catalog_columns(context, relation, name)
        if found is None and not context.project.config.disable_introspection:
            # Compiling gives this thread's connection back; look-ups must open their own.
            with context.project.adapter.connection_named("dbt_osmosis_llm"):
                found = compat.warehouse_columns(context, relation, name)
        columns = {
            column.name: str(getattr(column, "dtype", None) or getattr(column, "type", ""))
            for column in found or ()
        }
        self._columns_in_database[node.unique_id] = columns
        return columns


def _listed_columns(node: Any) -> dict[str, str]:
    columns = node.columns.items()
    return {unquoted(name): column.data_type or "" for name, column in columns}
