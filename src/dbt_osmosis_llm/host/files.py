"""The YAML files of a run: which node goes to which, when each is whole, what cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from dbt_osmosis_llm.writing import EntryPath, doubled, step_to

_MOST_NAMED = 10
_OUTSIDE = "it would lie outside of the project, where nothing is written"


class Files:
    """The files that the descriptions of selected nodes go to.

    Args:
        context: Of dbt-osmosis, the project loaded.
        tables: All tables of the project.
        selection: Those that a run documents.
        writing: Which files cannot be changed safely; all of them can when None.
        is_same: Tells whether two columns, each by its table's unique id, are made of the same.
    """

    def __init__(
        self,
        context: Any,
        tables: Nodes,
        selection: Selection,
        writing: MinimalWriting | None = None,
        *,
        is_same: Callable[[tuple[str, str], tuple[str, str]], bool] = lambda one, other: False,
    ) -> None:
        self._context = context
        self._tables = tables
        self._selection = selection
        self._writing = writing
        self._is_same = is_same
        self._leaders: dict[tuple[str, str], tuple[str, str]] = {}
        self._with_texts: set[Path] = set()
        self._texts: dict[str, dict[str, str]] = {}
        self._doubled: dict[int, tuple[Any, Mapping[EntryPath, Sequence[Any]]]] = {}
        self._twice: dict[str, Mapping[str, str]] = {}
        self._refused: dict[Path, Mapping[str, Mapping[str, str]]] = {}
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
            reasons = self.listed_twice(node)
            path = self.path(node)
            if "" not in reasons and node_id in self.without_path:
                reasons = {"": self.without_path[node_id]}
            elif "" not in reasons and path is not None:
                refused = self._refused_in(path.resolve()).get(node_id, {})
                reasons = {**reasons, **_reasons(node, refused)}
            self._left_out[node_id] = reasons
            if "" in reasons and self._writing is not None:
                self._writing.nodes_left_alone.add(node_id)
        return self._left_out[node_id]

    def lacking(self, node: Any) -> list[str]:
        """Return the columns, and an empty name for the node, without a text in dbt or in its file.

        They differ where a file holds an entry twice.
        """
        written, lacks_text = self.texts_in_yaml(node), self._tables.lacks_text
        owners = {"": node} | dict(node.columns)
        # In dbt, as it was before anything was inherited.
        before = self._writing.described.get(node.unique_id) if self._writing else None
        if before is None:
            before = {name for name, owner in owners.items() if not lacks_text(owner.description)}
        return [
            name
            for name in owners
            if name not in before or lacks_text(written.get(plain_name(name)))
        ]

    def texts_left_alone(self, node: Any) -> dict[str, str]:
        """Return the texts that a node lacks and that are not written, each with the reason."""
        reasons = self.left_out(node)
        path = self._path_of.get(node.unique_id)
        if path is not None and "" not in reasons and not self.can_be_written(node):
            reasons = {"": self._unsafe[path]}
        if not reasons:
            return {}
        found = ((n, reasons.get("", reasons.get(plain_name(n)))) for n in self.lacking(node))
        return {name: reason for name, reason in found if reason is not None}

    def listed_twice(self, node: Any) -> Mapping[str, str]:
        """Return what of a node stands in its file more than once, see `descriptions.left_out`."""
        if node.unique_id not in self._twice:
            document = descriptions.yaml_document(self._context, node)
            # Once a file: it may describe hundreds of tables. Kept, so that its id is no other's.
            if id(document) not in self._doubled:
                self._doubled[id(document)] = document, doubled(document)
            entries = self._doubled[id(document)][1]
            self._twice[node.unique_id] = descriptions.left_out(self._context, node, entries)
        return self._twice[node.unique_id]

    def _refused_in(self, path: Path) -> Mapping[str, Mapping[str, str]]:
        """Return what of a file's nodes cannot be given texts, see `writing.refusals`."""
        if path not in self._refused:
            self._refused[path] = {}
            if self._writing is not None and self._writing.is_safe(path):
                entries = {
                    node.unique_id: (descriptions.entry_paths(node)[-1], names)
                    for node in self._nodes_of(path)
                    if (names := self._names_lacking(node))
                }
                self._refused[path] = self._writing.refusals(
                    path, entries, self._shared_alike(path, entries)
                )
        return self._refused[path]

    def _shared_alike(
        self, path: Path, entries: Mapping[str, tuple[EntryPath, Sequence[str]]]
    ) -> set[EntryPath]:
        """Return the columns that tables share, and that are one and the same in all of them.

        What is written of one of them is written of all: they are asked for once.
        """
        places: dict[EntryPath, tuple[str, str]] = {
            (*place, step_to("columns", name)): (node_id, name)
            for node_id, (place, names) in entries.items()
            for name in names
            if name
        }
        alike: set[EntryPath] = set()
        groups = self._writing.shared(path) if self._writing is not None else []
        order = {uid: number for number, uid in enumerate(self._selection.order)}
        for group in groups:
            if not all(place in places for place in group):
                continue  # one of them has no table here, or a text
            columns = sorted((places[p] for p in group), key=lambda column: order[column[0]])
            if all(self._is_same(columns[0], other) for other in columns[1:]):
                alike.update(group)
                self._leaders.update({(n, plain_name(c)): columns[0] for n, c in columns[1:]})
        return alike

    def sharing(self, node: Any) -> set[str]:
        """Return the nodes that share columns with a node, by aliases in their file."""
        path = self.path(node)
        if path is None or self._writing is None or not self._writing.is_safe(path):
            return set()
        groups = self._writing.shared(path)
        mine = descriptions.entry_paths(node)[-1]
        shared = {p[:-1] for group in groups if any(q[:-1] == mine for q in group) for p in group}
        others = self._nodes_of(path.resolve()) if shared else []
        return {o.unique_id for o in others if descriptions.entry_paths(o)[-1] in shared}

    def leader(self, node: Any, column: str) -> tuple[str, str] | None:
        """Return the table and column that a column of a file shares its entry with, and follows.

        None for one that shares it with none, and for the one that the others follow.
        """
        self.left_out(node)
        return self._leaders.get((node.unique_id, plain_name(column)))

    def _nodes_of(self, path: Path) -> list[Any]:
        if not self._by_path:
            for node in self._selection.written.values():
                if (target := self.path(node)) is not None:
                    self._by_path.setdefault(target.resolve(), []).append(node)
        return self._by_path.get(path, [])

    def _names_lacking(self, node: Any) -> list[str]:
        """Return the columns, and an empty name for the node, that a text could be written for."""
        twice, written = self.listed_twice(node), self.texts_in_yaml(node)
        if "" in twice:
            return []
        return [
            name
            for name, owner in (("", node), *node.columns.items())
            if plain_name(name) not in twice
            # One of ours may be set aside, to be written again.
            and any(
                map(self._tables.lacks_text, (written.get(plain_name(name)), owner.description))
            )
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

    @property
    def _unsafe(self) -> Mapping[Path, str]:
        """The files that cannot be changed safely, as far as is known, each with the reason."""
        return self._writing.left_alone if self._writing else {}

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
        path = self._path_of.get(node.unique_id)
        if path is None:
            return False
        self._unfinished[path].discard(node.unique_id)
        if self._unfinished[path] or path not in self._with_texts:
            return False
        nodes = [self._selection.nodes[uid] for uid in self._ids_at[path]]
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
            if self._writing is not None and text in self._writing.with_jinja:
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
        paths = ((uid, self.path(node)) for uid, node in self._selection.written.items())
        return {uid: path.resolve() for uid, path in paths if path is not None}

    @cached_property
    def without_path(self) -> dict[str, str]:
        """The nodes that lack a text and have no file for it, each with the reason."""
        reasons: dict[str, str] = {}
        for node_id, node in self._selection.written.items():
            texts = (node.description, *(c.description for c in node.columns.values()))
            if any(map(self._tables.lacks_text, texts)):
                with self._path_fault(node_id, reasons):
                    descriptions.target_path(self._context, node)
        return reasons

    @staticmethod
    @contextmanager
    def _path_fault(node_id: str, reasons: dict[str, str]) -> Iterator[None]:
        try:
            yield
        except compat.host_error() as error:
            is_outside = "outside project root" in str(error)
            reason = _OUTSIDE if is_outside else first_line(error).rstrip(".")
            reasons[node_id] = reason

    def how_to_give_paths(self) -> list[str]:
        """Return the lines to say about the nodes that have no file, and what to do."""
        by_reason: dict[str, list[str]] = {}
        for node_id, reason in self.without_path.items():
            by_reason.setdefault(_OUTSIDE if reason == _OUTSIDE else "", []).append(node_id)
        lines = []
        for names in by_reason.values():
            shown = ", ".join(names[:_MOST_NAMED])
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            reason = self.without_path[names[0]]
            lines.append(f"dbt-osmosis knows no YAML file for {shown}{more}: {reason}.")
            lines.append(self._how_to_give_one(names, reason))
        return lines

    def _how_to_give_one(self, node_ids: Sequence[str], reason: str) -> str:
        if reason == _OUTSIDE:
            return "Give them entries in a YAML file of the project by hand."
        kinds = {self._selection.nodes[uid].resource_type.value for uid in node_ids}
        keys = ", ".join(f"'{kind}s:'" for kind in sorted(kinds))
        project = self._context.project.runtime_cfg.project_name
        return (
            f"Set '+dbt-osmosis: \"_{{model}}.yml\"' for it in dbt_project.yml, under {keys} "
            f"and '{project}:'."
        )

    @cached_property
    def _ids_at(self) -> dict[Path, list[str]]:
        groups: dict[Path, list[str]] = {}
        for node_id, path in self._path_of.items():
            groups.setdefault(path, []).append(node_id)
        return groups

    @cached_property
    def _unfinished(self) -> dict[Path, set[str]]:
        return {path: set(node_ids) for path, node_ids in self._ids_at.items()}

    def check_targets(self, lacks_something: Callable[[str], object]) -> None:
        """Make sure, before anything is paid for, that each text has a file to go to.

        Args:
            lacks_something: Whether a node, by its unique id, lacks a text.

        Raises:
            LLMConfigError: dbt-osmosis has no YAML path for any node, or cannot write there.
        """
        for node in self._selection.written.values():
            self.left_out(node)  # also of those that lack nothing: dbt-osmosis would write them
        lacking = [uid for uid in self._selection.written if lacks_something(uid)]
        if self.without_path and not self._path_of:
            raise LLMConfigError(" ".join(self.how_to_give_paths()))
        for node_id in lacking:
            node = self._selection.nodes[node_id]
            path = descriptions.target_path(self._context, node).resolve()
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
        reasons: dict[str, list[str]] = {}
        for node_id, path in self._path_of.items():
            node = self._selection.nodes[node_id]
            said = [*self.texts_left_alone(node).values()]
            if not said and old_texts(node_id):
                said = (
                    [self._unsafe[path]]
                    if path in self._unsafe
                    else [*self.left_out(node).values()]
                )
            reasons.setdefault(str(path), []).extend(said)
        reasons = {path: said for path, said in reasons.items() if said}
        return {path: "; ".join(dict.fromkeys(said)) for path, said in sorted(reasons.items())}


def _reasons(node: Any, refused: Mapping[str, str]) -> dict[str, str]:
    """Return what of a node cannot be changed, in the form of `descriptions.left_out`."""
    if "" in refused:
        return {"": f"{node.name} cannot be changed: {refused['']}"}
    names: dict[str, list[str]] = {}
    for name, reason in refused.items():
        names.setdefault(reason, []).append(name)
    return {
        plain_name(name): f"{', '.join(same)} of {node.name} cannot be changed: {reason}"
        for reason, same in names.items()
        for name in same
    }
