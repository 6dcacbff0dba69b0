"""The vendors' wire formats as a server speaks them: requests read, answers and errors written.

Errors are in the vendors' own words, because what can be done about one is often only in them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_KEY_HEADERS = ("api-key", "x-api-key", "x-goog-api-key")
_MAX_UNIONS = 16


@dataclass(frozen=True)
class Counts:
    """Tokens of one answer, as our own `Usage` counts them."""

    input: int = 0
    """Read from and written to a cache included."""
    cached: int = 0
    output: int = 0
    """Reasoning included."""
    reasoning: int = 0
    cache_write: int = 0


@dataclass(frozen=True)
class Answer:
    """What a server has to say, in the words of no vendor."""

    number: int
    model: str
    text: str
    finish_reason: str
    """``stop``, ``length``, ``filtered``, or a word of the vendor's own."""
    refusal: str | None
    counts: Counts


@dataclass(frozen=True)
class Complaint:
    """An error that a request itself earns."""

    status: int
    kind: str
    says: str | None = None


class WireFormat(ABC):
    """One vendor's requests, answers and errors as JSON."""

    path: re.Pattern[str]
    """Matches the whole path of a request, without its query."""
    writes_cache = False
    """True when the vendor counts what it writes to a prompt cache, and only when asked to."""

    @abstractmethod
    def turns(self, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (role, text) of every message, the system prompt first."""

    @abstractmethod
    def schema(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the JSON schema that the answer must have."""

    @abstractmethod
    def answer(self, answer: Answer) -> dict[str, Any]:
        """Return the body of a good answer."""

    @abstractmethod
    def error(
        self, status: int, kind: str, says: str | None, number: int, retry_after_s: float | None
    ) -> Any:
        """Return the body of an error.

        Args:
            status: HTTP status.
            kind: What is wrong: ``rate_limit``, ``quota``, ``key``, ``permission``, ``billing``,
                ``model``, ``context``, ``policy``, ``bad_request``, ``server`` or ``overloaded``.
            says: The message, instead of the vendor's words for this kind.
            number: Number of the request.
            retry_after_s: What the body asks to wait, for vendors that say it there.
        """

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        return str(body["model"])

    def headers(self, number: int, limits: tuple[int, int] | None) -> dict[str, str]:
        """Return the request id and the limits on requests and tokens a minute as headers."""
        return {"x-request-id": f"req_{number}"}

    def complaint(
        self, query: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Complaint | None:
        """Return what this vendor would refuse of any request."""
        return None


def credential(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request carries, by whichever header."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
    return bearer or next((headers[name] for name in _KEY_HEADERS if name in headers), None)


def joined(content: Any) -> str:
    """Return the text of a content that is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content or "")


class OpenAIChat(WireFormat):
    """Chat completions: OpenAI and every compatible server, under any prefix."""

    path = re.compile(r".*/chat/completions")
    errors: Mapping[str, tuple[str, str, str | None]] = {
        "rate_limit": (
            "Rate limit reached on requests per min.",
            "requests",
            "rate_limit_exceeded",
        ),
        "quota": (
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "key": ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
        "permission": ("You have insufficient permissions.", "invalid_request_error", None),
        "billing": ("Insufficient Balance", "unknown_error", "invalid_request_error"),
        "model": ("The model does not exist.", "invalid_request_error", "model_not_found"),
        "context": (
            "This model's maximum context length is 8192 tokens. Please reduce the length.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        "policy": ("The prompt was flagged.", "invalid_request_error", "content_policy_violation"),
        "bad_request": ("We could not parse your request.", "invalid_request_error", None),
        "server": ("The server had an error. Sorry about that!", "server_error", None),
        "overloaded": ("The engine is currently overloaded.", "service_unavailable_error", None),
    }

    def turns(self, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(turn["role"], joined(turn["content"])) for turn in body["messages"]]

    def schema(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        wanted = body.get("response_format") or {}
        schema: dict[str, Any] | None = wanted.get("json_schema", {}).get("schema")
        return schema

    def answer(self, answer: Answer) -> dict[str, Any]:
        counts = answer.counts
        finish = {"filtered": "content_filter"}.get(answer.finish_reason, answer.finish_reason)
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if answer.refusal:
            message = {"role": "assistant", "content": None, "refusal": answer.refusal}
        return {
            "id": f"chatcmpl-{answer.number}",
            "object": "chat.completion",
            "created": 0,
            "model": answer.model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": counts.input,
                "completion_tokens": counts.output,
                "total_tokens": counts.input + counts.output,
                "prompt_tokens_details": {"cached_tokens": counts.cached},
                "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
            },
        }

    def error(
        self, status: int, kind: str, says: str | None, number: int, retry_after_s: float | None
    ) -> Any:
        message, kind_of_error, code = self.errors[kind]
        fields = {"message": says or message, "type": kind_of_error, "param": None, "code": code}
        return {"error": fields}

    def headers(self, number: int, limits: tuple[int, int] | None) -> dict[str, str]:
        headers = super().headers(number, limits)
        for name, limit in zip(("requests", "tokens"), limits or (), strict=False):
            headers[f"x-ratelimit-limit-{name}"] = str(limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(limit - 1)
            headers[f"x-ratelimit-reset-{name}"] = "120ms"
        return headers

    def complaint(
        self, query: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Complaint | None:
        wanted = (body.get("response_format") or {}).get("json_schema", {})
        if wanted.get("strict") and not all(map(_is_strict, objects(wanted["schema"]))):
            return Complaint(400, "bad_request", "Invalid schema for response_format.")
        return None


class AzureChat(OpenAIChat):
    """Chat completions below a deployment; its errors carry the status as their code."""

    path = re.compile(r"/openai/deployments/[^/]+/chat/completions")
    errors: Mapping[str, tuple[str, str, str | None]] = {
        **OpenAIChat.errors,
        "rate_limit": ("Requests have exceeded call rate limit. Please retry.", "requests", "429"),
        "key": ("Access denied due to invalid subscription key.", "auth", "401"),
        "permission": ("The principal lacks the required data action.", "auth", "PermissionDenied"),
        "model": (
            "The API deployment for this resource does not exist.",
            "invalid_request_error",
            "DeploymentNotFound",
        ),
        "policy": (
            "The response was filtered due to the prompt triggering the content policy.",
            "invalid_request_error",
            "content_filter",
        ),
        "server": ("The server had an error processing your request.", "server_error", "500"),
        "no_version": ("Resource not found", "invalid_request_error", "404"),
    }

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        # Azure answers with the model behind the deployment, which the request never names.
        return "gpt-6-luna"

    def complaint(
        self, query: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Complaint | None:
        if "api-version=" not in query:
            return Complaint(404, "no_version")
        if credential(headers) is None:
            return Complaint(401, "key")
        return super().complaint(query, headers, body)


class AnthropicMessages(WireFormat):
    """The Messages API."""

    path = re.compile(r"/v1/messages")
    writes_cache = True
    _ERRORS: Mapping[str, tuple[str, str]] = {
        "rate_limit": ("This request would exceed your rate limit.", "rate_limit_error"),
        "quota": ("You have reached your specified spend limit.", "rate_limit_error"),
        "key": ("invalid x-api-key", "authentication_error"),
        "permission": ("Your key may not use this resource.", "permission_error"),
        "billing": ("Your account has a billing problem.", "billing_error"),
        "model": ("model: not found", "not_found_error"),
        "context": ("prompt is too long: 9000 tokens > 8192 maximum", "invalid_request_error"),
        "policy": ("Output blocked by content filtering policy", "invalid_request_error"),
        "bad_request": ("messages: Field required", "invalid_request_error"),
        "server": ("Internal server error", "api_error"),
        "overloaded": ("Overloaded", "overloaded_error"),
    }

    def turns(self, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        system = [("system", joined(body["system"]))] if body.get("system") else []
        return system + [(turn["role"], joined(turn["content"])) for turn in body["messages"]]

    def schema(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        schema: dict[str, Any] | None = (
            body.get("output_config", {}).get("format", {}).get("schema")
        )
        return schema

    def answer(self, answer: Answer) -> dict[str, Any]:
        counts = answer.counts
        native = {"stop": "end_turn", "length": "max_tokens", "filtered": "refusal"}
        stop = native.get(answer.finish_reason, answer.finish_reason)
        content = [{"type": "text", "text": answer.text}]
        if counts.reasoning:
            content.insert(0, {"type": "thinking", "thinking": "Let me think.", "signature": ""})
        details = None
        if answer.refusal or stop == "refusal":
            stop, content = "refusal", []
            details = {"type": "refusal", "category": None, "explanation": answer.refusal}
        return {
            "id": f"msg_{answer.number}",
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": content,
            "stop_reason": stop,
            "stop_details": details,
            "usage": {
                "input_tokens": counts.input - counts.cached - counts.cache_write,
                "cache_creation_input_tokens": counts.cache_write,
                "cache_read_input_tokens": counts.cached,
                "output_tokens": counts.output,
                "output_tokens_details": {"thinking_tokens": counts.reasoning},
            },
        }

    def error(
        self, status: int, kind: str, says: str | None, number: int, retry_after_s: float | None
    ) -> Any:
        message, kind_of_error = self._ERRORS[kind]
        fields: dict[str, Any] = {"type": kind_of_error, "message": says or message}
        if kind == "quota":
            fields["details"] = {"error_code": "enforced_spend_limit_reached"}
        return {"type": "error", "error": fields, "request_id": f"req_{number}"}

    def headers(self, number: int, limits: tuple[int, int] | None) -> dict[str, str]:
        headers = {"request-id": f"req_{number}"}
        for name, limit in zip(("requests", "tokens"), limits or (), strict=False):
            headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
            headers[f"anthropic-ratelimit-{name}-remaining"] = str(limit - 1)
            headers[f"anthropic-ratelimit-{name}-reset"] = "2100-01-01T00:00:00Z"
        return headers

    def complaint(
        self, query: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Complaint | None:
        if credential(headers) is None:
            return Complaint(401, "key")
        if "anthropic-version" not in headers:
            return Complaint(400, "bad_request", "anthropic-version: header is required")
        if not body.get("max_tokens"):
            return Complaint(400, "bad_request", "max_tokens: Field required")
        schema = self.schema(body) or {}
        if not all(node.get("additionalProperties") is False for node in objects(schema)):
            return Complaint(400, "bad_request", "output_config.format.schema: closed objects only")
        if _unions(schema) > _MAX_UNIONS:
            return Complaint(400, "bad_request", "Schemas contains too many union types.")
        return None


class GeminiGenerate(WireFormat):
    """Gemini's generateContent, on both versions of the API."""

    path = re.compile(r"/(?:v1|v1beta)/models/[^/:]+:generateContent")
    _ERRORS: Mapping[str, tuple[str, str]] = {
        "rate_limit": ("You exceeded your current quota.", "RESOURCE_EXHAUSTED"),
        "quota": ("You exceeded your current quota.", "RESOURCE_EXHAUSTED"),
        "key": ("API key not valid. Please pass a valid API key.", "UNAUTHENTICATED"),
        "permission": ("Permission denied.", "PERMISSION_DENIED"),
        "billing": ("Billing is not enabled.", "FAILED_PRECONDITION"),
        "model": ("The model is not found for this API version.", "NOT_FOUND"),
        "context": ("The input token count exceeds the maximum.", "INVALID_ARGUMENT"),
        "policy": ("The prompt was blocked.", "INVALID_ARGUMENT"),
        "bad_request": ("Request contains an invalid argument.", "INVALID_ARGUMENT"),
        "server": ("An internal error has occurred.", "INTERNAL"),
        "overloaded": ("The model is overloaded. Please try again later.", "UNAVAILABLE"),
    }

    def turns(self, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        system = body.get("systemInstruction")
        turns = [("system", joined(system["parts"]))] if system else []
        return turns + [(turn["role"], joined(turn["parts"])) for turn in body["contents"]]

    def schema(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        schema: dict[str, Any] | None = body.get("generationConfig", {}).get("responseJsonSchema")
        return schema

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        return re.split("[/:]", path)[-2]

    def answer(self, answer: Answer) -> dict[str, Any]:
        counts = answer.counts
        finish = {"length": "MAX_TOKENS", "filtered": "SAFETY"}.get(
            answer.finish_reason, answer.finish_reason.upper()
        )
        candidate: dict[str, Any] = {"finishReason": finish, "index": 0}
        if finish != "SAFETY":
            parts: list[dict[str, Any]] = [{"text": answer.text}]
            if counts.reasoning:
                parts.insert(0, {"text": "Let me think.", "thought": True})
            candidate["content"] = {"role": "model", "parts": parts}
        return {
            "candidates": [candidate],
            "usageMetadata": {
                "promptTokenCount": counts.input,
                "cachedContentTokenCount": counts.cached,
                "candidatesTokenCount": counts.output - counts.reasoning,
                "thoughtsTokenCount": counts.reasoning,
                "totalTokenCount": counts.input + counts.output,
            },
            "modelVersion": answer.model,
            "responseId": f"req_{answer.number}",
        }

    def error(
        self, status: int, kind: str, says: str | None, number: int, retry_after_s: float | None
    ) -> Any:
        message, name = self._ERRORS[kind]
        fields: dict[str, Any] = {"code": status, "message": says or message, "status": name}
        details: list[dict[str, Any]] = []
        if kind in ("rate_limit", "quota"):
            period = "Day" if kind == "quota" else "Minute"
            quota = f"GenerateRequestsPer{period}PerProjectPerModel-FreeTier"
            details.append(_detail("QuotaFailure", violations=[{"quotaId": quota}]))
        if retry_after_s is not None:
            details.append(_detail("RetryInfo", retryDelay=f"{retry_after_s:g}s"))
        if kind == "key" and status == 400:
            details.append(_detail("ErrorInfo", reason="API_KEY_INVALID"))
            fields["status"] = "INVALID_ARGUMENT"
        return {"error": {**fields, "details": details} if details else fields}

    def headers(self, number: int, limits: tuple[int, int] | None) -> dict[str, str]:
        return {}

    def complaint(
        self, query: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Complaint | None:
        return None if credential(headers) else Complaint(403, "permission")


def _detail(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{name}", **fields}


def objects(schema: Any) -> list[dict[str, Any]]:
    """Return every object in a JSON schema, outermost first."""
    if isinstance(schema, list):
        return [found for item in schema for found in objects(item)]
    if not isinstance(schema, dict):
        return []
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return [found for value in schema.values() for found in objects(value)]
    # By their values: a property may be called `properties`, too.
    others = [value for key, value in schema.items() if key != "properties"]
    return [schema, *objects([*properties.values(), *others])]


def _is_strict(node: Mapping[str, Any]) -> bool:
    names = set(node["properties"])
    return node.get("additionalProperties") is False and names == set(node.get("required", ()))


def _unions(node: Any) -> int:
    if isinstance(node, list):
        return sum(map(_unions, node))
    if not isinstance(node, dict):
        return 0
    here = isinstance(node.get("type"), list) or isinstance(node.get("anyOf"), list)
    return here + sum(map(_unions, node.values()))


FORMATS: tuple[WireFormat, ...] = (
    AzureChat(),
    AnthropicMessages(),
    GeminiGenerate(),
    OpenAIChat(),
)


def format_of(path: str) -> WireFormat | None:
    """Return the format that a path speaks; None for a path that no vendor has."""
    route = path.partition("?")[0]
    return next((found for found in FORMATS if found.path.fullmatch(route)), None)
