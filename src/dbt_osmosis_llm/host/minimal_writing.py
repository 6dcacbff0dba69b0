"""Lets dbt-osmosis decide what goes into a YAML file, and changes nothing else in it.

Its own writer prints the whole file anew. While `MinimalWriting` is open, files that exist are
changed by their text instead; new ones dbt-osmosis writes as always.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from dbt_osmosis_llm.evidence.fingerprint import hash_of
from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.host.descriptions import is_written, target_path
from dbt_osmosis_llm.writing import (
    LISTS,
    EntryPath,
    UnsafeYamlError,
    check,
    patched,
    reads_as,
    refusals,
    rewritten,
    shared,
    step_to,
)

_UNREADABLE = (YAMLError, UnicodeDecodeError, UnsafeYamlError, compat.host_error())
_path: ContextVar[Path | None] = ContextVar("path", default=None)
"""Of the file that dbt-osmosis writes at the moment."""


class MinimalWriting:
    """What becomes of YAML files while dbt-osmosis runs."""

    def __init__(self) -> None:
        self.left_alone: dict[Path, str] = {}
        """File that cannot be changed safely, to the reason."""
        self.nodes_left_alone: set[str] = set()
        """Unique ids of nodes whose entry is not ours to write, or stands in its file twice."""
        self.unchanged: set[Path] = set()
        """Files that hold what they should already."""
        self.own_references: Mapping[str, str] = {}
        """References to docs blocks of ours, each with the block's text."""
        self.with_jinja: frozenset[str] = frozenset()
        """Texts that hold Jinja as their files have it, see `host.unrendered`."""
        self.described: Mapping[str, Collection[str]] = {}
        """Columns that had a text before dbt-osmosis's passes, see `host.passes.described`."""
        self._columns_left_alone: dict[Path, set[EntryPath]] = {}
        self._safe: set[Path] = set()
        self._synced: dict[Path, str] = {}
        """File to a hash of what its nodes said when it was written."""

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Change files by their text as long as this is open."""
        with ExitStack() as stack:
            for hook in compat.WRITER_HOOKS:
                make = getattr(self, hook.name.lstrip("_"))
                stack.enter_context(compat.standing_in(hook, make))
            yield

    def is_safe(self, path: Path) -> bool:
        """Tell whether a file can be changed; one that does not exist can be written."""
        path = path.resolve()
        if path not in self.left_alone and path not in self._safe:
            try:
                if path.is_file():
                    check(path.read_bytes().decode())
                self._safe.add(path)
            except (OSError, *_UNREADABLE) as error:
                self._leave(path, error)
        return path not in self.left_alone

    def shared(self, path: Path) -> list[list[EntryPath]]:
        """Return the entries of a safe file that are one part of its text, see `writing.shared`."""
        return shared(path.read_bytes().decode()) if path.is_file() else []

    def refusals(
        self,
        path: Path,
        entries: Mapping[str, tuple[EntryPath, Collection[str]]],
        alike: Collection[EntryPath] = (),
    ) -> dict[str, dict[str, str]]:
        """Return what of a safe file's entries cannot be given texts, see `writing.refusals`.

        Args:
            path: The file.
            entries: Of any key: where the entry stands, and the names of what needs a text.
            alike: Columns that share their entries and will get one text.
        """
        if not entries:
            return {}
        text = path.read_bytes().decode() if path.is_file() else ""
        refused = refusals(text, entries)
        if alike:
            # Tried once more without those that would get different texts.
            rest = {
                key: (place, [name for name in names if name not in refused.get(key, {})])
                for key, (place, names) in entries.items()
            }
            for key, (place, names) in entries.items():
                mended = [n for n in names if (*place, step_to("columns", n)) in alike]
                rest[key][1].extend(n for n in mended if n not in rest[key][1])
                refused[key] = {n: r for n, r in refused.get(key, {}).items() if n not in mended}
            for key, reasons in refusals(text, rest, alike=True).items():
                refused[key] |= reasons
        self._columns_left_alone[path.resolve()] = {
            (*entries[key][0], step_to("columns", name)) for key in refused for name in refused[key]
        }
        return refused

    def _leave(self, path: Path, error: Exception) -> None:
        if not isinstance(error, UnsafeYamlError):
            with suppress(OSError, UnicodeDecodeError):
                try:
                    check(path.read_bytes().decode())
                except UnsafeYamlError as said_plainly:
                    error = said_plainly
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        self.left_alone.setdefault(path.resolve(), (reason.splitlines() or ["unreadable"])[0])

    # Each takes dbt-osmosis's function and returns the one that stands in for it.

    def write_yaml(self, host: Callable[..., None]) -> Callable[..., None]:
        """Know whose content is printed."""

        def write(handler: Any, lock: Any, path: Path, *args: Any, **kwargs: Any) -> None:
            token = _path.set(path)
            try:
                host(handler, lock, path, *args, **kwargs)
            finally:
                _path.reset(token)

        return write

    def commit_one_yaml(self, host: Callable[..., None]) -> Callable[..., None]:
        """Know whose content is printed."""

        def commit(handler: Any, path: Path, **kwargs: Any) -> None:
            token = _path.set(path)
            try:
                host(handler, path, **kwargs)
            finally:
                _path.reset(token)

        return commit

    def render_yaml_bytes(self, host: Callable[..., bytes]) -> Callable[..., bytes]:
        """Print a file as it is, but for what has to change."""

        def render(
            handler: Any, data: Mapping[str, Any], *, strip_eof_blank_lines: bool = False
        ) -> bytes:
            path = _path.get()
            original = path.read_bytes() if path and path.is_file() else b""
            if path is None or not original.strip():
                _texts_behind_names(data)
                new: bytes = host(handler, data, strip_eof_blank_lines=strip_eof_blank_lines)
                # A column may be called `no` or `1e3`, which dbt-osmosis writes without quotes.
                return new if reads_as(new.decode(), data) else patched("", data).encode()
            try:
                left_alone = self._columns_left_alone.get(path.resolve(), ())
                text = rewritten(original.decode(), data, self.own_references, left_alone)
                changed = text.encode()
            except _UNREADABLE as error:
                self._leave(path, error)
                return original
            if strip_eof_blank_lines:
                changed = compat.strip_eof_blank_lines(changed)
            if changed == original:
                self.unchanged.add(path.resolve())
            return changed

        return render

    def replace_atomically(self, host: Callable[..., None]) -> Callable[..., None]:
        """Replace the file that a link leads to, not the link."""

        def replace(temp_path: Path, target_path: Path) -> None:
            if target_path.is_symlink():
                file = target_path.resolve()
                # Beside it: a rename is whole within one file system only.
                beside = file.with_name(temp_path.name)
                shutil.copy(temp_path, beside)
                temp_path.unlink()
                temp_path, target_path = beside, file
            host(temp_path, target_path)

        return replace

    def group_sync_nodes(self, host: Callable[..., Any]) -> Callable[..., Any]:
        """Put nodes together by their files, past those that have none: they stop no other."""

        def group(context: Any) -> list[list[Any]]:
            groups: dict[Path, list[Any]] = {}
            for _, node in compat.selected_nodes(context):
                path = _target(context, [node]) if is_written(context, node) else None
                if path is not None:
                    groups.setdefault(path, []).append(node)
            return list(groups.values())

        return group

    def preflight_sync_group(self, host: Callable[..., None]) -> Callable[..., None]:
        """Leave a file alone that dbt-osmosis cannot read or would not write."""

        def preflight(context: Any, nodes: Sequence[Any]) -> None:
            try:
                if not self._holds(_target(context, nodes), nodes):
                    host(context, nodes)
            except _UNREADABLE as error:
                self._leave(target_path(context, nodes[0]), error)

        return preflight

    def sync_node_group_to_yaml(self, host: Callable[..., None]) -> Callable[..., None]:
        """Pass over the nodes of a file that is left alone or holds what they say."""

        def sync_group(context: Any, nodes: Sequence[Any], *, commit: bool = True) -> None:
            nodes = [node for node in nodes if node.unique_id not in self.nodes_left_alone]
            if nodes:
                self._sync(context, nodes, commit, lambda: host(context, nodes, commit=commit))

        return sync_group

    def sync_single_node_to_yaml(self, host: Callable[..., None]) -> Callable[..., None]:
        """Pass over a node of a file that is left alone or holds what it says."""

        def sync_one(context: Any, node: Any, *, commit: bool = True) -> None:
            if node.unique_id not in self.nodes_left_alone:
                self._sync(context, [node], commit, lambda: host(context, node, commit=commit))

        return sync_one

    def _sync(
        self, context: Any, nodes: Sequence[Any], commit: bool, host: Callable[[], None]
    ) -> None:
        path = _target(context, nodes)
        if path in self.left_alone or self._holds(path, nodes):
            return
        host()
        # dbt-osmosis logs a failure to write and goes on: then it tries again at the end.
        if commit and path and (path in context.written_files or path in self.unchanged):
            self._synced[path] = _said(nodes)

    def _holds(self, path: Path | None, nodes: Sequence[Any]) -> bool:
        # A file is written when its last text is there, and all files once more at the end.
        return path in self._synced and self._synced[path] == _said(nodes)

    def read_yaml(self, host: Callable[..., Any]) -> Callable[..., Any]:
        """Take a file that cannot be read for one that says nothing."""

        def read(handler: Any, lock: Any, path: Path) -> Any:
            try:
                return host(handler, lock, path)
            except _UNREADABLE as error:
                self._leave(path, error)
                return {}

        return read


def _texts_behind_names(data: Any) -> None:
    """Order the keys of what is new as people do; dbt-osmosis adds a table's text last."""
    if isinstance(data, list):
        for entry in data:
            # Any other kind of mapping comes from a file of somebody's.
            if type(entry) is dict and "name" in entry and "description" in entry:
                first = [key for key in ("name", "description", "data_type") if key in entry]
                ordered = {key: entry[key] for key in (*first, *entry)}
                entry.clear()
                entry.update(ordered)
            _texts_behind_names(entry)
    elif isinstance(data, Mapping):
        for key in LISTS & set(data):
            _texts_behind_names(data[key])


def _target(context: Any, nodes: Sequence[Any]) -> Path | None:
    """Return the file that nodes are written to, None where dbt-osmosis has none."""
    with suppress(compat.host_error()):
        return target_path(context, nodes[0]).resolve()
    return None


def _said(nodes: Sequence[Any]) -> str:
    """Return a hash of all that is written of nodes."""
    ordered = sorted(nodes, key=lambda node: str(node.unique_id))
    return hash_of([(n.unique_id, n.description, n.meta, n.tags, n.columns) for n in ordered])
