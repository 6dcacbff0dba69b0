"""Writes from the evidence alone: no network, no key, the same text every time.

Honest rather than clever: a sentence says what the SQL and the tests show, and null where they
show nothing. It serves as a first draft that costs nothing and as the whole chain's test double.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse

if TYPE_CHECKING:
    from dbt_osmosis_llm.llm.client import LLMConfig
    from dbt_osmosis_llm.llm.providers.registry import ProviderSpec

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
    """Answers from a request's ``evidence`` instead of asking a model."""

    def __init__(self, config: LLMConfig, spec: ProviderSpec) -> None:
        self.provider = spec.name
        self.model = config.model

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Return the JSON that the request's schema asks for."""
        answer = _answer(request.schema or {}, request.evidence)
        return LLMResponse(
            text=json.dumps(answer, ensure_ascii=False),
            provider=self.provider,
            model=self.model,
        )


def _answer(schema: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    columns = {str(c["key"]): column_sentence(c, evidence) for c in evidence.get("columns", ())}
    answer: dict[str, Any] = {}
    if "columns" in properties:
        wanted = properties["columns"].get("properties", {})
        answer["columns"] = {key: columns.get(key) for key in wanted}
        if "description" in properties:
            answer["description"] = table_sentence(evidence)
    elif "description" in properties:
        # Asked for one text only: a single column's, or the table's when no column is asked.
        only = next(iter(columns.values())) if columns else table_sentence(evidence)
        answer["description"] = only
    return answer


def table_sentence(table: Mapping[str, Any]) -> str | None:
    """Return what a table is made of, or None when there is no SQL to say it from."""
    reads = _listed([_code(name) for name in dict.fromkeys(table.get("reads", ()))])
    if not reads:
        return None
    joins, unions = table.get("joins"), table.get("set_operations")
    if table.get("group_by") or (table.get("aggregates") and not unions):
        text = f"Aggregates of {reads}"
    elif unions and all("union" in operation.lower() for operation in unions):
        text = f"Union of rows of {reads}"
    elif joins and len(table["reads"]) > 1:
        text = f"Joins {reads}"
    else:
        text = f"{'Distinct rows' if table.get('distinct') else 'Rows'} of {reads}"
    grain = _grain(table)
    text += f", one row per {_codes(grain)}." if grain else "."
    filters = [f for f in table.get("filters", ()) if len(f) <= _MAX_EXPRESSION]
    # A filter inside one side of a join or union says nothing of the rows that come out.
    if filters and not joins and not unions:
        text += f" Only rows where {_codes(filters[:3])}."
    return text


def _grain(table: Mapping[str, Any]) -> Sequence[str]:
    """Return the columns that tell rows apart, as the SQL has them or else as tests promise."""
    if table.get("group_by"):
        return list(table["group_by"])
    unions, joins = table.get("set_operations"), table.get("joins")
    if table.get("deduplicated_by") and not unions and not joins:
        return list(table["deduplicated_by"])
    keys: list[Sequence[str]] = sorted(table.get("keys", ()), key=len)
    return keys[0] if keys else ()


def column_sentence(
    column: Mapping[str, Any], table: Mapping[str, Any] | None = None
) -> str | None:
    """Return what a column is computed from and what its tests promise, or None.

    Args:
        column: One of the table's.
        table: What is known of the table.
    """
    defined = _definition(column, table or {})
    # Texts travel downstream, where a key may repeat and be null: only values stay what they are.
    stays_true = ("one of ", "found in ")
    tested = _tested([t for t in column.get("tests", ()) if t.startswith(stays_true)])
    return " ".join(part for part in (defined, tested) if part) or None


def _definition(column: Mapping[str, Any], table: Mapping[str, Any]) -> str | None:
    kind, expression = column.get("kind"), column.get("expression") or ""
    upstream = column.get("upstream", ())
    if len(upstream) == 1 and kind in {"pass", "rename", "cast"}:
        source = upstream[0]
        if source["description"]:
            return str(source["description"])
        same_name = str(source["column"]).lower() == str(column["name"]).lower()
        return None if same_name else f"{_origins(upstream)}."
    if kind == "literal" and len(expression) <= _MAX_EXPRESSION:
        return f"Constant {_code(expression)}."
    if kind == "union" and expression:
        return f"From {_origins(upstream)}." if upstream else None
    if kind == "aggregate":
        # An inlined aggregate reads as if it were taken here, where a join may have lost rows.
        text = _aggregate(expression, upstream, table)
    elif kind in {"derived", "window"}:
        text = _computed_as(expression, upstream)
    else:
        return _computed_from(upstream) or _said_downstream(column.get("uses", ()))
    if not text and (values := _case_values(expression)) and upstream:
        listed = any(test.startswith("one of ") for test in column.get("tests", ()))
        text = None if listed else f"One of {_listed(values)}, by {_origins(upstream)}."
    return _with_meaning(text, upstream) if text else _computed_from(upstream)


def _said_downstream(uses: Sequence[Mapping[str, str]]) -> str | None:
    """Return what all models that pass a column on unchanged say of it."""
    texts = {use["description"] for use in uses if use["description"]}
    return texts.pop() if len(texts) == 1 else None


def _computed_as(expression: str, upstream: Sequence[Mapping[str, str]]) -> str | None:
    default = _DEFAULT.match(expression)
    if default and (meaning := _meaning(upstream)):
        return f"{_full(meaning)} {_code(default[1])} where there is none."
    if number := _ROW_NUMBER.match(expression):
        return f"Row number within {_code(number[1])}, ordered by {_code(number[2])}."
    if not expression or len(expression) > _MAX_EXPRESSION or _case_values(expression):
        return None
    # The text travels to other tables, with copies of the column.
    tables = {source["table"] for source in upstream}
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


def _with_meaning(text: str, upstream: Sequence[Mapping[str, str]]) -> str:
    """Return a text and what the one column that it speaks of means, if that is short."""
    meaning = _meaning(upstream).partition(". ")[0]
    if not meaning or meaning in text:
        return text
    longer = f"{text} {_code(upstream[0]['column'])}: {_full(meaning)}"
    return longer if len(longer.split()) <= _MAX_WORDS else text


def _meaning(upstream: Sequence[Mapping[str, str]]) -> str:
    """Return the text of the only source, unless it speaks of sources of its own."""
    text = upstream[0]["description"] if len(upstream) == 1 else ""
    return "" if "`" in text or "One of " in text else text


def _full(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _aggregate(
    expression: str, upstream: Sequence[Mapping[str, str]], table: Mapping[str, Any]
) -> str | None:
    zero = _ZERO_FOR_NONE.match(expression)
    call = _SIMPLE_CALL.match(zero[1] if zero else expression)
    if call is None:
        return None
    name, distinct, argument = call[1].lower(), call[2], call[3]
    if name == "count" and argument == "*":
        per_group = _per_group(expression, table)
        if table.get("inner_groupings") and not per_group:
            return None  # grouped in a way that cannot be said: not the number of all rows
        return f"Number of rows{per_group}{', 0 where there is none' if zero else ''}."
    wording = _AGGREGATES.get(name)
    if name == "count" and distinct:
        wording = "Number of distinct {column} values"
    if wording is None:
        return None
    text = wording.format(column=_code(argument.rpartition(".")[2]))
    if len(upstream) == 1:
        text += f" of {_code(upstream[0]['table'])}"
    text += _per_group(expression, table)
    return f"{text}{', 0 where there is none' if zero else ''}."


def _per_group(expression: str, table: Mapping[str, Any]) -> str:
    keys, inner = list(table.get("group_by", ())), table.get("inner_groupings", ())
    if not keys and len(inner) == 1 and re.fullmatch(r"[\w.]+(, [\w.]+)*", inner[0]):
        keys = inner[0].split(", ")
    if not 0 < len(keys) <= _MAX_GROUP_KEYS or expression in keys:
        return ""
    names = [key.rpartition(".")[2] if re.fullmatch(r"[\w.]+", key) else key for key in keys]
    return f" per {_codes(names)}"


def _tested(tests: Sequence[str]) -> str | None:
    return f"{_capital(_listed(list(tests)))}." if tests else None


def _computed_from(upstream: Sequence[Mapping[str, str]]) -> str | None:
    return f"Computed from {_origins(upstream)}." if upstream else None


def _origins(upstream: Sequence[Mapping[str, str]]) -> str:
    shown = [f"{_code(leaf['column'])} of {_code(leaf['table'])}" for leaf in upstream[:4]]
    return _listed(shown)


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _codes(texts: Sequence[str]) -> str:
    return _listed([_code(text) for text in texts])


def _code(text: str) -> str:
    return f"`{text}`"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def create_client(config: LLMConfig, spec: ProviderSpec) -> OfflineClient:
    """Return the offline client; the row is all it needs."""
    return OfflineClient(config, spec)
