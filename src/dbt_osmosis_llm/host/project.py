"""A dbt-osmosis context as the synthesis engine wants to see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dbt_osmosis_llm.evidence.facts import QueryFacts
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.host import compat, descriptions, passes
from dbt_osmosis_llm.host.docs_blocks import DocsBlocks
from dbt_osmosis_llm.host.evidence import Gatherer
from dbt_osmosis_llm.host.files import Files
from dbt_osmosis_llm.host.inheritance import Inheritance
from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
from dbt_osmosis_llm.host.nodes import JINJA, Nodes
from dbt_osmosis_llm.host.provenance import Provenance, Refresh
from dbt_osmosis_llm.host.queries import Queries
from dbt_osmosis_llm.host.selection import Selection
from dbt_osmosis_llm.synthesis.copying import Copy
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
        self.inheritance = Inheritance(
            context, self.tables, self.selection, self.files, self.provenance
        )
        self._writing = writing
        self._uses_answers = use_answers
        self._described: Mapping[str, Collection[str]] = {}

    # Around a run

    def begin(self, refresh: Refresh | None) -> None:
        """Take out the texts of ours that are to be written again, once dbt-osmosis is done.

        Raises:
            LLMConfigError: A text has no file to go to.
        """
        if self._writing is not None:
            self._writing.own_references = DocsBlocks(self.context).references()
            self._described = self._writing.described
            self.inheritance.take_back(self.evidence, self._described)
        if any(self.provenance.lock):
            self.provenance.carry_renamed(self.selection.written)
            if refresh is not None:
                self.provenance.set_aside(self.selection.written, refresh)
        self.files.check_targets(self.missing)

    def prepare(self) -> None:
        """Let dbt-osmosis add, inherit and sort columns, as its command does before ours begins."""
        self._described = passes.described(self.context)
        passes.prepare(self.context, [self._node(node_id) for node_id in self.selection.order])
        self.inheritance.take_back(self.evidence, self._described)

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
        report.with_older_prompts = self.provenance.with_older_prompts

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
            if self.tables.lacks_text(column.description) or self.inheritance.is_forced(node, name)
        }

    def may_change(self, node_id: str) -> bool:
        """Tell whether texts of a node may still change though nothing is missing."""
        node = self._node(node_id)
        if not descriptions.is_written(self.context, node):
            return False
        is_forced = any(self.inheritance.is_forced(node, name) for name in node.columns)
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
            and name not in self.inheritance.without_text.get(node_id, ())
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

        def is_absent(name: str) -> bool:
            if facts.column(plain_name(name)) is None:
                return shows_all or self.provenance.is_not_there(node_id, name)
            # A star over a table gives all that the table lists, be it there or not.
            return not known and self.provenance.is_not_there(node_id, name, unchanged=True)

        return tuple(n for n in lacking if plain_name(n) not in known and is_absent(n))

    # Texts that need no model

    def inherit(self, node_id: str, keep_out: Collection[str] = ()) -> None:
        """Let dbt-osmosis's inheritance fill columns from upstream texts, new ones included."""
        self.inheritance.inherit(node_id, keep_out)

    def copy(self, node_id: str, copies: Sequence[Copy]) -> tuple[str, ...]:
        """Take texts over, where dbt-osmosis's settings let a column inherit one."""
        return self.inheritance.copy(node_id, copies)

    def share(self, node_id: str) -> tuple[str, ...]:
        """Take texts over from `twins` that have them by now; return the columns."""
        followed = self.inheritance.follow(node_id, self.following(node_id))
        if not self.selection.versions(node_id):
            return followed
        taken, unknown = self.inheritance.share(node_id, self.missing(node_id))
        if self._uses_answers:
            self.provenance.note_unknown(node_id, unknown)
        return followed + taken

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
        self.inheritance.note_without_text(node_id, texts.without_text)
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
