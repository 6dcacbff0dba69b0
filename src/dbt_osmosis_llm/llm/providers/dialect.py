"""What an endpoint accepts of a request, and what to leave out after it has rejected something."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from dbt_osmosis_llm.llm.exceptions import LLMAPIError

# 422 is how servers made with FastAPI refuse a parameter.
_REJECTIONS = (400, 422)
_UNKNOWN = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed"
    r"|default|deprecated|extra[_ ]|invalid|instead",
    re.IGNORECASE,
)
_SCHEMA = re.compile(
    r"response_?format|json_?schema|responseJsonSchema|response_json_schema|output_config"
    r"|output_format|structured[ _-]output|json mode|response_?mime_?type|guided|grammar",
    re.IGNORECASE,
)
_BOUND = re.compile(r"\bmax_(completion_)?tokens\b|\bmaxOutputTokens\b|max_output_tokens")
_MOST = re.compile(r"\d > (\d{2,7})\b|at most (\d{2,7})\b|less than or equal to (\d{2,7})\b")
_INVALID_SCHEMA = re.compile(r"invalid schema", re.IGNORECASE)
_BOUNDS = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}


class SchemaSupport(IntEnum):
    """How an endpoint can be told the JSON it should answer with, from least to most."""

    NONE = 0
    """The prompt alone says it."""
    JSON = 1
    """That it is JSON."""
    SCHEMA = 2
    """By a JSON schema."""
    STRICT = 3
    """By a JSON schema that the answer is sure to follow."""


@dataclass(frozen=True)
class Dialect:
    """What an endpoint is known, or hoped, to accept."""

    schema: SchemaSupport = SchemaSupport.STRICT
    temperature: bool = True
    output_bound: str | None = "max_completion_tokens"
    """Name of the parameter that bounds the answer; None: it takes none."""
    bound_renamed: bool = False
    bound_required: bool = False
    """True: the parameter cannot be left out."""
    max_output_tokens: int | None = None
    """What the endpoint says is the most that it takes for it."""

    def bounded(self, tokens: int) -> int:
        """Return a bound that the endpoint takes."""
        return tokens if self.max_output_tokens is None else min(tokens, self.max_output_tokens)

    def without_rejected(self, error: LLMAPIError, body: Mapping[str, Any]) -> Dialect | None:
        """Return the dialect without what an error names, or None when it names nothing of ours.

        Args:
            error: What the endpoint answered.
            body: What was sent: only what stands in it can have been rejected.
        """
        if error.status_code not in _REJECTIONS:
            return None
        simpler = self._without(error, body)
        return None if simpler == self else simpler

    def _without(self, error: LLMAPIError, body: Mapping[str, Any]) -> Dialect:
        complaint = f"{error} {error.param or ''}"
        sent_names = _keys(body)
        names_temperature = re.search(r"\btemperature\b", complaint) and _UNKNOWN.search(complaint)
        if "temperature" in sent_names and (error.param == "temperature" or names_temperature):
            return replace(self, temperature=False)
        # Some name the older parameter whichever was sent.
        if self.output_bound in sent_names and _BOUND.search(complaint):
            return self._with_other_bound(complaint)
        sent_strict = self.schema is SchemaSupport.STRICT and "response_format" in sent_names
        if sent_strict and re.search(r"\bstrict\b", complaint, re.IGNORECASE):
            return replace(self, schema=SchemaSupport.SCHEMA)
        if sent_names & _SCHEMA_KEYS and _SCHEMA.search(complaint):
            # Strict takes fewer schemas; without it the same one may do.
            invalid = _INVALID_SCHEMA.search(complaint) and self.schema is SchemaSupport.STRICT
            support = SchemaSupport.SCHEMA if invalid else self._less_schema()
            return replace(self, schema=support)
        return self

    def _with_other_bound(self, complaint: str) -> Dialect:
        # The size of a context window is no bound on the answer alone.
        maximum = None if "context" in complaint.lower() else _MOST.search(complaint)
        if maximum:
            return replace(self, max_output_tokens=int(next(filter(None, maximum.groups()))))
        if self.bound_required:
            return self
        # Once only: between two names that are both rejected there would be no end.
        if not self.bound_renamed and self.output_bound in _BOUNDS and _UNKNOWN.search(complaint):
            return replace(self, output_bound=_BOUNDS[self.output_bound], bound_renamed=True)
        return replace(self, output_bound=None)  # under any name, or too large for the model

    def _less_schema(self) -> SchemaSupport:
        # A server without json_schema has it neither strict nor lax.
        return SchemaSupport.JSON if self.schema > SchemaSupport.JSON else SchemaSupport.NONE


_SCHEMA_KEYS = frozenset({"response_format", "output_config", "responseMimeType"})


def _keys(body: Mapping[str, Any]) -> set[str]:
    """Return the names of a body's parameters, Gemini's nested ones included."""
    nested = body.get("generationConfig")
    return {*body, *(nested if isinstance(nested, Mapping) else ())}
