"""Builds clients: a provider at the bottom, what counts, waits and repeats around it.

``Metered(Retrying(Budgeted(RateLimited(Provider))))``, the budget only where one is set.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Hashable
from dataclasses import fields, replace
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from dbt_osmosis_llm.config import did_you_mean
from dbt_osmosis_llm.llm.configuration import LLMConfig, find_provider
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.messages import LLMClient, Usage
from dbt_osmosis_llm.llm.providers.registry import ProviderSpec
from dbt_osmosis_llm.llm.rate_limit import RateLimitedClient, RateLimiter
from dbt_osmosis_llm.llm.retry import RetryingClient
from dbt_osmosis_llm.llm.usage import (
    Budget,
    BudgetedClient,
    LLMUsageStats,
    MeteredClient,
    Price,
    get_usage_stats,
)

DEFAULT_REQUESTS_PER_MINUTE = 60.0
"""Until the provider's own headers say otherwise."""

_PRIVATE_DOMAINS = (".local", ".localhost", ".lan", ".internal", ".home.arpa")


class ClientStack:
    """Builds the clients of one run, or of a process, and keeps what these share.

    A provider is built once per configuration, because SDKs take long to load and to connect; a
    limiter once per provider, address and key, because the provider counts by them.

    Args:
        stats: Where the clients' calls are counted; statistics of its own when None.
    """

    def __init__(self, stats: LLMUsageStats | None = None) -> None:
        self.stats = LLMUsageStats() if stats is None else stats
        self._providers: dict[str, LLMClient] = {}
        self._limiters: dict[Hashable, RateLimiter] = {}
        self._built: list[tuple[LLMConfig, LLMClient]] = []
        self._lock = threading.RLock()  # `client_for` builds while it holds it

    def client_for(self, config: LLMConfig) -> LLMClient:
        """Return the one client of a configuration, for callers that ask for it at every call.

        Raises:
            LLMConfigError: As `build` does.
        """
        with self._lock:
            # Not a dict: a configuration holds mappings, so it has no hash.
            for built_config, client in self._built:
                if built_config == config:
                    return client
            client = self.build(config)
            self._built.append((config, client))
            return client

    def build(
        self,
        config: LLMConfig,
        *,
        stats: LLMUsageStats | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> LLMClient:
        """Return a client with a budget of its own.

        Args:
            config: Which model to ask and how.
            stats: Where its calls are counted; the stack's statistics when None.
            sleep: Waits between repetitions, instead of in real time.

        Raises:
            LLMConfigError: The provider's SDK is not installed, or a budget is set for a model
                whose price nobody knows.
        """
        stats = self.stats if stats is None else stats
        spec = find_provider(config.provider)
        if config.base_url is None:
            # The openai SDK's own address is OpenAI's: no other provider's prompts may go there.
            config = replace(config, base_url=spec.base_url)
            if spec.base_url_required and config.base_url is None:
                raise LLMConfigError(f"Provider {spec.name!r} needs {spec.base_url_env}: not set.")
        price = price_of(config)
        if config.max_cost_usd is not None and price.of(Usage(1, 0, 1)) is None:
            remedy = (
                ", or set AZURE_OPENAI_MODEL to the model behind it" if spec.options_env else ""
            )
            raise LLMConfigError(
                f"--llm-max-cost needs to know what {price.model!r} of {spec.name} costs, and no "
                f"price is known; leave the option out{remedy}."
            )
        client = self._provider(config, spec)
        # Offline asks nobody: no turn to wait for, nothing to repeat, nothing to pay.
        if not spec.sdk:
            return MeteredClient(client, price=price, stats=stats)
        client = RateLimitedClient(client, self._limiter(config, spec))
        if config.max_cost_usd is not None:
            client = BudgetedClient(client, price=price, budget=Budget(config.max_cost_usd))
        client = RetryingClient(
            client,
            max_retries=config.max_retries,
            retry_delay_s=config.retry_delay_s,
            sleep=sleep,
        )
        return MeteredClient(client, price=price, stats=stats, secrets=config.secrets)

    def _provider(self, config: LLMConfig, spec: ProviderSpec) -> LLMClient:
        # By all fields: the repr of the configuration itself masks the key.
        key = repr([(field.name, getattr(config, field.name)) for field in fields(config)])
        with self._lock:
            if key not in self._providers:
                self._providers[key] = create_provider_client(config, spec)
            return self._providers[key]

    def _limiter(self, config: LLMConfig, spec: ProviderSpec) -> RateLimiter:
        default = None if _is_near(config.base_url) else DEFAULT_REQUESTS_PER_MINUTE
        # Not one limiter for all caps: the first one's would hold for those that set others.
        caps = (config.requests_per_minute, config.tokens_per_minute, config.max_in_flight)
        key = (spec.name, config.base_url, config.api_key, caps)
        with self._lock:
            if key not in self._limiters:
                self._limiters[key] = RateLimiter(
                    requests_per_minute=config.requests_per_minute or default,  # never 0
                    tokens_per_minute=config.tokens_per_minute,
                    max_requests_per_minute=config.requests_per_minute,
                    max_tokens_per_minute=config.tokens_per_minute,
                    max_in_flight=config.max_in_flight,
                )
            return self._limiters[key]


def create_provider_client(config: LLMConfig, spec: ProviderSpec) -> LLMClient:
    """Return a provider's own client, with nothing around it; its SDK is loaded only now.

    Raises:
        LLMConfigError: The SDK is not installed.
    """
    if not spec.sdk:  # no model: it writes from what the synthesis knows
        from dbt_osmosis_llm.synthesis.offline import OfflineClient

        return OfflineClient(spec.name, config.model)
    module = import_module(f"dbt_osmosis_llm.llm.providers.{spec.module}")
    client: LLMClient = module.create_client(config, spec)
    return client


_PROCESS = ClientStack(get_usage_stats())
"""Of those who use the library: a limit of a key holds for all clients that a process builds."""


def process_stack() -> ClientStack:
    """Return the stack of this process, whose calls `get_usage_stats` counts."""
    return _PROCESS


def build_client(
    config: LLMConfig,
    stats: LLMUsageStats | None = None,
    *,
    sleep: Callable[[float], None] | None = None,
) -> LLMClient:
    """Return the whole stack for a configuration.

    It shares provider and limiter with all clients of this process that have the same ones;
    statistics and budget are its own.

    Args:
        config: Which model to ask and how.
        stats: Where calls are counted; the process's statistics when None.
        sleep: Waits between repetitions, instead of in real time.

    Raises:
        LLMConfigError: The provider's SDK is not installed, or a budget is set for a model whose
            price nobody knows.
    """
    return _PROCESS.build(config, stats=stats, sleep=sleep)


def create_provider(name: str, **config: Any) -> LLMClient:
    """Return the whole stack for a provider.

    Args:
        name: Name of a provider, see `get_available_providers`.
        config: Fields of `LLMConfig`; what is missing comes from the provider's variables.

    Raises:
        LLMConfigError: Unknown provider, something that it needs is not set, or its SDK is missing.
    """
    names = [field.name for field in fields(LLMConfig) if field.name != "provider"]
    for key in config:
        if key not in names:
            raise LLMConfigError(f"LLMConfig has no {key!r}.{did_you_mean(key, names)}")
    return build_client(LLMConfig.for_provider(name, **config))


def price_of(config: LLMConfig) -> Price:
    """Return what the tokens of a configuration's model cost."""
    spec = find_provider(config.provider)
    # Whoever runs such a server elsewhere may bill for it: free is only what runs nearby.
    is_remote = spec.is_local and spec.base_url is not None and not _is_near(config.base_url)
    return Price(
        None if is_remote else spec.price_provider,
        config.options.get("price_model") or config.model,
        api_url=config.base_url,
    )


def _is_near(url: str | None) -> bool:
    """Tell whether an address is of this machine or its network: no quota, no bill."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        # Names without a dot are those of this machine, of containers, of the own network.
        return bool(host) and ("." not in host or host.endswith(_PRIVATE_DOMAINS))
