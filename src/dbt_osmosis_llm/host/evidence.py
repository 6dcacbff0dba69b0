"""Gathers what dbt and a model's SQL say of one table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS, QueryFacts
from dbt_osmosis_llm.evidence.families import MAX_READERS, Families
from dbt_osmosis_llm.evidence.names import folded, plain_name, unquoted
from dbt_osmosis_llm.evidence.node import (
    ColumnEvidence,
    ColumnUse,
    NodeEvidence,
    UpstreamTable,
    is_same_relation,
)
from dbt_osmosis_llm.evidence.promises import (
    DataTest,
    keys_of,
    promises_of_column,
    promises_of_table,
)
from dbt_osmosis_llm.evidence.sample import read_values
from dbt_osmosis_llm.host import compat, descriptions
from dbt_osmosis_llm.host.nodes import (
    HOST_META,
    JINJA,
    Nodes,
    display_name,
    is_ephemeral,
    relation_of,
)
from dbt_osmosis_llm.host.queries import Queries
from dbt_osmosis_llm.host.unrendered import Literals
from dbt_osmosis_llm.llm.redaction import MASK, redact_secrets
from dbt_osmosis_llm.synthesis.lock import LockFile

_MAX_META = 8
_MAX_META_CHARS = 80
_SECRET_META = re.compile(
    r"pass(word|wd|phrase)|secret|token|credential|(api|access|private)[-_ ]?key", re.IGNORECASE
)


class Gatherer:
    """Gathers the evidence of a project's tables.

    Args:
        context: Of dbt-osmosis, the project loaded.
        nodes: Its tables.
        queries: Their SQL.
        lock: Tells texts that were made of other columns from those of people.
        sample: Read the values of seeds' columns that have few.
    """

    def __init__(
        self,
        context: Any,
        nodes: Nodes,
        queries: Queries,
        lock: LockFile,
        *,
        sample: bool = False,
    ) -> None:
        self._context = context
        self._manifest = context.project.manifest
        self._nodes = nodes
        self._queries = queries
        self._lock = lock
        self._sample = sample
        self._literals = Literals(context)
        # As they were before the run: which of several sources gets its text first is chance.
        self._source_texts = {
            uid: self._of_people(uid, "", source.description)
            for uid, source in self._manifest.sources.items()
        }

    def evidence(self, node_id: str) -> NodeEvidence:
        """Return all that dbt knows of a node, and what its SQL says of its columns."""
        node = self._nodes.by_id[node_id]
        sql, facts = self._queries.query(node)
        tables = list(self._nodes.tables_read(node).values())
        tests = self._tests_of.get(node_id, [])
        constraints = [_as_dict(one) for one in getattr(node, "constraints", None) or ()]
        values = self._values(node)
        return NodeEvidence(
            unique_id=node_id,
            name=display_name(node),
            resource_type=str(node.resource_type.value),
            description=self._nodes.readable(node.description),
            source_description=self._nodes.readable(getattr(node, "source_description", None)),
            materialization=getattr(node.config, "materialized", None),
            tags=tuple(sorted(t for t in node.tags or () if self._literals.stands(t, node))),
            sql=sql,
            facts=facts,
            build_values=self._queries.build_values(node),
            columns=tuple(self._columns(node, tests, values)),
            upstream=tuple(self._upstream_table(table, facts) for table in tables),
            tests=promises_of_table(node.columns, tests, constraints),
            keys=self._keys(node, tests, constraints),
            has_contract=bool(getattr(getattr(node.config, "contract", None), "enforced", False)),
            neighbours=self._neighbours(node),
            header=tuple(values),
        )

    def declared(self, node_id: str) -> NodeEvidence | None:
        """Return what a text is about, as the project alone has it: the same on every machine.

        None for a model whose SQL does not compile.
        """
        node = self._nodes.by_id[node_id]
        sql, facts = self._queries.declared(node)
        if node_id in self._queries.compile_errors:
            return None
        tests = self._tests_of.get(node_id, [])
        constraints = [_as_dict(one) for one in getattr(node, "constraints", None) or ()]
        return NodeEvidence(
            unique_id=node_id,
            name=display_name(node),
            resource_type=str(node.resource_type.value),
            description=self._nodes.readable(node.description),
            sql=sql,
            facts=facts,
            build_values=self._queries.build_values(node),
            columns=tuple(
                ColumnEvidence(
                    name=name,
                    data_type=column.data_type,
                    description=self._nodes.readable(column.description),
                    tests=promises_of_column(name, tests, _constraints(column)),
                )
                for name, column in node.columns.items()
            ),
            upstream=tuple(map(self._upstream_table, self._nodes.tables_read(node).values())),
            tests=promises_of_table(node.columns, tests, constraints),
            keys=self._keys(node, tests, constraints),
        )

    def _keys(
        self, node: Any, tests: Sequence[DataTest], constraints: Sequence[Mapping[str, Any]]
    ) -> tuple[tuple[str, ...], ...]:
        """Return the columns that tests or constraints say are unique."""
        of_columns = (
            {**constraint, "columns": [name]}
            for name, column in node.columns.items()
            for constraint in _constraints(column)
        )
        return keys_of(tests, [*of_columns, *constraints])

    def warehouse_columns(self, node: Any) -> set[str]:
        """Return the plain names of the warehouse's columns, none where it is not read."""
        return {plain_name(name) for name in self._queries.database_columns(node)}

    def readable(self, text: str | None) -> str:
        """Return a text as people read it."""
        return self._nodes.readable(text)

    def _columns(
        self, node: Any, tests: Sequence[DataTest], values: Mapping[str, tuple[str, ...]]
    ) -> Iterator[ColumnEvidence]:
        types = {
            plain_name(name): kind for name, kind in self._queries.database_columns(node).items()
        }
        known_values = {plain_name(name): found for name, found in values.items()}
        for name, column in node.columns.items():
            key = plain_name(name)
            yield ColumnEvidence(
                name=name,
                data_type=column.data_type or types.get(key),
                description=self._nodes.readable(column.description),
                tests=promises_of_column(name, tests, _constraints(column)),
                tags=tuple(
                    sorted(
                        tag
                        for tag in {*(column.tags or ()), *_column_config(column, "tags", ())}
                        if not JINJA.search(tag)
                    )
                ),
                meta=_short_meta({**(column.meta or {}), **_column_config(column, "meta", {})}),
                uses=self.uses(node.unique_id, name) if self._lacks(column) else (),
                values=known_values.get(key, ()),
            )

    def _neighbours(self, node: Any) -> dict[str, str]:
        """Return the other tables of a source and their texts, as they were before the run."""
        if node.resource_type != "source":
            return {}
        tables = self._tables_of_source[node.package_name, node.source_name]
        return {name: text for name, text in tables.items() if name != node.name}

    @cached_property
    def _tables_of_source(self) -> dict[tuple[str, str], dict[str, str]]:
        tables: dict[tuple[str, str], dict[str, str]] = {}
        for uid, text in sorted(self._source_texts.items()):
            node = self._nodes.by_id[uid]
            tables.setdefault((node.package_name, node.source_name), {})[node.name] = text
        return tables

    def uses(self, node_id: str, column: str) -> tuple[ColumnUse, ...]:
        """Return where a column stands downstream, and what models make of it."""
        sql_says_it = self._facts(node_id).known_column(unquoted(column)) is not None
        return self._families.uses(node_id, column, with_expressions=not sql_says_it)

    def _facts(self, node_id: str) -> QueryFacts:
        return self._queries.query(self._nodes.by_id[node_id])[1]

    @cached_property
    def _families(self) -> Families:
        texts = cache(self._told)

        def told(node_id: str, column: str) -> str:
            return texts(node_id).get(plain_name(column), "")

        def tests(node_id: str, column: str) -> Sequence[str]:
            return promises_of_column(column, self._tests_of.get(node_id, []), ())

        def readers(node_id: str) -> Sequence[str]:
            found = self._models_reading.get(node_id, ())
            if len(found) <= MAX_READERS:
                return found
            return sorted(found, key=lambda uid: not texts(uid))  # those that say something first

        return Families(readers, self._as_reader, told, tests)

    def _as_reader(self, node_id: str) -> NodeEvidence:
        """Return a model with what decides what it makes of the columns that it reads."""
        node = self._nodes.by_id[node_id]
        tables = self._nodes.tables_read(node).values()
        return NodeEvidence(
            node_id,
            display_name(node),
            str(node.resource_type.value),
            facts=self._facts(node_id),
            build_values=self._queries.build_values(node),
            upstream=tuple(
                UpstreamTable(display_name(t), relation_of(t), unique_id=t.unique_id)
                for t in tables
            ),
        )

    def _told(self, node_id: str) -> dict[str, str]:
        """Return what people say of a model's columns, by lower-case name.

        A text of ours is no evidence upstream: it is made of the columns there.
        """
        node = self._nodes.by_id[node_id]
        described = descriptions.described_columns(self._context, node)
        texts = {
            plain_name(name): self._of_people(node_id, name, column.description)
            for name, column in node.columns.items()
        }
        return {name: text for name, text in texts.items() if text and name in described}

    def _of_people(self, node_id: str, column: str, description: str | None) -> str:
        text = self._nodes.readable(description)
        return "" if self._lock.ours(node_id, column, text) else text

    @cached_property
    def _models_reading(self) -> dict[str, list[str]]:
        """The models that can get texts and read a table, be it through ephemeral ones."""
        readers: dict[str, list[str]] = {}
        for uid, node in sorted(self._nodes.by_id.items()):
            is_written = descriptions.is_written(self._context, node)
            if node.resource_type == "model" and is_written and not is_ephemeral(node):
                for parent in self._nodes.tables_read(node):
                    readers.setdefault(parent, []).append(uid)
        return readers

    def _values(self, node: Any) -> dict[str, tuple[str, ...]]:
        if not self._sample or node.resource_type != "seed":
            return {}
        root = node.root_path or self._context.project.config.project_dir
        return read_values(
            Path(root, node.original_file_path), getattr(node.config, "delimiter", ",")
        )

    def _lacks(self, column: Any) -> bool:
        return self._nodes.lacks_text(column.description)

    def _upstream_table(self, node: Any, facts: QueryFacts = EMPTY_FACTS) -> UpstreamTable:
        texts = {
            name: self._nodes.readable(column.description) for name, column in node.columns.items()
        }
        description = self._nodes.readable(node.description)
        if source_description := self._nodes.readable(getattr(node, "source_description", None)):
            description = f"{description} Source: {source_description}".strip()
        relation = relation_of(node)
        restricted = {
            leaf.column
            for restriction in facts.restrictions
            for leaf in restriction.leaves
            if is_same_relation(leaf.relation, relation)
        }
        kin = self._kin(node, restricted) if restricted and node.resource_type == "model" else {}
        return UpstreamTable(display_name(node), relation, description, texts, node.unique_id, kin)

    def _kin(self, node: Any, columns: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the columns of a model that are computed from what others of its columns are."""
        facts = self._facts(node.unique_id)
        kin = {}
        for name in columns:
            own = facts.known_column(name)
            leaves = set(own.leaves) if own else set()
            kin[folded(name)] = tuple(
                folded(other)
                for other, lineage in facts.columns.items()
                if not lineage.is_plain and leaves & set(lineage.leaves)
            )
        return kin

    @cached_property
    def _tests_of(self) -> dict[str, list[DataTest]]:
        tests: dict[str, list[DataTest]] = {}
        for _, node in sorted(self._manifest.nodes.items()):
            if node.resource_type != "test" or not getattr(node, "test_metadata", None):
                continue
            # dbt attaches no test to a source; such a test depends on that source alone.
            sources = [uid for uid in node.depends_on.nodes if uid.startswith("source.")]
            attached = getattr(node, "attached_node", None)
            if attached is None and len(node.depends_on.nodes) == len(sources) == 1:
                attached = sources[0]
            if attached:
                arguments = node.test_metadata.kwargs
                column = node.column_name or str(arguments.get("column_name") or "")
                where = node.config.where
                if where and not self._literals.stands(where, node):
                    where = "a condition of the project holds"  # of what a variable is today
                test = DataTest(node.test_metadata.name, arguments, column, where)
                tests.setdefault(attached, []).append(test)
        return tests


def _as_dict(constraint: Any) -> dict[str, Any]:
    return dict(constraint if isinstance(constraint, Mapping) else vars(constraint))


def _column_config(column: Any, key: str, default: Any) -> Any:
    """Return what newer versions of dbt keep under a column's ``config``."""
    return getattr(getattr(column, "config", None), key, None) or default


def _short_meta(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the short values of a column's meta, without dbt-osmosis's own and without secrets."""
    found: dict[str, str] = {}
    for key in sorted(map(str, meta)):
        value = meta.get(key)
        if not isinstance(value, (str, int, float)) or HOST_META.match(key):
            continue
        text = " ".join(str(value).split())
        if JINJA.search(text):  # as its file has it, see `unrendered`
            continue
        is_secret = _SECRET_META.search(key) or MASK in redact_secrets(f"{key}: {text}")
        if text and len(text) <= _MAX_META_CHARS and not is_secret:
            found[key] = text
    return dict(list(found.items())[:_MAX_META])


def _constraints(column: Any) -> Sequence[Mapping[str, Any]]:
    return compat.column_to_dict(column).get("constraints") or ()
