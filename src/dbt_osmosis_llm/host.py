"""Reads nodes from dbt and dbt-osmosis: the one place that knows their objects."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dbt_osmosis.core.exceptions import OsmosisError
from dbt_osmosis.core.inheritance import _collect_column_variants, _column_to_dict
from dbt_osmosis.core.introspection import (
    _cached_warehouse_columns,
    _catalog_columns_for_relation,
    _relation_for_column_collection,
    _rendered_relation_name,
    resolve_setting,
)
from dbt_osmosis.core.node_filters import _iter_candidate_nodes
from dbt_osmosis.core.transforms import inherit_upstream_column_knowledge

from dbt_osmosis_llm import writing
from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.lineage import EMPTY_FACTS, read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.synthesis.plan import Missing, NodeTexts

_DOC_REFERENCE = re.compile(
    r"\{\{\s*doc\(\s*['\"]([^'\"]+)['\"]\s*(?:,\s*['\"]([^'\"]+)['\"]\s*)?\)\s*\}\}"
)
_JINJA = re.compile(r"\{[{%#]")
_MAX_ACCEPTED_VALUES = 20
_TABLES = ("model", "seed", "source", "snapshot")


class HostProject:
    """A dbt-osmosis context as the synthesis engine wants to see it."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._manifest = context.project.manifest
        self._selected = dict(_iter_candidate_nodes(context))
        self._paths_with_texts: set[Path] = set()
        self._columns_in_database: dict[str, dict[str, str]] = {}

    @cached_property
    def _nodes(self) -> dict[str, Any]:
        nodes = {**self._manifest.nodes, **self._manifest.sources}
        return {uid: n for uid, n in nodes.items() if n.resource_type in _TABLES}

    def node_ids(self) -> Sequence[str]:
        """Return the selected nodes, parents before children, the same way every time.

        The order goes through unselected and ephemeral nodes too, which dbt-osmosis's own skips.
        """
        sorter = TopologicalSorter({uid: self._parents(n) for uid, n in self._nodes.items()})
        sorter.prepare()
        ordered: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered.extend(uid for uid in ready if uid in self._selected)
            sorter.done(*ready)
        return ordered

    def _parents(self, node: Any) -> list[str]:
        depends_on = getattr(node, "depends_on_nodes", None) or ()
        return [uid for uid in depends_on if uid in self._nodes]

    def parents(self, node_id: str) -> set[str]:
        """Return the nearest selected nodes upstream of a node, past those that are not."""
        found: set[str] = set()
        seen: set[str] = set()
        open_ids = self._parents(self._nodes[node_id])
        while open_ids:
            uid = open_ids.pop()
            if uid in self._selected:
                found.add(uid)
            elif uid not in seen:
                seen.add(uid)
                open_ids.extend(self._parents(self._nodes[uid]))
        return found

    def ancestors(self, node_id: str) -> set[str]:
        """Return all nodes upstream of a node."""
        found: set[str] = set()
        open_ids = self._parents(self._nodes[node_id])
        while open_ids:
            uid = open_ids.pop()
            if uid not in found:
                found.add(uid)
                open_ids.extend(self._parents(self._nodes[uid]))
        return found

    def tables_read(self, node_id: str) -> Sequence[str]:
        """Return what a node reads: its parents, and through ephemeral ones their own."""
        return list(self._tables_read(self._nodes[node_id]))

    def inheritable_names(self, node_id: str) -> set[str]:
        """Return the names that dbt-osmosis looks for upstream, in lower case."""
        variants = _collect_column_variants(self._context, self._selected[node_id])
        return {name.lower() for names in variants.values() for name in names}

    def unsettled_names(self, node_id: str) -> set[str]:
        """Return the columns that lack a text or may inherit another one, in lower case."""
        context, node = self._context, self._selected[node_id]
        forced = context.settings.force_inherit_descriptions
        return {
            name.lower()
            for name, column in node.columns.items()
            if self._lacks_text(column.description)
            or resolve_setting(context, "force-inherit-descriptions", node, name, fallback=forced)
        }

    def _lacks_text(self, text: str | None) -> bool:
        return writing.lacks_text(self._context, text)

    def _readable(self, text: str | None) -> str:
        """Return a text as people read it, empty where it has none that a model could read.

        With ``use-unrendered-descriptions`` dbt-osmosis keeps ``{{ doc('x') }}`` as it stands.
        """
        if text is None or self._lacks_text(text):
            return ""
        rendered = _DOC_REFERENCE.sub(self._doc_block, text)
        return "" if _JINJA.search(rendered) else rendered

    def _doc_block(self, reference: re.Match[str]) -> str:
        package, name = (reference[1], reference[2]) if reference[2] else (None, reference[1])
        for block in self._manifest.docs.values():
            if block.name == name and package in (None, block.package_name):
                return str(block.block_contents)
        return reference[0]

    def missing(self, node_id: str) -> Missing:
        """Return what is empty, or one of dbt-osmosis's placeholders."""
        node = self._selected[node_id]
        if not writing.is_written(self._context, node):
            return Missing()  # a package's: dbt-osmosis never writes it, so no text is paid for
        columns = node.columns.items()
        return Missing(
            description=self._lacks_text(node.description),
            columns=tuple(name for name, column in columns if self._lacks_text(column.description)),
        )

    def inherit(self, node_id: str) -> None:
        """Let dbt-osmosis's inheritance fill columns from upstream texts, new ones included."""
        node = self._selected[node_id]
        # dbt-osmosis inherits into empty descriptions only; its placeholders are as good as empty.
        placeholders = {}
        for name, column in node.columns.items():
            if column.description and self._lacks_text(column.description):
                placeholders[name] = column.description
                column.description = ""
        inherit_upstream_column_knowledge(self._context, node)
        for name, placeholder in placeholders.items():
            if not node.columns[name].description:
                node.columns[name].description = placeholder

    def inherited_columns(self, node_id: str) -> tuple[str, ...]:
        """Return the columns that have a text now and had none when dbt read the project."""
        node = self._selected[node_id]
        described = writing.described_columns(self._context, node)
        return tuple(
            name
            for name, column in node.columns.items()
            if not self._lacks_text(column.description) and name.lower() not in described
        )

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        """Take the texts into dbt-osmosis's node, which its sync then writes."""
        node = self._selected[node_id]
        writing.apply_texts(self._context, node, texts.description, texts.columns)
        if texts.description is not None or texts.columns:
            self._paths_with_texts.add(writing.target_path(self._context, node).resolve())

    def finish(self, node_id: str) -> None:
        """Write a YAML file as soon as its last node is done: what is paid for is safe then."""
        if not writing.is_written(self._context, self._selected[node_id]):
            return
        path = self._path_of[node_id]
        self._unfinished[path].discard(node_id)
        if not self._unfinished[path] and path in self._paths_with_texts:
            nodes = [self._selected[uid] for uid, other in self._path_of.items() if other == path]
            writing.write_nodes(self._context, nodes)

    @cached_property
    def _path_of(self) -> dict[str, Path]:
        selected = self._selected.items()
        written = {uid: node for uid, node in selected if writing.is_written(self._context, node)}
        return {
            uid: writing.target_path(self._context, node).resolve() for uid, node in written.items()
        }

    @cached_property
    def _unfinished(self) -> dict[Path, set[str]]:
        groups: dict[Path, set[str]] = {}
        for node_id, path in self._path_of.items():
            groups.setdefault(path, set()).add(node_id)
        return groups

    def check_targets(self) -> None:
        """Make sure, before anything is paid for, that each text has a file to go to.

        Raises:
            LLMConfigError: dbt-osmosis has no YAML path for a node, or cannot write there.
        """
        for node_id, node in self._selected.items():
            if not self.missing(node_id):
                continue
            try:
                path = writing.target_path(self._context, node)
            except OsmosisError as error:
                raise LLMConfigError(
                    f"dbt-osmosis knows no YAML file for {node_id}: {_first_line(error)}. "
                    "Set '+dbt-osmosis: \"_{model}.yml\"' for it in dbt_project.yml."
                ) from None
            path = path.resolve()
            folder = next(parent for parent in path.parents if parent.exists())
            if not os.access(folder, os.W_OK):
                raise LLMConfigError(f"{path} cannot be written: no permission in {folder}.")
            # The write replaces the file, which would get past what its owner meant.
            if path.exists() and not os.access(path, os.W_OK):
                raise LLMConfigError(f"{path} is read-only; make it writable for {node_id}.")

    def not_written(self, node_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the files that dbt-osmosis could not write, each with its nodes.

        dbt-osmosis logs a failure to write and goes on as if all were well.
        """
        if self._context.settings.dry_run:
            return {}
        failed: dict[str, list[str]] = {}
        for node_id in node_ids:
            path = writing.target_path(self._context, self._selected[node_id])
            if path.resolve() not in self._context.written_files:
                failed.setdefault(str(path), []).append(node_id)
        return failed

    def evidence(self, node_id: str) -> NodeEvidence:
        """Return all that dbt knows of a node, and what its SQL says of its columns."""
        node = self._selected[node_id]
        sql, is_compiled = self._sql(node)
        tables = list(self._tables_read(node).values())
        facts = EMPTY_FACTS
        if sql and is_compiled:
            real = [table for table in tables if not _is_ephemeral(table)]
            schema = {_relation(t): c for t in real if (c := self._database_columns(t))}
            facts = read_query(sql, self._context.project.runtime_cfg.credentials.type, schema)
        tests = self._tests_of.get(node_id, [])
        types = {name.lower(): kind for name, kind in self._database_columns(node).items()}
        columns = tuple(
            ColumnEvidence(
                name=name,
                data_type=column.data_type or types.get(name.strip('"`').lower()),
                description=self._readable(column.description),
                tests=_column_tests(column, name, tests),
            )
            for name, column in node.columns.items()
        )
        return NodeEvidence(
            unique_id=node_id,
            name=_display_name(node),
            resource_type=str(node.resource_type.value),
            description=self._readable(node.description),
            source_description=self._readable(getattr(node, "source_description", None)),
            materialization=getattr(node.config, "materialized", None),
            tags=tuple(sorted(node.tags or ())),
            sql=sql,
            facts=facts,
            columns=columns,
            upstream=tuple(self._upstream_table(table) for table in tables),
            tests=tuple(_in_words(t) for t in tests if not t.column_name),
        )

    def _sql(self, node: Any) -> tuple[str | None, bool]:
        """Return a model's SQL and whether it is compiled; never an invented SELECT."""
        if node.resource_type != "model":
            return None, False
        if compiled := getattr(node, "compiled_code", None):
            return compiled, True
        if getattr(node, "language", "sql") != "sql":
            return node.raw_code or None, False
        # As on a full refresh: what `is_incremental()` adds depends on what the warehouse holds
        # today and says how the table is loaded, not what is in it.
        full_refresh, node.config.full_refresh = node.config.full_refresh, True
        try:
            result = self._context.project._project.compile_node(node, update_depends_on=False)
        except Exception as error:  # noqa: BLE001  # macros and adapters raise whatever they like
            logger.debug(
                "%s does not compile; its raw SQL is used (%s)", node.unique_id, _first_line(error)
            )
            return node.raw_code or None, False
        finally:
            node.config.full_refresh = full_refresh
        return result.compiled_code or None, True

    def _tables_read(self, node: Any) -> dict[str, Any]:
        tables: dict[str, Any] = {}
        open_ids = list(reversed(self._parents(node)))
        seen: set[str] = set()
        while open_ids:
            uid = open_ids.pop()
            if uid in seen:
                continue
            seen.add(uid)
            tables[uid] = self._nodes[uid]
            if _is_ephemeral(tables[uid]):
                open_ids.extend(reversed(self._parents(tables[uid])))
        return tables

    def _database_columns(self, node: Any) -> dict[str, str]:
        """Return column name to type as the catalog or the warehouse has them, asked for once.

        All of them in their order, or none: dbt-osmosis's own list leaves out ignored columns and
        adds nested ones, which would shift the columns of a `select *`.
        """
        if node.unique_id in self._columns_in_database:
            return self._columns_in_database[node.unique_id]
        context = self._context
        relation, _ = _relation_for_column_collection(context, node)
        name = _rendered_relation_name(relation)
        found = _catalog_columns_for_relation(context, relation, name)
        if found is None and not context.project.config.disable_introspection:
            # Compiling gives this thread's connection back; look-ups must open their own.
            with context.project.adapter.connection_named("dbt_osmosis_llm"):
                found = _cached_warehouse_columns(context, relation, name)
        columns = {
            column.name: str(getattr(column, "dtype", None) or getattr(column, "type", ""))
            for column in found or ()
        }
        if columns:
            self._columns_in_database[node.unique_id] = columns
        return columns

    def _upstream_table(self, node: Any) -> UpstreamTable:
        texts = {name: self._readable(column.description) for name, column in node.columns.items()}
        description = self._readable(node.description)
        if source_description := self._readable(getattr(node, "source_description", None)):
            description = f"{description} Source: {source_description}".strip()
        return UpstreamTable(_display_name(node), _relation(node), description, texts)

    @cached_property
    def _tests_of(self) -> dict[str, list[Any]]:
        tests: dict[str, list[Any]] = {}
        for node in self._manifest.nodes.values():
            if node.resource_type != "test" or not getattr(node, "test_metadata", None):
                continue
            # dbt attaches no test to a source; such a test depends on that source alone.
            sources = [uid for uid in node.depends_on.nodes if uid.startswith("source.")]
            attached = getattr(node, "attached_node", None)
            if attached is None and len(node.depends_on.nodes) == len(sources) == 1:
                attached = sources[0]
            if attached:
                tests.setdefault(attached, []).append(node)
        for found in tests.values():
            found.sort(key=lambda test: test.unique_id)
        return tests


def _is_ephemeral(node: Any) -> bool:
    return getattr(node.config, "materialized", None) == "ephemeral"


def _display_name(node: Any) -> str:
    source, version = getattr(node, "source_name", None), getattr(node, "version", None)
    if version is not None:
        return f"{node.name}.v{version}"
    return f"{source}.{node.name}" if source else str(node.name)


def _relation(node: Any) -> str:
    if _is_ephemeral(node):
        return f"__dbt__cte__{node.name}"  # as dbt names it; no real table has this name
    return re.sub(r'["`\[\]]', "", node.relation_name or node.name)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _column_tests(column: Any, name: str, tests: Sequence[Any]) -> tuple[str, ...]:
    wanted = name.strip('"`').lower()
    words = [_in_words(t) for t in tests if (t.column_name or "").strip('"`').lower() == wanted]
    for constraint in _column_to_dict(column).get("constraints") or ():
        kind = str(getattr(constraint.get("type"), "value", constraint.get("type")))
        expression = f" {constraint['expression']}" if constraint.get("expression") else ""
        words.append(_CONSTRAINTS.get(kind, f"constraint {kind}") + expression)
    return tuple(dict.fromkeys(words))


_CONSTRAINTS = {
    "not_null": "never null",
    "unique": "unique",
    "primary_key": "primary key",
    "foreign_key": "foreign key",
    "check": "check",
}


def _in_words(test: Any) -> str:
    """Return what a generic test promises."""
    name, arguments = test.test_metadata.name, dict(test.test_metadata.kwargs)
    if isinstance(arguments.get("arguments"), Mapping):
        arguments |= arguments.pop("arguments")
    for plumbing in ("model", "column_name"):
        arguments.pop(plumbing, None)
    if name == "unique":
        return "unique"
    if name == "not_null":
        return "never null"
    if name == "accepted_values" and isinstance(arguments.get("values"), list):
        values = arguments["values"]
        more = len(values) - _MAX_ACCEPTED_VALUES
        shown = ", ".join(repr(value) for value in values[:_MAX_ACCEPTED_VALUES])
        return f"one of {shown}{f' and {more} more' if more > 0 else ''}"
    if name == "relationships":
        target = re.findall(r"['\"]([^'\"]+)['\"]", str(arguments.get("to", "")))
        return f"found in {'.'.join(target)}.{arguments.get('field')}"
    shown = ", ".join(f"{key}={value!r}" for key, value in sorted(arguments.items()))
    return f"{name}({shown})" if shown else str(name)
