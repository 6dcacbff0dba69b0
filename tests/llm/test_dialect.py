"""What endpoints reject, in their own words, and what is sent instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dbt_osmosis_llm.llm.exceptions import LLMAPIError
from dbt_osmosis_llm.llm.providers.dialect import Dialect, SchemaSupport
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS

BODY = {
    "model": "m",
    "temperature": 0.3,
    "max_completion_tokens": 500,
    "response_format": {"type": "json_schema"},
}
OLD_BODY = {"model": "m", "max_tokens": 500, "response_format": {"type": "json_schema"}}
CLAUDE = PROVIDERS["anthropic"].dialect
GEMINI_BODY = {"generationConfig": {"responseMimeType": "application/json", "temperature": 1}}


def rejected(says: str, body: dict[str, Any], dialect: Dialect, **fields: Any) -> Dialect | None:
    error = LLMAPIError(f"x answered 400: {says}", **{"status_code": 400, **fields})
    return dialect.without_rejected(error, body)


@pytest.mark.parametrize(
    ("says", "body", "dialect", "simpler"),
    [
        (
            "Unsupported value: 'temperature' does not support 0.3 with this model. Only the "
            "default (1) value is supported.",
            BODY,
            Dialect(),
            Dialect(temperature=False),
        ),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            OLD_BODY,
            Dialect(output_bound="max_tokens"),
            Dialect(output_bound="max_completion_tokens", bound_renamed=True),
        ),
        (
            "Unrecognized request argument supplied: max_completion_tokens",
            BODY,
            Dialect(),
            Dialect(output_bound="max_tokens", bound_renamed=True),
        ),
        (
            "unknown field max_tokens",
            OLD_BODY,
            Dialect(output_bound="max_tokens", bound_renamed=True),
            Dialect(output_bound=None, bound_renamed=True),
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 4396. This model's maximum "
            "context length is 4096 tokens and your request has 1000 input tokens",
            BODY,
            Dialect(),
            Dialect(output_bound=None),
        ),
        (
            "max_tokens is too large: 4876. This model supports at most 512 completion tokens",
            BODY,
            Dialect(),
            Dialect(max_output_tokens=512),
        ),
        (
            "max_tokens: 4876 > 512, which is the maximum allowed number of output tokens for m",
            {"max_tokens": 4876},
            CLAUDE,
            replace(CLAUDE, max_output_tokens=512),
        ),
        (
            "Unknown parameter: 'response_format.json_schema.strict'",
            BODY,
            Dialect(),
            Dialect(SchemaSupport.SCHEMA),
        ),
        (
            "This model does not support response format `json_schema`",
            BODY,
            Dialect(),
            Dialect(SchemaSupport.JSON),
        ),
        (
            "'response_format.type' must be 'text'",
            BODY,
            Dialect(SchemaSupport.JSON),
            Dialect(SchemaSupport.NONE),
        ),
        (
            "output_config.format: Extra inputs are not permitted",
            {"output_config": {"format": {}}},
            Dialect(output_bound=None),
            Dialect(SchemaSupport.JSON, output_bound=None),
        ),
        (
            "JSON mode is not enabled for models/gemma-3-27b-it",
            GEMINI_BODY,
            Dialect(SchemaSupport.JSON),
            Dialect(SchemaSupport.NONE),
        ),
        (
            'Invalid JSON payload received. Unknown name "responseJsonSchema"',
            GEMINI_BODY,
            Dialect(),
            Dialect(SchemaSupport.JSON),
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_named_is_left_out(
    says: str, body: dict[str, Any], dialect: Dialect, simpler: Dialect
) -> None:
    assert rejected(says, body, dialect) == simpler


@pytest.mark.parametrize(
    ("says", "body", "dialect"),
    [
        ("messages: text content blocks must be non-empty", BODY, Dialect()),
        ("This model's maximum context length is 8192 tokens", BODY, Dialect()),
        ("max_tokens: Field required", {"max_tokens": 1}, CLAUDE),
        ("temperature is deprecated", OLD_BODY, Dialect()),  # not sent: not ours to drop
        ("strict mode is on for your account", {"model": "m"}, Dialect()),
        ("response_format is wrong", BODY, Dialect(SchemaSupport.NONE)),  # nothing left to drop
    ],
)
def test_what_is_not_ours_is_an_error(says: str, body: dict[str, Any], dialect: Dialect) -> None:
    assert rejected(says, body, dialect) is None


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_only_a_rejection_is_a_lesson(status: int) -> None:
    assert rejected("temperature", BODY, Dialect(), status_code=status) is None


def test_the_parameter_s_own_field_counts_too() -> None:
    assert rejected("no", BODY, Dialect(), param="temperature") == Dialect(temperature=False)


def test_nothing_is_dropped_for_ever() -> None:
    says = "temperature max_completion_tokens max_tokens strict response_format unsupported"
    dialect: Dialect | None = Dialect()
    seen = 0
    while dialect is not None:
        body: dict[str, Any] = {"response_format": {}} if dialect.schema else {}
        body |= {"temperature": 1} if dialect.temperature else {}
        body |= {dialect.output_bound: 1} if dialect.output_bound else {}
        dialect, seen = rejected(says, body, dialect), seen + 1
        assert seen < 10
    assert seen == 7
