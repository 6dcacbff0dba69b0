"""Everything known of one node, as plain data; `wording.py` says it in a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dbt_osmosis_llm.evidence.facts import (
    EMPTY_FACTS,
    Absence,
    ColumnLineage,
    Join,
    Passage,
    QueryFacts,
    Step,
)
from dbt_osmosis_llm.evidence.names import entry, folded
from dbt_osmosis_llm.evidence.sql_text import (
    mask_personal_data,
    mask_personal_data_in_text,
    without_control_characters,
)

EPHEMERAL_PREFIX = "__dbt__cte__"
"""Of the names of CTEs as which dbt puts ephemeral models into SQL."""
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
"""What a model reads and nobody sees who looks at the SQL: tag characters spell out sentences."""
_FRAME = re.compile(
    r"<(?=\s*/\s*(?:sql|context|upstream|columns)\b|\s*(?:sql|context|upstream|columns)\s*>)",
    re.IGNORECASE,
)


def _masked_use(use: ColumnUse) -> ColumnUse:
    return replace(
        use,
        description=mask_personal_data_in_text(use.description),
        expression=mask_personal_data(use.expression),
        tests=tuple(map(mask_personal_data_in_text, use.tests)),
    )


def framed(values: Mapping[str, str]) -> dict[str, str]:
    """Return texts that cannot begin or end the frames that the prompts put around data."""
    # What shows nothing goes first, or taking it out of "</s\0ql>" would make such a tag.
    return {
        name: _FRAME.sub(r"<\\", _INVISIBLE.sub("", without_control_characters(text)))
        for name, text in values.items()
    }


def is_same_relation(one: str, other: str) -> bool:
    """Tell whether two unquoted names, qualified as far as each goes, are one relation's."""
    one, other = folded(one), folded(other)
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def _masked_passage(passage: Passage) -> Passage:
    return replace(
        passage,
        condition=mask_personal_data(passage.condition),
        picks=mask_personal_data(passage.picks),
    )


def _masked_join(join: Join) -> Join:
    return replace(join, condition=join.condition and mask_personal_data(join.condition))


def _masked_step(step: Step) -> Step:
    return replace(
        step,
        sources=tuple(map(_masked_join, step.sources)),
        filters=tuple(map(mask_personal_data, step.filters)),
        group_by=tuple(map(mask_personal_data, step.group_by)),
        others=tuple(map(mask_personal_data, step.others)),
    )


@dataclass(frozen=True)
class ColumnUse:
    """What a model downstream makes of a column."""

    table: str
    column: str
    """Empty for a filter or join."""
    description: str = ""
    """Its text as people wrote it, empty when it has none."""
    expression: str = ""
    """Empty where it is the very column."""
    tests: tuple[str, ...] = ()
    """What tests say there of its values."""


@dataclass(frozen=True)
class ColumnEvidence:
    """One column of a node."""

    name: str
    data_type: str | None = None
    description: str = ""
    """Its text, empty when it has none."""
    tests: tuple[str, ...] = ()
    """Tests and constraints in words, e.g. ``never null``."""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    uses: tuple[ColumnUse, ...] = ()
    """Of one without a text: where else it stands, and what is made of it."""
    values: tuple[str, ...] = ()
    """All that stand in the column, where they are few and may be sent."""
    old_text: str = ""
    """What a new text is to take the place of."""


@dataclass(frozen=True)
class UpstreamTable:
    """A table that a node reads."""

    name: str
    relation: str
    """How the SQL names it, without quotes, e.g. ``db.schema.stg_orders``."""
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column name to text, empty where there is none."""
    unique_id: str = ""
    kin: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of columns that filters name, in lower case: those that are computed from the same ones."""

    def text_of(self, column: str) -> str:
        """Return a column's text, whatever the case of its name."""
        return entry(column, self.columns) or ""


def is_inlined(table: UpstreamTable) -> bool:
    """Tell whether a table is an ephemeral model, which stands in the SQL as a CTE."""
    return table.relation.startswith(EPHEMERAL_PREFIX)


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
    build_values: tuple[str, ...] = ()
    """Values in the SQL that are those of one build, beside `build_values.MARKER`."""
    columns: tuple[ColumnEvidence, ...] = ()
    upstream: tuple[UpstreamTable, ...] = ()
    tests: tuple[str, ...] = ()
    keys: tuple[tuple[str, ...], ...] = ()
    """Columns that are unique, each set together, by tests or constraints."""
    has_contract: bool = False
    neighbours: Mapping[str, str] = field(default_factory=dict)
    """Other tables of the same source, each with its text."""
    header: tuple[str, ...] = ()
    """The columns of a seed's file, where its values may be sent."""
    old_text: str = ""
    """What a new text of its own is to take the place of."""

    def with_old_texts(self, texts: Mapping[str, str]) -> NodeEvidence:
        """Return the node with texts that new ones take the place of.

        Args:
            texts: Column name to text; the empty name stands for the node itself.
        """
        if not texts:
            return self
        columns = (replace(c, old_text=texts.get(c.name, "")) for c in self.columns)
        return replace(self, old_text=texts.get("", ""), columns=tuple(columns))

    def column(self, name: str) -> ColumnEvidence:
        """Return a column by its exact name."""
        return next(column for column in self.columns if column.name == name)

    def upstream_table(self, relation: str) -> UpstreamTable | None:
        """Return the upstream table that a relation in the SQL stands for."""
        known = (table for table in self.upstream if is_same_relation(table.relation, relation))
        return next(known, None)

    def table_name(self, relation: str) -> str:
        """Return what people call a relation in the SQL."""
        table = self.upstream_table(relation)
        return table.name if table else relation.rpartition(".")[2]

    def origins(self, lineage: ColumnLineage) -> list[tuple[UpstreamTable | None, str]]:
        """Return the table and the column of everything that a column is made of."""
        return [(self.upstream_table(leaf.relation), leaf.column) for leaf in lineage.leaves]

    def leaves(self, lineage: ColumnLineage | None) -> list[tuple[str, str, str]]:
        """Return (table, column, text) of the real columns that a column is made of."""
        leaves = []
        for leaf in lineage.leaves if lineage else ():
            table = self.upstream_table(leaf.relation)
            text = table.text_of(leaf.column) if table else ""
            leaves.append((self.table_name(leaf.relation), leaf.column, text))
        return leaves

    def without_personal_data(self) -> NodeEvidence:
        """Return the node with masked texts, tests and expressions; its SQL is not touched."""
        mask = mask_personal_data_in_text
        lineages = {
            name: replace(
                c,
                expression=c.expression and mask_personal_data(c.expression),
                fixed=mask_personal_data(c.fixed),
                passages=tuple(map(_masked_passage, c.passages)),
                absences=tuple(
                    Absence(_masked_passage(one.passage), mask_personal_data(one.value))
                    for one in c.absences
                ),
            )
            for name, c in self.facts.columns.items()
        }
        return replace(
            self,
            description=mask(self.description),
            build_values=tuple(map(mask, self.build_values)),
            source_description=mask(self.source_description),
            tests=tuple(map(mask, self.tests)),
            facts=replace(
                self.facts,
                columns=lineages,
                filters=tuple(map(mask_personal_data, self.facts.filters)),
                restrictions=tuple(
                    replace(one, text=mask_personal_data(one.text))
                    for one in self.facts.restrictions
                ),
                inner_restrictions=tuple(
                    replace(one, text=mask_personal_data(one.text))
                    for one in self.facts.inner_restrictions
                ),
                steps=tuple(map(_masked_step, self.facts.steps)),
                joins=tuple(map(_masked_join, self.facts.joins)),
                group_by=tuple(map(mask_personal_data, self.facts.group_by)),
                row_number_partition=tuple(
                    map(mask_personal_data, self.facts.row_number_partition)
                ),
                groupings=tuple(map(mask_personal_data, self.facts.groupings)),
            ),
            columns=tuple(
                replace(
                    c,
                    description=mask(c.description),
                    tests=tuple(map(mask, c.tests)),
                    meta={key: mask(value) for key, value in c.meta.items()},
                    uses=tuple(map(_masked_use, c.uses)),
                    values=tuple(map(mask, c.values)),
                    old_text=mask(c.old_text),
                )
                for c in self.columns
            ),
            old_text=mask(self.old_text),
            neighbours={name: mask(text) for name, text in self.neighbours.items()},
            upstream=tuple(
                replace(
                    table,
                    description=mask(table.description),
                    columns={name: mask(text) for name, text in table.columns.items()},
                )
                for table in self.upstream
            ),
        )
