"""``dbt-osmosis-llm.lock.yml``: which texts are ours, and what they were written from.

One line a text, so that two branches that document different columns merge by themselves. What
the file does not say of a text, or says of another one, makes that text a person's.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dbt_osmosis_llm.config import SettingsError
from dbt_osmosis_llm.evidence.fingerprint import Fingerprint, text_hash
from dbt_osmosis_llm.evidence.names import plain_name

LOCK_NAME = "dbt-osmosis-llm.lock.yml"
_VERSION = 1
_HEADER = f"""\
# Texts that dbt-osmosis-llm wrote, for git. A text that is not in here, or has changed since, is
# yours and is never touched. In a merge conflict take either side.
version: {_VERSION}
nodes:
"""
_VERSION_LINE = re.compile(r"version:\s*(\d{1,9})\s*\Z")
_NODE = re.compile(r"  (\S.*):\s*\Z")
_TEXT = re.compile(r'    ("(?:[^"\\]|\\.)*"|[^\s":][^:]*): (\{.*\})\s*\Z')
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_NO_KEY = re.compile(r"(?:y|n|yes|no|on|off|true|false|null|nan|_)\Z", re.IGNORECASE)
"""Names that some reader of YAML takes for something else."""


@dataclass(frozen=True)
class LockEntry:
    """What is on record of one text."""

    text: str = ""
    """Its hash; empty where the model has answered that the evidence does not tell the meaning."""
    evidence: str = ""
    """Hashes of the definition, of what is upstream, and of the tests."""
    expression: str = ""
    type: str = ""
    origin: str = ""
    """Table and column that it was copied from; empty for one that a model wrote."""
    model: str = ""
    prompts: str = ""
    """Hash of the prompts."""
    date: str = ""

    @classmethod
    def of(
        cls,
        text: str,
        found: Fingerprint,
        *,
        origin: str = "",
        model: str = "",
        prompts: str = "",
        date: str = "",
    ) -> LockEntry:
        """Return the entry of a text that is written now; empty for one that cannot be known."""
        return cls(
            text_hash(text) if text else "",
            found.evidence,
            found.expression,
            found.data_type,
            origin,
            model,
            prompts,
            date,
        )


class LockFile:
    """The file of one project.

    Args:
        path: Where it is or will be; without one it says nothing and nothing is kept.

    Raises:
        SettingsError: A newer version of this package wrote it: it would be read and kept wrong.
    """

    def __init__(self, path: Path | None = None) -> None:
        # Past links: a file is replaced whole, and a link to it stays one.
        self._path = path.resolve() if path else None
        self._entries = _read(self._path) if self._path else {}
        self._changed: dict[tuple[str, str], LockEntry | None] = {}

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield unique id of the node, and column or an empty name, of each text."""
        return ((node_id, name) for node_id, names in self._entries.items() for name in names)

    def of_node(self, node_id: str) -> Mapping[str, LockEntry]:
        """Return what is on record of a node's texts, by column; its own has an empty name."""
        return self._entries.get(node_id, {})

    def ours(self, node_id: str, column: str, text: str) -> LockEntry | None:
        """Return the entry of a text, None for one that a person wrote or changed."""
        entry = self._entry(node_id, column)
        return entry if entry is not None and text and entry.text == text_hash(text) else None

    def unknown(self, node_id: str, column: str) -> LockEntry | None:
        """Return the entry of a text that is not there: no model could write it, or had to."""
        entry = self._entry(node_id, column)
        return entry if entry is not None and not entry.text else None

    def knows(self, node_id: str, column: str) -> bool:
        """Tell whether anything is on record of a text, or that it could not be written."""
        return self._entry(node_id, column) is not None

    def _entry(self, node_id: str, column: str) -> LockEntry | None:
        entries = self.of_node(node_id)
        name = self._spelling(node_id, column)
        return entries.get(column) if name is None else entries[name]

    def _spelling(self, node_id: str, column: str) -> str | None:
        """Return a column's name as it is on record: options of dbt-osmosis change its case."""
        entries = self.of_node(node_id)
        if column in entries:
            return column
        plain = plain_name(column)
        return next((name for name in entries if plain_name(name) == plain), None)

    def put(self, node_id: str, column: str, entry: LockEntry) -> None:
        """Note a text; the file changes with `write`."""
        name = self._spelling(node_id, column)
        if name is not None and name != column:
            self.drop(node_id, name)
        before = self.of_node(node_id).get(column)
        if before is not None and _same_but_date(before, entry):
            return  # nothing new: no line to review
        self._entries.setdefault(node_id, {})[column] = entry
        self._changed[node_id, column] = entry

    def drop(self, node_id: str, column: str) -> None:
        """Forget a text."""
        if self._entries.get(node_id, {}).pop(column, None) is not None:
            self._changed[node_id, column] = None

    def write(self) -> None:
        """Write what has changed, into the file as it is by now.

        Raises:
            OSError: It cannot be written.
        """
        if self._path is None or not self._changed:
            return
        # Another run may have written meanwhile: its texts stay in the file.
        entries = _read(self._path)
        for (node_id, column), entry in self._changed.items():
            if entry is not None:
                entries.setdefault(node_id, {})[column] = entry
            else:
                entries.get(node_id, {}).pop(column, None)
        text = _HEADER + "".join(_lines(entries))
        # In the same folder, because a rename is whole within one file system only.
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}.tmp")
        try:
            temporary.write_bytes(text.encode("utf-8", "replace"))
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)
        self._entries, self._changed = entries, {}


def _same_but_date(old: LockEntry, new: LockEntry) -> bool:
    def without_date(entry: LockEntry) -> dict[str, str]:
        return {name: value for name, value in asdict(entry).items() if name != "date"}

    return without_date(old) == without_date(new)


def _read(path: Path) -> dict[str, dict[str, LockEntry]]:
    """Read line by line: what is no entry, such as the marks of a merge, says nothing."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    entries: dict[str, dict[str, LockEntry]] = {}
    node_id = ""
    for line in lines:
        if (version := _VERSION_LINE.match(line)) and int(version[1]) > _VERSION:
            raise SettingsError(
                f"{path.name} is of version {version[1]}; this dbt-osmosis-llm knows {_VERSION}. "
                "Upgrade it to the one that wrote the file."
            )
        if node := _NODE.match(line):
            node_id = _key_of(node[1])
        elif node_id and (text := _TEXT.match(line)) and (entry := _entry_of(text[2])):
            entries.setdefault(node_id, {})[_key_of(text[1])] = entry
    return entries


def _key_of(text: str) -> str:
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        return text


def _entry_of(text: str) -> LockEntry | None:
    try:
        values = json.loads(text)
        return LockEntry(**{_FIELDS[name]: str(value) for name, value in values.items()})
    except (ValueError, TypeError, KeyError):
        return None


# In the file `from`, which is no name in Python.
_FIELDS = {"from" if name == "origin" else name: name for name in LockEntry.__dataclass_fields__}


def _lines(entries: Mapping[str, Mapping[str, LockEntry]]) -> Iterator[str]:
    for node_id in sorted(entries):
        if entries[node_id]:
            yield f"  {_key(node_id)}:\n"
        for name in sorted(entries[node_id]):
            values = asdict(entries[node_id][name])
            shown = {key: values[name] for key, name in _FIELDS.items() if values[name]}
            yield f"    {_key(name)}: {json.dumps(shown, ensure_ascii=False)}\n"


def _key(name: str) -> str:
    is_plain = _PLAIN_KEY.match(name) and not _NO_KEY.match(name)
    return name if is_plain else json.dumps(name, ensure_ascii=False)
