"""Reads nodes from dbt and dbt-osmosis: the one place that knows their objects."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dbt_osmosis.core import logger as host_logger
from dbt_osmosis.core.config import (
    DbtConfiguration,
    create_dbt_project_context,
    discover_profiles_dir,
)
from dbt_osmosis.core.exceptions import OsmosisError
from dbt_osmosis.core.inheritance import (
    _collect_column_variants,
    _column_to_dict,
    _get_unrendered,
)
from dbt_osmosis.core.introspection import (
    _cached_warehouse_columns,
    _catalog_columns_for_relation,
    _relation_for_column_collection,
    _rendered_relation_name,
    resolve_setting,
)
from dbt_osmosis.core.node_filters import _iter_candidate_nodes
from dbt_osmosis.core.node_yaml import _get_node_yaml
from dbt_osmosis.core.settings import YamlRefactorContext, YamlRefactorSettings
from dbt_osmosis.core.transforms import (
    inherit_upstream_column_knowledge,
    inject_missing_columns,
    sort_columns_as_configured,
)

from dbt_osmosis_llm import writing
from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.lineage import EMPTY_FACTS, QueryFacts, read_query
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
    plain_name,
    promises_of_column,
    promises_of_table,
)
from dbt_osmosis_llm.evidence.sample import read_values
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.redaction import MASK, redact_secrets
from dbt_osmosis_llm.synthesis.copying import Copy
from dbt_osmosis_llm.synthesis.plan import Missing, NodeTexts

_DOC_REFERENCE = re.compile(
    r"\{\{\s*doc\(\s*['\"]([^'\"]+)['\"]\s*(?:,\s*['\"]([^'\"]+)['\"]\s*)?\)\s*\}\}"
)
_JINJA = re.compile(r"\{[{%#]")
_TABLES = ("model", "seed", "source", "snapshot")
_MAX_CHILDREN = 10
"""Models read for what they make of a source's columns."""

_MAX_USES = 3
"""Of one column."""

_MAX_META = 8
_MAX_META_CHARS = 80
_HOST_META = re.compile(r"dbt[-_]osmosis|osmosis_", re.IGNORECASE)
"""Keys under which dbt-osmosis keeps its own settings and notes."""

_SECRET_META = re.compile(
    r"pass(word|wd|phrase)|secret|token|credential|(api|access|private)[-_ ]?key", re.IGNORECASE
)


@contextmanager
def open_context(
    project_dir: str,
    *,
    profiles_dir: str | None = None,
    profile: str | None = None,
    target: str | None = None,
    variables: Mapping[str, Any] | None = None,
    catalog_path: str | None = None,
    disable_introspection: bool = False,
    log_level: str = "ERROR",
) -> Iterator[Any]:
    """Give a context as ``dbt-osmosis yaml document --dry-run`` has it.

    Raises:
        LLMConfigError: dbt cannot load the project.
    """
    host_logger.set_log_level(log_level)
    configuration = DbtConfiguration(
        project_dir=project_dir,
        profiles_dir=profiles_dir or discover_profiles_dir(project_dir),
        profile=profile,
        target=target,
        vars=dict(variables or {}),
        disable_introspection=disable_introspection,
    )
    try:
        project = create_dbt_project_context(configuration)
    except Exception as error:  # noqa: BLE001  # parsers and adapters raise whatever they like
        said = _on_one_line(error)
        raise LLMConfigError(f"dbt cannot load the project in {project_dir}: {said}") from None
    settings = YamlRefactorSettings(dry_run=True, catalog_path=catalog_path)
    with YamlRefactorContext(project=project, settings=settings) as context:
        yield context


@dataclass(frozen=True)
class TextPlace:
    """Where a text stands that people wrote, or that an earlier run has written."""

    file: str
    """YAML file, from the project's folder."""
    doc: str = ""
    """Doc block that it names, and that one's file."""


class HostProject:
    """A dbt-osmosis context as the synthesis engine wants to see it.

    Args:
        context: Of dbt-osmosis, the project loaded.
        sample: Read the values of seeds' columns that have few.
        read_query: Instead of reading each query anew.
    """

    def __init__(
        self,
        context: Any,
        *,
        sample: bool = False,
        read_query: Callable[..., QueryFacts] = read_query,
    ) -> None:
        self._context = context
        self._manifest = context.project.manifest
        self._selected = dict(_iter_candidate_nodes(context))
        self._paths_with_texts: set[Path] = set()
        self._columns_in_database: dict[str, dict[str, str]] = {}
        self._queries: dict[str, tuple[str | None, QueryFacts]] = {}
        self._compile_errors: dict[str, str] = {}
        self._sample = sample
        self._read_query = read_query
        self._uses: dict[str, dict[str, tuple[ColumnUse, ...]]] = {}
        # As they were before the run: which of several sources gets its text first is chance.
        self._source_texts = {
            uid: self._readable(source.description)
            for uid, source in self._manifest.sources.items()
        }

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

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return what people call each table of the project and its packages, by unique id."""
        return {uid: (_display_name(n), str(n.name)) for uid, n in sorted(self._nodes.items())}

    def prepare(self, node_ids: Sequence[str]) -> None:
        """Let dbt-osmosis add, inherit and sort columns, as its command does before ours begins.

        Args:
            node_ids: Parents before children.
        """
        nodes = [self._selected[node_id] for node_id in node_ids]
        for _ in self._context.pool.map(partial(inject_missing_columns, self._context), nodes):
            pass  # the pool: each of them may ask the warehouse
        for step in (inherit_upstream_column_knowledge, sort_columns_as_configured):
            for node in nodes:
                step(self._context, node)

    def why_not_selected(self, node_id: str) -> str:
        """Return why dbt-osmosis leaves a node out, empty for one that it documents."""
        node = self._nodes[node_id]
        if not writing.is_written(self._context, node):
            return f"it belongs to the package {node.package_name}, whose files are not written"
        if node_id in self._selected:
            return ""
        kind = "ephemeral model" if _is_ephemeral(node) else str(node.resource_type.value)
        return f"dbt-osmosis documents no {kind}s"

    def compile_error(self, node_id: str) -> str:
        """Return why a model's SQL, as `evidence` has it, is not compiled; else an empty text."""
        return self._compile_errors.get(node_id, "")

    def yaml_file(self, node_id: str) -> str:
        """Return the YAML file for a node's texts, empty when dbt-osmosis knows none."""
        node = self._nodes[node_id]
        if self.why_not_selected(node_id):
            return _patch_file(node)
        try:
            path = writing.target_path(self._context, node)
        except OsmosisError:
            return ""
        return os.path.relpath(path, self._context.project.runtime_cfg.project_root)

    def text_place(self, node_id: str, column: str = "") -> TextPlace | None:
        """Return where the text of a node or a column stands, None for one that no file has."""
        node = self._nodes[node_id]
        section: Mapping[str, Any] = {"description": node.description}
        if writing.is_written(self._context, node):  # files of other packages are not read
            section = _get_node_yaml(self._context, node) or {}
        if column:
            name = plain_name(column)
            if name not in writing.described_columns(self._context, node):
                return None
            columns = (c for c in section.get("columns") or () if isinstance(c, Mapping))
            section = next((c for c in columns if plain_name(str(c.get("name"))) == name), {})
        elif self._lacks_text(section.get("description")):
            return None
        blocks = {block.name: block for block in self._manifest.docs.values()}
        found = _DOC_REFERENCE.finditer(str(section.get("description")))
        names = [reference[2] or reference[1] for reference in found]
        docs = [f"{name} in {blocks[name].original_file_path}" for name in names if name in blocks]
        return TextPlace(_patch_file(node), ", ".join(docs))

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

    def inherit(self, node_id: str, keep_out: Collection[str] = ()) -> None:
        """Let dbt-osmosis's inheritance fill columns from upstream texts, new ones included.

        Args:
            node_id: Of a selected node.
            keep_out: Columns that are none of those whose names they share.
        """
        node = self._selected[node_id]
        before = {name: node.columns[name].description for name in keep_out}
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
        for name, description in before.items():
            node.columns[name].description = description

    def copy(self, node_id: str, copies: Sequence[Copy]) -> tuple[str, ...]:
        """Take texts over, where dbt-osmosis's settings let a column inherit one."""
        node, settings = self._selected[node_id], self._context.settings
        taken = []
        for copy in copies:
            setting = partial(resolve_setting, self._context, node=node, col=copy.column)
            if setting("skip-inherit-descriptions", fallback=settings.skip_inherit_descriptions):
                continue
            origin = self._nodes[copy.origin_id]
            # As dbt-osmosis has it: its references to doc blocks stay what they are.
            spelled = {name.strip('"`').lower(): name for name in origin.columns}
            name = spelled[copy.origin_column.lower()]
            text = origin.columns[name].description
            if setting(
                "use-unrendered-descriptions", fallback=settings.use_unrendered_descriptions
            ):
                variants = {copy.column: [name]}
                raw = _get_unrendered(self._context, "description", copy.column, origin, variants)
                text = raw or text
            node.columns[copy.column].description = text
            if setting("add-progenitor-to-meta", fallback=settings.add_progenitor_to_meta):
                node.columns[copy.column].meta["osmosis_progenitor"] = copy.origin_id
            taken.append(copy.column)
        return tuple(taken)

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
        self._queries.pop(node_id, None)
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
        node = self._nodes[node_id]
        sql, facts = self._query(node)
        tables = list(self._tables_read(node).values())
        tests = self._tests_of.get(node_id, [])
        constraints = [_as_dict(one) for one in getattr(node, "constraints", None) or ()]
        values = self._values(node)
        of_columns = (
            {**constraint, "columns": [name]}
            for name, column in node.columns.items()
            for constraint in _constraints(column)
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
            columns=tuple(self._columns(node, tests, values)),
            upstream=tuple(self._upstream_table(table) for table in tables),
            tests=promises_of_table(node.columns, tests, constraints),
            keys=keys_of(tests, [*of_columns, *constraints]),
            has_contract=bool(getattr(getattr(node.config, "contract", None), "enforced", False)),
            neighbours=self._neighbours(node),
            header=tuple(values),
        )

    def _columns(
        self, node: Any, tests: Sequence[DataTest], values: Mapping[str, tuple[str, ...]]
    ) -> Iterator[ColumnEvidence]:
        types = {name.lower(): kind for name, kind in self._database_columns(node).items()}
        uses = self._uses_of(node)
        known_values = {name.lower(): found for name, found in values.items()}
        for name, column in node.columns.items():
            key = plain_name(name)
            yield ColumnEvidence(
                name=name,
                data_type=column.data_type or types.get(key),
                description=self._readable(column.description),
                tests=promises_of_column(name, tests, _constraints(column)),
                tags=tuple(sorted({*(column.tags or ()), *_column_config(column, "tags", ())})),
                meta=_short_meta({**(column.meta or {}), **_column_config(column, "meta", {})}),
                uses=uses.get(key, ()),
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
            node = self._nodes[uid]
            tables.setdefault((node.package_name, node.source_name), {})[node.name] = text
        return tables

    def _uses_of(self, node: Any) -> dict[str, tuple[ColumnUse, ...]]:
        """Return what models that read a source or seed make of its columns, by lower-case name.

        Only columns passed on unchanged, with the texts that people gave them, or new names.
        """
        node_id = node.unique_id
        if node.resource_type not in ("source", "seed"):
            return {}
        if node_id not in self._uses:
            found: dict[str, list[ColumnUse]] = {}
            described = {
                uid: writing.described_columns(self._context, self._nodes[uid])
                for uid in self._models_reading.get(node_id, ())
            }
            # Those that say something first; all are in a fixed order.
            for uid in sorted(described, key=lambda uid: (not described[uid], uid))[:_MAX_CHILDREN]:
                for column, use in self._uses_in(self._nodes[uid], node, described[uid]):
                    found.setdefault(column, []).append(use)
            for uses in found.values():
                uses.sort(key=lambda use: not use.description)
            self._uses[node_id] = {name: tuple(uses[:_MAX_USES]) for name, uses in found.items()}
        return self._uses[node_id]

    def _uses_in(
        self, model: Any, node: Any, described: Collection[str]
    ) -> Iterator[tuple[str, ColumnUse]]:
        texts = {plain_name(name): column.description for name, column in model.columns.items()}
        for name, lineage in self._query(model)[1].columns.items():
            if not lineage.is_plain or len(lineage.leaves) != 1:
                continue
            (leaf,) = lineage.leaves
            # A text of this very run is no evidence: it is made of the column itself.
            text = self._readable(texts.get(name.lower())) if name.lower() in described else ""
            is_new_name = name.lower() != leaf.column.lower()
            if (text or is_new_name) and is_same_relation(leaf.relation, _relation(node)):
                yield leaf.column.lower(), ColumnUse(_display_name(model), name, text)

    @cached_property
    def _models_reading(self) -> dict[str, list[str]]:
        readers: dict[str, list[str]] = {}
        for uid in sorted(self._nodes):
            if self._nodes[uid].resource_type == "model":
                for parent in self._parents(self._nodes[uid]):
                    readers.setdefault(parent, []).append(uid)
        return readers

    def _values(self, node: Any) -> dict[str, tuple[str, ...]]:
        if not self._sample or node.resource_type != "seed":
            return {}
        root = node.root_path or self._context.project.config.project_dir
        return read_values(
            Path(root, node.original_file_path), getattr(node.config, "delimiter", ",")
        )

    def _query(self, node: Any) -> tuple[str | None, QueryFacts]:
        """Return a model's SQL and what it says of its columns, worked out once until `finish`."""
        if node.unique_id not in self._queries:
            sql, is_compiled = self._sql(node)
            facts = EMPTY_FACTS
            if sql and is_compiled:
                tables = self._tables_read(node).values()
                real = [table for table in tables if not _is_ephemeral(table)]
                schema = {_relation(t): c for t in real if (c := self._database_columns(t))}
                facts = self._read_query(
                    sql, self._context.project.runtime_cfg.credentials.type, schema
                )
            self._queries[node.unique_id] = sql, facts
        return self._queries[node.unique_id]

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
            said = self._compile_errors[node.unique_id] = _on_one_line(error)
            logger.debug("%s does not compile; its raw SQL is used (%s)", node.unique_id, said)
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
        return UpstreamTable(
            _display_name(node), _relation(node), description, texts, node.unique_id
        )

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
                test = DataTest(node.test_metadata.name, arguments, column, node.config.where)
                tests.setdefault(attached, []).append(test)
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


def _patch_file(node: Any) -> str:
    """Return the YAML file that describes a node in its own project, empty when none does."""
    if node.resource_type == "source":
        return str(node.original_file_path)
    return str(getattr(node, "patch_path", None) or "").rpartition("://")[2]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _on_one_line(error: BaseException) -> str:
    """Return all that an error says: with dbt, the first line tells only where it happened."""
    return redact_secrets(" ".join(str(error).split())) or type(error).__name__


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
        if not isinstance(value, (str, int, float)) or _HOST_META.match(key):
            continue
        text = " ".join(str(value).split())
        is_secret = _SECRET_META.search(key) or MASK in redact_secrets(f"{key}: {text}")
        if text and len(text) <= _MAX_META_CHARS and not is_secret:
            found[key] = text
    return dict(list(found.items())[:_MAX_META])


def _constraints(column: Any) -> Sequence[Mapping[str, Any]]:
    return _column_to_dict(column).get("constraints") or ()
