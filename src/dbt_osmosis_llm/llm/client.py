"""The one interface to a model, its configuration, and the stack built on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol
from urllib.parse import urlsplit

from dbt_osmosis_llm.config import Settings, did_you_mean, read_env, without_credentials
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.providers import registry
from dbt_osmosis_llm.llm.usage import LLMUsageStats, MeteredClient


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


@dataclass(frozen=True)
class LLMConfig:
    """Which model to ask and how."""

    provider: str
    model: str
    api_key: str | None = None
    base_url: str | None = None
    """None leaves it to the provider's SDK."""
    timeout_s: float = 120.0
    max_retries: int = 3
    temperature: float | None = None
    """Sent only when set."""
    max_output_tokens: int | None = None
    """Overrides the bound that a request brings along."""
    provider_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Sent along in every request body as they are, e.g. ``{"reasoning_effort": "low"}``."""

    def __post_init__(self) -> None:
        # An SDK's error for a header that cannot be sent quotes the key.
        key = self.api_key or ""
        if key != key.strip() or not (key.isascii() and key.isprintable()):
            raise LLMConfigError(
                f"The key of provider {self.provider!r} holds characters that no key has; "
                "copy it again."
            )

    def __repr__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        shown["api_key"] = None if self.api_key is None else "***"
        shown["base_url"] = self.base_url and without_credentials(self.base_url)
        shown["provider_kwargs"] = sorted(self.provider_kwargs)
        return f"LLMConfig({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @classmethod
    def from_env(
        cls,
        settings: Settings | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> LLMConfig:
        """Return the configuration that settings and environment describe.

        Args:
            settings: Provider, model and bounds; read from the environment when None.
            environ: Instead of the process's environment.

        Raises:
            LLMConfigError: Unknown provider, or its key is not set.
        """
        if settings is None:
            from dbt_osmosis_llm.config import SettingsError, load_settings

            try:
                settings = load_settings(environ=environ)
            except SettingsError as error:
                raise LLMConfigError(str(error)) from None
        spec = find_provider(settings.provider)
        key = read_env(spec.key_env, environ) if spec.key_env else None
        if key is None and spec.key_required:
            raise LLMConfigError(
                f"Provider {spec.name!r} needs a key: set {spec.key_env}, or choose another "
                "provider with LLM_PROVIDER (ollama, lm-studio and offline need none)."
            )
        model = settings.model or (read_env(spec.model_env, environ) if spec.model_env else None)
        base_url = read_env(spec.base_url_env, environ) if spec.base_url_env else None
        return cls(
            provider=spec.name,
            model=model or spec.default_model,
            api_key=key,
            base_url=_checked_url(base_url or spec.base_url, spec.base_url_env),
            timeout_s=settings.timeout_s,
            max_retries=settings.max_retries,
            temperature=settings.temperature,
            max_output_tokens=settings.max_output_tokens,
        )

    def to_metadata_dict(self) -> dict[str, Any]:
        """Return what may be logged or stored: everything but the key and URL credentials."""
        return {
            "provider": self.provider,
            "model": self.model,
            "base_url": self.base_url and without_credentials(self.base_url),
            "timeout_s": self.timeout_s,
            "max_retries": self.max_retries,
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "provider_options": sorted(self.provider_kwargs),
        }


def _checked_url(url: str | None, where: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        usable = False
    if not usable:
        raise LLMConfigError(
            f"{where} is {without_credentials(url)!r}; it must be a URL such as "
            "'http://localhost:11434/v1'."
        )
    return url


def find_provider(name: str) -> registry.ProviderSpec:
    """Return the provider's row.

    Raises:
        LLMConfigError: There is no such provider.
    """
    spec = registry.PROVIDERS.get(name.strip().lower())
    if spec is None:
        known = sorted(registry.PROVIDERS)
        raise LLMConfigError(
            f"Unknown provider {name!r}.{did_you_mean(name, known)} "
            f"Set LLM_PROVIDER or --llm-provider to one of: {', '.join(known)}."
        )
    return spec


def build_client(config: LLMConfig, stats: LLMUsageStats | None = None) -> LLMClient:
    """Return the whole stack for a configuration: a metered provider.

    Raises:
        LLMConfigError: The provider's SDK is not installed.
    """
    spec = find_provider(config.provider)
    return MeteredClient(spec.create(config), price_provider=spec.price_provider, stats=stats)
