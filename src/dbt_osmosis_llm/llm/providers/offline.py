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
    columns = {str(c["key"]): column_sentence(c) for c in evidence.get("columns", ())}
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
    if not table.get("group_by") and table.get("aggregates") and not unions:
        return f"Aggregates of {reads}."
    if table.get("group_by"):
        text = f"Aggregates of {reads}, one row per {_codes(table['group_by'])}."
    elif unions and all("union" in operation.lower() for operation in unions):
        text = f"Union of rows of {reads}."
    elif joins and len(table["reads"]) > 1:
        text = f"Joins {reads}."
    elif table.get("deduplicated_by"):
        text = f"Rows of {reads}, one row per {_codes(table['deduplicated_by'])}."
    else:
        text = f"{'Distinct rows' if table.get('distinct') else 'Rows'} of {reads}."
    filters = [f for f in table.get("filters", ()) if len(f) <= _MAX_EXPRESSION]
    # A filter inside one side of a join or union says nothing of the rows that come out.
    if filters and not joins and not unions:
        text += f" Only rows where {_codes(filters[:3])}."
    return text


def column_sentence(column: Mapping[str, Any]) -> str | None:
    """Return what a column is computed from and what its tests promise, or None."""
    defined = _definition(column)
    # Texts travel downstream, where a key may repeat and be null: only value lists stay true.
    tested = _tested([t for t in column.get("tests", ()) if t not in {"unique", "never null"}])
    return " ".join(part for part in (defined, tested) if part) or None


def _definition(column: Mapping[str, Any]) -> str | None:
    kind, expression = column.get("kind"), column.get("expression")
    upstream = column.get("upstream", ())
    if len(upstream) == 1 and kind in {"pass", "rename", "cast"}:
        source = upstream[0]
        if source["description"]:
            return str(source["description"])
        same_name = str(source["column"]).lower() == str(column["name"]).lower()
        return None if same_name else f"{_origins(upstream)}."
    if not expression or len(expression) > _MAX_EXPRESSION:
        return _computed_from(upstream)
    if kind == "literal":
        return f"Constant {_code(expression)}."
    if kind == "aggregate":
        # An inlined aggregate reads as if it were taken here, where a join may have lost rows.
        return _aggregate(expression, upstream) or _computed_from(upstream)
    if kind == "union":
        return f"From {_origins(upstream)}." if upstream else None
    if kind in {"derived", "window"}:
        return f"Computed as {_code(expression)}."
    return None


def _aggregate(expression: str, upstream: Sequence[Mapping[str, str]]) -> str | None:
    zero = _ZERO_FOR_NONE.match(expression)
    call = _SIMPLE_CALL.match(zero[1] if zero else expression)
    if call is None:
        return None
    name, distinct, argument = call[1].lower(), call[2], call[3]
    if name == "count" and argument == "*":
        return "Number of rows."
    wording = _AGGREGATES.get(name)
    if name == "count" and distinct:
        wording = "Number of distinct {column} values"
    if wording is None:
        return None
    text = wording.format(column=_code(argument.rpartition(".")[2]))
    table = f" of {_code(upstream[0]['table'])}" if len(upstream) == 1 else ""
    return f"{text}{table}{', 0 where there is none' if zero else ''}."


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
