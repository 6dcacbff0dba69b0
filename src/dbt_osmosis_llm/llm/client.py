"""The one interface to a model, its configuration, and the stack built on it."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from dbt_osmosis_llm.config import Settings, did_you_mean, read_env, without_credentials
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse
from dbt_osmosis_llm.llm.providers import registry
from dbt_osmosis_llm.llm.rate_limit import RateLimitedClient, RateLimiter, shared_limiter
from dbt_osmosis_llm.llm.retry import RetryingClient
from dbt_osmosis_llm.llm.usage import (
    Budget,
    BudgetedClient,
    LLMUsageStats,
    MeteredClient,
    Price,
    Usage,
)

DEFAULT_REQUESTS_PER_MINUTE = 60.0
"""Until the provider's own headers say otherwise."""

_PRIVATE_DOMAINS = (".local", ".localhost", ".lan", ".internal", ".home.arpa")


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
            from dbt_osmosis_llm.config import SettingsError, load_settings

            try:
                settings = load_settings(environ=environ)
            except SettingsError as error:
                raise LLMConfigError(str(error)) from None
        return cls.for_provider(
            settings.provider,
            environ,
            default_model=settings.project_model,
            needs_key=needs_key,
            model=settings.model,
            timeout_s=settings.timeout_s,
            max_retries=settings.max_retries,
            retry_delay_s=settings.retry_delay_s,
            temperature=settings.temperature,
            max_output_tokens=settings.max_output_tokens,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            max_cost_usd=settings.max_cost_usd,
            max_in_flight=settings.concurrency,
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

        found: dict[str, Any] = {
            "api_key": env(spec.key_env),
            "model": env(spec.model_env) or default_model or spec.default_model,
            "base_url": env(spec.base_url_env) or spec.base_url,
        }
        if spec.concurrency is not None:
            found["max_in_flight"] = spec.concurrency
        fields_: dict[str, Any] = {
            **{key: value for key, value in found.items() if value is not None},
            **given,
        }
        options = {option: env(variable) for option, variable in spec.options_env.items()}
        fields_["options"] = {
            **{option: value for option, value in options.items() if value is not None},
            **given.get("options", {}),
        }
        _require(spec, fields_, needs_key=needs_key)
        if "base_url" in fields_:
            fields_["base_url"] = _checked_url(fields_["base_url"], spec.base_url_env)
        return cls(provider=spec.name, **fields_)

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


def create_provider(name: str, **config: Any) -> LLMClient:
    """Return the whole stack for a provider.

    Args:
        name: Name of a provider, see `get_available_providers`.
        config: Fields of `LLMConfig`; what is missing comes from the provider's variables.

    Raises:
        LLMConfigError: Unknown provider, something that it needs is not set, or its SDK is missing.
    """
    known = [field.name for field in fields(LLMConfig) if field.name != "provider"]
    for key in config:
        if key not in known:
            raise LLMConfigError(f"LLMConfig has no {key!r}.{did_you_mean(key, known)}")
    return build_client(LLMConfig.for_provider(name, **config))


def build_client(
    config: LLMConfig,
    stats: LLMUsageStats | None = None,
    *,
    sleep: Callable[[float], None] | None = None,
) -> LLMClient:
    """Return the whole stack for a configuration.

    ``Metered(Retrying(Budgeted(RateLimited(Provider))))``, the budget only where one is set.

    The provider at its bottom is built once per configuration, the limiter once per provider,
    address and key; statistics and budget are the built client's own.

    Args:
        config: Which model to ask and how.
        stats: Where calls are counted; the process's statistics when None.
        sleep: Waits between repetitions, instead of in real time.

    Raises:
        LLMConfigError: The provider's SDK is not installed, or a budget is set for a model whose
            price nobody knows.
    """
    spec = find_provider(config.provider)
    if config.base_url is None:
        # The openai SDK's own address is OpenAI's: no other provider's prompts may go there.
        config = replace(config, base_url=spec.base_url)
        if spec.base_url_required and config.base_url is None:
            raise LLMConfigError(f"Provider {spec.name!r} needs {spec.base_url_env}: not set.")
    price = price_of(config)
    if config.max_cost_usd is not None and price.of(Usage(1, 0, 1)) is None:
        wanted = ", or set AZURE_OPENAI_MODEL to the model behind it" if spec.options_env else ""
        raise LLMConfigError(
            f"--llm-max-cost needs to know what {price.model!r} of {spec.name} costs, and no "
            f"price is known; leave the option out{wanted}."
        )
    client: LLMClient = _provider_client(config, spec)
    if not spec.sdk:
        return MeteredClient(client, price=price, stats=stats)
    client = RateLimitedClient(client, _limiter(config, spec))
    if config.max_cost_usd is not None:
        client = BudgetedClient(client, price=price, budget=Budget(config.max_cost_usd))
    client = RetryingClient(
        client,
        max_retries=config.max_retries,
        retry_delay_s=config.retry_delay_s,
        sleep=sleep,
    )
    return MeteredClient(client, price=price, stats=stats, secrets=config.secrets)


def price_of(config: LLMConfig) -> Price:
    """Return what the tokens of a configuration's model cost."""
    spec = find_provider(config.provider)
    is_remote = spec.is_local and spec.base_url is not None and not _is_near(config.base_url)
    return Price(
        None if is_remote else spec.price_provider,
        config.options.get("price_model") or config.model,
        api_url=config.base_url,
    )


_CLIENTS: dict[str, LLMClient] = {}
_CLIENTS_LOCK = threading.Lock()


def _provider_client(config: LLMConfig, spec: registry.ProviderSpec) -> LLMClient:
    """Return the one client of a configuration: SDKs take long to load and to connect."""
    key = repr([(field.name, getattr(config, field.name)) for field in fields(config)])
    with _CLIENTS_LOCK:
        if key not in _CLIENTS:
            _CLIENTS[key] = spec.create(config)
        return _CLIENTS[key]


def _limiter(config: LLMConfig, spec: registry.ProviderSpec) -> RateLimiter:
    default = None if _is_near(config.base_url) else DEFAULT_REQUESTS_PER_MINUTE

    def make() -> RateLimiter:
        return RateLimiter(
            requests_per_minute=config.requests_per_minute or default,  # never 0
            tokens_per_minute=config.tokens_per_minute,
            max_requests_per_minute=config.requests_per_minute,
            max_tokens_per_minute=config.tokens_per_minute,
            max_in_flight=config.max_in_flight,
        )

    caps = (config.requests_per_minute, config.tokens_per_minute, config.max_in_flight)
    return shared_limiter((spec.name, config.base_url, config.api_key, caps), make)


def _is_near(url: str | None) -> bool:
    """Tell whether an address is of this machine or its network: no quota, no bill."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(_PRIVATE_DOMAINS))
