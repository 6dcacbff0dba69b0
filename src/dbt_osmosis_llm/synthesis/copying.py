"""Texts that need no model: a column that is another one unchanged means what that one means.

Lineage decides, not the name: a rename takes its origin's text, and a column that is computed anew
under an old name does not.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dbt_osmosis_llm.evidence.facts import ColumnKind, ColumnLineage
from dbt_osmosis_llm.evidence.fitting import difference, misfit
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence, UpstreamTable


@dataclass(frozen=True)
class Copy:
    """A text that a column takes over."""

    column: str
    origin_id: str
    """Unique id of the upstream table."""
    origin_column: str
    text: str


def copies(node: NodeEvidence, columns: Iterable[str]) -> list[Copy]:
    """Return the texts that columns take over from what they are made of.

    Only where a column is upstream columns unchanged, or another type of them, that all have the
    same text; and not where that text does not fit (see `misfits`).

    Args:
        node: With the texts of what it reads, as they are now.
        columns: Those without a text.
    """
    return [copy for copy, reason in _candidates(node, columns) if not reason]


def misfits(node: NodeEvidence, columns: Iterable[str]) -> dict[str, str]:
    """Return the columns that are upstream columns whose text does not fit them, and why.

    Args:
        node: With the texts of what it reads, as they are now.
        columns: Those to look at.
    """
    return {copy.column: reason for copy, reason in _candidates(node, columns) if reason}


def _candidates(node: NodeEvidence, columns: Iterable[str]) -> Iterator[tuple[Copy, str]]:
    """Yield the text that each plain column has upstream, and why it does not fit."""
    for name in columns:
        lineage = node.facts.column(name)
        if lineage is None or not lineage.is_plain:
            continue
        found = _copy(node, name, lineage)
        if found is not None:
            copy, table = found
            yield copy, misfit(node, name, lineage, table, copy.text)


def _copy(
    node: NodeEvidence, name: str, lineage: ColumnLineage
) -> tuple[Copy, UpstreamTable] | None:
    first: tuple[Copy, UpstreamTable] | None = None
    for table, column in node.origins(lineage):
        text = table.text_of(column) if table else ""
        if table is None or not text:
            return None
        if first is None:
            first = Copy(name, table.unique_id, column, text), table
        # Where a YAML file breaks the lines of a text makes no other text of it.
        elif first[0].text.split() != text.split():
            return None
    return first


def decided_by_lineage(
    node: NodeEvidence, columns: Collection[str], selected: Container[str]
) -> set[str]:
    """Return the columns for which a column of the same name further up says nothing.

    That are those which are computed anew, those made of columns of selected tables, whose texts
    are as they will be, and those which the text of their origin does not fit.

    Args:
        node: What is known of the table.
        columns: Those to look at.
        selected: Unique ids of the tables that get their texts in this run.
    """
    decided = set(misfits(node, columns))
    for name in columns:
        lineage = node.facts.column(name)
        if lineage is None or lineage.kind is ColumnKind.UNKNOWN:
            continue
        tables = [table for table, _ in node.origins(lineage)]
        if not lineage.is_plain or all(t is not None and t.unique_id in selected for t in tables):
            decided.add(name)
    return decided


def waits_for_failed(
    node: NodeEvidence | None,
    name: str,
    ancestors: Collection[str],
    lost: Mapping[str, Collection[str]],
) -> bool:
    """Tell whether a column would take a text over that a failed node still lacks.

    Args:
        node: None where nothing is known but names.
        name: Of a column without a text.
        ancestors: All nodes upstream.
        lost: Node to the columns, in lower case, whose texts the next run asks for.
    """
    lineage = node.facts.column(name) if node else None
    # Without lineage names decide, and dbt-osmosis takes a text from however far upstream.
    if node is None or lineage is None or lineage.kind is ColumnKind.UNKNOWN:
        key = plain_name(name)
        return any(key in lost.get(ancestor, ()) for ancestor in ancestors)
    # A computed column is asked about: it takes no text over that could be missing.
    if not lineage.is_plain or difference(node, name, lineage):
        return False
    return any(
        table is not None and plain_name(column) in lost.get(table.unique_id, ())
        for table, column in node.origins(lineage)
    )
