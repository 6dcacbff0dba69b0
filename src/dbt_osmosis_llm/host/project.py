"""A dbt-osmosis context as the synthesis engine wants to see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from dbt_osmosis_llm.evidence.facts import QueryFacts
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.host import compat, descriptions, passes
from dbt_osmosis_llm.host.docs_blocks import DocsBlocks
from dbt_osmosis_llm.host.evidence import Gatherer
from dbt_osmosis_llm.host.files import Files
from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
from dbt_osmosis_llm.host.nodes import JINJA, Nodes
from dbt_osmosis_llm.host.provenance import Provenance, Refresh
from dbt_osmosis_llm.host.queries import Queries
from dbt_osmosis_llm.host.selection import Selection
from dbt_osmosis_llm.synthesis.copying import Copy, decided_by_lineage, origins
from dbt_osmosis_llm.synthesis.lock import LockFile
from dbt_osmosis_llm.synthesis.plan import Missing, NodeTexts
from dbt_osmosis_llm.synthesis.report import RunReport


class HostProject:
    """The engine's port (`synthesis.ports.Project`) over dbt's and dbt-osmosis's objects.

    Its parts are open to `host.inspection`, which answers what the engine does not ask.

    Args:
        context: Of dbt-osmosis, the project loaded.
        sample: Read the values of seeds' columns that have few.
        read_query: Instead of reading each query anew.
        writing: What becomes of YAML files; all of them can be changed otherwise.
        lock: Notes which texts are ours; none are otherwise.
        model: Which writes them.
        prompts: Hash of the prompts.
        use_answers: What a model could not tell before is not asked again.
        only: Unique ids to keep of what dbt-osmosis selects; all when None.
    """

    def __init__(
        self,
        context: Any,
        *,
        sample: bool = False,
        read_query: Callable[..., QueryFacts] = read_query,
        writing: MinimalWriting | None = None,
        lock: LockFile | None = None,
        model: str = "",
        prompts: str = "",
        use_answers: bool = False,
        only: Collection[str] | None = None,
    ) -> None:
        self.context = context
        self.tables = Nodes(context)
        self.selection = Selection(context, self.tables, only=only)
        self.queries = Queries(context, self.tables, read_query)
        self.files = Files(
            context,
            self.tables,
            self.selection,
            writing,
            is_same=lambda one, other: self.provenance.is_same(one, other),
        )
        lock = lock or LockFile()
        self.gatherer = Gatherer(context, self.tables, self.queries, lock, sample=sample)
        self.provenance = Provenance(context, self.gatherer, lock, model=model, prompts=prompts)
        self._writing = writing
        self._uses_answers = use_answers
        self._without_text: dict[str, set[str]] = {}
        """What the model could not tell in this run, by node: columns, as the node has them."""
        self._described: Mapping[str, Collection[str]] = {}
        self._settings_of_nodes: dict[tuple[str, str], Any] = {}

    # Around a run

    def begin(self, refresh: Refresh | None) -> None:
        """Take out the texts of ours that are to be written again, once dbt-osmosis is done.

        Raises:
            LLMConfigError: A text has no file to go to.
        """
        if self._writing is not None:
            self._writing.own_references = DocsBlocks(self.context).references()
        if self._writing is not None:
            self._described = self._writing.described
            self._take_back_by_name()
        if any(self.provenance.lock):
            self.provenance.carry_renamed(self.selection.written)
            if refresh is not None:
                self.provenance.set_aside(self.selection.written, refresh)
        self.files.check_targets(self.missing)

    def _take_back_by_name(self) -> None:
        """Empty the columns that dbt-osmosis's inheritance has filled with another column's text.

        It goes by names alone: where lineage knows what a column is, that decides.
        """
        selected = set(self.selection.order)
        for node_id, node in self.selection.written.items():
            new = self._texts_by_name(node)
            if not new:
                continue
            evidence = self.evidence(node_id)
            for name in decided_by_lineage(evidence, new, selected):
                lineage = evidence.facts.column(name)
                if lineage is None:
                    continue
                texts = [self._texts_of(t.unique_id, c) for t, c in origins(evidence, lineage) if t]
                if not lineage.is_plain or not all(new[name] in each for each in texts):
                    node.columns[name].description = ""

    def _texts_by_name(self, node: Any) -> dict[str, str]:
        """Return the texts that columns have from upstream, by their names, and not from a file."""
        described = self._described.get(node.unique_id, ())
        new = {
            name: column.description
            for name, column in node.columns.items()
            if not self.tables.lacks_text(column.description) and name not in described
        }
        ancestors = self.ancestors(node.unique_id) if new else ()
        return {
            name: text
            for name, text in new.items()
            # Else it is the warehouse's comment, or the very setting that wants it so.
            if any(text in self._texts_of(uid, name) for uid in ancestors)
            and not self._is_forced(node, name)
        }

    def _texts_of(self, node_id: str, column: str) -> set[str]:
        """Return the text of a column, as dbt has it and as its file does."""
        node = self.tables.by_id[node_id]
        found = (c for n, c in node.columns.items() if plain_name(n) == plain_name(column))
        raw = self.files.texts_in_yaml(node).get(plain_name(column))
        return {*(column.description for column in found), *([raw] if raw else [])} - {""}

    def prepare(self) -> None:
        """Let dbt-osmosis add, inherit and sort columns, as its command does before ours begins."""
        self._described = passes.described(self.context)
        passes.prepare(self.context, [self._node(node_id) for node_id in self.selection.order])
        self._take_back_by_name()

    def end(self, *, docs_blocks: bool = False) -> None:
        """Write the lock file, and what else the whole run decides.

        Args:
            docs_blocks: Write texts that several columns have once.
        """
        if self.context.settings.dry_run:
            return
        written = self.selection.written
        for node_id, node in written.items():
            if self.queries.database_columns(node):
                self.provenance.note_not_there(node_id, self.not_there(node_id))
        known = [*self.tables.by_id, *self.context.project.manifest.disabled]
        self.provenance.tidy(written, known)
        self.provenance.keep(written)
        if docs_blocks:
            DocsBlocks(self.context).share(written, self.provenance)

    def say_what_is_left_out(self, report: RunReport) -> None:
        """Note in a report what was not documented, or by less than there could be, and why."""
        written = self.selection.written
        report.not_read = dict(self.queries.read_failures)
        report.not_compiled = dict(self.queries.compile_errors)
        report.left_alone = self.files.left_alone(self.provenance.old_texts)
        report.without_path = self.files.how_to_give_paths()
        report.not_there = {uid: names for uid in written if (names := self.not_there(uid))}
        report.not_built = [uid for uid, n in written.items() if self.queries.is_not_built(n)]
        report.warehouse = self.queries.warehouse
        report.unmatched = self.selection.unmatched

    # The graph

    def node_ids(self) -> Sequence[str]:
        """Return the selected nodes, parents before children, the same way every time."""
        return list(self.selection.order)

    def parents(self, node_id: str) -> set[str]:
        """Return the nearest selected nodes upstream of a node, past those that are not."""
        return self.selection.parents(node_id)

    def ancestors(self, node_id: str) -> set[str]:
        """Return all nodes upstream of a node."""
        return self.selection.ancestors(node_id)

    def tables_read(self, node_id: str) -> Sequence[str]:
        """Return what a node reads: its parents, and through ephemeral ones their own."""
        return self.selection.tables_read(node_id)

    def twins(self, node_id: str) -> Sequence[str]:
        """Return the nodes with which a node may have texts in common: see `share`."""
        node = self._node(node_id)
        leaders = (self.files.leader(node, name) for name in node.columns)
        sharing = {leader[0] for leader in leaders if leader is not None}
        return sorted({*self.selection.versions(node_id), *sharing})

    # What a node lacks

    def inheritable_names(self, node_id: str) -> set[str]:
        """Return the names that dbt-osmosis looks for upstream, in lower case."""
        variants = compat.column_variants(self.context, self._node(node_id))
        return {plain_name(name) for names in variants.values() for name in names}

    def unsettled_names(self, node_id: str) -> set[str]:
        """Return the columns that lack a text or may inherit another one, in lower case."""
        node = self._node(node_id)
        return {
            plain_name(name)
            for name, column in node.columns.items()
            if self.tables.lacks_text(column.description) or self._is_forced(node, name)
        }

    def may_change(self, node_id: str) -> bool:
        """Tell whether texts of a node may still change though nothing is missing."""
        node = self._node(node_id)
        if not descriptions.is_written(self.context, node):
            return False
        is_forced = any(self._is_forced(node, name) for name in node.columns)
        return is_forced or bool(self.following(node_id))

    def following(self, node_id: str) -> tuple[str, ...]:
        """Return the columns without a text that get that of the one they share an entry with."""
        node = self._node(node_id)
        return tuple(
            name
            for name, column in node.columns.items()
            if self.tables.lacks_text(column.description)
            and self.files.leader(node, name) is not None
        )

    def _is_forced(self, node: Any, column: str) -> bool:
        forced = self.context.settings.force_inherit_descriptions
        return bool(self._setting("force-inherit-descriptions", node, column, forced))

    def missing(self, node_id: str) -> Missing:
        """Return what is empty, or one of dbt-osmosis's placeholders."""
        node = self._node(node_id)
        if not descriptions.is_written(self.context, node):
            return Missing()  # a package's: dbt-osmosis never writes it, so no text is paid for
        lacks_text = self.tables.lacks_text
        described = {
            plain_name(n) for n, c in node.columns.items() if not lacks_text(c.description)
        }
        # A version may spell a column in another case than its model: one column, one text.
        lacking = [name for name in node.columns if plain_name(name) not in described]
        left_out = self.files.left_out(node)
        not_there = self.not_there(node_id) if lacking else ()
        lacking = [
            name
            for name in lacking
            if plain_name(name) not in left_out
            and name not in not_there
            and self.files.leader(node, name) is None
            and name not in self._without_text.get(node_id, ())
        ]
        if (not lacking and not lacks_text(node.description)) or "" in left_out:
            return Missing()
        if not self.files.can_be_written(node):
            return Missing()
        written, old = self.files.texts_in_yaml(node), self.provenance.old_texts(node_id)

        def is_open(name: str) -> bool:
            # A reference to a doc block is a text, whatever stands in the block.
            is_reference = name not in old and JINJA.search(written.get(plain_name(name), ""))
            return not is_reference and not self.is_unknown(node_id, name)

        return Missing(
            lacks_text(node.description) and is_open(""),
            tuple(name for name in lacking if is_open(name)),
        )

    def is_unknown(self, node_id: str, column: str) -> bool:
        """Tell whether the model could not write a text before, and nothing has changed since.

        Args:
            node_id: Of the table.
            column: Its column, or an empty name for the table's own text.
        """
        return self._uses_answers and self.provenance.is_unknown(node_id, column)

    def not_there(self, node_id: str) -> tuple[str, ...]:
        """Return the columns without a text that neither the warehouse nor the SQL has.

        Where the warehouse is not read, what a run has noted counts for what the SQL cannot tell.
        """
        node = self._node(node_id)
        lacking = [
            name
            for name, column in node.columns.items()
            if self.tables.lacks_text(column.description) and "." not in name
        ]
        if not lacking:
            return ()
        known = {plain_name(name) for name in self.queries.database_columns(node)}
        if known and all(plain_name(name) in known for name in lacking):
            return ()
        # A column may be newer than the table in the warehouse.
        sql, facts = self.queries.query(node) if known else self.queries.declared(node)
        shows_all = facts.is_complete or (bool(known) and (sql is None or bool(facts.columns)))
        return tuple(
            name
            for name in lacking
            if plain_name(name) not in known
            and facts.column(plain_name(name)) is None
            and (shows_all or self.provenance.is_not_there(node_id, name))
        )

    # Texts that need no model

    def inherit(self, node_id: str, keep_out: Collection[str] = ()) -> None:
        """Let dbt-osmosis's inheritance fill columns from upstream texts, new ones included.

        Args:
            node_id: Of a selected node.
            keep_out: Columns that are none of those whose names they share.
        """
        node = self._node(node_id)
        before = {
            name: node.columns[name].description
            for name in keep_out
            if not self._is_forced(node, name)  # then the project wants names to decide
        }
        # dbt-osmosis inherits into empty descriptions only; its placeholders are as good as empty.
        placeholders = {}
        for name, column in node.columns.items():
            if column.description and self.tables.lacks_text(column.description):
                placeholders[name] = column.description
                column.description = ""
        texts = {name: column.description for name, column in node.columns.items()}
        compat.inherit_columns(self.context, node)
        replaced = [n for n, text in texts.items() if text and node.columns[n].description != text]
        self.provenance.forget(node_id, replaced)
        for name, placeholder in placeholders.items():
            if not node.columns[name].description:
                node.columns[name].description = placeholder
        for name, description in before.items():
            node.columns[name].description = description

    def copy(self, node_id: str, copies: Sequence[Copy]) -> tuple[str, ...]:
        """Take texts over, where dbt-osmosis's settings let a column inherit one."""
        node, settings = self._node(node_id), self.context.settings
        taken = []
        for copy in copies:
            setting = partial(self._setting, node=node, column=copy.column)
            if not descriptions.may_inherit(self.context, node, copy.column):
                continue
            origin = self.tables.by_id[copy.origin_id]
            # As dbt-osmosis has it: its references to doc blocks stay what they are.
            spelled = {plain_name(name): name for name in origin.columns}
            name = spelled[plain_name(copy.origin_column)]
            text = origin.columns[name].description
            if setting(
                "use-unrendered-descriptions", fallback=settings.use_unrendered_descriptions
            ):
                variants = {copy.column: [name]}
                raw = compat.unrendered(self.context, "description", copy.column, origin, variants)
                text = raw or text
            node.columns[copy.column].description = text
            if setting("add-progenitor-to-meta", fallback=settings.add_progenitor_to_meta):
                node.columns[copy.column].meta["osmosis_progenitor"] = copy.origin_id
            taken.append(copy.column)
            origin_name = f"{copy.origin_id}.{copy.origin_column}"
            self.provenance.note(node_id, [copy.column], origin_name)
        return tuple(taken)

    def share(self, node_id: str) -> tuple[str, ...]:
        """Take texts over from `twins` that have them by now; return the columns.

        A column of another version is the same where the model lists it for all versions, or all of
        them define it alike; a column that shares its entry with another table's follows that one.
        """
        node, taken = self._node(node_id), []
        for name in self.following(node_id):
            leader = self.files.leader(node, name)
            if leader is not None and self._take_from(node, name, *leader):
                taken.append(name)
        versions = self.selection.versions(node_id)
        if not versions:
            return tuple(taken)
        of_model = descriptions.columns_of_all_versions(self.context, node)
        missing = self.missing(node_id)
        if missing.description:
            same = (uid for uid in versions if self.provenance.is_same((node_id, ""), (uid, "")))
            texts = ((uid, self._node(uid).description) for uid in same)
            for other_id, text in texts:
                if not self.tables.lacks_text(text):
                    descriptions.apply_texts(self.context, node, text, {})
                    self.files.expect(node)
                    self.provenance.note(node_id, [""], other_id)
                    break
        for name in missing.columns:
            for other_id in versions:
                columns = self._node(other_id).columns
                same = (n for n in columns if plain_name(n) == plain_name(name))
                if (column := next(same, None)) is None:
                    continue
                is_same = plain_name(name) in of_model or self.provenance.is_same(
                    (node_id, name), (other_id, column)
                )
                if is_same and self._take_from(node, name, other_id, column):
                    taken.append(name)
                    break
                if is_same and column in self._without_text.get(other_id, ()):
                    # The same question would have the same answer.
                    self._without_text.setdefault(node_id, set()).add(name)
                    if self._uses_answers:
                        self.provenance.note_unknown(node_id, [name])
                    break
        return tuple(taken)

    def _take_from(self, node: Any, name: str, other_id: str, column: str) -> bool:
        """Take a text over from a column of another table, if that has one."""
        text = self._node(other_id).columns[column].description
        if self.tables.lacks_text(text):
            return False
        node.columns[name].description = text
        self.provenance.note(node.unique_id, [name], f"{other_id}.{column}")
        return True

    def inherited_columns(self, node_id: str) -> tuple[str, ...]:
        """Return the columns that have a text now and had none when dbt read the project."""
        node, lacks_text = self._node(node_id), self.tables.lacks_text
        if not self.files.can_be_written(node):
            return ()
        written, left_out = self.files.texts_in_yaml(node), self.files.left_out(node)
        old = self.provenance.old_texts(node_id)
        return tuple(
            name
            for name, column in node.columns.items()
            if plain_name(name) not in left_out
            and not lacks_text(column.description)
            and (name in old or lacks_text(written.get(plain_name(name))))
        )

    # Evidence and texts

    def evidence(self, node_id: str) -> NodeEvidence:
        """Return all that dbt knows of a node, and what its SQL says of its columns."""
        evidence = self.gatherer.evidence(node_id)
        return evidence.with_old_texts(self.provenance.old_texts(node_id))

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        """Take the texts into dbt-osmosis's node, which its sync then writes."""
        node = self._node(node_id)
        self.provenance.note_inherited(node_id, self.inherited_columns(node_id))
        self._without_text.setdefault(node_id, set()).update(texts.without_text)
        if self._uses_answers:
            self.provenance.note_unknown(node_id, texts.without_text)
        descriptions.apply_texts(self.context, node, texts.description, texts.columns)
        if texts.by_name:
            self.files.expect(node)
            self.provenance.note(node_id, texts.by_name)

    def finish(self, node_id: str) -> None:
        """Write a YAML file as soon as its last node is done: what is paid for is safe then."""
        self.queries.forget(node_id)
        node = self._node(node_id)
        if not descriptions.is_written(self.context, node):
            return
        self.provenance.put_back(node)
        if self.files.finish(node) and not self.context.settings.dry_run:
            self.provenance.keep_at_times(self.selection.written)

    def _node(self, node_id: str) -> Any:
        return self.selection.nodes[node_id]

    def _setting(self, name: str, node: Any, column: str, fallback: Any) -> Any:
        """Return a setting of dbt-osmosis's as it holds for a column."""
        own = node.columns.get(column)
        config = getattr(own, "config", None)
        if getattr(own, "meta", None) or getattr(config, "meta", None):
            return compat.resolve_setting(
                self.context, name, node=node, col=column, fallback=fallback
            )
        key = name, node.unique_id
        # dbt-osmosis looks through all its sources each time: once a table is enough.
        if key not in self._settings_of_nodes:
            self._settings_of_nodes[key] = compat.resolve_setting(
                self.context, name, node=node, fallback=fallback
            )
        return self._settings_of_nodes[key]


class RehearsalProject(HostProject):
    """One table with its twins and all upstream, as a run over the whole project sees them.

    Texts stay in memory, and the table itself keeps its gaps.

    Args:
        context: Of dbt-osmosis.
        node_id: Of the table.
        options: Of `HostProject`.
    """

    def __init__(self, context: Any, node_id: str, **options: Any) -> None:
        tables = Nodes(context)
        selection = Selection(context, tables)
        wanted = {node_id}
        if node_id in selection.nodes:
            files = Files(context, tables, selection, options.get("writing"))
            wanted |= files.sharing(tables.by_id[node_id]) | {*selection.versions(node_id)}
        for uid in list(wanted):
            wanted |= selection.ancestors(uid)
        super().__init__(context, only=wanted, **options)
        self._node_id = node_id

    def apply(self, node_id: str, texts: NodeTexts) -> None:
        """Take texts into dbt's nodes alone."""
        if node_id == self._node_id:
            return
        node = self._node(node_id)
        node.description = texts.description or node.description
        for name, text in texts.columns.items():
            node.columns[name].description = text

    def finish(self, node_id: str) -> None:
        """Write nothing."""
