"""What is asked and what is answered, in the words of no provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from dbt_osmosis_llm.llm.usage import Usage


class FinishReason(str, Enum):
    """Why a model stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    FILTERED = "filtered"
    OTHER = "other"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class LLMRequest:
    """One question to a model."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer; None asks for plain text."""
    schema_name: str = "documentation"
    """1 to 64 characters of ``[a-zA-Z0-9_-]``."""
    max_output_tokens: int | None = None
    """Bound on the answer in tokens; None leaves it to the client's configuration."""
    temperature: float | None = None
    """Sent only when set: current reasoning models refuse it."""
    custom_id: str = ""
    """Names the request in reports, e.g. a dbt unique id."""
    description: str = ""
    """What is asked, for people, e.g. ``2 texts of orders``."""
    evidence: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The facts that the messages were rendered from, JSON-like. Never sent to a provider: the
    offline provider writes from it, and tests can answer from it."""


@dataclass(frozen=True)
class RateLimits:
    """What a provider allows, as its response headers say; None where they do not."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True)
class LLMResponse:
    """One answer of a model."""

    text: str
    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage = field(default_factory=Usage)
    provider: str = ""
    model: str = ""
    request_id: str | None = None
    latency_ms: float = 0.0
    """Wall time of the call, set by `MeteredClient`."""
    attempts: int = 1
    """Requests made for this answer."""
    rate_limits: RateLimits | None = None
    """The provider's limits, where it sends them."""
