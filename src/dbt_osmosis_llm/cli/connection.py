"""``dbt-osmosis test-llm``: one real request, and what it tells of the endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from dbt_osmosis_llm.cli.errors import UserError, user_errors
from dbt_osmosis_llm.cli.options import by_name
from dbt_osmosis_llm.cli.summary import money
from dbt_osmosis_llm.config import load_settings, without_credentials
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMError
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, LLMResponse, Message
from dbt_osmosis_llm.llm.providers.dialect import Dialect, SchemaSupport
from dbt_osmosis_llm.stack import ClientStack

_KEY = "sentence_7"
# The prompt does not name the key: an answer that has it has followed the schema.
_REQUEST = LLMRequest(
    messages=(
        Message("system", "You answer with JSON."),
        Message("user", "Say hello in one short sentence."),
    ),
    schema={
        "type": "object",
        "properties": {_KEY: {"type": "string"}},
        "required": [_KEY],
        "additionalProperties": False,
    },
    schema_name="connection",
    max_output_tokens=60,
    custom_id="test-llm",
    description="a connection test",
)


def print_connection(flags: Mapping[str, Any], project_dir: str) -> None:
    """Ask the model once, without repetition, and print what came of it.

    Raises:
        UserError: A setting is wrong or no answer came.
    """
    with user_errors():
        settings = load_settings(by_name(dict(flags)), project_dir)
        config = replace(LLMConfig.from_env(settings), max_retries=0)
    if config.provider == "offline":
        click.echo("Provider: offline\nNo model is asked: there is nothing to test.")
        return
    stack = ClientStack()
    try:
        client = stack.build(config)
        response = client.complete(_REQUEST)
    except LLMError as error:
        raise UserError(str(error)) from None
    if response.finish_reason is not FinishReason.STOP or not response.text.strip():
        raise UserError(
            f"{config.provider} answered without an answer ({response.finish_reason.value}); "
            "try another model with --llm-model."
        )
    answered_by = "" if response.model == config.model else f" (answers as {response.model})"
    rows = {
        "Provider": config.provider,
        "Model": f"{config.model}{answered_by}",
        "Base URL": without_credentials(config.base_url or "") or "the SDK's own",
        "Latency": f"{response.latency_ms:,.0f} ms",
        "Tokens": f"{response.usage.input_tokens:,} in, {response.usage.output_tokens:,} out",
        "Cost": money(stack.stats.summary()["cost_usd"]),
        "JSON schema": _schema_verdict(response, _dialect_of(client)),
    }
    for name, value in rows.items():
        click.echo(f"{name + ':':<13}{value}")


def _schema_verdict(response: LLMResponse, dialect: Dialect | None) -> str:
    level = dialect.schema if dialect else SchemaSupport.STRICT
    if level <= SchemaSupport.NONE:
        return "no, the endpoint refuses it; the prompt alone asks for JSON"
    if level <= SchemaSupport.JSON:
        return "stepped down to JSON mode, the endpoint takes no schema"
    try:
        answer = json.loads(response.text)
    except (ValueError, RecursionError):  # the second by brackets within brackets
        answer = None
    if isinstance(answer, dict) and set(answer) == {_KEY}:
        return "yes"
    return "no, the endpoint accepts it and the answer does not follow it"


def _dialect_of(client: Any) -> Dialect | None:
    """Return what the provider at the bottom of the stack has learned of its endpoint."""
    while client is not None:
        dialect = getattr(client, "dialect", None)
        if isinstance(dialect, Dialect):
            return dialect
        client = getattr(client, "_inner", None)
    return None
