"""What is asked and what is answered, in the words of no provider."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol

BYTES_PER_TOKEN = 4
"""About as many as English text and SQL take, of UTF-8."""
_TOKENS_PER_MESSAGE = 4
"""Of its role, and of what sets it apart from the next one."""
_OUTPUT_TOKENS = 1000
"""Of a request that sets no bound of its own."""


class FinishReason(str, Enum):
    """Why a model stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    FILTERED = "filtered"
    OTHER = "other"


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, the same way for every provider."""

    input_tokens: int = 0
    """Prompt tokens, those read from or written to a cache included."""
    cached_tokens: int = 0
    """Prompt tokens read from the provider's cache."""
    output_tokens: int = 0
    """Completion tokens, reasoning included."""
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    """Prompt tokens written to the provider's cache, which some charge more for."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


def estimated_tokens(*texts: str) -> int:
    """Return about how many tokens texts take together."""
    # Bytes, not characters: what is not ASCII takes more tokens a character.
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return math.ceil(size / BYTES_PER_TOKEN)


def sum_of_costs(*costs_usd: float | None) -> float | None:
    """Return the sum of costs in US dollars, None as soon as one of them is not known."""
    total = 0.0
    for cost_usd in costs_usd:
        if cost_usd is None:
            return None
        total += cost_usd
    return total


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
    part: str = ""
    """Which of several requests under the same ``custom_id``; empty for the only one."""
    description: str = ""
    """What is asked, for people, e.g. ``2 texts of orders``."""
    parent_call_id: str | None = None
    """The call on record that this one repairs, halves or completes."""
    check: Callable[[LLMResponse], Any] | None = field(default=None, compare=False, repr=False)
    """Raises LLMResponseError for an answer that cannot be used, which is never used again."""

    cancelled: threading.Event | None = field(default=None, compare=False, repr=False)
    """Set when nobody wants the answer any more: what waits for its turn is not sent."""

    @property
    def expected_usage(self) -> Usage:
        """Return about how many tokens the request takes, its schema included."""
        texts = [message.content for message in self.messages]
        if self.schema is not None:
            texts.append(json.dumps(self.schema, default=str))
        prompt = estimated_tokens(*texts) + _TOKENS_PER_MESSAGE * len(self.messages)
        output = self.max_output_tokens
        return Usage(
            input_tokens=prompt, output_tokens=_OUTPUT_TOKENS if output is None else output
        )


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
    cost_usd: float | None = None
    """What the call cost, set by `MeteredClient`; None when that is not known."""
    attempts: int = 1
    """Requests made for this answer."""
    repeated_for: tuple[str, ...] = ()
    """Classes of the errors before it that were worth a repetition."""
    call_id: str | None = None
    """The call on record that gave this answer; None without a ledger."""
    rate_limits: RateLimits | None = None
    """The provider's limits, where it sends them."""


class LLMClient(Protocol):
    """Anything that answers requests; wrappers have a client and are a client."""

    provider: str
    model: str

    def complete(self, request: LLMRequest) -> LLMResponse:
        """Return the model's answer.

        Raises:
            LLMError: No answer; the class says why.
        """
        ...
