"""Reads nodes from dbt and dbt-osmosis: the one place that knows their objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dbt_osmosis.core import node_filters
from dbt_osmosis.core.exceptions import OsmosisError
from dbt_osmosis.core.inheritance import _collect_column_variants, _get_unrendered
from dbt_osmosis.core.introspection import resolve_setting
from dbt_osmosis.core.node_yaml import _get_node_yaml
from dbt_osmosis.core.transforms import (
    inherit_upstream_column_knowledge,
    inject_missing_columns,
    sort_columns_as_configured,
)

from dbt_osmosis_llm import writing
from dbt_osmosis_llm.evidence.lineage import QueryFacts, read_query
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.evidence.promises import plain_name
from dbt_osmosis_llm.host.docs_blocks import DocsBlocks
from dbt_osmosis_llm.host.evidence import Gatherer
from dbt_osmosis_llm.host.nodes import (
    DOC_REFERENCE,
    JINJA,
    Nodes,
    display_name,
    first_line,
    is_ephemeral,
    patch_file,
)
from dbt_osmosis_llm.host.provenance import Provenance, Refresh
from dbt_osmosis_llm.host.queries import Queries
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.safe_text import clean_text
from dbt_osmosis_llm.synthesis.copying import Copy
from dbt_osmosis_llm.synthesis.freshness import Findings
from dbt_osmosis_llm.synthesis.lock import LockFile
from dbt_osmosis_llm.synthesis.plan import Missing, NodeTexts
from dbt_osmosis_llm.writing.hook import MinimalWriting


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
        files: What becomes of YAML files; all of them can be changed otherwise.
        lock: Notes which texts are ours; none are otherwise.
        model: Which writes them.
        prompts: Hash of the prompts.
        use_answers: What a model could not tell before is not asked again.
    """

    def __init__(
        self,
        context: Any,
        *,
        sample: bool = False,
        read_query: Callable[..., QueryFacts] = read_query,
        files: MinimalWriting | None = None,
        lock: LockFile | None = None,
        model: str = "",
        prompts: str = "",
        use_answers: bool = False,
    ) -> None:
        self._context = context
        self._manifest = context.project.manifest
        self._selected = dict(node_filters._iter_candidate_nodes(context))
        self._paths_with_texts: set[Path] = set()
        self._tables = Nodes(context)
        self._queries = Queries(context, self._tables, read_query)
        lock = lock or LockFile()
        self._gatherer = Gatherer(context, self._tables, self._queries, lock, sample=sample)
        self._files = files
        self._uses_answers = use_answers
        self._yaml_texts: dict[str, dict[str, str]] = {}
        self._provenance = Provenance(context, self._gatherer, lock, model=model, prompts=prompts)

    def begin(self, refresh: Refresh | None) -> None:
        """Take out the texts of ours that are to be written again, once dbt-osmosis is done."""
        if self._files is not None:
            self._files.own_references = DocsBlocks(self._context).references()
        if any(self._provenance.lock):
            self._provenance.carry_renamed(self._written)
            if refresh is not None:
                self._provenance.set_aside(self._written, refresh)

    def end(self, *, docs_blocks: bool = False) -> None:
        """Write the lock file, and what else the whole run decides.

        Args:
            docs_blocks: Write texts that several columns have once.
        """
        if self._context.settings.dry_run:
            return
        known = [*self._tables.by_id, *self._manifest.disabled]
        self._provenance.tidy(self._written, known)
        self._provenance.keep(self._written)
        if docs_blocks:
            DocsBlocks(self._context).share(self._written, self._provenance)

    @cached_property
    def _written(self) -> dict[str, Any]:
        """The selected nodes whose texts go to a file, parents before children."""
        nodes = ((node_id, self._selected[node_id]) for node_id in self._order)
        return {uid: node for uid, node in nodes if writing.is_written(self._context, node)}

    def _can_be_written(self, node: Any) -> bool:
        if self._files is None:
            return True
        try:
            return self._files.is_safe(writing.target_path(self._context, node))
        except OsmosisError:
            return True  # there is no file yet; `check_targets` says what is wrong

    def _texts_in_yaml(self, node: Any) -> dict[str, str]:
        if node.unique_id not in self._yaml_texts:
            self._yaml_texts[node.unique_id] = writing.yaml_texts(self._context, node)
        return self._yaml_texts[node.unique_id]

    def node_ids(self) -> Sequence[str]:
        """Return the selected nodes, parents before children, the same way every time.

        The order goes through unselected and ephemeral nodes too, which dbt-osmosis's own skips.
        """
        return list(self._order)

    @cached_property
    def _order(self) -> list[str]:
        tables = self._tables.by_id.items()
        sorter = TopologicalSorter({uid: self._tables.parents(node) for uid, node in tables})
        sorter.prepare()
        ordered: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered.extend(uid for uid in ready if uid in self._selected)
            sorter.done(*ready)
        return ordered

    def parents(self, node_id: str) -> set[str]:
        """Return the nearest selected nodes upstream of a node, past those that are not."""
        found: set[str] = set()
        seen: set[str] = set()
        open_ids = self._tables.parents(self._tables.by_id[node_id])
        while open_ids:
            uid = open_ids.pop()
            if uid in self._selected:
                found.add(uid)
            elif uid not in seen:
                seen.add(uid)
                open_ids.extend(self._tables.parents(self._tables.by_id[uid]))
        return found

    def ancestors(self, node_id: str) -> set[str]:
        """Return all nodes upstream of a node."""
        found: set[str] = set()
        open_ids = self._tables.parents(self._tables.by_id[node_id])
        while open_ids:
            uid = open_ids.pop()
            if uid not in found:
                found.add(uid)
                open_ids.extend(self._tables.parents(self._tables.by_id[uid]))
        return found

    def tables_read(self, node_id: str) -> Sequence[str]:
        """Return what a node reads: its parents, and through ephemeral ones their own."""
        return list(self._tables.tables_read(self._tables.by_id[node_id]))

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
            if self._tables.lacks_text(column.description)
            or resolve_setting(context, "force-inherit-descriptions", node, name, fallback=forced)
        }

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return what people call each table of the project and its packages, by unique id."""
        return {
            uid: (display_name(n), str(n.name)) for uid, n in sorted(self._tables.by_id.items())
        }

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
        node = self._tables.by_id[node_id]
        if not writing.is_written(self._context, node):
            return f"it belongs to the package {node.package_name}, whose files are not written"
        if node_id in self._selected:
            return ""
        kind = "ephemeral model" if is_ephemeral(node) else str(node.resource_type.value)
        return f"dbt-osmosis documents no {kind}s"

    def compile_error(self, node_id: str) -> str:
        """Return why a model's SQL, as `evidence` has it, is not compiled; else an empty text."""
        return self._queries.compile_errors.get(node_id, "")

    def yaml_file(self, node_id: str) -> str:
        """Return the YAML file for a node's texts, empty when dbt-osmosis knows none."""
        node = self._tables.by_id[node_id]
        if self.why_not_selected(node_id):
            return patch_file(node)
        try:
            path = writing.target_path(self._context, node)
        except OsmosisError:
            return ""
        return os.path.relpath(path, self._context.project.runtime_cfg.project_root)

    def text_place(self, node_id: str, column: str = "") -> TextPlace | None:
        """Return where the text of a node or a column stands, None for one that no file has."""
        node = self._tables.by_id[node_id]
        section: Mapping[str, Any] = {"description": node.description}
        if writing.is_written(self._context, node):  # files of other packages are not read
            section = _get_node_yaml(self._context, node) or {}
        if column:
            name = plain_name(column)
            if name not in writing.described_columns(self._context, node):
                return None
            columns = (c for c in section.get("columns") or () if isinstance(c, Mapping))
            section = next((c for c in columns if plain_name(str(c.get("name"))) == name), {})
        elif self._tables.lacks_text(section.get("description")):
            return None
        blocks = {block.name: block for block in self._manifest.docs.values()}
        found = DOC_REFERENCE.finditer(str(section.get("description")))
        names = [reference[2] or reference[1] for reference in found]
        docs = [f"{name} in {blocks[name].original_file_path}" for name in names if name in blocks]
        return TextPlace(patch_file(node), ", ".join(docs))

    def missing(self, node_id: str) -> Missing:
        """Return what is empty, or one of dbt-osmosis's placeholders."""
        node = self._selected[node_id]
        if not writing.is_written(self._context, node):
            return Missing()  # a package's: dbt-osmosis never writes it, so no text is paid for
        lacks_text = self._tables.lacks_text
        lacking = [n for n, column in node.columns.items() if lacks_text(column.description)]
        lacking = [name for name in lacking if not self._is_gone(node, name)]
        if not lacking and not lacks_text(node.description):
            return Missing()
        if not self._can_be_written(node):
            return Missing()
        written, old = self._texts_in_yaml(node), self._provenance.old_texts(node_id)

        def is_open(name: str) -> bool:
            # A reference to a doc block is a text, whatever stands in the block.
            is_reference = name not in old and JINJA.search(written.get(plain_name(name), ""))
            return not is_reference and not self.is_unknown(node_id, name)

        return Missing(
            lacks_text(node.description) and is_open(""),
            tuple(name for name in lacking if is_open(name)),
        )

    def findings(self) -> Iterator[Findings]:
        """Yield what is wrong with the texts of each selected table, without a model."""
        for node_id, node in self._written.items():
            missing = self.missing(node_id)
            names = [*([""] if missing.description else ()), *missing.columns]
            yield self._provenance.findings(node, names, self.yaml_file(node_id))

    def orphaned_nodes(self) -> list[str]:
        """Return the tables with texts of ours that do not exist any more."""
        known = {*self._tables.by_id, *self._manifest.disabled}
        return sorted({node_id for node_id, _ in self._provenance.lock} - known)

    def _is_gone(self, node: Any, column: str) -> bool:
        """Tell whether a column stands in the YAML alone: neither warehouse nor SQL has it."""
        name = plain_name(column)
        known = self._queries.database_columns(node)
        if not known or "." in name or name in {plain_name(one) for one in known}:
            return False
        sql, facts = self._queries.query(node)
        # It may be newer than the table in the warehouse.
        return (sql is None or bool(facts.columns)) and facts.column(name) is None

    def is_unknown(self, node_id: str, column: str) -> bool:
        """Tell whether the model could not write a text before, and nothing has changed since.

        Args:
            node_id: Of the table.
            column: Its column, or an empty name for the table's own text.
        """
        return self._uses_answers and self._provenance.is_unknown(node_id, column)

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
            if column.description and self._tables.lacks_text(column.description):
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
            origin = self._tables.by_id[copy.origin_id]
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
            origin_name = f"{copy.origin_id}.{copy.origin_column}"
            self._provenance.note(node_id, [copy.column], origin_name)
        return tuple(taken)

    def inherited_columns(self, node_id: str) -> tuple[str, ...]:
        """Return the columns that have a text now and had none when dbt read the project."""
        node, lacks_text = self._selected[node_id], self._tables.lacks_text
        if not self._can_be_written(node):
            return ()
        written = self._texts_in_yaml(node)
        old = self._provenance.old_texts(node_id)
        return tuple(
            name
            for name, column in node.columns.items()
            if not lacks_text(column.description)
            and (name in old or lacks_text(written.get(plain_name(name))))
        )

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        """Take the texts into dbt-osmosis's node, which its sync then writes."""
        node = self._selected[node_id]
        self._provenance.note_inherited(node_id, self.inherited_columns(node_id))
        if self._uses_answers:
            self._provenance.note_unknown(node_id, texts.without_text)
        writing.apply_texts(self._context, node, texts.description, texts.columns)
        if texts.description is not None or texts.columns:
            self._paths_with_texts.add(writing.target_path(self._context, node).resolve())
            self._provenance.note(node_id, texts.by_name)

    def finish(self, node_id: str) -> None:
        """Write a YAML file as soon as its last node is done: what is paid for is safe then."""
        self._queries.forget(node_id)
        node = self._selected[node_id]
        if not writing.is_written(self._context, node):
            return
        self._provenance.put_back(node)
        self._quote_jinja(node)
        path = self._path_of[node_id]
        self._unfinished[path].discard(node_id)
        if not self._unfinished[path] and path in self._paths_with_texts:
            nodes = [self._selected[uid] for uid, other in self._path_of.items() if other == path]
            writing.write_nodes(self._context, nodes)
            if not self._context.settings.dry_run:
                self._provenance.keep_at_times(self._written)

    def _quote_jinja(self, node: Any) -> None:
        """Let dbt read inherited texts as they are.

        What a person has put between raw tags comes without them, as dbt has rendered it.
        """
        written, setting = self._texts_in_yaml(node), self._context.settings
        for name, column in node.columns.items():
            text = column.description or ""
            if not JINJA.search(text) or DOC_REFERENCE.fullmatch(text.strip()):
                continue
            is_raw = resolve_setting(
                self._context,
                "use-unrendered-descriptions",
                node,
                name,
                fallback=setting.use_unrendered_descriptions,
            )
            if not is_raw and not written.get(plain_name(name)):
                is_nested = "endraw" in text
                column.description = (
                    clean_text(text) if is_nested else f"{{% raw %}}{text}{{% endraw %}}"
                )

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
                    f"dbt-osmosis knows no YAML file for {node_id}: {first_line(error)}. "
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
        done = {*self._context.written_files, *(self._files.unchanged if self._files else ())}
        for node_id in node_ids:
            path = writing.target_path(self._context, self._selected[node_id])
            if path.resolve() not in done:
                failed.setdefault(str(path), []).append(node_id)
        return failed

    def left_alone(self) -> dict[str, str]:
        """Return the files that need a text and cannot be changed safely, each with the reason."""
        reasons = self._files.left_alone if self._files else {}
        if not reasons:
            return {}
        lacking = set()
        for node_id, path in self._path_of.items():
            if path in reasons and path not in lacking:
                node = self._selected[node_id]
                written = self._texts_in_yaml(node)
                names = ["", *map(plain_name, node.columns)]
                is_stale = bool(self._provenance.old_texts(node_id))
                if is_stale or any(self._tables.lacks_text(written.get(name)) for name in names):
                    lacking.add(path)
        return {str(path): reasons[path] for path in sorted(lacking)}

    def evidence(self, node_id: str) -> NodeEvidence:
        """Return all that dbt knows of a node, and what its SQL says of its columns."""
        evidence = self._gatherer.evidence(node_id)
        return evidence.with_old_texts(self._provenance.old_texts(node_id))
