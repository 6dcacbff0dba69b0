"""Drop-in for ``dbt_osmosis.core.llm``: the same functions and results, with every provider.

dbt-osmosis passes a temperature with every call, and current models refuse any: one of its own
defaults therefore counts as not set. ``OSMOSIS_LLM_TEMPERATURE`` and any other value are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.config import Settings, SettingsError, load_settings
from dbt_osmosis_llm.evidence.node import framed
from dbt_osmosis_llm.evidence.sql_text import (
    cut_sql,
    mask_personal_data,
    mask_personal_data_in_text,
    tidy_sql,
)
from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.llm.answers import ask
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMConfigError, LLMResponseError
from dbt_osmosis_llm.llm.messages import FinishReason, LLMClient, LLMRequest, LLMResponse, Message
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.stack import ClientStack, process_stack
from dbt_osmosis_llm.synthesis.plan import TEXT_OR_NULL, object_schema
from dbt_osmosis_llm.synthesis.prompts import PromptKind, load_prompts
from dbt_osmosis_llm.synthesis.safe_text import clean_text

compat.share_errors()  # dbt-osmosis's `except` clauses catch ours then

_HOST_TEMPERATURES = frozenset({0.3, 0.4, 0.5, 0.7})
"""What dbt-osmosis 1.5 passes when nobody asked for a temperature."""

_SPEC_TEMPERATURE = 0.3
_TEXT_TEMPERATURE = 0.7
_TEXT_TOKENS = 300
"""Bound on an answer that is one text."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ChatMessage:
    """The assistant's message of a `ChatCompletion`."""

    content: str | None
    """None when there is no text: refused, withheld or empty."""
    refusal: str | None = None
    role: Literal["assistant"] = "assistant"


@dataclass(frozen=True)
class Choice:
    """The one choice of a `ChatCompletion`."""

    message: ChatMessage
    finish_reason: str
    """``stop``, ``length`` or ``content_filter``."""
    index: int = 0


@dataclass(frozen=True)
class CompletionUsage:
    """Tokens of a `ChatCompletion`, under OpenAI's names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class ChatCompletion:
    """An answer in the shape of the openai SDK's, whoever gave it."""

    id: str
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    object: Literal["chat.completion"] = "chat.completion"


Wrap = Callable[[LLMClient, LLMConfig], LLMClient]
"""Puts a client around another one."""


class ChatClient:
    """A model behind the one method of the openai SDK that dbt-osmosis calls.

    ``client.chat.completions.create(model=…, messages=…)`` works for every provider.
    """

    def __init__(self, config: LLMConfig, stack: ClientStack, wrap: Wrap | None = None) -> None:
        _client_for(config, stack)  # a missing SDK shows now, not at the first question
        self.chat = Chat(Completions(config, stack, wrap))


@dataclass(frozen=True)
class Chat:
    """The ``chat`` of a `ChatClient`."""

    completions: Completions


class Completions:
    """The ``chat.completions`` of a `ChatClient`."""

    def __init__(self, config: LLMConfig, stack: ClientStack, wrap: Wrap | None = None) -> None:
        self._config = config
        self._stack = stack
        self._wrap = wrap

    def create(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        max_completion_tokens: int | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> ChatCompletion:
        """Return the model's answer.

        Args:
            messages: OpenAI's: ``role`` and ``content``, a text or a list of text parts.
            model: Another model of the same provider.
            temperature: Sent unless it is one of dbt-osmosis's own defaults.
            max_tokens: Bound on the answer in tokens, reasoning not counted.
            max_completion_tokens: The same under its newer name.
            response_format: OpenAI's; ``text``, ``json_object`` or ``json_schema``.

        Raises:
            LLMError: No answer; the class says why.
            ValueError: Messages or a format that only some providers know.
        """
        config = self._config if model is None else replace(self._config, model=model)
        turns = tuple(_message(message) for message in messages)
        schema, name = None, "answer"
        kind = (response_format or {}).get("type", "text")
        if response_format is not None and kind == "json_schema":
            form = response_format["json_schema"]
            schema, name = form["schema"], form.get("name", name)
        elif kind == "json_object":
            # A request of ours can ask for a schema, not for JSON of any form.
            turns = (Message("system", "Answer with one JSON object and nothing else."), *turns)
        elif kind != "text":
            raise ValueError(f"response_format {kind!r} is not text, json_object or json_schema")
        request = LLMRequest(
            messages=turns,
            schema=schema,
            schema_name=name,
            max_output_tokens=max_completion_tokens or max_tokens,
            temperature=None if temperature in _HOST_TEMPERATURES else temperature,
            custom_id="chat",
            description="an answer",
        )
        client = _client_for(config, self._stack)
        if self._wrap is not None:
            client = self._wrap(client, config)
        return _completion(client.complete(request))


def _message(message: Mapping[str, Any]) -> Message:
    role, content = message["role"], message["content"]
    if role == "developer":  # OpenAI's newer name for it
        role = "system"
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"a message's role is {role!r}; it must be system, user or assistant")
    if not isinstance(content, str):
        parts = list(content)
        if not all(isinstance(part, Mapping) and part.get("type") == "text" for part in parts):
            raise ValueError("a message's content must be a text or a list of text parts")
        content = "".join(part["text"] for part in parts)
    return Message(role, content)


def _completion(response: LLMResponse) -> ChatCompletion:
    finish = response.finish_reason
    refusal = (response.text or "refused") if finish is FinishReason.REFUSAL else None
    withheld = finish in (FinishReason.REFUSAL, FinishReason.FILTERED)
    if withheld:
        # dbt-osmosis calls an answer without content empty; the reason must not get lost.
        reason = f"the model refused: {refusal}" if refusal else "a content filter withheld it"
        logger.warning("%s %s gave no answer: %s", response.provider, response.model, reason)
    reasons = {FinishReason.LENGTH: "length", FinishReason.FILTERED: "content_filter"}
    message = ChatMessage(None if withheld else response.text or None, refusal)
    usage = response.usage
    return ChatCompletion(
        id=response.request_id or "",
        model=response.model,
        choices=[Choice(message, reasons.get(finish, "stop"))],
        usage=CompletionUsage(
            usage.input_tokens, usage.output_tokens, usage.input_tokens + usage.output_tokens
        ),
    )


def _client_for(config: LLMConfig, stack: ClientStack) -> LLMClient:
    """Return the one client of a configuration.

    dbt-osmosis asks for a client at every call: statistics and budgets must outlast them.
    """
    if config.provider == "offline":
        raise LLMConfigError(
            "Provider 'offline' writes documentation from a project's SQL alone and cannot answer "
            "other questions; choose a model with LLM_PROVIDER."
        )
    return stack.client_for(config)


def get_llm_client() -> tuple[ChatClient, str]:
    """Return a client for the provider that the environment names, and the model to ask.

    Raises:
        LLMConfigError: Unknown provider, a variable or an SDK is missing.
    """
    return chat_client(LLMConfig.from_env(_settings()))


def chat_client(
    config: LLMConfig, wrap: Wrap | None = None, *, stack: ClientStack | None = None
) -> tuple[ChatClient, str]:
    """Return what `get_llm_client` does, for a configuration from wherever it comes.

    Args:
        config: Which model to ask and how.
        wrap: Puts another client around the one that is asked.
        stack: Builds that one; the process's stack when None.

    Raises:
        LLMConfigError: An SDK is missing.
    """
    return ChatClient(config, stack or process_stack(), wrap), config.model


def generate_model_spec_as_json(
    sql_content: str,
    upstream_docs: list[str] | None = None,
    existing_context: str | None = None,
    temperature: float = _SPEC_TEMPERATURE,
) -> dict[str, Any]:
    """Return texts for a model and its columns, from its SQL.

    Args:
        sql_content: The model's SQL.
        upstream_docs: Texts of what it reads.
        existing_context: What else is known of it.
        temperature: Sent when it is not the default.

    Returns:
        ``{"description": "…", "columns": [{"name": "…", "description": "…"}, …]}``; a model's
        description that cannot be known is empty, such a column is left out.

    Raises:
        LLMError: No answer, or none that can be used.
    """
    return _ask(
        _SPEC,
        _read_spec,
        None if temperature == _SPEC_TEMPERATURE else temperature,
        sql=sql_content,
        upstream_docs=upstream_docs,
        existing_context=existing_context,
        columns="every column of the final SELECT",
    )


def generate_column_doc(
    column_name: str,
    existing_context: str | None = None,
    table_name: str | None = None,
    upstream_docs: list[str] | None = None,
    temperature: float = _TEXT_TEMPERATURE,
) -> str:
    """Return the text of one column.

    Args:
        column_name: Name of the column.
        existing_context: What is known of it.
        table_name: Name of its table.
        upstream_docs: Texts of what its table reads.
        temperature: Sent when it is not the default.

    Raises:
        LLMError: No answer, or none that can be used.
    """
    text = _ask(
        _COLUMN,
        _read_text,
        None if temperature == _TEXT_TEMPERATURE else temperature,
        table_name=table_name,
        upstream_docs=upstream_docs,
        existing_context=existing_context,
        columns=f"- `{column_name}`",
        column_name=column_name,
    )
    # Not while the answer is read: null is an answer, and not to be repaired.
    return _known_text(text, column_name)


def generate_table_doc(
    sql_content: str,
    table_name: str,
    upstream_docs: list[str] | None = None,
    temperature: float = _TEXT_TEMPERATURE,
) -> str:
    """Return the text of a table, from its SQL.

    Args:
        sql_content: The table's SQL.
        table_name: Name of the table.
        upstream_docs: Texts of what it reads.
        temperature: Sent when it is not the default.

    Raises:
        LLMError: No answer, or none that can be used.
    """
    text = _ask(
        _TABLE,
        _read_text,
        None if temperature == _TEXT_TEMPERATURE else temperature,
        sql=sql_content,
        table_name=table_name,
        upstream_docs=upstream_docs,
    )
    return _known_text(text, table_name)


@dataclass(frozen=True)
class _Form:
    """What is asked for and how the answer is written."""

    kind: PromptKind
    schema: Mapping[str, Any]
    words: str
    max_output_tokens: int | None = _TEXT_TOKENS


_TEXT = object_schema({"description": TEXT_OR_NULL})
_TEXT_WORDS = 'Answer with one JSON object and nothing else: {"description": text or null}.'
_TABLE = _Form("table", _TEXT, _TEXT_WORDS)
_COLUMN = _Form("column", _TEXT, _TEXT_WORDS)
# An array, because nobody has said which columns there are.
_SPEC_COLUMN = object_schema({"name": {"type": "string"}, "description": TEXT_OR_NULL})
_SPEC = _Form(
    "model",
    object_schema(
        {"description": TEXT_OR_NULL, "columns": {"type": "array", "items": _SPEC_COLUMN}}
    ),
    'Answer with one JSON object and nothing else: {"description": text or null, "columns": '
    '[{"name": "<column>", "description": text or null}, …]}, with every column of the final '
    "SELECT once, under its exact name.",
    None,
)


def _ask(
    form: _Form,
    read: Callable[[LLMResponse], Answer],
    temperature: float | None,
    *,
    upstream_docs: list[str] | None = None,
    sql: str | None = None,
    **facts: str | None,
) -> Answer:
    settings = _settings()
    prompts = load_prompts(settings.prompt_file, settings.prompt_overrides)
    values = _prompt_values(settings, sql, upstream_docs, facts)
    what = " of ".join(filter(None, (facts.get("column_name"), facts.get("table_name"))))
    request = LLMRequest(
        messages=prompts.render(form.kind, values, answer_format=form.words),
        schema=form.schema,
        max_output_tokens=form.max_output_tokens,
        temperature=temperature,
        custom_id=what or "model",
        description=f"texts of {what or 'a model'}",
    )
    answer, _ = ask(_client_for(LLMConfig.from_env(settings), process_stack()), request, read)
    return answer


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise LLMConfigError(str(error)) from None


def _prompt_values(
    settings: Settings,
    sql: str | None,
    upstream_docs: list[str] | None,
    facts: Mapping[str, str | None],
) -> dict[str, str]:
    """Return a text for each built-in placeholder, by the same rules as in a run."""
    code = tidy_sql(sql or "")
    texts = {
        "table_name": facts.get("table_name") or "(not named)",
        "resource_type": "model",
        "existing_context": facts.get("existing_context") or "(nothing)",
        "upstream_docs": "\n".join(upstream_docs or ()) or "(none)",
        "columns": facts.get("columns") or "(none)",
        "column_name": facts.get("column_name") or "",
    }
    if settings.redact_pii:
        code = mask_personal_data(code)
        texts = {name: mask_personal_data_in_text(text) for name, text in texts.items()}
    # Masked before it is cut: half an address is not recognised.
    texts["sql"] = cut_sql(code, settings.max_sql_chars) or "(none)"
    return framed(texts)


def _read_text(response: LLMResponse) -> str | None:
    answer = parse_answer(response)
    if "description" not in answer:
        raise LLMResponseError("the answer is JSON without the key 'description'")
    return clean_text(answer["description"])


def _known_text(text: str | None, what: str) -> str:
    if text is None:
        raise LLMResponseError(f"what {what} means cannot be known from what was given")
    return text


def _read_spec(response: LLMResponse) -> dict[str, Any]:
    answer = parse_answer(response)
    columns = answer.get("columns")
    # Models write a mapping as well where the schema is not enforced.
    if isinstance(columns, Mapping):
        columns = [{"name": name, "description": text} for name, text in columns.items()]
    if not isinstance(columns, list):
        raise LLMResponseError("the answer is JSON without the list 'columns'")
    texts = [
        {"name": str(column["name"]), "description": text}
        for column in columns
        if isinstance(column, Mapping)
        and "name" in column
        and (text := clean_text(column.get("description"))) is not None
    ]
    return {"description": clean_text(answer.get("description")) or "", "columns": texts}
