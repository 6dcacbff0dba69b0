"""Azure OpenAI through the openai SDK: chat completions under a deployment's name.

Signing in with Entra ID hands the SDK a token provider, never a token: tokens last about an hour,
runs over thousands of models last longer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.providers.openai_compatible import OpenAICompatibleClient
from dbt_osmosis_llm.llm.providers.registry import ProviderSpec

DEFAULT_API_VERSION = "2025-01-01-preview"
"""dbt-osmosis's own default."""

_VERSIONLESS = re.compile(r"/openai/v1/?$")


class AzureOpenAIClient(OpenAICompatibleClient):
    """A deployment of Azure OpenAI; the configuration's model is the deployment's name."""

    _token: str | None = None

    def _make_sdk(self, openai: Any) -> Any:
        config = self._config
        endpoint = (config.base_url or "").rstrip("/")
        tokens = self._token_provider() if self._spec.key_env is None else None
        common: dict[str, Any] = {"timeout": config.timeout_s, "max_retries": 0}
        if _VERSIONLESS.search(endpoint):
            return openai.OpenAI(base_url=endpoint, api_key=tokens or config.api_key, **common)
        # The SDK adds /openai itself.
        credential: dict[str, Any] = (
            {"azure_ad_token_provider": tokens} if tokens else {"api_key": config.api_key}
        )
        return openai.AzureOpenAI(
            azure_endpoint=endpoint.removesuffix("/openai"),
            api_version=config.options.get("api_version") or DEFAULT_API_VERSION,
            **credential,
            **common,
        )

    def _token_provider(self) -> Callable[[], str]:
        try:
            from azure import identity
        except ImportError:
            raise LLMConfigError(
                f"Provider {self.provider!r} needs azure-identity: "
                "pip install 'dbt-osmosis-llm[azure]'."
            ) from None
        # It warns in fifteen lines of what our error says in one.
        logging.getLogger("azure.identity").setLevel(logging.ERROR)
        scope = token_scope(self._config.options["token_scope"])
        provider: Callable[[], str] = identity.get_bearer_token_provider(
            identity.DefaultAzureCredential(), scope
        )

        def token() -> str:
            try:
                self._token = provider()  # kept, so that it can be masked
            except Exception as error:  # noqa: BLE001  # azure-core's and its transports'
                # Whatever stands in the way of signing in stands in every request's way.
                reason = str(error).strip().partition("\n")[0].rstrip(".")
                raise LLMConfigError(
                    f"{self.provider}: no token for {scope!r}: {reason}; sign in with "
                    "`az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET."
                ) from None
            return self._token

        return token

    def _secrets(self) -> tuple[str, ...]:
        return (*super()._secrets(), *filter(None, [self._token]))


def token_scope(scope: str) -> str:
    """Return the scope in the form that Entra ID takes; a bare resource gets ``/.default``."""
    scope = scope.strip()
    parts = urlsplit(scope)
    is_resource = bool(parts.scheme) and parts.path in {"", "/"}
    return f"{scope.rstrip('/')}/.default" if is_resource else scope


def create_client(config: LLMConfig, spec: ProviderSpec) -> AzureOpenAIClient:
    """Return the client for one of the two rows."""
    return AzureOpenAIClient(config, spec)
