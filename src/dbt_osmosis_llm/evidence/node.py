"""Everything known of one node, as plain data, and how a prompt words it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dbt_osmosis_llm.evidence.lineage import EMPTY_FACTS, ColumnKind, ColumnLineage, QueryFacts
from dbt_osmosis_llm.evidence.sql_text import (
    cut_sql,
    mask_personal_data,
    mask_personal_data_in_text,
    tidy_sql,
    without_control_characters,
)

_MAX_UPSTREAM_COLUMNS = 40
"""Documented columns sent of one upstream table, those that the SQL reads first."""

_MAX_TEXT_CHARS = 600
"""Of one text sent as evidence: whole handbooks stand in some descriptions."""

_FRAME_END = re.compile(r"</(sql|context|upstream|columns)>", re.IGNORECASE)


def framed(values: Mapping[str, str]) -> dict[str, str]:
    """Return texts that cannot end the frames that the prompts put around data."""
    # Control characters go first, or taking one out of "</s\0ql>" would make such a tag.
    return {
        name: _FRAME_END.sub(r"<\\/\1>", without_control_characters(text))
        for name, text in values.items()
    }


@dataclass(frozen=True)
class ColumnEvidence:
    """One column of a node."""

    name: str
    data_type: str | None = None
    description: str = ""
    """Its text, empty when it has none."""
    tests: tuple[str, ...] = ()
    """Tests and constraints in words, e.g. ``never null``."""


@dataclass(frozen=True)
class UpstreamTable:
    """A table that a node reads."""

    name: str
    relation: str
    """How the SQL names it, without quotes, e.g. ``db.schema.stg_orders``."""
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column name to text, empty where there is none."""

    def text_of(self, column: str) -> str:
        """Return a column's text, whatever the case of its name."""
        wanted = column.lower()
        return next((t for name, t in self.columns.items() if name.lower() == wanted), "")


@dataclass(frozen=True)
class NodeEvidence:
    """One model, source table or seed."""

    unique_id: str
    name: str
    resource_type: str
    description: str = ""
    source_description: str = ""
    """For a source table: what is said of the whole source."""
    materialization: str | None = None
    tags: tuple[str, ...] = ()
    sql: str | None = None
    """Compiled SQL, else raw Jinja; None where there is none (sources, seeds)."""
    facts: QueryFacts = EMPTY_FACTS
    columns: tuple[ColumnEvidence, ...] = ()
    upstream: tuple[UpstreamTable, ...] = ()
    tests: tuple[str, ...] = ()

    def column(self, name: str) -> ColumnEvidence:
        """Return a column by its exact name."""
        return next(column for column in self.columns if column.name == name)

    def upstream_table(self, relation: str) -> UpstreamTable | None:
        """Return the upstream table that a relation in the SQL stands for."""
        wanted = relation.lower()
        for table in self.upstream:
            known = table.relation.lower()
            if known == wanted or known.endswith(f".{wanted}") or wanted.endswith(f".{known}"):
                return table
        return None

    def _table_name(self, relation: str) -> str:
        table = self.upstream_table(relation)
        return table.name if table else relation.rpartition(".")[2]

    def to_dict(self, asked: Iterable[str] = ()) -> dict[str, Any]:
        """Return the facts as JSON-like data.

        Returns:
            ``name``, ``resource_type``, ``reads`` (table names), ``joins``, ``filters``,
            ``group_by``, ``aggregates``, ``distinct``, ``set_operations``, ``deduplicated_by``
            and ``columns``: one mapping for each asked column with ``name``, ``type``, ``kind``,
            ``expression``, ``upstream`` (``table``, ``column``, ``description``) and ``tests``.
        """
        facts = self.facts
        return {
            "name": self.name,
            "resource_type": self.resource_type,
            "reads": [self._table_name(relation) for relation in facts.relations],
            "joins": [
                {"kind": j.kind, "table": self._table_name(j.relation), "condition": j.condition}
                for j in facts.joins
            ],
            "filters": list(facts.filters),
            "group_by": list(facts.group_by),
            "aggregates": any(c.kind is ColumnKind.AGGREGATE for c in facts.columns.values()),
            "distinct": facts.distinct,
            "set_operations": list(facts.set_operations),
            "deduplicated_by": list(facts.row_number_partition),
            "columns": [self._column_dict(name) for name in asked],
        }

    def _column_dict(self, name: str) -> dict[str, Any]:
        column = self.column(name)
        lineage = self._lineage(name)
        return {
            "name": name,
            "type": column.data_type,
            "kind": lineage.kind.value if lineage else ColumnKind.UNKNOWN.value,
            "expression": lineage.expression if lineage else None,
            "upstream": [
                {"table": table, "column": leaf_column, "description": text}
                for table, leaf_column, text in self._leaves(lineage)
            ],
            "tests": list(column.tests),
        }

    def _lineage(self, name: str) -> ColumnLineage | None:
        return self.facts.column(name)

    def _leaves(self, lineage: ColumnLineage | None) -> list[tuple[str, str, str]]:
        """Return (table, column, text) of the real columns that a column is made of."""
        leaves = []
        for leaf in lineage.leaves if lineage else ():
            table = self.upstream_table(leaf.relation)
            text = table.text_of(leaf.column) if table else ""
            leaves.append((self._table_name(leaf.relation), leaf.column, text))
        return leaves

    def prompt_values(
        self,
        asked: Sequence[str],
        *,
        max_sql_chars: int | None = None,
        redact_pii: bool = False,
    ) -> dict[str, str]:
        """Return a text for each built-in placeholder of a prompt.

        Args:
            asked: Names of the columns that need a text.
            max_sql_chars: Where to cut the SQL, at the end of a line.
            redact_pii: Mask personal data in literals and comments of the SQL, in the columns'
                expressions, in tests and in descriptions.
        """
        node = self._without_personal_data() if redact_pii else self
        values = {
            "table_name": node.name,
            "resource_type": node.resource_type,
            "sql": cut_sql(node._tidy_sql(redact_pii), max_sql_chars) or "(none)",
            "existing_context": node._context_block(asked),
            "upstream_docs": node._upstream_block(),
            "columns": "\n".join(node._column_line(name) for name in asked) or "(none)",
            "column_name": asked[0] if len(asked) == 1 else "",
        }
        return framed(values)

    def _tidy_sql(self, redact_pii: bool) -> str:
        sql = tidy_sql(self.sql or "")
        return mask_personal_data(sql) if redact_pii else sql

    def _without_personal_data(self) -> NodeEvidence:
        """Return the node with masked texts, tests and expressions; its SQL is not touched."""
        mask = mask_personal_data_in_text
        lineages = {
            name: replace(one, expression=one.expression and mask_personal_data(one.expression))
            for name, one in self.facts.columns.items()
        }
        return replace(
            self,
            description=mask(self.description),
            source_description=mask(self.source_description),
            tests=tuple(map(mask, self.tests)),
            facts=replace(self.facts, columns=lineages),
            columns=tuple(
                replace(c, description=mask(c.description), tests=tuple(map(mask, c.tests)))
                for c in self.columns
            ),
            upstream=tuple(
                replace(
                    table,
                    description=mask(table.description),
                    columns={name: mask(text) for name, text in table.columns.items()},
                )
                for table in self.upstream
            ),
        )

    def _column_line(self, name: str) -> str:
        facts = self._column_dict(name)
        parts = [f"- `{name}`" + (f" ({facts['type']})" if facts["type"] else "")]
        if facts["expression"] and facts["kind"] != ColumnKind.PASS.value:
            parts.append(f"{facts['kind']}: {facts['expression']}")
        for leaf in facts["upstream"]:
            text = f": {_one_line(leaf['description'])}" if leaf["description"] else ""
            parts.append(f"from {leaf['table']}.{leaf['column']}{text}")
        if facts["tests"]:
            parts.append(f"tested: {', '.join(facts['tests'])}")
        return "\n    ".join(parts)

    def _context_block(self, asked: Sequence[str]) -> str:
        lines = []
        if self.description:
            lines.append(f"description: {_one_line(self.description)}")
        if self.source_description:
            lines.append(f"description of its source: {_one_line(self.source_description)}")
        if self.materialization:
            lines.append(f"materialized as: {self.materialization}")
        if self.tags:
            lines.append(f"tags: {', '.join(self.tags)}")
        lines.extend(f"tested: {test}" for test in self.tests)
        others = [c for c in self.columns if c.description and c.name not in asked]
        if others:
            lines.append("columns that have a text already:")
            lines.extend(f"- {c.name}: {_one_line(c.description)}" for c in others)
        return "\n".join(lines) or "(nothing)"

    def _upstream_block(self) -> str:
        read = {
            (table, column.lower())
            for lineage in self.facts.columns.values()
            for table, column, _ in self._leaves(lineage)
        }
        lines = []
        for table in self.upstream:
            text = f": {_one_line(table.description)}" if table.description else ""
            lines.append(f"{table.name}{text}")
            documented = [(name, text) for name, text in table.columns.items() if text]
            documented.sort(key=lambda item: (table.name, item[0].lower()) not in read)
            lines.extend(
                f"- {name}: {_one_line(text)}" for name, text in documented[:_MAX_UPSTREAM_COLUMNS]
            )
        return "\n".join(lines) or "(none)"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TEXT_CHARS else f"{line[:_MAX_TEXT_CHARS]} …"
