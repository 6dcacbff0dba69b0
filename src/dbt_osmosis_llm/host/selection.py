"""The nodes that dbt-osmosis documents in a run, and how they depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

from dbt_osmosis_llm.host import compat, descriptions
from dbt_osmosis_llm.host.nodes import Nodes


class Selection:
    """The selected nodes of a project.

    Args:
        context: Of dbt-osmosis, the project loaded.
        tables: All tables of the project.
        only: Unique ids to keep of what is selected; all when None.
    """

    def __init__(self, context: Any, tables: Nodes, *, only: Collection[str] | None = None) -> None:
        self._context = context
        self._tables = tables
        selected = dict(compat.selected_nodes(context))
        self.nodes: dict[str, Any] = {
            uid: node for uid, node in selected.items() if only is None or uid in only
        }
        """Unique id to node, in dbt-osmosis's order."""

    @cached_property
    def order(self) -> list[str]:
        """The selected nodes, parents before children, the same way every time.

        The order goes through unselected and ephemeral nodes too, which dbt-osmosis's own skips.
        """
        tables = self._tables.by_id.items()
        sorter = TopologicalSorter({uid: self._tables.parents(node) for uid, node in tables})
        sorter.prepare()
        ordered: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered.extend(uid for uid in ready if uid in self.nodes)
            sorter.done(*ready)
        return ordered

    @cached_property
    def unmatched(self) -> list[str]:
        """What of the selection, as it was typed, matches no table."""
        settings, root = self._context.settings, self._context.project.runtime_cfg.project_root
        nodes = self._tables.by_id.values()
        paths = (
            str(path)
            for path in settings.models or ()
            if not any(compat.matches_path(node, [path], root) for node in nodes)
        )
        fqns = (
            name
            for name in settings.fqn or ()
            if not any(compat.matches_fqn(node, [name]) for node in nodes)
        )
        return [*paths, *fqns]

    @cached_property
    def written(self) -> dict[str, Any]:
        """The selected nodes whose descriptions go to a file, parents before children."""
        nodes = ((node_id, self.nodes[node_id]) for node_id in self.order)
        return {uid: n for uid, n in nodes if descriptions.is_written(self._context, n)}

    def parents(self, node_id: str) -> set[str]:
        """Return the nearest selected nodes upstream of a node, past those that are not."""
        reached = self._upstream(node_id, past=lambda uid: uid not in self.nodes)
        return {uid for uid in reached if uid in self.nodes}

    @cached_property
    def _versions(self) -> dict[tuple[str, str], list[str]]:
        """The versions of each model, in the order of a run, by package and name."""
        versions: dict[tuple[str, str], list[str]] = {}
        for uid in self.order:
            node = self.nodes[uid]
            if getattr(node, "version", None) is not None:
                versions.setdefault((node.package_name, node.name), []).append(uid)
        return versions

    def versions(self, node_id: str) -> list[str]:
        """Return the other versions of a model, in the order of a run."""
        node = self.nodes[node_id]
        of_model = self._versions.get((node.package_name, str(node.name)), [])
        return [uid for uid in of_model if uid != node_id and node_id in of_model]

    def ancestors(self, node_id: str) -> set[str]:
        """Return all nodes upstream of a node."""
        return self._upstream(node_id, past=lambda uid: True)

    def _upstream(self, node_id: str, past: Callable[[str], bool]) -> set[str]:
        """Return what is upstream of a node, going on past those nodes that let through."""
        seen: set[str] = set()
        open_ids = self._tables.parents(self._tables.by_id[node_id])
        while open_ids:
            uid = open_ids.pop()
            if uid not in seen:
                seen.add(uid)
                if past(uid):
                    open_ids.extend(self._tables.parents(self._tables.by_id[uid]))
        return seen

    def tables_read(self, node_id: str) -> Sequence[str]:
        """Return what a node reads: its parents, and through ephemeral ones their own."""
        return list(self._tables.tables_read(self._tables.by_id[node_id]))
