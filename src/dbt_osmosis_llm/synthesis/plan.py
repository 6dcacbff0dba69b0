"""What a node lacks, the request that asks for it, and the texts that an answer holds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, model_validator

from dbt_osmosis_llm.evidence.budget import fitted
from dbt_osmosis_llm.evidence.facts import MARKER
from dbt_osmosis_llm.evidence.names import folded, plain_name
from dbt_osmosis_llm.evidence.node import NodeEvidence
from dbt_osmosis_llm.evidence.wording import Wording, worded
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.synthesis.checks import Complaint
from dbt_osmosis_llm.synthesis.prompts import PromptKind, Prompts
from dbt_osmosis_llm.synthesis.safe_text import clean_text

_OUTPUT_TOKENS = 300
_OUTPUT_TOKENS_PER_COLUMN = 80
"""A 40-word text, its key and the JSON around it, with room to spare."""

_MAX_COLUMNS = 25
"""Of one request: the more there are, the more of them models get wrong or leave out."""

_SAFE_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Names of properties that every provider's JSON schema takes."""

_OF_THE_BUILD = "Say no value that is one of this build alone: in another one it is another."
_TABLE_ITSELF = "- the table itself: `description`"
"""Among the columns, where a model that reads no schema looks for what is wanted."""
_KEEP = "Keep a text so far word for word where it is still right."
TEXT_OR_NULL = {"type": ["string", "null"]}


@dataclass(frozen=True)
class Missing:
    """The texts that a node lacks."""

    description: bool = False
    columns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(len(self))

    def __len__(self) -> int:
        return len(self.columns) + self.description

    def halves(self) -> tuple[Missing, ...]:
        """Return the same texts in two requests, or in one when there is only one text."""
        if len(self) < 2:
            return (self,)
        # The table's own text stays in the first half, where it takes the place of a column.
        middle = (len(self) + 1) // 2 - self.description
        return Missing(self.description, self.columns[:middle]), Missing(
            columns=self.columns[middle:]
        )

    def without(self, texts: NodeTexts) -> Missing:
        """Return what an answer did not speak of."""
        return Missing(self.description and not texts.description_answered, tuple(texts.unanswered))


@dataclass
class NodeTexts:
    """What the answers for a node gave."""

    description: str | None = None
    description_answered: bool = False
    """The answer spoke of the table, be it by null."""
    columns: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Columns answered null: their meaning cannot be known from the evidence."""
    unanswered: list[str] = field(default_factory=list)
    """Columns the answer left out."""
    invented: list[str] = field(default_factory=list)
    """Names in the answer that are no columns of the node."""
    refused: dict[str, str] = field(default_factory=dict)
    """Texts that must not be written, by name as in `by_name`, with the reason."""

    @property
    def by_name(self) -> dict[str, str]:
        """Return all texts; the empty name stands for the table itself."""
        table = {} if self.description is None else {"": self.description}
        return table | self.columns

    @property
    def without_text(self) -> list[str]:
        """Return the names, as in `by_name`, that were answered without a usable text."""
        table = [""] if self.description_answered and self.description is None else []
        return list(dict.fromkeys([*table, *self.unknown, *self.refused]))

    def correct(self, better: NodeTexts) -> None:
        """Put texts in the place of others."""
        self.description = better.description or self.description
        self.columns.update(better.columns)
        for name in better.by_name:
            self.refused.pop(name, None)

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Take out texts that must not be written.

        Args:
            reasons: Name, as in `by_name`, to what is wrong.
        """
        for name in reasons:
            self.columns.pop(name, None)
        if "" in reasons:
            self.description = None
        self.refused.update(reasons)

    def take(self, more: NodeTexts) -> None:
        """Add the texts of one more answer."""
        self.description = self.description or more.description
        self.description_answered |= more.description_answered
        self.columns.update(more.columns)
        self.unknown.extend(more.unknown)
        self.invented.extend(more.invented)
        self.refused.update(more.refused)
        answered = {*self.columns, *self.unknown, *self.refused}
        left = dict.fromkeys([*self.unanswered, *more.unanswered])
        self.unanswered = [name for name in left if name not in answered]


@dataclass(frozen=True)
class DocumentationRequest(LLMRequest):
    """A question about one node, with what it was made from; providers see the messages alone."""

    node: NodeEvidence = field(kw_only=True, compare=False, repr=False)
    missing: Missing = field(kw_only=True, compare=False, repr=False)
    """What is asked for."""

    @property
    def keys(self) -> dict[str, str]:
        """Return the columns asked for, each with its key in the answer."""
        return answer_keys(self.missing.columns)

    @property
    def is_for_one_column(self) -> bool:
        """Tell whether the answer's description is that of a column."""
        return _prompt_kind(self.missing) == "column"


def answer_keys(columns: tuple[str, ...]) -> dict[str, str]:
    """Return the JSON key of each column: its name, or a number where a schema cannot hold it."""
    keys = {}
    for index, name in enumerate(columns, start=1):
        key = name
        if not _SAFE_KEY.fullmatch(name):
            key = f"column_{index}"
            # A column may have that very name.
            while key in columns:
                key += "_"
        keys[name] = key
    return keys


def build_request(
    node: NodeEvidence,
    missing: Missing,
    prompts: Prompts,
    *,
    max_sql_chars: int | None = None,
    redact_pii: bool = False,
    max_prompt_tokens: int | None = None,
) -> DocumentationRequest:
    """Return the one request for all that a node lacks.

    Args:
        node: What is known.
        missing: What to ask for.
        prompts: The instructions.
        max_sql_chars: Where to cut the SQL.
        redact_pii: Mask personal data.
        max_prompt_tokens: About how many tokens the prompt may take; what is least specific is
            left out of a longer one.
    """
    kind = _prompt_kind(missing)
    keys = answer_keys(missing.columns)
    texts = len(missing.columns) + missing.description

    old_texts = [node.old_text, *(node.column(name).old_text for name in missing.columns)]

    def request_with(wording: Wording) -> DocumentationRequest:
        answer_format = _answer_format(kind, missing, keys)
        if node.build_values or MARKER in (node.sql or ""):
            answer_format += f"\n\n{_OF_THE_BUILD}"
        if any(old_texts):
            answer_format += f"\n\n{_KEEP}"
        values = wording.values()
        if kind == "model" and missing.description:
            values["columns"] = f"{_TABLE_ITSELF}\n{values['columns']}"
        return DocumentationRequest(
            messages=prompts.render(kind, values, answer_format=answer_format),
            schema=_schema(kind, missing, keys),
            max_output_tokens=_OUTPUT_TOKENS + _OUTPUT_TOKENS_PER_COLUMN * len(missing.columns),
            custom_id=node.unique_id,
            description=f"{texts} text{'s' if texts != 1 else ''} of {node.name}",
            node=node,
            missing=missing,
        )

    wording = worded(node, missing.columns, max_sql_chars=max_sql_chars, redact_pii=redact_pii)
    if max_prompt_tokens is not None:
        wording = fitted(
            wording,
            node,
            missing.columns,
            # The whole request, because its schema takes tokens, too.
            lambda candidate: request_with(candidate).expected_usage.input_tokens,
            max_prompt_tokens,
        )
    return request_with(wording)


def correction_request(
    request: DocumentationRequest, texts: Mapping[str, str], complaints: Sequence[Complaint]
) -> DocumentationRequest:
    """Return the request that asks for texts once more and says what was wrong with them.

    Args:
        request: That asks for them.
        texts: Column name to text, the empty name for the table.
        complaints: About these texts.
    """
    faults: dict[str, list[str]] = {}
    for complaint in complaints:
        faults.setdefault(complaint.column, []).append(complaint.message)
    lines = [
        f"- {name or 'the table'}: {texts.get(name, '')!r} {'; '.join(messages)}"
        for name, messages in faults.items()
    ]
    words = "\n".join(
        ["These texts were written before. Each has a fault; write it again:", *lines]
    )
    return replace(request, messages=(*request.messages, Message("user", words)))


def in_parts(missing: Missing, node: NodeEvidence) -> list[Missing]:
    """Return what one request each asks for: at most 25 columns, neighbours in the SQL together.

    The table's own text is asked for once, with the first of them.
    """
    place = {plain_name(name): index for index, name in enumerate(node.facts.columns)}
    columns = sorted(missing.columns, key=lambda name: place.get(plain_name(name), len(place)))
    # 26 columns make 13 and 13, not 25 and 1: of a long list models get more wrong.
    count = max(1, math.ceil(len(columns) / _MAX_COLUMNS))
    size = math.ceil(len(columns) / count)
    parts = [tuple(columns[start : start + size]) for start in range(0, len(columns), size or 1)]
    first, *rest = parts or [()]
    return [Missing(missing.description, first), *(Missing(columns=part) for part in rest)]


def _prompt_kind(missing: Missing) -> PromptKind:
    if not missing.columns:
        return "table"
    return "column" if len(missing.columns) == 1 and not missing.description else "model"


def _schema(kind: PromptKind, missing: Missing, keys: Mapping[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if kind != "model" or missing.description:
        properties["description"] = TEXT_OR_NULL
    if kind == "model":
        # One required property per column: an array lets models repeat and skip names.
        properties["columns"] = object_schema(dict.fromkeys(keys.values(), TEXT_OR_NULL))
    return object_schema(properties)


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object that has all of these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _answer_format(kind: PromptKind, missing: Missing, keys: Mapping[str, str]) -> str:
    start = "Answer with one JSON object and nothing else:"
    if kind != "model":
        return f'{start} {{"description": text or null}}.'
    table = '"description": text or null, ' if missing.description else ""
    text = (
        f'{start} {{{table}"columns": {{"<column>": text or null, …}}}}, '
        "with every listed column once, under its exact name."
    )
    numbered = [f"`{name}` is {key!r}" for name, key in keys.items() if name != key]
    return f"{text} In the JSON, {'; '.join(numbered)}." if numbered else text


def _text_of(value: Any) -> Any:
    """Take the text out of ``{"description": text}``, which models without a schema write."""
    return value.get("description") if isinstance(value, Mapping) else value


def _columns_of(value: Any) -> Any:
    """Make a mapping of ``[{"name": …, "description": …}]``; leave out what is no text."""
    if isinstance(value, list):
        value = {str(c["name"]): c for c in value if isinstance(c, Mapping) and "name" in c}
    if not isinstance(value, Mapping):
        return value
    # A mapping without a description was cut off before it, or is about something else.
    answered = {k: v for k, v in value.items() if not isinstance(v, Mapping) or "description" in v}
    texts = {str(key): _text_of(given) for key, given in answered.items()}
    return {key: text for key, text in texts.items() if text is None or isinstance(text, str)}


class DocumentationAnswer(BaseModel):
    """What a model answers about a table, in any of the shapes that models write."""

    description: Annotated[str | None, BeforeValidator(_text_of)] = None
    columns: Annotated[dict[str, str | None], BeforeValidator(_columns_of)] = {}

    @model_validator(mode="after")
    def _speaks_of_something(self) -> DocumentationAnswer:
        if "description" not in self.model_fields_set and not self.columns:
            raise ValueError("none of the keys asked for")
        return self


def read_texts(answer: DocumentationAnswer, missing: Missing) -> NodeTexts:
    """Return the usable texts of an answer, matched to the columns asked for.

    Names match exactly, else whatever their case where that leaves one column.
    """
    texts = NodeTexts()
    has_description = "description" in answer.model_fields_set
    if missing.description:
        texts.description = clean_text(answer.description)
        texts.description_answered = has_description
    given = answer.columns
    if _prompt_kind(missing) == "column" and has_description:
        given = {missing.columns[0]: answer.description}
    column_names = _ColumnNames(missing.columns)
    for key, value in given.items():
        name = column_names.find(key)
        if name is None:
            texts.invented.append(key)
        elif (text := clean_text(value)) is None:
            texts.unknown.append(name)
        else:
            texts.columns[name] = text
    answered = {*texts.columns, *texts.unknown}
    texts.unanswered.extend(name for name in missing.columns if name not in answered)
    return texts


class _ColumnNames:
    """Finds the column that a name in an answer means."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._exact = {key: name for name, key in answer_keys(columns).items()}
        # Some models write the name where the schema has a number in its place.
        self._exact |= {name: name for name in columns}
        self._folded: dict[str, set[str]] = {}
        for key, name in self._exact.items():
            self._folded.setdefault(folded(key), set()).add(name)

    def find(self, key: str) -> str | None:
        """Return the column's name; None when no column or more than one fits."""
        if key in self._exact:
            return self._exact[key]
        names = self._folded.get(plain_name(key.strip()), set())
        return next(iter(names)) if len(names) == 1 else None
