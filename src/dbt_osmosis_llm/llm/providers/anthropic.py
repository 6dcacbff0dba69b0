"""Claude through the anthropic SDK and its Messages API.

``encode_request``, ``decode_response`` and ``classify_error`` are pure; only ``_send`` does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMConfigError,
    LLMResponseError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, LLMResponse, Usage
from dbt_osmosis_llm.llm.providers.dialect import Dialect, SchemaSupport
from dbt_osmosis_llm.llm.providers.errors import status_error
from dbt_osmosis_llm.llm.providers.fields import count, mapping, mappings
from dbt_osmosis_llm.llm.providers.registry import ProviderSpec
from dbt_osmosis_llm.llm.providers.sdk import StainlessClient

_ANSWER_TOKENS = 4096
"""``max_tokens`` is mandatory: what an answer may take when nobody set a bound."""

_MAX_UNIONS = 16
"""The API answers 400 to a schema with more types like ``["string", "null"]``."""

_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
}
_QUOTA_CODES = {
    "billing_error",
    "contract_spend_limit_reached",
    "enforced_spend_limit_reached",
    "linked_organization_billing_unavailable",
    "linked_organization_spend_limit_reached",
}


def encode_request(
    request: LLMRequest, config: LLMConfig, spec: ProviderSpec, dialect: Dialect | None = None
) -> dict[str, Any]:
    """Return the body of ``POST /v1/messages`` for what the endpoint accepts."""
    dialect = dialect or spec.dialect
    bound = config.max_output_tokens
    if bound is None:
        bound = (request.max_output_tokens or _ANSWER_TOKENS) + spec.reasoning_headroom_tokens
    body: dict[str, Any] = {
        "model": config.model,
        "max_tokens": dialect.bounded(bound),
        "messages": [
            {"role": m.role, "content": m.content} for m in request.messages if m.role != "system"
        ],
    }
    system: list[dict[str, Any]] = [
        {"type": "text", "text": m.content} for m in request.messages if m.role == "system"
    ]
    if system:
        # All requests of a run share the prompt up to here.
        system[-1]["cache_control"] = {"type": "ephemeral"}
        body["system"] = system
    temperature = config.temperature if request.temperature is None else request.temperature
    if temperature is not None and dialect.temperature:
        body["temperature"] = temperature
    output_config: dict[str, Any] = {}
    # The API has no mode for JSON without a schema.
    if request.schema is not None and dialect.schema >= SchemaSupport.SCHEMA:
        output_config["format"] = {
            "type": "json_schema",
            "schema": _accepted_schema(request.schema),
        }
    # The user's effort stands in the same object as our format.
    options = dict(config.provider_kwargs)
    user_output_config = options.get("output_config")
    if isinstance(user_output_config, Mapping):
        options["output_config"] = {**output_config, **user_output_config}
    elif output_config:
        body["output_config"] = output_config
    return {**body, **options}


def _accepted_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema, its optional strings made plain when it has too many unions."""
    if _unions(schema) <= _MAX_UNIONS:
        return dict(schema)
    plain: dict[str, Any] = _without_null(schema)
    return {"description": "An empty string stands for null.", **plain}


def _unions(node: Any) -> int:
    if isinstance(node, list):
        return sum(map(_unions, node))
    if not isinstance(node, Mapping):
        return 0
    is_union = isinstance(node.get("type"), list) or isinstance(node.get("anyOf"), list)
    return is_union + sum(map(_unions, node.values()))


def _without_null(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    plain = {key: _without_null(value) for key, value in node.items()}
    if plain.get("type") in (["string", "null"], ["null", "string"]):
        plain["type"] = "string"
    return plain


def decode_response(
    answer: Mapping[str, Any], *, provider: str, model: str, request_id: str | None = None
) -> LLMResponse:
    """Return our response for the JSON of a message.

    Raises:
        LLMResponseError: The body is no message, though its status was 200.
    """
    content = answer.get("content")
    # A refusal may come without any block.
    if content is None and answer.get("type") == "message":
        content = []
    if not isinstance(content, list):
        raise LLMResponseError("the server answered 200 with something that is no message")
    finish = _FINISH_REASONS.get(str(answer.get("stop_reason")), FinishReason.OTHER)
    # The first block is not always text: a model that reasons begins with its thinking.
    blocks = [block for block in mappings(content) if block.get("type") == "text"]
    text = "".join(str(block.get("text") or "") for block in blocks)
    if finish is FinishReason.REFUSAL and not text:
        text = _refusal(answer.get("stop_details"))
    return LLMResponse(
        text=text,
        finish_reason=finish,
        usage=_usage(answer.get("usage")),
        provider=provider,
        model=str(answer.get("model") or model),
        request_id=request_id,
    )


def _refusal(details: Any) -> str:
    fields = mapping(details)
    return str(fields.get("explanation") or fields.get("category") or "")


def _usage(raw: Any) -> Usage:
    details = mapping(raw)
    cached = count(raw, "cache_read_input_tokens")
    written = count(raw, "cache_creation_input_tokens")
    # input_tokens counts only what the cache neither gave nor took.
    return Usage(
        input_tokens=count(raw, "input_tokens") + written + cached,
        cached_tokens=cached,
        output_tokens=count(raw, "output_tokens"),
        reasoning_tokens=count(details.get("output_tokens_details"), "thinking_tokens"),
        cache_write_tokens=written,
    )


def classify_error(
    status_code: int,
    body: Any,
    *,
    provider: str,
    model: str,
    key_env: str | None = None,
    request_id: str | None = None,
    secrets: Iterable[str] = (),
    retry_after_s: float | None = None,
) -> LLMAPIError:
    """Return our error for an error status; the status decides, codes only refine it."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    fields = error if isinstance(error, Mapping) else {"message": error}
    message = fields.get("message")
    code = mapping(fields.get("details")).get("error_code") or fields.get("type")
    # An empty account is a 400 like any other but for its words.
    has_no_credit = status_code == 400 and "credit balance is too low" in str(message).lower()
    return status_error(
        status_code,
        provider=provider,
        model=model,
        said=message or body,
        code=code,
        key_env=key_env,
        request_id=request_id,
        secrets=secrets,
        retry_after_s=retry_after_s,
        out_of_quota=has_no_credit or str(code) in _QUOTA_CODES,
    )


class AnthropicClient(StainlessClient):
    """Claude, through the anthropic SDK."""

    request_id_header = "request-id"
    # Without temperature, which the SDK has not had since 1.0: some models still take it.
    named_parameters = frozenset({"model", "max_tokens", "messages", "system", "output_config"})

    def __init__(self, config: LLMConfig, spec: ProviderSpec) -> None:
        try:
            import anthropic
        except ImportError:
            raise LLMConfigError(
                f"Provider {spec.name!r} needs the anthropic SDK: "
                "pip install 'dbt-osmosis-llm[anthropic]'."
            ) from None
        if not config.api_key:
            # Without one the SDK would look for profiles on this machine.
            raise LLMConfigError(f"Provider {spec.name!r} needs a key: set {spec.key_env}.")
        super().__init__(config, spec, anthropic)
        self._sdk = anthropic.Anthropic(
            api_key=config.api_key,
            base_url=_api_root(config.base_url or spec.base_url),
            timeout=config.timeout_s,
            max_retries=0,
        )

    def _encode(self, request: LLMRequest, dialect: Dialect) -> dict[str, Any]:
        return encode_request(request, self._config, self._spec, dialect)

    def _create(self, **arguments: Any) -> Any:
        return self._sdk.messages.with_raw_response.create(**arguments)

    def _classify(self, status_code: int, body: Any, **about: Any) -> LLMAPIError:
        return classify_error(status_code, body, **about)

    def _decode(self, answer: Mapping[str, Any], request_id: str | None) -> LLMResponse:
        return decode_response(
            answer, provider=self.provider, model=self.model, request_id=request_id
        )


def _api_root(url: str | None) -> str | None:
    """Return the address without the version, which the SDK adds and dbt-osmosis's has."""
    return None if url is None else url.rstrip("/").removesuffix("/v1")


def create_client(config: LLMConfig, spec: ProviderSpec) -> AnthropicClient:
    """Return the client for the registry's row."""
    return AnthropicClient(config, spec)
