"""The providers, one row each. A new compatible endpoint is one row."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt_osmosis_llm.llm.client import LLMClient, LLMConfig


@dataclass(frozen=True)
class ProviderSpec:
    """What there is to know of a provider before its code is loaded."""

    name: str
    module: str
    """Module beside this one; its ``create_client(config, spec)`` makes the client."""
    default_model: str
    base_url: str | None = None
    """None: the SDK's own."""
    key_env: str | None = None
    model_env: str | None = None
    base_url_env: str | None = None
    key_required: bool = True
    price_provider: str | None = None
    """Id in genai-prices; ``"free"`` for local models; None: no price list."""
    output_bound_parameter: str = "max_completion_tokens"
    """Local servers know only the older ``max_tokens``."""
    reasoning_headroom_tokens: int = 4096
    """Added to each bound on output: reasoning counts towards it before the first word."""

    def create(self, config: LLMConfig) -> LLMClient:
        """Return a client for this provider, loading its module and SDK only now."""
        module = import_module(f"dbt_osmosis_llm.llm.providers.{self.module}")
        client: LLMClient = module.create_client(config, self)
        return client


_ROWS = (
    ProviderSpec(
        name="openai",
        module="openai_compatible",
        default_model="gpt-6-luna",
        key_env="OPENAI_API_KEY",
        model_env="OPENAI_MODEL",
        base_url_env="OPENAI_BASE_URL",
        price_provider="openai",
    ),
    ProviderSpec(
        name="anthropic",
        module="anthropic",
        default_model="claude-haiku-5-5",
        base_url="https://api.anthropic.com",
        key_env="ANTHROPIC_API_KEY",
        model_env="ANTHROPIC_MODEL",
        base_url_env="ANTHROPIC_BASE_URL",
        price_provider="anthropic",
    ),
    ProviderSpec(
        name="google-gemini",
        module="gemini",
        default_model="gemini-3.8-flash",
        base_url="https://generativelanguage.googleapis.com",
        key_env="GOOGLE_GEMINI_API_KEY",
        model_env="GOOGLE_GEMINI_MODEL",
        base_url_env="GOOGLE_GEMINI_BASE_URL",
        price_provider="google",
    ),
    ProviderSpec(
        name="ollama",
        module="openai_compatible",
        default_model="llama3.2",
        base_url="http://localhost:11434/v1",
        key_env="OLLAMA_API_KEY",
        model_env="OLLAMA_MODEL",
        base_url_env="OLLAMA_BASE_URL",
        key_required=False,
        price_provider="free",
        output_bound_parameter="max_tokens",
        reasoning_headroom_tokens=1024,
    ),
    ProviderSpec(
        name="lm-studio",
        module="openai_compatible",
        default_model="local-model",
        base_url="http://localhost:1234/v1",
        key_env="LM_STUDIO_API_KEY",
        model_env="LM_STUDIO_MODEL",
        base_url_env="LM_STUDIO_BASE_URL",
        key_required=False,
        price_provider="free",
        output_bound_parameter="max_tokens",
        reasoning_headroom_tokens=1024,
    ),
    ProviderSpec(
        name="offline",
        module="offline",
        default_model="evidence",
        key_required=False,
        price_provider="free",
        reasoning_headroom_tokens=0,
    ),
)

PROVIDERS: dict[str, ProviderSpec] = {row.name: row for row in _ROWS}
