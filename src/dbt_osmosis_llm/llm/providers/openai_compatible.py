"""OpenAI chat completions through the openai SDK: OpenAI itself and every compatible endpoint.

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

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.FILTERED,
}
_FIRST_ERROR_STATUS = 400
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached"}


def encode_request(
    request: LLMRequest, config: LLMConfig, spec: ProviderSpec, dialect: Dialect | None = None
) -> dict[str, Any]:
    """Return the body of ``POST /chat/completions`` for what the endpoint accepts."""
    dialect = dialect or spec.dialect
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
    }
    bound = config.max_output_tokens
    if bound is None and request.max_output_tokens is not None:
        bound = request.max_output_tokens + spec.reasoning_headroom_tokens
    if bound is not None and dialect.output_bound is not None:
        body[dialect.output_bound] = dialect.bounded(bound)
    temperature = config.temperature if request.temperature is None else request.temperature
    if temperature is not None and dialect.temperature:
        body["temperature"] = temperature
    if request.schema is not None and dialect.schema is not SchemaSupport.NONE:
        body["response_format"] = _response_format(request, dialect.schema)
    return {**body, **config.provider_kwargs}


def _response_format(request: LLMRequest, support: SchemaSupport) -> dict[str, Any]:
    if support is SchemaSupport.JSON:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": request.schema_name, "schema": dict(request.schema or {})}
    if support is SchemaSupport.STRICT:
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}


def decode_response(
    answer: Mapping[str, Any], *, provider: str, model: str, request_id: str | None = None
) -> LLMResponse:
    """Return our response for the JSON of a chat completion.

    Raises:
        LLMResponseError: The body is no chat completion, though its status was 200.
    """
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = mapping(choice).get("message")
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise LLMResponseError("the server answered 200 with something that is no chat completion")
    refusal = message.get("refusal")
    finish = _FINISH_REASONS.get(str(choice.get("finish_reason")), FinishReason.OTHER)
    return LLMResponse(
        text=str(refusal or _text(message.get("content"))),
        # A refusal's own finish reason is "stop".
        finish_reason=FinishReason.REFUSAL if refusal else finish,
        usage=_usage(answer.get("usage")),
        provider=provider,
        model=str(answer.get("model") or model),
        request_id=request_id,
    )


def _text(content: Any) -> str:
    if isinstance(content, list):  # some gateways split a text into parts
        return "".join(str(part.get("text") or "") for part in mappings(content))
    return str(content or "")


def _usage(raw: Any) -> Usage:
    details = mapping(raw)
    return Usage(
        input_tokens=count(raw, "prompt_tokens"),
        cached_tokens=count(details.get("prompt_tokens_details"), "cached_tokens"),
        output_tokens=count(raw, "completion_tokens"),
        reasoning_tokens=count(details.get("completion_tokens_details"), "reasoning_tokens"),
        cache_write_tokens=count(details.get("prompt_tokens_details"), "cache_write_tokens"),
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
    return status_error(
        status_code,
        provider=provider,
        model=model,
        said=fields.get("message") or fields.get("detail") or body,
        code=fields.get("code"),
        param=fields.get("param"),
        key_env=key_env,
        request_id=request_id,
        secrets=secrets,
        retry_after_s=retry_after_s,
        out_of_quota=str(fields.get("code")) in _QUOTA_CODES,
    )


class OpenAICompatibleClient(StainlessClient):
    """A provider that speaks chat completions, through the openai SDK."""

    named_parameters = frozenset(
        {
            "model",
            "messages",
            "temperature",
            "response_format",
            "max_completion_tokens",
            "max_tokens",
        }
    )

    def __init__(self, config: LLMConfig, spec: ProviderSpec) -> None:
        try:
            import openai
        except ImportError:
            raise LLMConfigError(
                f"Provider {spec.name!r} needs the openai SDK: pip install 'openai>=2,<4'."
            ) from None
        super().__init__(config, spec, openai)
        self._sdk = self._make_sdk(openai)
        if spec.name != "openai":
            # From variables for OpenAI alone, which the SDK would send to every vendor.
            self._sdk.organization = self._sdk.project = None
            self._sdk._custom_headers = {}

    def _make_sdk(self, openai: Any) -> Any:
        # The SDK refuses an empty key; local servers want none and ignore what they get.
        return openai.OpenAI(
            api_key=self._config.api_key or self.provider,
            base_url=self._config.base_url,
            timeout=self._config.timeout_s,
            max_retries=0,
        )

    def _encode(self, request: LLMRequest, dialect: Dialect) -> dict[str, Any]:
        return encode_request(request, self._config, self._spec, dialect)

    def _create(self, **arguments: Any) -> Any:
        return self._sdk.chat.completions.with_raw_response.create(**arguments)

    def _classify(self, status_code: int, body: Any, **about: Any) -> LLMAPIError:
        return classify_error(status_code, body, **about)

    def _decode(self, answer: Mapping[str, Any], request_id: str | None) -> LLMResponse:
        inner = mapping(answer.get("error")).get("code")
        if isinstance(inner, int) and inner >= _FIRST_ERROR_STATUS and not answer.get("choices"):
            # Gateways answer 200 with the error of the vendor behind them.
            raise classify_error(inner, answer, request_id=request_id, **self._about({}))
        return decode_response(
            answer, provider=self.provider, model=self.model, request_id=request_id
        )


def create_client(config: LLMConfig, spec: ProviderSpec) -> OpenAICompatibleClient:
    """Return the client for one row of the registry."""
    return OpenAICompatibleClient(config, spec)
