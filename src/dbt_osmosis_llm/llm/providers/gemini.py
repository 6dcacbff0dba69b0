"""Google Gemini through its own SDK, google-genai.

``encode_request``, ``decode_response`` and ``classify_error`` are pure; only ``_send`` does I/O.
The SDK carries our body and hands back the server's as they are: its own models rename keys of a
schema, and differ between the versions for Python 3.10 (2.x) and later ones (3.x).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMConfigError,
    LLMError,
    LLMResponseError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, LLMResponse, Usage
from dbt_osmosis_llm.llm.providers.dialect import Dialect, SchemaSupport
from dbt_osmosis_llm.llm.providers.errors import status_error, unreadable_error
from dbt_osmosis_llm.llm.providers.fields import count, mapping, mappings
from dbt_osmosis_llm.llm.providers.registry import ProviderSpec
from dbt_osmosis_llm.llm.providers.sdk import SdkClient, WireAnswer

_FILTERS = (
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "ESCALATION",
)
_FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    **dict.fromkeys(_FILTERS, FinishReason.FILTERED),
}
_VERSION_SUFFIX = re.compile(r"(?<![:/])(/(v1|v1beta|openai)?)+$")


def encode_request(
    request: LLMRequest, config: LLMConfig, spec: ProviderSpec, dialect: Dialect | None = None
) -> dict[str, Any]:
    """Return the body of ``POST /models/{model}:generateContent`` for what is accepted."""
    dialect = dialect or spec.dialect
    generation: dict[str, Any] = {}
    bound = config.max_output_tokens
    if bound is None and request.max_output_tokens is not None:
        bound = request.max_output_tokens + spec.reasoning_headroom_tokens
    if bound is not None and dialect.output_bound is not None:
        generation[dialect.output_bound] = dialect.bounded(bound)
    temperature = config.temperature if request.temperature is None else request.temperature
    if temperature is not None and dialect.temperature:
        generation["temperature"] = temperature
    if request.schema is not None and dialect.schema is not SchemaSupport.NONE:
        generation["responseMimeType"] = "application/json"
        if dialect.schema >= SchemaSupport.SCHEMA:
            generation["responseJsonSchema"] = dict(request.schema)
    body: dict[str, Any] = {
        "contents": [
            {
                "role": "model" if message.role == "assistant" else "user",
                "parts": [{"text": message.content}],
            }
            for message in request.messages
            if message.role != "system"
        ],
        "generationConfig": generation,
    }
    system = [{"text": m.content} for m in request.messages if m.role == "system"]
    if system:
        body["systemInstruction"] = {"parts": system}
    return _merged(body, config.provider_kwargs)


def _merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, so that a user's ``generationConfig`` does not replace ours."""
    merged = {**body, **extra}
    for key in body.keys() & extra.keys():
        if isinstance(body[key], Mapping) and isinstance(extra[key], Mapping):
            merged[key] = _merged(body[key], extra[key])
    return merged


def decode_response(answer: Mapping[str, Any], *, provider: str, model: str) -> LLMResponse:
    """Return our response for the JSON of a generateContent answer.

    A blocked prompt is answered without candidates; it becomes an empty, filtered response.

    Raises:
        LLMResponseError: The body is no such answer, though its status was 200.
    """
    candidates = answer.get("candidates")
    candidate = candidates[0] if isinstance(candidates, list) and candidates else None
    if isinstance(candidate, Mapping) and candidate.keys() & {"content", "finishReason"}:
        finish = _FINISH_REASONS.get(str(candidate.get("finishReason")), FinishReason.OTHER)
        text = _text(candidate.get("content"))
    elif candidate is None and mapping(answer.get("promptFeedback")).get("blockReason"):
        finish, text = FinishReason.FILTERED, ""
    else:
        raise LLMResponseError("the server answered 200 with something that is no Gemini answer")
    request_id = answer.get("responseId")
    return LLMResponse(
        text=text,
        finish_reason=finish,
        usage=_usage(mapping(answer.get("usageMetadata"))),
        provider=provider,
        model=str(answer.get("modelVersion") or model),
        request_id=str(request_id) if request_id else None,
    )


def _text(content: Any) -> str:
    parts = mappings(mapping(content).get("parts"))
    return "".join(str(part.get("text") or "") for part in parts if not part.get("thought"))


def _usage(raw: Mapping[str, Any]) -> Usage:
    thoughts = count(raw, "thoughtsTokenCount")
    return Usage(
        input_tokens=count(raw, "promptTokenCount"),
        cached_tokens=count(raw, "cachedContentTokenCount"),
        # Gemini counts thoughts apart from the candidates and bills both as output.
        output_tokens=count(raw, "candidatesTokenCount") + thoughts,
        reasoning_tokens=thoughts,
    )


def classify_error(
    status_code: int,
    body: Any,
    *,
    provider: str,
    model: str,
    key_env: str | None = None,
    secrets: Iterable[str] = (),
    retry_after_s: float | None = None,
) -> LLMAPIError:
    """Return our error for an error status; the status decides, details only refine it.

    Gemini answers a wrong key with 400 and a used-up daily quota with a 429 like any other; only
    the details of the body tell.
    """
    if isinstance(body, list) and body:
        body = body[0]
    # Without the envelope it is no answer of Gemini's, and its status is the HTTP phrase.
    fields = mapping(mapping(body).get("error"))
    code = fields.get("status")
    details = mappings(fields.get("details"))
    reasons = {str(detail.get("reason")) for detail in details}
    return status_error(
        status_code,
        provider=provider,
        model=model,
        said=fields.get("message") if fields else _foreign_message(body),
        code=code,
        key_env=key_env,
        secrets=secrets,
        retry_after_s=_retry_delay_s(details) or retry_after_s,
        wrong_key=status_code == 400 and "API_KEY_INVALID" in reasons,
        out_of_quota=status_code == 429 and _is_daily(details),
        # The account's country or billing: the same for every request.
        ends_run=status_code == 400 and code == "FAILED_PRECONDITION",
    )


def _foreign_message(body: Any) -> Any:
    """Return the words of an error that is not in Gemini's envelope: a gateway's, a proxy's."""
    outer = mapping(body)
    return outer.get("error") or outer.get("message") if outer else body


def _is_daily(details: list[Mapping[str, Any]]) -> bool:
    quotas = (v.get("quotaId") for d in details for v in mappings(d.get("violations")))
    return any("PerDay" in str(quota) for quota in quotas)


def _retry_delay_s(details: list[Mapping[str, Any]]) -> float | None:
    """Return the delay of google.rpc.RetryInfo; Gemini sends no Retry-After header."""
    for detail in details:
        delay = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(detail.get("retryDelay")))
        if delay and str(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            return float(delay[1])
    return None


def api_root(url: str) -> str:
    """Return the URL without the parts that the SDK adds or the OpenAI endpoint has.

    dbt-osmosis reads the same variable and wants ``…/v1beta/openai`` in it.
    """
    return _VERSION_SUFFIX.sub("", url)


class GeminiClient(SdkClient):
    """Gemini, through the google-genai SDK."""

    def __init__(self, config: LLMConfig, spec: ProviderSpec) -> None:
        super().__init__(config, spec)
        try:
            from google.genai import Client, errors, types
        except ImportError:
            raise LLMConfigError(
                f"Provider {spec.name!r} needs the google-genai SDK: "
                "pip install 'dbt-osmosis-llm[gemini]'."
            ) from None
        self._errors = errors
        self._types = types
        url = config.base_url or spec.base_url
        # Whatever is left out here, the SDK looks for in environment variables of its own. The
        # client must be kept: when it is collected, its connections close.
        self._sdk = Client(
            api_key=config.api_key or spec.name,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=api_root(url) if url else None,
                # In whole milliseconds; 0 would be no bound at all.
                timeout=max(1, round(config.timeout_s * 1000)),
                retry_options=types.HttpRetryOptions(attempts=1),
                # The key is in a header that would follow a redirect to any host.
                client_args={"follow_redirects": False},
            ),
        )

    def _encode(self, request: LLMRequest, dialect: Dialect) -> dict[str, Any]:
        return encode_request(request, self._config, self._spec, dialect)

    def _send(self, body: Mapping[str, Any]) -> WireAnswer:
        try:
            raw = self._sdk.models.generate_content(model=self.model, **self._arguments(body))
        except self._errors.APIError as error:
            headers = getattr(error.response, "headers", None) or {}
            failure: LLMError = classify_error(error.code, error.details, **self._about(headers))
        except Exception as error:
            transport_failure = self._transport_error(error)
            if transport_failure is None:
                raise
            failure = transport_failure
        else:
            answer = raw.sdk_http_response
            if answer is None:  # asked for in `_arguments`
                return WireAnswer("", {})
            return WireAnswer(answer.body or "", answer.headers or {})
        raise failure

    def _decode(self, answer: Mapping[str, Any], request_id: str | None) -> LLMResponse:
        return decode_response(answer, provider=self.provider, model=self.model)

    def _arguments(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what makes the SDK send this body and keep the answer's text."""
        options: dict[str, Any] = {
            "should_return_http_response": True,
            "automatic_function_calling": {"disable": True},
            "http_options": {"extra_body": dict(body)},
        }
        # On by default: one call then makes, and bills, several requests. Unknown before 2.33.
        if "automatic_continuation" in self._types.GenerateContentConfig.model_fields:
            options["automatic_continuation"] = False
        return {
            "contents": body["contents"],
            "config": self._types.GenerateContentConfig(**options),
        }

    def _transport_error(self, error: Exception) -> LLMError | None:
        """Return our error for one of the HTTP library, which the SDK lets through as it is.

        The library is httpx or httpx2 by the SDK's version, and need not be installed for us.
        """
        if isinstance(error, (UnicodeDecodeError, RecursionError)):
            # The SDK reads the body of an error before it tells the status.
            return unreadable_error(self.provider, error)
        classes = {cls.__name__: cls.__module__ for cls in type(error).__mro__}
        if not {module.partition(".")[0] for module in classes.values()} & {"httpx", "httpx2"}:
            return None
        if "TimeoutException" in classes:
            return self._timeout_error()
        return self._unreachable_error(error)


def create_client(config: LLMConfig, spec: ProviderSpec) -> GeminiClient:
    """Return the client for one row of the registry."""
    return GeminiClient(config, spec)
