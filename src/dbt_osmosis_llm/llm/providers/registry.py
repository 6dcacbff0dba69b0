"""The providers, one row each. A new compatible endpoint is one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dbt_osmosis_llm.llm.providers.dialect import Dialect, SchemaSupport

FREE = "free"


@dataclass(frozen=True)
class ProviderSpec:
    """What there is to know of a provider before its code is loaded."""

    name: str
    module: str = "openai_compatible"
    """Module beside this one; its ``create_client(config, spec)`` makes the client."""
    sdk: tuple[str, ...] = ("openai",)
    """Modules that must be importable; none: nobody is asked, see `synthesis.offline`."""
    extra: str | None = None
    """Our extra that installs it, when we do not depend on it."""
    default_model: str | None = None
    """None: there is no sensible one, the user must name a model."""
    base_url: str | None = None
    """None: the SDK's own, or the user must give one."""
    key_env: str | None = None
    model_env: str | None = None
    base_url_env: str | None = None
    key_required: bool = True
    base_url_required: bool = False
    options_env: Mapping[str, str] = field(default_factory=dict)
    """Name in `LLMConfig.options` to its variable."""
    required_options: tuple[str, ...] = ()
    price_provider: str | None = None
    """Id in genai-prices; ``"free"`` for models that run here; None: no price list."""
    dialect: Dialect = field(default_factory=Dialect)
    """What the endpoint is hoped to accept; it learns from what is rejected."""
    reasoning_headroom_tokens: int = 4096
    """Added to each bound on output: reasoning counts towards it before the first word."""

    concurrency: int | None = None
    """Requests at the same time; None: as many as `LLMConfig` has."""

    @property
    def is_local(self) -> bool:
        """Tell whether the model runs on the user's own machines: free, and without quota."""
        return self.price_provider == FREE


# The newer name is OpenAI's own; older builds of local servers do not know it.
_OLDER_BOUND = Dialect(output_bound="max_tokens")


def _compatible(
    name: str,
    base_url: str | None,
    default_model: str | None,
    *,
    price_provider: str | None = None,
    dialect: Dialect = _OLDER_BOUND,
    key_required: bool = True,
    base_url_required: bool = False,
) -> ProviderSpec:
    """Return the row of an endpoint that speaks chat completions; its variables share a prefix."""
    prefix = name.upper().replace("-", "_")
    return ProviderSpec(
        name=name,
        default_model=default_model,
        base_url=base_url,
        key_env=f"{prefix}_API_KEY",
        model_env=f"{prefix}_MODEL",
        base_url_env=f"{prefix}_BASE_URL",
        key_required=key_required,
        base_url_required=base_url_required,
        price_provider=price_provider,
        dialect=dialect,
        reasoning_headroom_tokens=1024 if price_provider == FREE else 4096,
        # A server that answers one after the other uses up the time of those that wait.
        concurrency=2 if price_provider == FREE else None,
    )


def _azure(name: str, *, key_env: str | None, extra: str | None) -> ProviderSpec:
    options = {"api_version": "AZURE_OPENAI_API_VERSION", "price_model": "AZURE_OPENAI_MODEL"}
    if key_env is None:
        options["token_scope"] = "AZURE_OPENAI_AD_TOKEN_SCOPE"  # noqa: S105
    return ProviderSpec(
        name=name,
        module="azure",
        sdk=("openai",) if key_env else ("openai", "azure.identity"),
        extra=extra,
        key_env=key_env,
        key_required=key_env is not None,
        model_env="AZURE_OPENAI_DEPLOYMENT_NAME",
        base_url_env="AZURE_OPENAI_BASE_URL",
        base_url_required=True,
        options_env=options,
        required_options=() if key_env else ("token_scope",),
        price_provider="azure",
    )


_ROWS = (
    ProviderSpec(
        name="openai",
        default_model="gpt-6-luna",
        key_env="OPENAI_API_KEY",
        model_env="OPENAI_MODEL",
        base_url_env="OPENAI_BASE_URL",
        price_provider="openai",
    ),
    _azure("azure-openai", key_env="AZURE_OPENAI_API_KEY", extra=None),
    _azure("azure-openai-ad", key_env=None, extra="azure"),
    ProviderSpec(
        name="anthropic",
        module="anthropic",
        sdk=("anthropic",),
        extra="anthropic",
        default_model="claude-haiku-5-5",
        base_url="https://api.anthropic.com",
        key_env="ANTHROPIC_API_KEY",
        model_env="ANTHROPIC_MODEL",
        base_url_env="ANTHROPIC_BASE_URL",
        price_provider="anthropic",
        dialect=Dialect(output_bound="max_tokens", bound_required=True),
    ),
    ProviderSpec(
        name="google-gemini",
        module="gemini",
        sdk=("google.genai",),
        extra="gemini",
        default_model="gemini-3.8-flash",
        base_url="https://generativelanguage.googleapis.com",
        key_env="GOOGLE_GEMINI_API_KEY",
        model_env="GOOGLE_GEMINI_MODEL",
        base_url_env="GOOGLE_GEMINI_BASE_URL",
        price_provider="google",
        dialect=Dialect(output_bound="maxOutputTokens"),
    ),
    _compatible(
        "ollama",
        "http://localhost:11434/v1",
        "llama3.2",
        price_provider=FREE,
        key_required=False,
    ),
    _compatible(
        "lm-studio",
        "http://localhost:1234/v1",
        "local-model",
        price_provider=FREE,
        key_required=False,
    ),
    _compatible("vllm", "http://localhost:8000/v1", None, price_provider=FREE, key_required=False),
    _compatible("openai-compatible", None, None, key_required=False, base_url_required=True),
    _compatible(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "openai/gpt-6-luna",
        price_provider="openrouter",
    ),
    _compatible(
        "groq",
        "https://api.groq.com/openai/v1",
        "openai/gpt-oss-120b",
        price_provider="groq",
        dialect=Dialect(),
    ),
    _compatible(
        "mistral",
        "https://api.mistral.ai/v1",
        "mistral-small-latest",
        price_provider="mistral",
    ),
    _compatible(
        "deepseek",
        "https://api.deepseek.com",
        "deepseek-v4-flash",
        price_provider="deepseek",
        dialect=Dialect(SchemaSupport.JSON, output_bound="max_tokens"),
    ),
    _compatible(
        "together",
        "https://api.together.xyz/v1",
        "openai/gpt-oss-120b",
        price_provider="together",
    ),
    _compatible(
        "hyperbolic",
        "https://api.hyperbolic.xyz/v1",
        "openai/gpt-oss-120b",
        price_provider="huggingface_hyperbolic",
    ),
    ProviderSpec(
        name="offline",
        sdk=(),
        default_model="evidence",
        key_required=False,
        price_provider=FREE,
        reasoning_headroom_tokens=0,
    ),
)

PROVIDERS: dict[str, ProviderSpec] = {row.name: row for row in _ROWS}


def get_available_providers() -> tuple[str, ...]:
    """Return the names of all providers, in the order of the docs."""
    return tuple(PROVIDERS)
