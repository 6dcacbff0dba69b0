"""How a prompt words what is known of a node.

Each text is said once, where it is needed most: a prompt that says everything everywhere costs
twice and tells no more. What may be left out of a long prompt has a rank; the rest has none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from dbt_osmosis_llm.evidence.cutting import cut, one_line
from dbt_osmosis_llm.evidence.facts import MARKER, ColumnKind, ColumnLineage, Join, QueryFacts, Step
from dbt_osmosis_llm.evidence.families import JOINED
from dbt_osmosis_llm.evidence.fitting import difference, joined_name, misfit_words
from dbt_osmosis_llm.evidence.names import folded, same_name
from dbt_osmosis_llm.evidence.node import (
    EPHEMERAL_PREFIX,
    ColumnEvidence,
    NodeEvidence,
    framed,
    is_inlined,
)
from dbt_osmosis_llm.evidence.sql_text import (
    as_people_write,
    cut_sql,
    mask_personal_data,
    tidy_sql,
)

_MAX_UPSTREAM_COLUMNS = 40
"""Documented columns sent of one upstream table, those that the SQL names first."""

_MAX_TEXT_CHARS = 600
"""Of one text sent as evidence: whole handbooks stand in some descriptions."""

_MAX_CONDITIONS = 8
"""Filters and joins sent beside the SQL that holds them all."""

_MAX_CONDITION_CHARS = 200
_MAX_STEPS = 8
_MAX_PLACES = 4
"""Tables named that will have the text of a column."""
_MAX_STEP_CHARS = 320
_MAX_NEIGHBOURS = 20


class Rank(IntEnum):
    """What a line is about, the least specific first."""

    UNREAD = 1
    """An upstream column that the SQL does not name."""
    READ = 2
    """An upstream column that the SQL names, but makes no column asked for of."""
    NEIGHBOUR = 3
    """Another table of the same source."""
    OWN = 4
    """Another column of the table itself."""


class Line(NamedTuple):
    """One line of a prompt; without a rank it is never left out."""

    text: str
    rank: Rank | None = None


@dataclass(frozen=True)
class Wording:
    """What a prompt says of a node, before it is put into a template."""

    table_name: str
    resource_type: str
    column_name: str
    sql: str
    """Tidied, whole."""
    context: tuple[Line, ...]
    upstream: tuple[Line, ...]
    columns: str
    max_sql_chars: int | None = None

    def values(self) -> dict[str, str]:
        """Return a text for each built-in placeholder of a prompt."""
        return framed(
            {
                "table_name": self.table_name,
                "resource_type": self.resource_type,
                "sql": cut_sql(self.sql, self.max_sql_chars) or "(none)",
                "existing_context": _joined(self.context) or "(nothing)",
                "upstream_docs": _joined(self.upstream) or "(none)",
                "columns": self.columns or "(none)",
                "column_name": self.column_name,
            }
        )


def worded(
    node: NodeEvidence,
    asked: Sequence[str],
    *,
    max_sql_chars: int | None = None,
    redact_pii: bool = False,
) -> Wording:
    """Return what a prompt says of a node.

    Args:
        node: What is known.
        asked: Names of the columns that need a text.
        max_sql_chars: Where to cut the SQL, at the end of a line.
        redact_pii: Mask personal data in literals and comments of the SQL, in the columns'
            expressions, in tests and in descriptions.
    """
    sql = tidy_sql(node.sql or "")
    if redact_pii:
        node, sql = node.without_personal_data(), mask_personal_data(sql)
    told: set[tuple[str, str]] = set()
    return Wording(
        table_name=node.name,
        resource_type=node.resource_type,
        column_name=asked[0] if len(asked) == 1 else "",
        sql=sql,
        columns="\n".join(_column_block(node, name, told) for name in asked),
        context=tuple(_context_lines(node, asked)),
        upstream=tuple(_upstream_lines(node, asked, told)),
        max_sql_chars=max_sql_chars,
    )


def _on_one_line(text: str) -> str:
    return one_line(text, _MAX_TEXT_CHARS)


def _joined(lines: Iterable[Line]) -> str:
    return "\n".join(line.text for line in lines)


def _column_block(node: NodeEvidence, name: str, told: set[tuple[str, str]]) -> str:
    """Return what defines a column, and note whose texts have been told."""
    column, lineage = node.column(name), node.facts.column(name)
    parts = [f"- `{name}`" + (f" ({column.data_type})" if column.data_type else "")]
    leaves = node.leaves(lineage)
    kind = lineage.kind if lineage else ColumnKind.UNKNOWN
    expression = lineage.expression if lineage else None
    said_by_type = kind is ColumnKind.CAST and column.data_type
    if len(leaves) == 1 and (kind is ColumnKind.RENAME or said_by_type):
        start = f"{kind.value} from "
    else:
        start = "from "
        if expression and kind is not ColumnKind.PASS:
            steps = ", ".join(map(_step_name, lineage.over)) if lineage else ""
            over = f" over {steps}" if steps else ""
            parts.append(f"{kind.value}{over}: {as_people_write(expression)}")
    told_above = []
    for table, leaf_column, text in leaves:
        leaf = (table, folded(leaf_column))
        if text and leaf not in told:
            told.add(leaf)
            parts.append(f"{start}{table}.{leaf_column}: {_on_one_line(text)}")
        else:
            told_above.append(f"{table}.{leaf_column}")
    if told_above:
        parts.append(f"{start}{', '.join(told_above)}")
    if lineage is not None:
        parts += _standing(node, name, lineage)
    if column.tests:
        parts.append(f"tested: {', '.join(column.tests)}")
    if column.tags:
        parts.append(f"tags: {', '.join(column.tags)}")
    if column.meta:
        parts.append(f"meta: {', '.join(f'{key}={text}' for key, text in column.meta.items())}")
    parts += _uses(column)
    if column.values:
        parts.append(f"values in the file: {', '.join(map(repr, column.values))}")
    if column.old_text:
        parts.append(f"text so far: {_on_one_line(column.old_text)}")
    return "\n    ".join(parts)


def _uses(column: ColumnEvidence) -> Iterator[str]:
    """Yield where a column stands downstream, and what is made of it."""
    also = []
    said = set(column.tests)
    for use in column.uses:
        place = f"{use.table}.{use.column}" if use.column else use.table
        if use.expression:
            continue
        if use.description:
            yield f"said of it as {place}: {_on_one_line(use.description)}"
        else:
            also.append(use.table if same_name(use.column, column.name) else place)
    if also:
        more = f" and {len(also) - _MAX_PLACES} more" if len(also) > _MAX_PLACES else ""
        yield f"also in: {', '.join(also[:_MAX_PLACES])}{more}"
    for use in column.uses:
        for test in use.tests:
            if test not in said:
                said.add(test)
                yield f"tested in {use.table}: {test}"
        joined = use.expression.partition(JOINED)[2]
        if use.expression and not (joined and f"found in {joined}" in said):
            place = f"{use.table}.{use.column}" if use.column else use.table
            yield f"used in {place}: {use.expression}"


def _standing(node: NodeEvidence, name: str, lineage: ColumnLineage) -> Iterator[str]:
    """Yield how a column stands in the table: as whose, when empty, when always the same."""
    if lineage.is_plain:
        texts = [(table, table.text_of(c)) for table, c in node.origins(lineage) if table]
        if reason := difference(node, name, lineage, texts[0][1] if texts else ""):
            yield f"here: {reason}"
        if texts and all(text for _, text in texts):
            table, text = texts[0]
            if reason := misfit_words(node, name, lineage, table, text):
                yield f"not in the same words: {reason}"
    elif lineage.fixed:
        yield f"here: always {_value(lineage.fixed)}, by the filters"
    where: dict[str, list[str]] = {}
    for passage, value in lineage.absences:
        where.setdefault(value, []).append(joined_name(node, passage))
    for value, names in where.items():
        yield f"{_value(value)} where {' or '.join(dict.fromkeys(names))} has no row"


def _value(literal: str) -> str:
    return "empty" if literal.upper() == "NULL" else literal


def _step_name(name: str) -> str:
    """Return what people call a step."""
    return name.removeprefix(EPHEMERAL_PREFIX)


def _context_lines(node: NodeEvidence, asked: Sequence[str]) -> Iterator[Line]:
    if node.description:
        yield Line(f"description: {_on_one_line(node.description)}")
    if node.old_text:
        yield Line(f"text so far: {_on_one_line(node.old_text)}")
    if node.source_description:
        yield Line(f"description of its source: {_on_one_line(node.source_description)}")
    if node.materialization:
        contract = ", under a contract" if node.has_contract else ""
        yield Line(f"materialized as: {node.materialization}{contract}")
    if node.tags:
        yield Line(f"tags: {', '.join(node.tags)}")
    for test in node.tests:
        yield Line(f"tested: {test}")
    yield from map(Line, _facts(node))
    if MARKER in (node.sql or ""):
        yield Line(f"'{MARKER}' stands for a value of this build")
    if node.build_values:
        yield Line(f"values of this build alone: {_some(node.build_values)}")
    if node.header:
        yield Line(f"header of the file: {', '.join(node.header)}")
    if node.neighbours:
        yield Line("other tables of this source:", Rank.NEIGHBOUR)
        yield from (Line(text, Rank.NEIGHBOUR) for text in _neighbours(node))
    others = [c for c in node.columns if c.description and c.name not in asked]
    if others:
        yield Line("columns that have a text already:", Rank.OWN)
        yield from (Line(f"- {c.name}: {_on_one_line(c.description)}", Rank.OWN) for c in others)


def _facts(node: NodeEvidence) -> Iterator[str]:
    """Yield what the rows are: one per what, of which, joined how."""
    facts = node.facts
    grains: dict[tuple[str, ...], list[str]] = {}
    for key in node.keys:
        grains[key] = ["unique"]
    for key, why in ((facts.group_by, "GROUP BY"), (facts.row_number_partition, "row_number = 1")):
        if key:
            grains.setdefault(key, []).append(why)
    if grains:
        words = [f"{', '.join(key)} ({', '.join(why)})" for key, why in grains.items()]
        yield f"one row per {'; per '.join(words)}"
    elif facts.distinct:
        yield "rows: distinct"
    if facts.filters:
        yield f"only rows where {_some(facts.filters)}"
    if left_out := _left_out(node):
        yield f"left out of {node.upstream[0].name}: {', '.join(left_out)}"
    steps = [step for step in facts.steps if _says_more(step, facts)]
    if steps:
        yield "made in steps:" if len(steps) > 1 else "made of:"
        for step in steps[:_MAX_STEPS]:
            yield f"- {cut(_step(node, step), _MAX_STEP_CHARS)}"
        if len(steps) > _MAX_STEPS:
            yield f"- {len(steps) - _MAX_STEPS} more"


def _says_more(step: Step, facts: QueryFacts) -> bool:
    """Tell whether a step says more than what stands of the table's rows already."""
    is_own = step is facts.steps[-1] and set(step.group_by) <= set(facts.group_by)
    return len(step.sources) > 1 or bool(step.others) or not is_own


def _step(node: NodeEvidence, step: Step) -> str:
    sources = "; ".join(_source(node, source) for source in step.sources)
    parts = [f"{_step_name(step.name)}: {sources}" if step.name else sources]
    if step.filters and step is not node.facts.steps[-1]:  # whose filters stand above
        parts.append(f"where {' and '.join(map(_in_parentheses, step.filters))}")
    if step.group_by:
        parts.append(f"one row per {', '.join(step.group_by)}")
    return "; ".join(filter(None, [*parts, *step.others]))


def _source(node: NodeEvidence, source: Join) -> str:
    name = _step_name(node.table_name(source.relation))
    alias = f" as {source.alias}" if source.alias else ""
    condition = f" on {source.condition}" if source.condition else ""
    kind = f"{source.kind} join " if source.kind else ""
    return f"{kind}{name}{alias}{condition}"


def _in_parentheses(condition: str) -> str:
    return f"({condition})" if re.search(r"\bor\b", condition, re.IGNORECASE) else condition


def _left_out(node: NodeEvidence) -> list[str]:
    """Return the columns that a table does not take over from the only one that it is made of."""
    facts = node.facts
    if not facts.is_complete or facts.joins or facts.group_by or len(facts.relations) != 1:
        return []
    table = node.upstream_table(facts.relations[0])
    read = {folded(leaf.column) for c in facts.columns.values() for leaf in c.leaves}
    if table is None or len(node.upstream) != 1:
        return []
    left_out = [n for n in table.columns if not {folded(n), folded(n).partition(".")[0]} & read]
    more = len(left_out) - _MAX_CONDITIONS
    return [*left_out[:_MAX_CONDITIONS], *([f"{more} more"] if more > 0 else ())]


def _some(conditions: Sequence[str]) -> str:
    shown = [cut(text, _MAX_CONDITION_CHARS) for text in conditions[:_MAX_CONDITIONS]]
    more = len(conditions) - len(shown)
    return "; ".join([*shown, *([f"{more} more"] if more else ())])


def _neighbours(node: NodeEvidence) -> Iterator[str]:
    documented = [(name, text) for name, text in node.neighbours.items() if text]
    for name, text in documented[:_MAX_NEIGHBOURS]:
        yield f"- {name}: {_on_one_line(text)}"
    others = [name for name, text in node.neighbours.items() if not text][:_MAX_NEIGHBOURS]
    if others:
        yield f"- {', '.join(others)}"


def _upstream_lines(
    node: NodeEvidence, asked: Sequence[str], told: Collection[tuple[str, str]]
) -> Iterator[Line]:
    """Yield what is said of the tables upstream and not with the columns that read them."""
    # What was copied from upstream stands among the table's own texts.
    own = {_on_one_line(c.description) for c in node.columns if c.name not in asked}
    words = set(re.findall(r"\w+", folded(node.sql or "")))
    words.update(folded(leaf.column) for c in node.facts.columns.values() for leaf in c.leaves)
    # Where it is known what the columns are made of, what the SQL does not name is nothing to them.
    is_known = bool(node.facts.columns) and all(map(node.facts.known_column, asked))
    for table in node.upstream:
        if is_inlined(table) and not table.description and not any(table.columns.values()):
            continue  # its SQL stands among the CTEs, and that is all there is of it
        text = f": {_on_one_line(table.description)}" if table.description else ""
        yield Line(f"{table.name}{text}")
        lines = []
        for name, description in table.columns.items():
            line = _on_one_line(description)
            if line and (table.name, folded(name)) not in told and line not in own:
                rank = Rank.READ if folded(name) in words else Rank.UNREAD
                lines.append(Line(f"- {name}: {line}", rank))
        lines = [line for line in lines if line.rank is Rank.READ or not is_known]
        lines.sort(key=lambda line: line.rank is Rank.UNREAD)
        yield from lines[:_MAX_UPSTREAM_COLUMNS]


def without_lines(lines: Sequence[Line], rank: Rank, excess_bytes: int) -> tuple[Line, ...]:
    """Return the lines without so many of a rank, from the last one on, as must go.

    Args:
        lines: Of one block.
        rank: Of those that may go.
        excess_bytes: How much must go.
    """
    kept: list[Line] = []
    for line in reversed(lines):
        if line.rank is rank and excess_bytes > 0:
            excess_bytes -= len(line.text.encode("utf-8", "replace")) + 1
        else:
            kept.append(line)
    return tuple(reversed(kept))
