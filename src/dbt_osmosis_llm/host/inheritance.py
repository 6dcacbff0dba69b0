"""Texts that need no model: taken over by lineage, by name, from twins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.host import compat, descriptions
from dbt_osmosis_llm.host.files import Files
from dbt_osmosis_llm.host.nodes import HOST_META, Nodes
from dbt_osmosis_llm.host.provenance import Provenance
from dbt_osmosis_llm.host.selection import Selection
from dbt_osmosis_llm.synthesis.copying import Copy, decided_by_lineage, misfits
from dbt_osmosis_llm.synthesis.plan import Missing


class Inheritance:
    """What columns take over from others, by dbt-osmosis's settings.

    Args:
        context: Of dbt-osmosis, the project loaded.
        tables: All tables of the project.
        selection: Those that a run documents.
        files: Of the run.
        provenance: Hears where texts are from.
    """

    def __init__(
        self,
        context: Any,
        tables: Nodes,
        selection: Selection,
        files: Files,
        provenance: Provenance,
    ) -> None:
        self._context = context
        self._tables = tables
        self._selection = selection
        self._files = files
        self._provenance = provenance
        self._texts: dict[str, dict[str, set[str]]] = {}
        self._settings_of_nodes: dict[tuple[str, str], Any] = {}
        self.without_text: dict[str, set[str]] = {}
        """What the model could not tell in this run, by node: columns, as the node has them."""

    def take_back(
        self,
        evidence_of: Callable[[str], NodeEvidence],
        described: Mapping[str, Collection[str]],
    ) -> None:
        """Empty the columns that dbt-osmosis's inheritance has filled with another column's text.

        It goes by names alone: where lineage knows what a column is, that decides.

        Args:
            evidence_of: Returns what is known of a node.
            described: Columns that had a text before, by unique id of the table.
        """
        selected = set(self._selection.order)
        for node_id, node in self._selection.written.items():
            new = self._texts_by_name(node, described.get(node_id, ()))
            if not new:
                continue
            for name in self._listed_twice(node) & set(new):
                node.columns[name].description = ""  # which entry it would belong to is not known
                del new[name]
            evidence = evidence_of(node_id)
            for name in decided_by_lineage(evidence, new, selected):
                lineage = evidence.facts.column(name)
                if lineage is None:
                    continue
                texts = [self._texts_of(t.unique_id, c) for t, c in evidence.origins(lineage) if t]
                is_own = lineage.is_plain and all(new[name] in each for each in texts)
                if not is_own or misfits(evidence, [name]):
                    _empty(node.columns[name])
            self._texts.pop(node_id, None)
        self._texts.clear()  # they change while a run goes on

    def _texts_by_name(self, node: Any, described: Collection[str]) -> dict[str, str]:
        """Return the texts that columns have from upstream, by their names, and not from a file."""
        new = {
            name: column.description
            for name, column in node.columns.items()
            if not self._tables.lacks_text(column.description) and name not in described
        }
        ancestors = self._selection.ancestors(node.unique_id) if new else ()
        return {
            name: text
            for name, text in new.items()
            # Else it is the warehouse's comment, or the very setting that wants it so.
            if any(text in self._texts_of(uid, name) for uid in ancestors)
            and not self.is_forced(node, name)
        }

    def _texts_of(self, node_id: str, column: str) -> set[str]:
        """Return the text of a column, as dbt has it and as its file does."""
        if node_id not in self._texts:
            node = self._tables.by_id[node_id]
            found = self._texts[node_id] = {}
            for name, owner in node.columns.items():
                found.setdefault(plain_name(name), set()).add(owner.description)
            for name, raw in self._files.texts_in_yaml(node).items():
                found.setdefault(name, set()).add(raw)
        return self._texts[node_id].get(plain_name(column), set()) - {""}

    def _listed_twice(self, node: Any) -> set[str]:
        """Return the columns of a node that its file lists more than once."""
        twice = self._files.listed_twice(node)
        return {name for name in node.columns if "" in twice or plain_name(name) in twice}

    def is_forced(self, node: Any, column: str) -> bool:
        """Tell whether the project wants a text replaced by that of the same name upstream."""
        forced = self._context.settings.force_inherit_descriptions
        return bool(self._setting("force-inherit-descriptions", node, column, forced))

    def inherit(self, node_id: str, keep_out: Collection[str] = ()) -> None:
        """Let dbt-osmosis's inheritance fill columns from upstream texts, new ones included.

        Args:
            node_id: Of a selected node.
            keep_out: Columns that are none of those whose names they share.
        """
        node = self._selection.nodes[node_id]
        before = {
            name: node.columns[name].description
            for name in keep_out
            if not self.is_forced(node, name)  # then the project wants names to decide
        }
        before |= {name: node.columns[name].description for name in self._listed_twice(node)}
        # dbt-osmosis inherits into empty descriptions only; its placeholders are as good as empty.
        placeholders = {}
        for name, column in node.columns.items():
            if column.description and self._tables.lacks_text(column.description):
                placeholders[name] = column.description
                column.description = ""
        texts = {name: column.description for name, column in node.columns.items()}
        compat.inherit_columns(self._context, node)
        replaced = [n for n, text in texts.items() if text and node.columns[n].description != text]
        self._provenance.forget(node_id, replaced)
        for name, placeholder in placeholders.items():
            if not node.columns[name].description:
                node.columns[name].description = placeholder
        for name, description in before.items():
            node.columns[name].description = description

    def copy(self, node_id: str, copies: Sequence[Copy]) -> tuple[str, ...]:
        """Take texts over, where dbt-osmosis's settings let a column inherit one."""
        node, settings = self._selection.nodes[node_id], self._context.settings
        taken = []
        for copy in copies:
            setting = partial(self._setting, node=node, column=copy.column)
            if not descriptions.may_inherit(self._context, node, copy.column):
                continue
            origin = self._tables.by_id[copy.origin_id]
            # As dbt-osmosis has it: its references to doc blocks stay what they are.
            spelled = {plain_name(name): name for name in origin.columns}
            name = spelled[plain_name(copy.origin_column)]
            text = origin.columns[name].description
            if setting(
                "use-unrendered-descriptions", fallback=settings.use_unrendered_descriptions
            ):
                variants = {copy.column: [name]}
                raw = compat.unrendered(self._context, "description", copy.column, origin, variants)
                text = raw or text
            node.columns[copy.column].description = text
            if setting("add-progenitor-to-meta", fallback=settings.add_progenitor_to_meta):
                node.columns[copy.column].meta["osmosis_progenitor"] = copy.origin_id
            taken.append(copy.column)
            origin_name = f"{copy.origin_id}.{copy.origin_column}"
            self._provenance.note(node_id, [copy.column], origin_name)
        return tuple(taken)

    def follow(self, node_id: str, columns: Iterable[str]) -> tuple[str, ...]:
        """Give columns the texts of those that they share their entries with; return which."""
        node = self._selection.nodes[node_id]
        leaders = ((name, self._files.leader(node, name)) for name in columns)
        return tuple(
            name
            for name, leader in leaders
            if leader is not None and self._take_from(node, name, *leader)
        )

    def share(self, node_id: str, missing: Missing) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take texts over from other versions of a model that have them by now.

        A column is the same where both define it alike: what they call alike may have changed.

        Args:
            node_id: Of one version.
            missing: What it lacks.

        Returns:
            The columns that have a text now, and those of which the model could not tell the other
            version's.
        """
        node = self._selection.nodes[node_id]
        taken: list[str] = []
        unknown: list[str] = []
        versions = self._selection.versions(node_id)
        for name in missing.columns:
            for other_id in versions:
                columns = self._selection.nodes[other_id].columns
                same = (n for n in columns if plain_name(n) == plain_name(name))
                if (column := next(same, None)) is None:
                    continue
                is_same = self._provenance.is_same((node_id, name), (other_id, column))
                if is_same and self._take_from(node, name, other_id, column):
                    taken.append(name)
                    break
                if is_same and column in self.without_text.get(other_id, ()):
                    unknown.append(name)  # the same question would have the same answer
                    break
        self.note_without_text(node_id, unknown)
        return tuple(taken), tuple(unknown)

    def note_without_text(self, node_id: str, columns: Iterable[str]) -> None:
        """Remember what the model could not tell in this run."""
        self.without_text.setdefault(node_id, set()).update(columns)

    def _take_from(self, node: Any, name: str, other_id: str, column: str) -> bool:
        """Take a text over from a column of another table, if that has one."""
        text = self._selection.nodes[other_id].columns[column].description
        if self._tables.lacks_text(text):
            return False
        node.columns[name].description = text
        self._provenance.note(node.unique_id, [name], f"{other_id}.{column}")
        return True

    def _setting(self, name: str, node: Any, column: str, fallback: Any) -> Any:
        """Return a setting of dbt-osmosis's as it holds for a column."""
        own = node.columns.get(column)
        metas = (getattr(each, "meta", None) for each in (own, getattr(own, "config", None)))
        keys = {str(key) for meta in metas for key in meta or ()}
        if keys & {name, name.replace("-", "_")} or any(map(HOST_META.match, keys)):
            return compat.resolve_setting(
                self._context, name, node=node, col=column, fallback=fallback
            )
        key = name, node.unique_id
        # dbt-osmosis looks through all its sources each time: once a table is enough.
        if key not in self._settings_of_nodes:
            self._settings_of_nodes[key] = compat.resolve_setting(
                self._context, name, node=node, fallback=fallback
            )
        return self._settings_of_nodes[key]


def _empty(column: Any) -> None:
    """Take a text out, and dbt-osmosis's note of where it is from."""
    column.description = ""
    holders = filter(None, (column, getattr(column, "config", None)))
    for holder in holders:
        if getattr(holder, "meta", None):
            holder.meta = {k: v for k, v in holder.meta.items() if k != "osmosis_progenitor"}
