"""Which model to ask and how, and what the environment says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dbt_osmosis_llm.config import (
    Settings,
    SettingsError,
    did_you_mean,
    load_settings,
    read_env,
    without_credentials,
)
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.providers import registry


@dataclass(frozen=True)
class LLMConfig:
    """Which model to ask and how."""

    provider: str
    model: str
    """For Azure the deployment's name."""
    api_key: str | None = None
    base_url: str | None = None
    """None leaves it to the provider's SDK."""
    timeout_s: float = 120.0
    """Bound on one whole request."""
    max_retries: int = 3
    retry_delay_s: float = 1.0
    """Longest wait before the first repetition; doubles with each."""
    temperature: float | None = None
    """Sent only when set."""
    max_output_tokens: int | None = None
    """Overrides the bound that a request brings along."""
    requests_per_minute: float | None = None
    """Hard cap; None: 60 until the provider's headers say otherwise, none on this machine."""
    tokens_per_minute: float | None = None
    """Hard cap; None: what the provider's headers say, if anything."""
    max_in_flight: int = 16
    """Requests at the same time, over all threads that share the provider and key."""
    max_cost_usd: float | None = None
    """Budget of the built client; a request that would pass it is not made."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What a provider needs besides: ``api_version``, ``token_scope`` and ``price_model`` (the
    model behind a deployment, for its price) for Azure."""
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
        positive = ("timeout_s", "max_in_flight", "requests_per_minute", "tokens_per_minute")
        for name, least in {**dict.fromkeys(positive, 0), "max_retries": -1}.items():
            value = getattr(self, name)
            if value is not None and not value > least:
                raise LLMConfigError(
                    f"LLMConfig: {name} is {value!r}; it must be a number above {least}."
                )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return what must never be shown: the key, and what a URL carries besides its address."""
        try:
            parts = urlsplit(self.base_url or "")
            carried = [parts.password, *(value for _, value in parse_qsl(parts.query))]
        except ValueError:
            # That it is no URL another error says; to take secrets out of that must not fail.
            carried = []
        return tuple(filter(None, [self.api_key, *carried]))

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
        *,
        needs_key: bool = True,
    ) -> LLMConfig:
        """Return the configuration that settings and environment describe.

        Args:
            settings: Provider, model and bounds; read from the environment when None.
            environ: Instead of the process's environment.
            needs_key: False when nobody will be asked.

        Raises:
            LLMConfigError: Unknown provider, or its key is not set.
        """
        if settings is None:
            try:
                settings = load_settings(environ=environ)
            except SettingsError as error:
                raise LLMConfigError(str(error)) from None
        return cls.for_provider(
            settings.provider,
            environ,
            default_model=settings.project_model,
            needs_key=needs_key,
            **settings.of("LLMConfig"),
        )

    @classmethod
    def for_provider(
        cls,
        name: str,
        environ: Mapping[str, str] | None = None,
        *,
        default_model: str | None = None,
        needs_key: bool = True,
        **given: Any,
    ) -> LLMConfig:
        """Return a configuration with what the provider's variables and row add to what is given.

        Args:
            name: Name of a provider.
            environ: Instead of the process's environment.
            needs_key: False when nobody will be asked.
            default_model: Asked where neither ``given`` nor the variable names one.
            given: Fields of this class; None counts as not given.

        Raises:
            LLMConfigError: Unknown provider, or something that it needs is not set.
        """
        spec = find_provider(name)
        given = {key: value for key, value in given.items() if value is not None}

        def env(variable: str | None) -> str | None:
            return read_env(variable, environ) if variable else None

        # The order of every setting: what is given (a flag), the variable, the project, the row.
        defaults: dict[str, Any] = {
            "api_key": env(spec.key_env),
            "model": env(spec.model_env) or default_model or spec.default_model,
            "base_url": env(spec.base_url_env) or spec.base_url,
        }
        if spec.concurrency is not None:
            defaults["max_in_flight"] = spec.concurrency
        values: dict[str, Any] = {
            **{key: value for key, value in defaults.items() if value is not None},
            **given,
        }
        options = {option: env(variable) for option, variable in spec.options_env.items()}
        values["options"] = {
            **{option: value for option, value in options.items() if value is not None},
            **given.get("options", {}),
        }
        _require(spec, values, needs_key=needs_key)
        if "base_url" in values:
            values["base_url"] = _checked_url(values["base_url"], spec.base_url_env)
        return cls(provider=spec.name, **values)

    def to_metadata_dict(self) -> dict[str, Any]:
        """Return what may be logged or stored: everything but the key and URL credentials."""
        return {
            "provider": self.provider,
            "model": self.model,
            "base_url": self.base_url and without_credentials(self.base_url),
            "timeout_s": self.timeout_s,
            "max_retries": self.max_retries,
            "retry_delay_s": self.retry_delay_s,
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "requests_per_minute": self.requests_per_minute,
            "tokens_per_minute": self.tokens_per_minute,
            "max_in_flight": self.max_in_flight,
            "max_cost_usd": self.max_cost_usd,
            "options": dict(self.options),
            "provider_options": sorted(self.provider_kwargs),
        }


def _require(spec: registry.ProviderSpec, given: Mapping[str, Any], *, needs_key: bool) -> None:
    if needs_key and spec.key_required and not given.get("api_key"):
        raise LLMConfigError(
            f"Provider {spec.name!r} needs a key: set {spec.key_env}, or choose another "
            "provider with LLM_PROVIDER (ollama, lm-studio and offline need none)."
        )
    needed: dict[str | None, bool] = {
        spec.model_env: "model" in given,
        spec.base_url_env: "base_url" in given or not spec.base_url_required,
        **{spec.options_env[name]: name in given["options"] for name in spec.required_options},
    }
    missing = [variable for variable, is_given in needed.items() if variable and not is_given]
    if missing:
        raise LLMConfigError(f"Provider {spec.name!r} needs {' and '.join(missing)}: not set.")


def _checked_url(url: str | None, variable: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        usable = False
    if not usable:
        raise LLMConfigError(
            f"{variable} is {without_credentials(url)!r}; it must be a URL such as "
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
        names = sorted(registry.PROVIDERS)
        raise LLMConfigError(
            f"Unknown provider {name!r}.{did_you_mean(name, names)} "
            f"Set LLM_PROVIDER or --llm-provider to one of: {', '.join(names)}."
        )
    return spec
