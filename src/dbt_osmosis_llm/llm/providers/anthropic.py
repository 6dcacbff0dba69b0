"""Claude through the anthropic SDK and its Messages API.

``encode_request``, ``decode_response`` and ``classify_error`` are pure; only ``complete`` does I/O.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMConfigError,
    LLMResponseError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.providers.errors import (
    not_json_error,
    status_error,
    timeout_error,
    unreachable_error,
)
from dbt_osmosis_llm.llm.usage import Usage

if TYPE_CHECKING:
    from dbt_osmosis_llm.llm.client import LLMConfig
    from dbt_osmosis_llm.llm.providers.registry import ProviderSpec

_ANSWER_TOKENS = 4096
"""``max_tokens`` is mandatory: what an answer may take when nobody set a bound."""

_MAX_UNIONS = 16
"""The API answers 400 to a schema with more types like ``["string", "null"]``."""

_MAX_RETRY_WAIT_S = 120.0
"""The SDK would sleep for any Retry-After, a spend limit's days included."""

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


def encode_request(request: LLMRequest, config: LLMConfig, spec: ProviderSpec) -> dict[str, Any]:
    """Return the body of ``POST /v1/messages``."""
    bound = config.max_output_tokens
    if bound is None:
        bound = (request.max_output_tokens or _ANSWER_TOKENS) + spec.reasoning_headroom_tokens
    body: dict[str, Any] = {
        "model": config.model,
        "max_tokens": bound,
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
    if temperature is not None:
        body["temperature"] = temperature
    output: dict[str, Any] = {}
    if request.schema is not None:
        output["format"] = {"type": "json_schema", "schema": _accepted_schema(request.schema)}
    # The user's effort stands in the same object as our format.
    options = dict(config.provider_kwargs)
    theirs = options.get("output_config")
    if isinstance(theirs, Mapping):
        options["output_config"] = {**output, **theirs}
    elif output:
        body["output_config"] = output
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
    here = isinstance(node.get("type"), list) or isinstance(node.get("anyOf"), list)
    return here + sum(map(_unions, node.values()))


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
    if content is None and answer.get("type") == "message":
        content = []
    if not isinstance(content, list):
        raise LLMResponseError("the server answered 200 with something that is no message")
    finish = _FINISH_REASONS.get(str(answer.get("stop_reason")), FinishReason.OTHER)
    blocks = (block for block in content if isinstance(block, Mapping))
    text = "".join(str(b.get("text") or "") for b in blocks if b.get("type") == "text")
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
    fields = details if isinstance(details, Mapping) else {}
    return str(fields.get("explanation") or fields.get("category") or "")


def _usage(raw: Any) -> Usage:
    def count(mapping: Any, key: str) -> int:
        value = mapping.get(key) if isinstance(mapping, Mapping) else None
        return value if isinstance(value, int) else 0

    details = raw if isinstance(raw, Mapping) else {}
    cached = count(raw, "cache_read_input_tokens")
    # input_tokens counts only what the cache neither gave nor took.
    return Usage(
        input_tokens=count(raw, "input_tokens")
        + count(raw, "cache_creation_input_tokens")
        + cached,
        cached_tokens=cached,
        output_tokens=count(raw, "output_tokens"),
        reasoning_tokens=count(details.get("output_tokens_details"), "thinking_tokens"),
    )


def classify_error(
    status_code: int,
    body: Any,
    *,
    provider: str,
    model: str,
    key_env: str | None = None,
    request_id: str | None = None,
    api_key: str | None = None,
) -> LLMAPIError:
    """Return our error for an error status; the status decides, codes only refine it."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    fields = error if isinstance(error, Mapping) else {"message": error}
    message, details = fields.get("message"), fields.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    code = code or fields.get("type")
    # An empty account is a 400 like any other but for its words.
    empty = status_code == 400 and "credit balance is too low" in str(message).lower()
    return status_error(
        status_code,
        provider=provider,
        model=model,
        said=message,
        code=code,
        key_env=key_env,
        request_id=request_id,
        api_key=api_key,
        out_of_quota=empty or code in _QUOTA_CODES,
    )


class AnthropicClient:
    """Claude, through the anthropic SDK."""

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
        self._anthropic = anthropic
        self._config = config
        self._spec = spec
        self.provider = spec.name
        self.model = config.model
        self._base_url = _api_root(config.base_url or spec.base_url)
        self._sdk = anthropic.Anthropic(
            api_key=config.api_key,
            base_url=self._base_url,
            timeout=config.timeout_s,
            max_retries=config.max_retries,
            http_client=anthropic.DefaultHttpxClient(
                event_hooks={"response": [_forbid_long_waits]}
            ),
        )

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Ask the API once; the SDK repeats what failed in passing."""
        body = encode_request(request, self._config, self._spec)
        try:
            raw = self._sdk.messages.with_raw_response.create(**_sdk_arguments(body))
        except self._anthropic.APIStatusError as error:
            raise classify_error(
                error.status_code,
                error.body,
                provider=self.provider,
                model=self.model,
                key_env=self._spec.key_env,
                request_id=error.request_id,
                api_key=self._config.api_key,
            ) from None
        except self._anthropic.APITimeoutError:
            raise timeout_error(self.provider, self._config.timeout_s) from None
        except self._anthropic.APIConnectionError as error:
            raise unreachable_error(
                self.provider,
                error,
                base_url=self._base_url,
                base_url_env=self._spec.base_url_env,
                api_key=self._config.api_key,
            ) from None
        try:
            answer = json.loads(raw.http_response.content)
        except (ValueError, RecursionError):
            raise not_json_error() from None
        return decode_response(
            answer if isinstance(answer, Mapping) else {},
            provider=self.provider,
            model=self.model,
            request_id=raw.headers.get("request-id"),
        )


def _api_root(url: str | None) -> str | None:
    """Return the address without the version, which the SDK adds and dbt-osmosis's has."""
    return None if url is None else url.rstrip("/").removesuffix("/v1")


def _sdk_arguments(body: Mapping[str, Any]) -> dict[str, Any]:
    """Split a body into what the SDK's method names and what only ``extra_body`` can carry."""
    named = {"model", "max_tokens", "messages", "system", "output_config"}
    arguments: dict[str, Any] = {key: body[key] for key in body if key in named}
    extra = {key: body[key] for key in body if key not in named}
    return {**arguments, "extra_body": extra} if extra else arguments


def _forbid_long_waits(response: Any) -> None:
    """Tell the SDK not to repeat what may be repeated only after a run's patience is over."""
    if _retry_after_s(response.headers) > _MAX_RETRY_WAIT_S:
        response.headers["x-should-retry"] = "false"


def _retry_after_s(headers: Mapping[str, str]) -> float:
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after", "")
    try:
        return float(milliseconds) / 1000 if milliseconds else float(value)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0


def create_client(config: LLMConfig, spec: ProviderSpec) -> AnthropicClient:
    """Return the client for the registry's row."""
    return AnthropicClient(config, spec)
