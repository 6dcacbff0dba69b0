"""Which texts of ours are still about what they were written from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from dbt_osmosis_llm.evidence.fingerprint import (
    Fingerprint,
    column_fingerprint,
    hash_of,
    table_fingerprint,
    text_hash,
)
from dbt_osmosis_llm.evidence.names import folded, plain_name, same_name, unquoted
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.synthesis.copying import copies, misfits
from dbt_osmosis_llm.synthesis.lock import LockEntry, LockFile


@dataclass(frozen=True)
class Change:
    """What has changed since a text was written."""

    aspects: tuple[str, ...]
    """Of ``expression``, ``upstream``, ``tests`` and ``type``."""
    old_expression: str
    new_expression: str
    old_type: str = ""
    new_type: str = ""


@dataclass(frozen=True)
class Findings:
    """What a look at one table without a model has found."""

    node_id: str
    file: str
    """YAML file of its texts, empty when it has none."""
    texts: int
    """That it should have: its own and one for each column that its YAML lists."""
    missing: tuple[str, ...] = ()
    """Columns without a text that a run would write; an empty name for the table's own."""
    left_alone: Mapping[str, str] = field(default_factory=dict)
    """Column without a text that no run can write, or an empty name, to the reason."""
    not_listed: tuple[str, ...] = ()
    """Columns of its SQL that its YAML does not list: a run adds those that the warehouse has."""
    not_there: tuple[str, ...] = ()
    """Columns that its YAML lists without a text, and neither warehouse nor SQL has."""
    stale: Mapping[str, Change] = field(default_factory=dict)
    orphaned: tuple[str, ...] = ()
    """Columns with a text of ours that do not exist any more."""
    conflicting: Mapping[str, str] = field(default_factory=dict)
    """Column to the one that it is, whose text says something else."""
    misplaced: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Column to the one whose text it has, and the one that it is."""
    is_unknown: bool = False
    """Its SQL does not compile, so that nothing can be told of its texts."""

    @property
    def has_faults(self) -> bool:
        """Tell whether a text is there that should be another one."""
        return bool(self.stale or self.orphaned or self.conflicting)


class Freshness:
    """Compares what is known now with what the lock file says.

    It remembers what it has worked out: texts that change ask for a new one.

    Args:
        evidence: Returns what the project itself says of a table, without a warehouse; None where
            that cannot be told, because its SQL does not compile.
        lock: Of the project.
    """

    def __init__(self, evidence: Callable[[str], NodeEvidence | None], lock: LockFile) -> None:
        self.evidence = cache(evidence)
        """Returns what the project says of a table, worked out once."""
        self._lock = lock
        self._signatures: dict[tuple[str, str], str] = {}

    def fingerprint(self, node_id: str, column: str) -> Fingerprint | None:
        """Return what a text was, or would be, written from now; None where that is unknown.

        Args:
            node_id: Of the table.
            column: Its column, or an empty name for the table's own text.
        """
        node = self.evidence(node_id)
        if node is None:
            return None
        if not column:
            return table_fingerprint(node)
        try:
            return column_fingerprint(node, column, self._signature)
        except _UnknownError:
            return None

    def _signature(self, node_id: str, column: str) -> str:
        """Return what stands for a column upstream: what people say of it, else what it is."""
        key = node_id, folded(column)
        if key not in self._signatures:
            self._signatures[key] = self._signed(node_id, column)
        return self._signatures[key]

    def _signed(self, node_id: str, column: str) -> str:
        node = self.evidence(node_id)
        if node is None:
            raise _UnknownError
        column_now = next((c for c in node.columns if same_name(c.name, column)), None)
        name, text = (column_now.name, column_now.description) if column_now else (column, "")
        if text and self._lock.ours(node_id, name, text) is None:
            return text_hash(text)
        # A text of ours says what it was made of, in whatever words, and so does none.
        made_of = self.fingerprint(node_id, name)
        if made_of is None:
            raise _UnknownError
        return hash_of(made_of.evidence)

    def change(self, node_id: str, column: str, entry: LockEntry) -> Change | None:
        """Return what has changed since a text was written, None if nothing has.

        Args:
            node_id: Of the table.
            column: Its column, or an empty name.
            entry: What is on record of the text.
        """
        now = self.fingerprint(node_id, column)
        if now is None:
            return None
        parts = zip(
            ("expression", "upstream", "tests"),
            entry.evidence.split("."),
            now.evidence.split("."),
            strict=False,
        )
        aspects = [name for name, old, new in parts if old != new]
        # Not known on one side, as where the project declares no type, is no change.
        if entry.type and now.data_type and entry.type.lower() != now.data_type.lower():
            aspects.append("type")
        if not aspects:
            return None
        return Change(tuple(aspects), entry.expression, now.expression, entry.type, now.data_type)

    def conflict(self, node_id: str, column: str, text: str) -> str | None:
        """Return the table and column whose text a column would take over, if it has another one.

        Args:
            node_id: Of the table.
            column: Whose text is ours.
            text: Its text.
        """
        node = self.evidence(node_id)
        # What a run would take over now, by the same rules: anything else it could not resolve.
        found = copies(node, [unquoted(column)]) if node else []
        if node is None or not found or text_hash(found[0].text) == text_hash(text):
            return None
        table = next(t for t in node.upstream if t.unique_id == found[0].origin_id)
        return f"{table.name}.{found[0].origin_column}"

    def misplaced(self, node_id: str, column: str, text: str) -> tuple[str, str] | None:
        """Return the column whose text a column has, and the one that it is by its SQL.

        None where they are one, where the latter has no text or the same, and where that is not
        known: by its name alone a column may well have been taken for the wrong one.

        Args:
            node_id: Of the table.
            column: As the table has it.
            text: Its text.
        """
        node = self.evidence(node_id)
        lineage = node.facts.known_column(unquoted(column)) if node else None
        if node is None or lineage is None or not lineage.is_plain:
            return None
        origins = node.origins(lineage)
        said = {text_hash(table.text_of(name)) for table, name in origins if table}
        others = [t for t in node.upstream if text_hash(t.text_of(column)) == text_hash(text)]
        if not others or not said or said & {text_hash(text), text_hash("")}:
            return None
        if misfits(node, [unquoted(column)]):
            return None  # a text of its own is what it should have
        roots = {self._root(t.unique_id, name) for t, name in origins if t}
        for other in others:
            if self._root(other.unique_id, column) not in roots:
                table, name = next((t, name) for t, name in origins if t)
                return f"{other.name}.{plain_name(column)}", f"{table.name}.{name}"
        return None

    def _root(self, node_id: str, column: str) -> tuple[str, str]:
        """Return the table and column where a column begins that is passed on."""
        seen = set()
        while (place := (node_id, plain_name(column))) not in seen:
            seen.add(place)
            node = self.evidence(node_id)
            lineage = node.facts.known_column(unquoted(column)) if node else None
            if node is None or lineage is None or not lineage.is_plain:
                break
            ((table, name), *others) = node.origins(lineage)
            if table is None or others:
                break
            node_id, column = table.unique_id, name
        return node_id, plain_name(column)


class _UnknownError(Exception):
    """It cannot be told what a column is made of."""
