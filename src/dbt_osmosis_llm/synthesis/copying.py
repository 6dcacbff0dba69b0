"""Texts that need no model: a column that is another one unchanged means what that one means.

Lineage decides, not the name: a rename takes its origin's text, and a column that is computed anew
under an old name does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass

from dbt_osmosis_llm.evidence.facts import ColumnKind, ColumnLineage
from dbt_osmosis_llm.evidence.names import plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence, UpstreamTable

_NEVER_NULL = re.compile(
    r"\b(?:never|not|non)[ -]*(?:be |been |is )?(?:null|nullable|empty|missing)\b"
    r"|\balways (?:set|present|filled|populated|has|have|given)\b|\bmandatory\b",
    re.IGNORECASE,
)


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
    same text; and not where an outer join may leave it empty and the text says that it never is.

    Args:
        node: With the texts of what it reads, as they are now.
        columns: Those without a text.
    """
    taken_over = []
    for name in columns:
        lineage = node.facts.column(name)
        if lineage is None or not lineage.is_plain:
            continue
        copy = _copy(node, name, lineage)
        if copy and not (node.facts.has_outer_join and _NEVER_NULL.search(copy.text)):
            taken_over.append(copy)
    return taken_over


def _copy(node: NodeEvidence, name: str, lineage: ColumnLineage) -> Copy | None:
    first: Copy | None = None
    for table, column in origins(node, lineage):
        text = table.text_of(column) if table else ""
        if table is None or not text:
            return None
        if first is None:
            first = Copy(name, table.unique_id, column, text)
        # Where a YAML file breaks the lines of a text makes no other text of it.
        elif first.text.split() != text.split():
            return None
    return first


def origins(node: NodeEvidence, lineage: ColumnLineage) -> list[tuple[UpstreamTable | None, str]]:
    """Return the table and the column of everything that a column is made of."""
    return [(node.upstream_table(leaf.relation), leaf.column) for leaf in lineage.leaves]


def decided_by_lineage(
    node: NodeEvidence, columns: Iterable[str], selected: Container[str]
) -> set[str]:
    """Return the columns for which a column of the same name further up says nothing.

    That are those which are computed anew, and those made of columns of selected tables, whose
    texts are as they will be.

    Args:
        node: What is known of the table.
        columns: Those to look at.
        selected: Unique ids of the tables that get their texts in this run.
    """
    decided = set()
    for name in columns:
        lineage = node.facts.column(name)
        if lineage is None or lineage.kind is ColumnKind.UNKNOWN:
            continue
        tables = [table for table, _ in origins(node, lineage)]
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
    if not lineage.is_plain:
        return False
    return any(
        table is not None and plain_name(column) in lost.get(table.unique_id, ())
        for table, column in origins(node, lineage)
    )
