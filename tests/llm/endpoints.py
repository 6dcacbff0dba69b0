"""The providers as the matrix asks them: the real stack and SDKs, at the loopback server.

Every client has a key of its own, because SDK clients, limiters and what was learned of an endpoint
are shared within a process by just that.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from azure import identity
from azure.core.credentials import AccessToken

from dbt_osmosis_llm import stack
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.server import LoopbackServer, Recorded, Script, text_for

SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": ["string", "null"]}},
    "required": ["description"],
    "additionalProperties": False,
}
REQUEST = LLMRequest(
    (Message("system", "s" * 400), Message("user", "u" * 40)),
    schema=SCHEMA,
    max_output_tokens=300,
    custom_id="model.shop.orders",
    description="1 text of orders",
)
ANSWER = {"description": text_for("table")}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Endpoint:
    """One provider of the registry, and which wire format it speaks."""

    provider: str
    wire: str
    model: str
    version: str = "/v1"
    """What stands behind the server's address in the base URL."""

    def config(self, server: LoopbackServer, **changes: Any) -> LLMConfig:
        number = next(_numbers)
        values: dict[str, Any] = {
            # Without the shape of any vendor's keys: only who knows it can take it out of a text.
            "api_key": f"Tq4kWz8RbHn2vLx6PdYf{number:012d}",
            "base_url": server.root + self.version,
            "retry_delay_s": 0.01,
            "timeout_s": 20.0,
        }
        if self.provider == "azure-openai-ad":
            # No key: the scope tells clients apart.
            values |= {"api_key": None, "options": {"token_scope": f"https://{number}.test"}}
        return LLMConfig(self.provider, self.model, **{**values, **changes})


ENDPOINTS = (
    Endpoint("openai", "openai", "gpt-6-luna"),
    Endpoint("azure-openai", "azure", "our-deployment", version=""),
    Endpoint("azure-openai-ad", "azure", "our-deployment", version=""),
    Endpoint("anthropic", "anthropic", "claude-haiku-5-5"),
    Endpoint("google-gemini", "gemini", "gemini-3.8-flash"),
    Endpoint("ollama", "openai", "llama3.2"),
    Endpoint("lm-studio", "openai", "local-model"),
    Endpoint("openai-compatible", "openai", "our-model"),
    Endpoint("openrouter", "openai", "openai/gpt-6-luna"),
)


@contextmanager
def sign_in(lifetime_s: float = 3600.0) -> Iterator[None]:
    """Sign in with Entra ID, which nothing on loopback can answer; tokens live for so long."""
    issued = itertools.count(1)

    class Credential:
        def get_token(self, *scopes: str, **options: Any) -> AccessToken:
            # A JWT, as Entra's are.
            parts = (
                "eyJhbGciOiJub25lIn0",
                "eyJvaWQiOiIwMTIzNDU2Nzg5In0",
                f"c2lnbmVk{next(issued):04}",
            )
            return AccessToken(".".join(parts), int(time.time() + lifetime_s))

    real = identity.DefaultAzureCredential
    vars(identity)["DefaultAzureCredential"] = Credential
    try:
        yield
    finally:
        vars(identity)["DefaultAzureCredential"] = real


@contextmanager
def own_clients() -> Iterator[None]:
    """Let clients that are built in here go afterwards, and their connections with them."""
    kept = stack._PROCESS
    stack._PROCESS = stack.ClientStack(kept.stats)
    try:
        yield
    finally:
        stack._PROCESS = kept


@dataclass
class Play:
    """What came of calls to one client."""

    responses: list[LLMResponse] = field(default_factory=list)
    error: Exception | None = None
    requests: list[Recorded] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """Seconds that the stack would have slept before each repetition."""
    seconds: float = 0.0
    stats: LLMUsageStats = field(default_factory=LLMUsageStats)

    @property
    def response(self) -> LLMResponse:
        """The last answer; whatever error came instead is raised."""
        if self.error is not None:
            raise self.error
        return self.responses[-1]

    @property
    def answer(self) -> Any:
        """The last answer's text as JSON."""
        return json.loads(self.response.text)


def play(
    endpoint: Endpoint,
    server: LoopbackServer,
    script: Script | None = None,
    *,
    calls: int = 1,
    request: LLMRequest = REQUEST,
    **config: Any,
) -> Play:
    """Ask through the whole stack and return what came of it, our errors and others."""
    done = Play()
    if script is not None:
        server.script = script
    client = build_client(endpoint.config(server, **config), done.stats, sleep=done.waits.append)
    started = time.monotonic()
    try:
        for _ in range(calls):
            done.responses.append(client.complete(request))
    except Exception as error:  # noqa: BLE001  # a raw SDK error is a finding, not the end
        done.error = error
    done.seconds = time.monotonic() - started
    done.requests = list(server.requests)
    return done
