"""Whose each text is: takes ours out to have them written again, and notes new ones.

The lock file is written while a run goes on and at its end. What a kill leaves unsaid makes a text
a person's, which costs nothing but its next refresh.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.config import SettingsError
from dbt_osmosis_llm.evidence.facts import ColumnKind
from dbt_osmosis_llm.evidence.fingerprint import text_hash
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.host import compat, descriptions
from dbt_osmosis_llm.host.evidence import Gatherer
from dbt_osmosis_llm.synthesis.freshness import Findings, Freshness
from dbt_osmosis_llm.synthesis.lock import LockEntry, LockFile

Refresh = Literal["stale", "all-generated"]
"""Which texts of ours to write again."""

_LEAST_PAUSE_S = 5.0
_PAUSES_A_WRITE = 20
"""Times as long as writing takes the pause is: it stays a small part of a long run."""


def _old_evidence(entry: LockEntry) -> tuple[str, str]:
    """Return what a text was written from, as `Provenance._made_of` has it."""
    definition, upstream, *_ = [*entry.evidence.split("."), "", ""]
    return definition, upstream


def _owner(node: Any, name: str) -> tuple[str, Any]:
    """Return a column by its name on record, and its name; the node itself for an empty one.

    None for one that is not there. Options of dbt-osmosis may change the case of a name.
    """
    if not name:
        return name, node
    if name in node.columns:
        return name, node.columns[name]
    plain = plain_name(name)
    found = ((n, column) for n, column in node.columns.items() if plain_name(n) == plain)
    return next(found, (name, None))


class Provenance:
    """The lock file of a project, and the texts that a run writes.

    Args:
        context: Of dbt-osmosis, the project loaded.
        gatherer: Of the project's evidence.
        lock: Its lock file.
        model: Which writes the texts.
        prompts: Hash of the prompts.
    """

    def __init__(
        self,
        context: Any,
        gatherer: Gatherer,
        lock: LockFile,
        *,
        model: str = "",
        prompts: str = "",
    ) -> None:
        self._context = context
        self._gatherer = gatherer
        self.lock = lock
        self._model = model
        self._prompts = prompts
        self._new: dict[str, dict[str, str]] = {}
        """Node to column to the table and column that its text is from; empty for a model's."""
        self._inherited: dict[str, set[str]] = {}
        self._unknown: dict[str, set[str]] = {}
        self._not_there: dict[str, set[str]] = {}
        self._set_aside: dict[str, dict[str, str]] = {}
        self.with_older_prompts = 0
        """Texts that stay although other prompts would be used for them now."""
        self._last_write_s = time.monotonic()
        self._pause_s = _LEAST_PAUSE_S

    # Before the run

    def set_aside(self, nodes: Mapping[str, Any], refresh: Refresh) -> None:
        """Take texts of ours out of the nodes, to have them written again.

        Args:
            nodes: Unique id to node.
            refresh: Only those whose evidence has changed, or all.
        """
        freshness = Freshness(self._gatherer.declared, self.lock)
        ours = [(node_id, *one) for node_id in nodes for one in self.ours(nodes[node_id])]
        chosen = [
            (node_id, name)
            for node_id, name, entry, text in ours
            if refresh == "all-generated"
            or freshness.change(node_id, name, entry)
            or (
                entry.origin
                and descriptions.may_inherit(self._context, nodes[node_id], name)
                and freshness.conflict(node_id, name, text)
            )
        ]
        older = {(i, n) for i, n, e, _ in ours if e.prompts not in ("", self._prompts)}
        self.with_older_prompts = len(older.difference(chosen))
        for node_id, name in chosen:
            node = nodes[node_id]
            owner = node.columns[name] if name else node
            self._set_aside.setdefault(node_id, {})[name] = owner.description
            owner.description = ""

    def carry_renamed(self, nodes: Mapping[str, Any]) -> None:
        """Give columns that are old ones under a new name the old ones' texts.

        Only on positive evidence: both are made of the same columns in the same way, and no other
        column, gone or new, is. What comes out of a star or a struct shows nothing of the kind.
        """
        freshness = Freshness(self._gatherer.declared, self.lock)
        for node_id, node in nodes.items():
            empty = [name for name in node.columns if self._lacks(node.columns[name].description)]
            # Most tables lack nothing: their SQL is not looked at.
            gone = list(self._gone(node)) if empty else []
            if not gone:
                continue
            made_of: dict[tuple[str, str], list[str]] = {}
            for name in empty:
                made = self._made_of(node, name, freshness)
                if made is not None:
                    made_of.setdefault(made, []).append(name)
            was = Counter(_old_evidence(entry) for _, entry, _ in gone)
            for _, entry, text in gone:
                new = made_of.get(_old_evidence(entry), [])
                if len(new) == 1 and was[_old_evidence(entry)] == 1:
                    node.columns[new[0]].description = text
                    self.note(node_id, new, entry.origin)

    def _made_of(self, node: Any, name: str, freshness: Freshness) -> tuple[str, str] | None:
        """Return what a column is made of and how, None where the SQL does not show it."""
        evidence = self._gatherer.declared(node.unique_id)
        lineage = evidence.facts.column(plain_name(name)) if evidence else None
        # Any two constants are alike, and so are any two columns of which nothing is known.
        if lineage is None or lineage.kind in (ColumnKind.LITERAL, ColumnKind.UNKNOWN):
            return None
        if lineage.kind is ColumnKind.DERIVED and not lineage.leaves:
            return None  # of no column at all, as a field of a constant or a random number
        if self.lock.knows(node.unique_id, name):
            return None  # it was there beside the one that is gone
        made = freshness.fingerprint(node.unique_id, name)
        return None if made is None else (made.definition, made.upstream)

    def _gone(self, node: Any) -> Iterable[tuple[str, LockEntry, str]]:
        """Yield the columns of ours that exist nowhere any more, each with its text.

        Neither in the SQL, which has to tell all of its columns, nor in the warehouse where that is
        read; a field of a struct goes with its column.
        """
        entries = self.lock.of_node(node.unique_id)
        if not any(entries):
            return
        evidence = self._gatherer.declared(node.unique_id)
        if evidence is None or not evidence.facts.is_complete:
            return
        written = descriptions.yaml_texts(self._context, node)
        for name, entry in entries.items():
            text = written.get(plain_name(name), "")
            is_ours = entry.text == text_hash(self._gatherer.readable(text))
            if name and text and is_ours and not self._exists(node, name, evidence):
                yield name, entry, text

    def _exists(self, node: Any, name: str, evidence: NodeEvidence) -> bool:
        in_warehouse = self._gatherer.warehouse_columns(node)
        column, plain = plain_name(name).partition(".")[0], plain_name(name)
        return (
            evidence.facts.column(column) is not None
            or plain in in_warehouse
            or column in in_warehouse
        )

    def is_same(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        """Tell whether two columns, each by its table's unique id, are made of the same alike."""
        freshness = Freshness(self._gatherer.declared, self.lock)
        fields = [column.partition(".")[2] for _, column in (one, other)]
        if all(fields) and plain_name(fields[0]) == plain_name(fields[1]):
            # Fields of structs that are the same; the SQL shows nothing of fields themselves.
            one, other = ((uid, column.partition(".")[0]) for uid, column in (one, other))
        first, second = (freshness.fingerprint(*column) for column in (one, other))
        return (
            first is not None
            and second is not None
            and (first.definition, first.upstream) == (second.definition, second.upstream)
        )

    # During the run

    def old_texts(self, node_id: str) -> Mapping[str, str]:
        """Return the texts of a node that were set aside, by column; its own has no name."""
        return self._set_aside.get(node_id, {})

    def note(self, node_id: str, columns: Iterable[str], origin: str = "") -> None:
        """Remember that texts were written.

        Args:
            node_id: Of the table.
            columns: Their names; an empty one for the table's own text.
            origin: Table and column that they were copied from.
        """
        self._new.setdefault(node_id, {}).update(dict.fromkeys(columns, origin))

    def forget(self, node_id: str, columns: Iterable[str]) -> None:
        """Forget that texts were written: others stand in their place."""
        for name in columns:
            self._new.get(node_id, {}).pop(name, None)

    def note_unknown(self, node_id: str, columns: Iterable[str]) -> None:
        """Remember that the model could not write texts; asking again would change nothing."""
        self._unknown.setdefault(node_id, set()).update(columns)

    def note_not_there(self, node_id: str, columns: Iterable[str]) -> None:
        """Remember the columns that the warehouse lacks: without it nobody could tell later."""
        self._not_there.setdefault(node_id, set()).update(columns)

    def is_not_there(self, node_id: str, column: str, *, unchanged: bool = False) -> bool:
        """Tell whether a column was in no warehouse when a run last looked.

        Args:
            node_id: Of the table.
            column: Its column.
            unchanged: And what the project says of it is what it was then.
        """
        entry = self.lock.unknown(node_id, column)
        if entry is None or entry.model:
            return False
        return not (unchanged and self._freshness.change(node_id, column, entry))

    def is_unknown(self, node_id: str, column: str) -> bool:
        """Tell whether the same model could not write a text from the same evidence before."""
        entry = self.lock.unknown(node_id, column)
        if entry is None or (entry.model, entry.prompts) != (self._model, self._prompts):
            return False
        return self._freshness.change(node_id, column, entry) is None

    def note_inherited(self, node_id: str, columns: Iterable[str]) -> None:
        """Remember that dbt-osmosis has filled columns by their names."""
        self._inherited[node_id] = {*columns} - {*self._new.get(node_id, ())}

    def put_back(self, node: Any) -> None:
        """Give a node the old texts back that nothing has taken the place of."""
        for name, text in self._set_aside.get(node.unique_id, {}).items():
            owner = node.columns[name] if name else node
            if self._lacks(owner.description):
                owner.description = text
                self._new.get(node.unique_id, {}).pop(name, None)
                self._inherited.get(node.unique_id, set()).discard(name)

    def keep_at_times(self, nodes: Mapping[str, Any]) -> None:
        """Write the lock file if it is long enough ago."""
        if time.monotonic() - self._last_write_s >= self._pause_s:
            self.keep(nodes)

    def keep(self, nodes: Mapping[str, Any]) -> None:
        """Write what is known by now into the lock file.

        Args:
            nodes: Unique id to node, those of the run, parents before children: what a child's
                text was written from depends on whose its parents' texts are.
        """
        began_s = time.monotonic()
        freshness = Freshness(self._gatherer.declared, self.lock)
        date = datetime.now(timezone.utc).date().isoformat()
        for node in nodes.values():
            self._put(node, freshness, date)
        try:
            self.lock.write()
        except (OSError, SettingsError) as error:
            logger.warning("The lock file cannot be written: %s", error)
        self._last_write_s = time.monotonic()
        self._pause_s = max(_LEAST_PAUSE_S, _PAUSES_A_WRITE * (self._last_write_s - began_s))

    def _put(self, node: Any, freshness: Freshness, date: str) -> None:
        node_id = node.unique_id
        new = dict(self._new.get(node_id, {}))
        for name in self._inherited.get(node_id, ()):
            if origin := self._origin(node, name, freshness):
                new[name] = origin
        for name, origin in new.items():
            owner = node.columns.get(name) if name else node
            text = self._gatherer.readable(owner.description) if owner is not None else ""
            found = freshness.fingerprint(node_id, name) if text else None
            if found is None:
                continue
            by_model = {} if origin else self._by_model
            entry = LockEntry.of(text, found, origin=origin, date=date, **by_model)
            self.lock.put(node_id, self._written_name(node, name), entry)
        for names, model in (
            (self._unknown.get(node_id, ()), self._by_model),
            (self._not_there.get(node_id, ()), {}),
        ):
            for name in names:
                owner = node.columns.get(name) if name else node
                found = freshness.fingerprint(node_id, name)
                if found is not None and owner is not None and self._lacks(owner.description):
                    entry = LockEntry.of("", found, date=date, **model)
                    self.lock.put(node_id, self._written_name(node, name), entry)

    def _written_name(self, node: Any, name: str) -> str:
        """Return a column's name as its file will have it."""
        return descriptions.written_name(self._context, node, name) if name else ""

    @property
    def _by_model(self) -> dict[str, str]:
        return {"model": self._model, "prompts": self._prompts}

    def _origin(self, node: Any, name: str, freshness: Freshness) -> str:
        """Return the column that a column is, if it has that one's text."""
        evidence = freshness.evidence(node.unique_id)
        lineage = evidence.facts.column(plain_name(name)) if evidence else None
        if evidence is None or lineage is None or not lineage.is_plain:
            return ""
        text = text_hash(self._gatherer.readable(node.columns[name].description))
        for table, column in evidence.origins(lineage):
            if table and text_hash(table.text_of(column)) == text:
                return f"{table.unique_id}.{column}"
        return ""

    def tidy(self, nodes: Mapping[str, Any], known_ids: Iterable[str]) -> None:
        """Forget texts that are people's by now, and those of what does not exist any more.

        Args:
            nodes: Unique id to node, those of the run.
            known_ids: All of the project.
        """
        known = set(known_ids)
        for node_id, name in list(self.lock):
            node = nodes.get(node_id)
            owner = _owner(node, name)[1] if node is not None else None
            if node is None:
                is_gone = node_id not in known
            elif owner is None:
                is_gone = True
            else:
                text = self._gatherer.readable(owner.description)
                find = (
                    self.lock.ours(node_id, name, text)
                    if text
                    else self.lock.unknown(node_id, name)
                )
                is_gone = find is None
            if is_gone:
                self.lock.drop(node_id, name)

    # What there is

    def findings(
        self,
        node: Any,
        missing: Sequence[str],
        file: str,
        *,
        left_alone: Mapping[str, str] = MappingProxyType({}),
        not_there: Sequence[str] = (),
    ) -> Findings:
        """Return what is wrong with the texts of a node.

        Args:
            node: Of the manifest.
            missing: Columns that lack a text, an empty name for the table's own.
            file: Of its texts.
            left_alone: Those that no run can write, each with the reason.
            not_there: Those that exist in the YAML alone.
        """
        node_id, freshness = node.unique_id, self._freshness
        evidence = self._gatherer.declared(node_id)
        known = {plain_name(name) for name in node.columns}
        made = evidence.facts.columns if evidence else {}
        if "" in left_alone or not descriptions.lists_all_columns(self._context, node):
            made = {}  # no run would add them either
        not_listed = [
            name
            for name in made
            if plain_name(name) not in known and not compat.is_ignored_column(self._context, name)
        ]
        ours = self.ours(node)
        gone = {name for name, _, _ in self._gone(node)}
        entries = self.lock.of_node(node_id).items()
        gone |= {name for name, entry in entries if entry.text and _owner(node, name)[1] is None}
        kept = [one for one in ours if one[0] not in gone]
        conflicts = {
            name: other
            for name, entry, text in kept
            if name
            and entry.origin
            and descriptions.may_inherit(self._context, node, name)
            and (other := freshness.conflict(node_id, name, text))
        }
        texts = {n: self._gatherer.readable(c.description) for n, c in node.columns.items()}
        misplaced = {
            name: found
            for name, text in texts.items()
            if text and name not in conflicts
            if (found := freshness.misplaced(node_id, name, text)) is not None
        }
        return Findings(
            node_id,
            file,
            texts=1 + len(node.columns) - len(not_there),
            missing=tuple(missing),
            left_alone=dict(left_alone),
            not_listed=tuple(not_listed),
            not_there=tuple(not_there),
            stale={
                name: change
                for name, entry, _ in kept
                if name not in conflicts and (change := freshness.change(node_id, name, entry))
            },
            orphaned=tuple(sorted(gone)),
            conflicting=conflicts,
            misplaced=misplaced,
            is_unknown=evidence is None,
        )

    @cached_property
    def _freshness(self) -> Freshness:
        """Of texts that do not change meanwhile."""
        return Freshness(self._gatherer.declared, self.lock)

    def ours(self, node: Any) -> list[tuple[str, LockEntry, str]]:
        """Return the texts of a node that are ours: column as the node has it, entry and text."""
        found = []
        for noted, entry in self.lock.of_node(node.unique_id).items():
            name, owner = _owner(node, noted)
            text = self._gatherer.readable(owner.description) if owner is not None else ""
            if self.lock.ours(node.unique_id, noted, text):
                found.append((name, entry, text))
        return found

    def _lacks(self, text: str | None) -> bool:
        return descriptions.lacks_text(self._context, text)
