"""The YAML files of a run: which node goes to which, when each is whole, what cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.host import compat, descriptions
from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
from dbt_osmosis_llm.host.nodes import DOC_REFERENCE, JINJA, Nodes, first_line
from dbt_osmosis_llm.host.selection import Selection
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.synthesis.safe_text import clean_text
from dbt_osmosis_llm.writing import EntryPath, doubled


class Files:
    """The files that the descriptions of selected nodes go to.

    Args:
        context: Of dbt-osmosis, the project loaded.
        tables: All tables of the project.
        selection: Those that a run documents.
        writing: Which files cannot be changed safely; all of them can when None.
    """

    def __init__(
        self,
        context: Any,
        tables: Nodes,
        selection: Selection,
        writing: MinimalWriting | None = None,
    ) -> None:
        self._context = context
        self._tables = tables
        self._selection = selection
        self._writing = writing
        self._with_texts: set[Path] = set()
        self._texts: dict[str, dict[str, str]] = {}
        self._doubled: dict[int, tuple[Any, Mapping[EntryPath, Sequence[Any]]]] = {}
        self._twice: dict[str, Mapping[str, str]] = {}
        self._refused: dict[Path, Mapping[str, str]] = {}
        self._by_path: dict[Path, list[Any]] = {}
        self._left_out: dict[str, Mapping[str, str]] = {}

    def texts_in_yaml(self, node: Any) -> dict[str, str]:
        """Return a node's descriptions as its file has them, see `descriptions.yaml_texts`."""
        if node.unique_id not in self._texts:
            self._texts[node.unique_id] = descriptions.yaml_texts(self._context, node)
        return self._texts[node.unique_id]

    def left_out(self, node: Any) -> Mapping[str, str]:
        """Return what of a node is not written, see `descriptions.left_out`."""
        node_id = node.unique_id
        if node_id not in self._left_out:
            reasons = self._listed_twice(node)
            path = self.path(node)
            if "" not in reasons and path is not None:
                refused = self._refused_in(path.resolve()).get(node_id)
                if refused is not None:
                    reasons = {"": f"{node.name} cannot be changed: {refused}"}
            self._left_out[node_id] = reasons
            if "" in reasons and self._writing is not None:
                self._writing.nodes_left_alone.add(node_id)
        return self._left_out[node_id]

    def _listed_twice(self, node: Any) -> Mapping[str, str]:
        if node.unique_id not in self._twice:
            document = descriptions.yaml_document(self._context, node)
            # Once a file: it may describe hundreds of tables. Kept, so that its id is no other's.
            if id(document) not in self._doubled:
                self._doubled[id(document)] = document, doubled(document)
            entries = self._doubled[id(document)][1]
            self._twice[node.unique_id] = descriptions.left_out(self._context, node, entries)
        return self._twice[node.unique_id]

    def _refused_in(self, path: Path) -> Mapping[str, str]:
        """Return the nodes of a file whose entries cannot be given texts, with the reason."""
        if path not in self._refused:
            self._refused[path] = {}
            if self._writing is not None and path.is_file() and self._writing.is_safe(path):
                entries = {
                    node.unique_id: (descriptions.entry_paths(node)[-1], names)
                    for node in self._nodes_of(path)
                    if (names := self._names_lacking(node))
                }
                self._refused[path] = self._writing.refusals(path, entries)
        return self._refused[path]

    def _nodes_of(self, path: Path) -> list[Any]:
        if not self._by_path:
            for node in self._selection.written.values():
                if (target := self.path(node)) is not None:
                    self._by_path.setdefault(target.resolve(), []).append(node)
        return self._by_path.get(path, [])

    def _names_lacking(self, node: Any) -> list[str]:
        """Return the columns, and an empty name for the node, that a text could be written for."""
        twice, written = self._listed_twice(node), self.texts_in_yaml(node)
        if "" in twice:
            return []
        return [
            name
            for name in ("", *node.columns)
            if plain_name(name) not in twice
            and self._tables.lacks_text(written.get(plain_name(name)))
        ]

    def can_be_written(self, node: Any) -> bool:
        """Tell whether a node's file can be changed safely, and its entry in it."""
        if "" in self.left_out(node):
            return False
        if self._writing is None:
            return True
        try:
            return self._writing.is_safe(descriptions.target_path(self._context, node))
        except compat.host_error():
            return True  # there is no file yet; `check_targets` says what is wrong

    def path(self, node: Any) -> Path | None:
        """Return the file for a node's descriptions, None when dbt-osmosis knows none."""
        try:
            return descriptions.target_path(self._context, node)
        except compat.host_error():
            return None

    def expect(self, node: Any) -> None:
        """Hear that a node got descriptions: its file is written once its last node is done."""
        self._with_texts.add(descriptions.target_path(self._context, node).resolve())

    def finish(self, node: Any) -> bool:
        """Write a node's file if nothing of it is open any more; tell whether it was written."""
        self._quote_jinja(node)
        if self._context.settings.dry_run:
            return False  # dbt-osmosis looks at the end at what each file would hold
        path = self._path_of[node.unique_id]
        self._unfinished[path].discard(node.unique_id)
        if self._unfinished[path] or path not in self._with_texts:
            return False
        nodes = [self._selection.nodes[uid] for uid, p in self._path_of.items() if p == path]
        descriptions.write_nodes(self._context, nodes)
        return True

    def _quote_jinja(self, node: Any) -> None:
        """Let dbt read inherited texts as they are.

        What a person has put between raw tags comes without them, as dbt has rendered it.
        """
        written = self.texts_in_yaml(node)
        for name, column in node.columns.items():
            text = column.description or ""
            if not JINJA.search(text) or DOC_REFERENCE.fullmatch(text.strip()):
                continue
            is_raw = compat.resolve_setting(
                self._context,
                "use-unrendered-descriptions",
                node=node,
                col=name,
                fallback=self._context.settings.use_unrendered_descriptions,
            )
            if not is_raw and not written.get(plain_name(name)):
                is_nested = "endraw" in text
                column.description = (
                    clean_text(text) if is_nested else f"{{% raw %}}{text}{{% endraw %}}"
                )

    @cached_property
    def _path_of(self) -> dict[str, Path]:
        selected = self._selection.nodes.items()
        written = {uid: n for uid, n in selected if descriptions.is_written(self._context, n)}
        return {
            uid: descriptions.target_path(self._context, node).resolve()
            for uid, node in written.items()
        }

    @cached_property
    def _unfinished(self) -> dict[Path, set[str]]:
        groups: dict[Path, set[str]] = {}
        for node_id, path in self._path_of.items():
            groups.setdefault(path, set()).add(node_id)
        return groups

    def check_targets(self, lacks_something: Callable[[str], object]) -> None:
        """Make sure, before anything is paid for, that each text has a file to go to.

        Args:
            lacks_something: Whether a node, by its unique id, lacks a text.

        Raises:
            LLMConfigError: dbt-osmosis has no YAML path for a node, or cannot write there.
        """
        for node in self._selection.written.values():
            self.left_out(node)  # also of those that lack nothing: dbt-osmosis would write them
        for node_id, node in self._selection.nodes.items():
            if not lacks_something(node_id):
                continue
            try:
                path = descriptions.target_path(self._context, node)
            except compat.host_error() as error:
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

        Args:
            node_ids: Those that got descriptions.
        """
        if self._context.settings.dry_run:
            return {}
        failed: dict[str, list[str]] = {}
        done = {*self._context.written_files, *(self._writing.unchanged if self._writing else ())}
        for node_id in node_ids:
            path = descriptions.target_path(self._context, self._selection.nodes[node_id])
            if path.resolve() not in done:
                failed.setdefault(str(path), []).append(node_id)
        return failed

    def left_alone(self, old_texts: Callable[[str], Mapping[str, str]]) -> dict[str, str]:
        """Return the files that need a text and cannot be changed safely, each with the reason.

        Args:
            old_texts: Returns a node's texts that were set aside to be written again.
        """
        unsafe = self._writing.left_alone if self._writing else {}
        reasons: dict[str, list[str]] = {}
        for node_id, path in self._path_of.items():
            node = self._selection.nodes[node_id]
            said = [unsafe[path]] if path in unsafe else [*self.left_out(node).values()]
            if not said:
                continue
            written = self.texts_in_yaml(node)
            names = {"", *map(plain_name, node.columns)}
            if path not in unsafe and "" not in self.left_out(node):
                names &= {*self.left_out(node)}
            is_stale = bool(old_texts(node_id))
            if is_stale or any(self._tables.lacks_text(written.get(name)) for name in names):
                reasons.setdefault(str(path), []).extend(said)
        return {path: "; ".join(dict.fromkeys(said)) for path, said in sorted(reasons.items())}
