"""Where a column stands under other names: all that one text has to fit, and what is made of it.

Columns that are one another by lineage are a family. Its text is asked for where it begins among
the tables of a run, and taken over by the others word for word: so it is asked for with all of
them in sight.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dbt_osmosis_llm.evidence.build_values import without_build_values
from dbt_osmosis_llm.evidence.cutting import fit_sql
from dbt_osmosis_llm.evidence.facts import CUT_MARK, ColumnLineage
from dbt_osmosis_llm.evidence.fitting import adds_a_word, changes_type, difference
from dbt_osmosis_llm.evidence.names import folded, plain_name
from dbt_osmosis_llm.evidence.node import ColumnUse, NodeEvidence
from dbt_osmosis_llm.evidence.sql_text import as_people_write

MAX_READERS = 10
"""Models read for what they make of one table."""
_MAX_TABLES = 24
"""Looked at for one column."""
_MAX_EXPRESSIONS = 3
_MAX_EXPRESSION_CHARS = 160
_MAX_TEXTS = 3
_OF_VALUES = ("one of ", "found in ")
"""How tests begin that say something of the values, wherever the column stands."""
JOINED = "joined with "
"""How a use begins that is a join."""
_LITERAL = re.compile(r"'[^']+'")


@dataclass(frozen=True)
class _Edge:
    """What a model makes of a column that it reads."""

    column: str
    """Of the model; empty for a filter."""
    expression: str = ""
    """Empty where it is the column unchanged, with its text."""


class Families:
    """Follows columns downstream; remembers what each model makes of the columns it reads.

    Args:
        readers: Returns the models that read a table, in a fixed order.
        node_of: Returns a model with its facts and the names of the tables that it reads.
        told: Returns what people say of a column, empty where they say nothing.
        tests: Returns what the tests of a column say, in words.
    """

    def __init__(
        self,
        readers: Callable[[str], Sequence[str]],
        node_of: Callable[[str], NodeEvidence],
        told: Callable[[str, str], str],
        tests: Callable[[str, str], Sequence[str]],
    ) -> None:
        self._readers = readers
        self._node_of = node_of
        self._told = told
        self._tests = tests
        self._edges: dict[str, dict[tuple[str, str], list[_Edge]]] = {}
        self._names: dict[str, str] = {}

    def uses(self, node_id: str, column: str, *, with_expressions: bool) -> tuple[ColumnUse, ...]:
        """Return where a column stands downstream as it is, and what is made of it.

        Args:
            node_id: Of its table.
            column: Its name.
            with_expressions: Whether what is made of it says more than is known of it.

        Returns:
            First the same column elsewhere, those that people describe before the others; then the
            most telling of the expressions: those with literals, then the shortest.
        """
        members: list[ColumnUse] = []
        made: dict[str, ColumnUse] = {}
        # Behind a text of a person it is that one which goes on.
        waiting = deque([(node_id, column, False)])
        seen = {(node_id, plain_name(column))}
        tables = 0
        while waiting and tables < _MAX_TABLES:
            table_id, name, is_told = waiting.popleft()
            for reader in self._readers(table_id)[:MAX_READERS]:
                tables += 1
                for edge in self._edges_of(reader).get((table_id, plain_name(name)), ()):
                    label = self._names[reader]
                    if edge.expression:
                        use = ColumnUse(label, edge.column, expression=edge.expression)
                        made.setdefault(edge.expression, use)
                    elif (reader, plain_name(edge.column)) not in seen:
                        seen.add((reader, plain_name(edge.column)))
                        member = self._member(reader, edge.column)
                        members += [] if is_told else [member]
                        waiting.append((reader, edge.column, is_told or bool(member.description)))
        described = [member for member in members if member.description][:_MAX_TEXTS]
        others = [member for member in members if not member.description]
        telling = sorted(made.values(), key=_how_telling) if with_expressions else []
        joins = [use for use in telling if use.expression.startswith(JOINED)]
        telling = [use for use in telling if use not in joins[1:]]
        return (*described, *others, *telling[:_MAX_EXPRESSIONS])

    def _member(self, node_id: str, column: str) -> ColumnUse:
        tests = self._tests(node_id, column)
        return ColumnUse(
            self._names[node_id],
            column,
            self._told(node_id, column),
            tests=tuple(test for test in tests if test.startswith(_OF_VALUES)),
        )

    def _edges_of(self, reader: str) -> dict[tuple[str, str], list[_Edge]]:
        if reader not in self._edges:
            node = self._node_of(reader)
            self._names[reader] = node.name
            found: dict[tuple[str, str], list[_Edge]] = {}
            for key, edge in _all_edges(node):
                found.setdefault(key, []).append(edge)
            self._edges[reader] = found
        return self._edges[reader]


def _all_edges(node: NodeEvidence) -> Iterator[tuple[tuple[str, str], _Edge]]:
    for name, lineage in node.facts.columns.items():
        edge = _Edge(name, _made_of_it(node, name, lineage))
        for table, column in node.origins(lineage):
            if table is not None:
                yield (table.unique_id, folded(column)), edge
    for restriction in (*node.facts.restrictions, *node.facts.inner_restrictions):
        for leaf in restriction.leaves:
            if (table := node.upstream_table(leaf.relation)) is not None:
                where = _shown(node, f"where {restriction.text}")
                yield (table.unique_id, folded(leaf.column)), _Edge("", where)
    for equality in node.facts.equalities:
        one, other, one_alias, other_alias = equality
        for leaf, partner, alias in ((one, other, other_alias), (other, one, one_alias)):
            table = node.upstream_table(leaf.relation)
            if table is not None and leaf != partner:
                words = f"{JOINED}{node.table_name(partner.relation)}.{partner.column}"
                words += f" as {alias}" if alias and adds_a_word(alias, partner.relation) else ""
                yield (table.unique_id, folded(leaf.column)), _Edge("", words)


def _made_of_it(node: NodeEvidence, name: str, lineage: ColumnLineage) -> str:
    """Return what a column is that is not just its origin, empty where it is."""
    if len(lineage.leaves) > 1 and lineage.is_plain:
        return "one of several in a union"
    if lineage.is_plain and not changes_type(lineage):
        words = difference(node, name, lineage)
        return words and f"the same, {words}"
    return _shown(node, lineage.expression or "something")


def _shown(node: NodeEvidence, sql: str) -> str:
    sql = without_build_values(as_people_write(sql), node.build_values)
    return fit_sql(sql, _MAX_EXPRESSION_CHARS, CUT_MARK)


def _how_telling(use: ColumnUse) -> tuple[int, int, str, str]:
    has_literal = bool(_LITERAL.search(use.expression))
    is_new = not use.expression.startswith((JOINED, "the same, "))
    return (0 if has_literal else 1 if is_new else 2, len(use.expression), use.table, use.column)
