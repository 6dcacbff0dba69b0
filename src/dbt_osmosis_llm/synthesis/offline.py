"""Writes from the evidence alone: no network, no key, the same text every time.

Honest rather than clever: a sentence says what the SQL and the tests show, and null where they
show nothing. It serves as a first draft that costs nothing and as the whole chain's test double.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from dbt_osmosis_llm.evidence.build_values import build_value_in
from dbt_osmosis_llm.evidence.facts import ColumnKind, ColumnLineage, Step
from dbt_osmosis_llm.evidence.fitting import (
    OF_WHICH,
    ONLY_WHERE,
    difference,
    misfit_words,
    names_of_others,
    role_of,
)
from dbt_osmosis_llm.evidence.names import same_name
from dbt_osmosis_llm.evidence.node import ColumnEvidence, ColumnUse, NodeEvidence
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse
from dbt_osmosis_llm.synthesis.plan import DocumentationRequest

Source = tuple[str, str, str]
"""Table, column and text of a real column that another one is made of."""

_MAX_EXPRESSION = 160
_AGGREGATES = {
    "sum": "Sum of {column}",
    "avg": "Average of {column}",
    "min": "Smallest {column}",
    "max": "Largest {column}",
    "count": "Number of non-null {column} values",
    "any_value": "Any {column}",
    "median": "Median of {column}",
}
_ZERO_FOR_NONE = re.compile(r"^coalesce\((.+), 0\)$", re.IGNORECASE)
_SIMPLE_CALL = re.compile(r"^(\w+)\(\s*(distinct\s+)?((?:\w+\.)?\w+|\*)\s*\)$", re.IGNORECASE)
_DEFAULT = re.compile(r"^coalesce\((?:\w+\.)?\w+, ('[^']*'|[\d.]+)\)$", re.IGNORECASE)
_ROW_NUMBER = re.compile(
    r"^row_number\(\) over \(partition by ([^()]+) order by ([^()]+)\)$", re.IGNORECASE
)
_TOKEN = re.compile(r"'(?:[^']|'')*'|\w+|[^\w\s]")
_MAX_GROUP_KEYS = 3
_MAX_WORDS = 40
"""Of a text with what its source means added to it."""


class OfflineClient:
    """Answers what the engine asks from the evidence instead of asking a model."""

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Return the JSON that the schema asks for: nulls, where the engine did not ask."""
        answer = _answer(request) if isinstance(request, DocumentationRequest) else _nulls(request)
        return LLMResponse(
            text=json.dumps(answer, ensure_ascii=False),
            provider=self.provider,
            model=self.model,
        )


def _nulls(request: LLMRequest) -> Mapping[str, object]:
    return dict.fromkeys((request.schema or {}).get("properties", ()))


def _answer(request: DocumentationRequest) -> Mapping[str, object]:
    node, keys = request.node, request.keys
    columns = {key: column_sentence(node, name) for name, key in keys.items()}
    if request.is_for_one_column:
        return {"description": next(iter(columns.values()))}
    table: dict[str, object] = {}
    if request.missing.description:
        table["description"] = table_sentence(node)
    return table | ({"columns": columns} if columns else {})


def table_sentence(node: NodeEvidence) -> str | None:
    """Return what a table is made of, or None when there is no SQL to say it from."""
    facts = node.facts
    tables = [node.table_name(relation) for relation in facts.relations]
    names = _listed([_code(name) for name in dict.fromkeys(tables)])
    if not names:
        return None
    joins, unions = facts.joins, facts.set_operations
    aggregates = any(c.kind is ColumnKind.AGGREGATE for c in facts.columns.values())
    if facts.group_by or (aggregates and not unions):
        text = f"Aggregates of {names}"
    # EXCEPT and INTERSECT leave rows out.
    elif unions and all("union" in operation.lower() for operation in unions):
        text = f"Union of rows of {names}"
    elif joins and len(tables) > 1:
        text = f"Joins {names}"
    else:
        text = f"{'Distinct rows' if facts.distinct else 'Rows'} of {names}"
    grain = _grain(node)
    text += f", one row per {_codes(grain)}." if grain else "."
    filters = [f for f in facts.filters if len(f) <= _MAX_EXPRESSION and not _is_built(f, node)]
    if filters:
        text += f" Only rows where {_codes(filters[:3])}."
    return text


def _grain(node: NodeEvidence) -> Sequence[str]:
    """Return the columns that tell rows apart, as the SQL has them or else as tests promise."""
    facts = node.facts
    if facts.group_by:
        return () if _is_built(" ".join(facts.group_by), node) else facts.group_by
    # Joined or in a union, the rows that were told apart may come more than once.
    if facts.row_number_partition and not facts.set_operations and not facts.joins:
        partition = facts.row_number_partition
        return () if _is_built(" ".join(partition), node) else partition
    return min(node.keys, key=len, default=())


def _is_built(expression: str, node: NodeEvidence) -> bool:
    """Tell whether an expression holds a value that is another one in another build."""
    return build_value_in(expression, node.build_values) is not None


def column_sentence(node: NodeEvidence, name: str) -> str | None:
    """Return what a column is computed from and what its tests promise, or None.

    Args:
        node: The table.
        name: Of the column, exactly.
    """
    column = node.column(name)
    defined = _definition(column, node)
    # Texts travel downstream, where a key may repeat and be null: only values stay what they are.
    stays_true = ("one of ", "found in ")
    tested = _tested([test for test in column.tests if test.startswith(stays_true)])
    return " ".join(part for part in (defined, tested) if part) or None


def _definition(column: ColumnEvidence, node: NodeEvidence) -> str | None:
    lineage = node.facts.column(column.name)
    kind = lineage.kind if lineage else ColumnKind.UNKNOWN
    expression = (lineage.expression if lineage else None) or ""
    sources = node.leaves(lineage)
    plain = {ColumnKind.PASS, ColumnKind.RENAME, ColumnKind.CAST}
    if lineage is not None and len(sources) == 1 and kind in plain:
        return _passed_on(node, column, lineage)
    if is_built := _is_built(expression, node):
        if not sources:
            return "Set when the project is built."
        expression = ""  # nothing of it is said
    if kind is ColumnKind.LITERAL and len(expression) <= _MAX_EXPRESSION:
        return f"Constant {_code(expression)}."
    if kind is ColumnKind.UNION and (expression or is_built):
        return f"From {_origins(sources)}." if sources else None
    sentence: str | None
    if kind is ColumnKind.AGGREGATE:
        # An inlined aggregate reads as if it were taken here, where a join may have lost rows.
        sentence = _aggregate(expression, sources, node, lineage)
    elif kind in {ColumnKind.DERIVED, ColumnKind.WINDOW}:
        sentence = _computed_as(expression, sources)
    else:
        return _computed_from(sources) or _said_downstream(node, column.uses)
    if not sentence and (values := _case_values(expression)) and sources:
        # What its tests list is said with them.
        is_listed = any(test.startswith("one of ") for test in column.tests)
        sentence = None if is_listed else f"One of {_listed(values)}, by {_origins(sources)}."
    return _with_meaning(sentence, sources) if sentence else _computed_from(sources)


def _passed_on(node: NodeEvidence, column: ColumnEvidence, lineage: ColumnLineage) -> str | None:
    """Return the text of what a column is, with what differs here."""
    ((_, source, text),) = node.leaves(lineage)
    ((table, _),) = node.origins(lineage)
    if lineage.fixed and not _is_built(lineage.fixed, node):
        value = "empty" if lineage.fixed.upper() == "NULL" else _code(lineage.fixed)
        return f"Always {value}."
    if table and text and (why := misfit_words(node, column.name, lineage, table, text)):
        condition = why.removeprefix(ONLY_WHERE)
        is_about_rows = condition != why and not why.endswith(OF_WHICH)
        if is_about_rows and len(condition) <= _MAX_EXPRESSION and not _is_built(condition, node):
            text = f"{_as_sentence(text)} Only rows where {_code(condition)}."
        else:
            text = ""
    name = _origins(node.leaves(lineage))
    if role := next((p.name for p in lineage.passages if role_of(node, p)), ""):
        text = f"{(text or name).rstrip('.')}, of {_code(role)}."
    elif not text or difference(node, column.name, lineage, text):
        text = "" if same_name(source, column.name) and not lineage.passages else f"{name}."
    return " ".join(filter(None, (text, _absent(lineage) if text else ""))) or None


def _absent(lineage: ColumnLineage) -> str:
    """Return what a column is where a joined table has no row."""
    values = {value for _, value in lineage.absences}
    names = _codes(list(dict.fromkeys(passage.name for passage, _ in lineage.absences)))
    if len(values) != 1 or not names:
        return ""
    value = values.pop()
    said = "Empty" if value.upper() == "NULL" else _code(value)
    return f"{said} where {names} has no row."


def _said_downstream(node: NodeEvidence, uses: Sequence[ColumnUse]) -> str | None:
    """Return what all models that pass a column on unchanged say of it."""
    texts = {use.description for use in uses if use.description and not use.expression}
    text = texts.pop() if len(texts) == 1 else ""
    return text if text and not names_of_others(node, text) else None


def _computed_as(expression: str, sources: Sequence[Source]) -> str | None:
    default = _DEFAULT.match(expression)
    if default and (meaning := _meaning(sources)):
        return f"{_as_sentence(meaning)} {_code(default[1])} where there is none."
    if number := _ROW_NUMBER.match(expression):
        return f"Row number within {_code(number[1])}, ordered by {_code(number[2])}."
    if not expression or len(expression) > _MAX_EXPRESSION or _case_values(expression):
        return None
    # The text travels to other tables, with copies of the column.
    tables = {table for table, _, _ in sources}
    where = f" of {_code(tables.pop())}" if len(tables) == 1 else ""
    return f"Computed as {_code(expression)}{where}."


def _case_values(expression: str) -> list[str]:
    """Return the results of a CASE that gives nothing but strings, else nothing."""
    tokens = _TOKEN.findall(expression)
    words = [token.upper() for token in tokens]
    if words[:1] != ["CASE"] or words[-1] != "END" or words.count("CASE") > 1:
        return []
    values = []
    for index, word in enumerate(words[:-2]):
        if word in {"THEN", "ELSE"}:
            if tokens[index + 1][0] != "'" or words[index + 2] not in {"WHEN", "ELSE", "END"}:
                return []
            values.append(tokens[index + 1])
    return list(dict.fromkeys(values))


def _with_meaning(text: str, sources: Sequence[Source]) -> str:
    """Return a text and what the one column that it speaks of means, if that is short."""
    meaning = _meaning(sources).partition(". ")[0]
    if not meaning or meaning in text:
        return text
    longer = f"{text} {_code(sources[0][1])}: {_as_sentence(meaning)}"
    return longer if len(longer.split()) <= _MAX_WORDS else text


def _meaning(sources: Sequence[Source]) -> str:
    """Return the text of the only source, unless it speaks of sources of its own."""
    text = sources[0][2] if len(sources) == 1 else ""
    return "" if "`" in text or "One of " in text else text


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _step_of(node: NodeEvidence, lineage: ColumnLineage | None) -> Step | None:
    """Return the one query over whose rows an aggregate is taken, None where it is the table's."""
    if lineage is None or len(lineage.over) != 1:
        return None
    return next((step for step in node.facts.steps if step.name == lineage.over[0]), None)


def _rows_counted(node: NodeEvidence, step: Step, none: str) -> str | None:
    """Return what the number of the rows of a query is the number of."""
    parts = (*step.filters, *step.group_by)
    is_short = len(step.filters) <= 2 and len(step.group_by) <= _MAX_GROUP_KEYS
    if not is_short or any(len(p) > _MAX_EXPRESSION or _is_built(p, node) for p in parts):
        return None
    of = f" of {_code(node.table_name(step.sources[0].relation))}" if step.sources else ""
    where = f" where {_codes(step.filters)}" if step.filters else ""
    per = f" per {_codes([key.rpartition('.')[2] for key in step.group_by])}"
    return f"Number of rows{of}{where}{per if step.group_by else ''}{none}."


def _aggregate(
    expression: str,
    sources: Sequence[Source],
    node: NodeEvidence,
    lineage: ColumnLineage | None,
) -> str | None:
    zero = _ZERO_FOR_NONE.match(expression)
    call = _SIMPLE_CALL.match(zero[1] if zero else expression)
    if call is None:
        return None
    name, distinct, argument = call[1].lower(), call[2], call[3]
    if name == "count" and argument == "*":
        none = ", 0 where there is none" if zero else ""
        step = _step_of(node, lineage)
        if step is not None:
            return _rows_counted(node, step, none)
        per_group = _per_group(expression, node)
        if _inner_groupings(node) and not per_group:
            return None  # grouped in a way that cannot be said: not the number of all rows
        return f"Number of rows{per_group}{none}."
    wording = _AGGREGATES.get(name)
    if name == "count" and distinct:
        wording = "Number of distinct {column} values"
    if wording is None:
        return None
    text = wording.format(column=_code(argument.rpartition(".")[2]))
    if len(sources) == 1:
        text += f" of {_code(sources[0][0])}"
    text += _per_group(expression, node)
    return f"{text}{', 0 where there is none' if zero else ''}."


def _inner_groupings(node: NodeEvidence) -> Sequence[str]:
    """Return the GROUP BY lists of what a table reads, where it has none of its own."""
    return () if node.facts.group_by else node.facts.groupings


def _per_group(expression: str, node: NodeEvidence) -> str:
    keys, inner = list(node.facts.group_by), _inner_groupings(node)
    if not keys and len(inner) == 1 and re.fullmatch(r"[\w.]+(, [\w.]+)*", inner[0]):
        keys = inner[0].split(", ")
    # An aggregate among the keys is an inner query's, which is not taken per itself.
    is_key = expression in node.facts.expressions_of(keys)
    if not 0 < len(keys) <= _MAX_GROUP_KEYS or is_key:
        return ""
    if _is_built(" ".join(keys), node):
        return ""
    names = [key.rpartition(".")[2] if re.fullmatch(r"[\w.]+", key) else key for key in keys]
    return f" per {_codes(names)}"


def _tested(tests: Sequence[str]) -> str | None:
    return f"{_capital(_listed(list(tests)))}." if tests else None


def _computed_from(sources: Sequence[Source]) -> str | None:
    return f"Computed from {_origins(sources)}." if sources else None


def _origins(sources: Sequence[Source]) -> str:
    shown = [f"{_code(column)} of {_code(table)}" for table, column, _ in sources[:4]]
    return _listed(shown)


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _codes(texts: Sequence[str]) -> str:
    return _listed([_code(text) for text in texts])


def _code(text: str) -> str:
    return f"`{text}`"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
