"""What endpoints reject of a request, in the words of the servers that are known to do so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.server import Recorded, Reply, Script, fill

_NEWER = ("openai", "azure-openai", "azure-openai-ad")
_OLDER = ("ollama", "lm-studio", "openai-compatible", "openrouter")
_COMPATIBLE = (*_NEWER, *_OLDER)
_BOUNDS = ("max_completion_tokens", "max_tokens", "maxOutputTokens")


@dataclass(frozen=True)
class Form:
    """What of a request an endpoint may reject."""

    temperature: bool
    bound: str | None
    """Name of the parameter that bounds the answer."""
    schema: str | None
    """``strict``, ``schema``, ``json`` or nothing."""


def form_of(request: Recorded) -> Form:
    body: dict[str, Any] = {**request.body, **request.body.get("generationConfig", {})}
    wanted = body.get("response_format") or body.get("output_config", {}).get("format") or {}
    if "responseMimeType" in body:
        wanted = {"type": "json_schema" if "responseJsonSchema" in body else "json_object"}
    schema = {"json_schema": "schema", "json_object": "json"}.get(wanted.get("type", ""))
    if wanted.get("json_schema", {}).get("strict"):
        schema = "strict"
    bound = next((name for name in _BOUNDS if name in body), None)
    return Form("temperature" in body, bound, schema)


@dataclass(frozen=True)
class Rejection:
    """One thing that an endpoint rejects for as long as it is sent."""

    name: str
    rejects: Callable[[Form], bool]
    body: Any
    """Of the error, as the server in the name writes it."""
    becomes: dict[str, Any] = field(default_factory=dict)
    """Fields of the `Form` that the endpoint accepts instead."""
    providers: tuple[str, ...] = _COMPATIBLE
    repetitions: int = 1
    """Requests it takes to learn it."""
    status: int = 400

    def script(self) -> Script:
        """Answer like this, and else with the schema of the first request: models read prompts."""
        schemas: list[dict[str, Any]] = []

        def reply(request: Recorded, number: int) -> Reply:
            if not schemas:
                schemas.append(request.schema)
            if self.rejects(form_of(request)):
                return Reply(self.status, body=self.body)
            return Reply(content=fill(schemas[0]))

        return reply


def _openai(message: str, param: str | None = None, code: str | None = None) -> Any:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _vllm(*path: str) -> Any:
    loc = ("body", *path)
    return {
        "object": "error",
        "message": f"[{{'type': 'extra_forbidden', 'loc': {loc}, 'msg': 'Extra inputs are not "
        "permitted', 'input': 1}]",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }


def _pydantic(*path: str) -> Any:
    return {
        "detail": [
            {
                "type": "extra_forbidden",
                "loc": ["body", *path],
                "msg": "Extra inputs are not permitted",
                "input": 1,
            }
        ]
    }


def _anthropic(message: str) -> Any:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def _gemini(message: str) -> Any:
    return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


def _unknown_to_gemini(name: str) -> Any:
    return _gemini(
        f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config': "
        "Cannot find field."
    )


def _sends(bound: str) -> Callable[[Form], bool]:
    return lambda form: form.bound == bound


def _temperature(form: Form) -> bool:
    return form.temperature


def _any_schema(form: Form) -> bool:
    return form.schema in ("strict", "schema")


def _any_format(form: Form) -> bool:
    return form.schema is not None


def _strict(form: Form) -> bool:
    return form.schema == "strict"


def _no_schema(name: str, body: Any, status: int = 400) -> Rejection:
    return Rejection(name, _any_schema, body, {"schema": "json"}, status=status)


_FORMAT = "response_format"
REJECTIONS = (
    Rejection(
        "temperature (OpenAI)",
        _temperature,
        _openai(
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the "
            "default (1) value is supported.",
            "temperature",
            "unsupported_value",
        ),
        {"temperature": False},
    ),
    Rejection(
        "max_tokens (OpenAI)",
        _sends("max_tokens"),
        _openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        ),
        {"bound": "max_completion_tokens"},
        _OLDER,
    ),
    Rejection(
        "max_completion_tokens (vLLM)",
        _sends("max_completion_tokens"),
        _vllm("max_completion_tokens"),
        {"bound": "max_tokens"},
        _NEWER,
    ),
    Rejection(
        "max_completion_tokens (OpenAI, older)",
        _sends("max_completion_tokens"),
        _openai("Unrecognized request argument supplied: max_completion_tokens"),
        {"bound": "max_tokens"},
        _NEWER,
    ),
    Rejection(
        "max_completion_tokens (Mistral)",
        _sends("max_completion_tokens"),
        _pydantic("max_completion_tokens"),
        {"bound": "max_tokens"},
        _NEWER,
        status=422,
    ),
    _no_schema(
        "json_schema (OpenAI)",
        _openai(
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with "
            "this model.",
            _FORMAT,
        ),
    ),
    _no_schema(
        "json_schema (Azure, older)",
        _openai(
            "response_format value as json_schema is enabled only for api versions "
            "2024-08-01-preview and later",
            code="BadRequest",
        ),
    ),
    _no_schema("json_schema (DeepSeek)", _openai("This response_format type is unavailable now")),
    _no_schema(
        "json_schema (Groq)",
        _openai(
            "'response_format.type' : value is not one of the allowed values ['text','json_object']"
        ),
    ),
    _no_schema("json_schema (a string)", {"error": "'response_format.type' must be 'json_object'"}),
    _no_schema("json_schema (FastAPI)", _pydantic("response_format", "json_schema"), status=422),
    Rejection(
        "strict (OpenAI)",
        _strict,
        _openai(
            "Unknown parameter: 'response_format.json_schema.strict'.",
            "response_format.json_schema.strict",
            "unknown_parameter",
        ),
        {"schema": "schema"},
    ),
    Rejection(
        "strict (FastAPI)",
        _strict,
        _pydantic("response_format", "json_schema", "strict"),
        {"schema": "schema"},
        status=422,
    ),
    Rejection(
        "any response_format",
        _any_format,
        _openai("Unknown parameter: 'response_format'.", _FORMAT, "unknown_parameter"),
        {"schema": None},
        repetitions=2,
    ),
    Rejection(
        "any bound",
        lambda form: form.bound is not None,
        _openai("Unsupported parameter: max_tokens, max_completion_tokens"),
        {"bound": None},
        repetitions=2,
    ),
    Rejection(
        "temperature and strict at once",
        lambda form: form.temperature or form.schema == "strict",
        _openai("Unknown parameters: temperature, response_format.json_schema.strict"),
        {"temperature": False, "schema": "schema"},
        repetitions=2,
    ),
    Rejection(
        "temperature (Anthropic)",
        _temperature,
        _anthropic("`temperature` is deprecated for this model."),
        {"temperature": False},
        ("anthropic",),
    ),
    Rejection(
        "output_config (Anthropic)",
        _any_schema,
        _anthropic("output_config: Extra inputs are not permitted"),
        {"schema": None},
        ("anthropic",),
    ),
    Rejection(
        "temperature (Gemini)",
        _temperature,
        _unknown_to_gemini("temperature"),
        {"temperature": False},
        ("google-gemini",),
    ),
    Rejection(
        "responseJsonSchema (Gemini)",
        _any_schema,
        _unknown_to_gemini("responseJsonSchema"),
        {"schema": "json"},
        ("google-gemini",),
    ),
    Rejection(
        "JSON mode (Gemini)",
        _any_format,
        _gemini("JSON mode is not enabled for models/gemma-3-27b-it"),
        {"schema": None},
        ("google-gemini",),
        repetitions=2,
    ),
)
