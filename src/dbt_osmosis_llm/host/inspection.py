"""What a look at a project asks of it beside the engine: names, places, what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import ColumnUse
from dbt_osmosis_llm.host import compat, descriptions
from dbt_osmosis_llm.host.nodes import DOC_REFERENCE, Nodes, display_name, is_ephemeral, patch_file
from dbt_osmosis_llm.host.project import HostProject
from dbt_osmosis_llm.synthesis.freshness import Findings
from dbt_osmosis_llm.synthesis.ports import TextPlace
from dbt_osmosis_llm.writing import EntryPath, lines, step_to


def table_names(tables: Nodes) -> dict[str, tuple[str, ...]]:
    """Return what people call each table of the project and its packages, by unique id."""
    return {uid: (display_name(n), str(n.name)) for uid, n in sorted(tables.by_id.items())}


class HostInspection:
    """The inspection's port (`synthesis.ports.Inspection`) over a project that dbt has loaded.

    Args:
        project: As the engine sees it.
    """

    def __init__(self, project: HostProject) -> None:
        self._project = project
        self._context = project.context
        self._tables = project.tables
        self._lines: dict[str, dict[EntryPath, int]] = {}

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return what people call each table of the project and its packages, by unique id."""
        return table_names(self._tables)

    def why_not_selected(self, node_id: str) -> str:
        """Return why dbt-osmosis leaves a node out, empty for one that it documents."""
        node = self._tables.by_id[node_id]
        if not descriptions.is_written(self._context, node):
            return f"it belongs to the package {node.package_name}, whose files are not written"
        if node_id in self._project.selection.nodes:
            return ""
        kind = "ephemeral model" if is_ephemeral(node) else str(node.resource_type.value)
        return f"dbt-osmosis documents no {kind}s"

    def why_left_out(self, node_id: str, column: str = "") -> str:
        """Return why a text that is missing is not asked for, empty where that is not so."""
        node = self._tables.by_id[node_id]
        if node_id not in self._project.selection.written:
            return ""
        if reason := self._project.files.texts_left_alone(node).get(column):
            return reason
        if column and (leader := self._project.files.leader(node, column)):
            table = display_name(self._tables.by_id[leader[0]])
            return f"it shares its entry with {table}.{leader[1]}, and will have that one's text"
        if column in self._project.not_there(node_id):
            return "neither the warehouse nor the SQL has it"
        return ""

    def compile_error(self, node_id: str) -> str:
        """Return why a model's SQL, as `evidence` has it, is not compiled; else an empty text."""
        return self._project.queries.compile_errors.get(node_id, "")

    def yaml_file(self, node_id: str) -> str:
        """Return the YAML file for a node's texts, empty when dbt-osmosis knows none."""
        node = self._tables.by_id[node_id]
        if self.why_not_selected(node_id):
            return patch_file(node)
        path = self._project.files.path(node)
        root = self._context.project.runtime_cfg.project_root
        return "" if path is None else os.path.relpath(path, root)

    def line(self, node_id: str, column: str = "") -> int | None:
        """Return the line, from 1, of an entry in its YAML file, None for one that has none.

        Without an entry for the column it is that of the table.
        """
        node, file = self._tables.by_id[node_id], self.yaml_file(node_id)
        if file not in self._lines:
            path = Path(self._context.project.runtime_cfg.project_root, file)
            with suppress(OSError, UnicodeDecodeError):
                self._lines[file] = lines(path.read_bytes().decode())
        known = self._lines.get(file, {})
        places = list(reversed(descriptions.entry_paths(node)))
        if column:
            step = step_to("columns", column)
            places = [*((*place, step) for place in places), *places]
        return next((known[place] for place in places if place in known), None)

    def repository_file(self, node_id: str) -> str:
        """Return the YAML file for a node's texts, from the root of the git repository."""
        file = self.yaml_file(node_id)
        root = Path(self._context.project.runtime_cfg.project_root).resolve()
        folders = (folder for folder in (root, *root.parents) if (folder / ".git").exists())
        return str(root.relative_to(next(folders, root)) / file) if file else ""

    def text_place(self, node_id: str, column: str = "") -> TextPlace | None:
        """Return where the text of a node or a column stands, None for one that no file has."""
        node = self._tables.by_id[node_id]
        section: Mapping[str, Any] = {"description": node.description}
        if descriptions.is_written(self._context, node):  # files of other packages are not read
            section = compat.node_yaml(self._context, node) or {}
        if column:
            name = plain_name(column)
            if name not in descriptions.described_columns(self._context, node):
                return None
            columns = (c for c in section.get("columns") or () if isinstance(c, Mapping))
            section = next((c for c in columns if plain_name(str(c.get("name"))) == name), {})
        elif self._tables.lacks_text(section.get("description")):
            return None
        blocks = {block.name: block for block in self._context.project.manifest.docs.values()}
        found = DOC_REFERENCE.finditer(str(section.get("description")))
        names = [reference[2] or reference[1] for reference in found]
        docs = [f"{name} in {blocks[name].original_file_path}" for name in names if name in blocks]
        return TextPlace(patch_file(node), ", ".join(docs))

    def is_unknown(self, node_id: str, column: str) -> bool:
        """Tell whether the model could not write a text before, and nothing has changed since."""
        return self._project.is_unknown(node_id, column)

    def uses(self, node_id: str, column: str) -> Sequence[ColumnUse]:
        """Return where a column stands downstream, and what models make of it."""
        return self._project.gatherer.uses(node_id, column)

    def findings(self) -> Iterator[Findings]:
        """Yield what is wrong with the texts of each selected table, without a model."""
        project = self._project
        for node_id, node in project.selection.written.items():
            missing = project.missing(node_id)
            yield project.provenance.findings(
                node,
                [
                    *([""] if missing.description else ()),
                    *missing.columns,
                    *project.following(node_id),
                ],
                self.yaml_file(node_id),
                left_alone=project.files.texts_left_alone(node),
                not_there=project.not_there(node_id),
            )

    def orphaned_nodes(self) -> list[str]:
        """Return the tables with texts of ours that do not exist any more."""
        known = {*self._tables.by_id, *self._context.project.manifest.disabled}
        return sorted({node_id for node_id, _ in self._project.provenance.lock} - known)
