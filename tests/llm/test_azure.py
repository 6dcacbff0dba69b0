"""Azure's addresses and sign-in, through the real openai and azure-identity packages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMConfigError
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.providers.azure import token_scope
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.managed_identity import running_managed_identity
from tests.server import LoopbackServer

KEY = "0123456789abcdef0123456789abcdef"
SCOPE = "https://cognitiveservices.azure.com"
REQUEST = LLMRequest((Message("user", "Hi"),))


def root_of(server: LoopbackServer) -> str:
    return server.url.removesuffix("/v1")


def environ(server: LoopbackServer, **more: str) -> dict[str, str]:
    return {
        "AZURE_OPENAI_BASE_URL": root_of(server),
        "AZURE_OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_DEPLOYMENT_NAME": "our-docs",
        **more,
    }


@pytest.fixture
def managed_identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Sign in as a machine of Azure's; yields the resources asked for."""
    with running_managed_identity() as (environ, asked):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield asked


def test_the_deployment_stands_in_the_path_and_the_key_in_its_header(
    server: LoopbackServer,
) -> None:
    config = LLMConfig.for_provider("azure-openai", environ(server))
    build_client(config, LLMUsageStats()).complete(REQUEST)
    request = server.requests[0]
    assert request.path == (
        "/openai/deployments/our-docs/chat/completions?api-version=2025-01-01-preview"
    )
    assert request.headers["api-key"] == KEY


@pytest.mark.parametrize("end", ["", "/", "/openai", "/openai/"])
def test_whatever_end_the_address_has_and_another_version(server: LoopbackServer, end: str) -> None:
    variables = environ(
        server,
        AZURE_OPENAI_BASE_URL=f"{root_of(server)}{end}",
        AZURE_OPENAI_API_VERSION="2024-10-21",
    )
    config = LLMConfig.for_provider("azure-openai", variables)
    build_client(config, LLMUsageStats()).complete(REQUEST)
    assert server.requests[0].path == (
        "/openai/deployments/our-docs/chat/completions?api-version=2024-10-21"
    )


def test_the_address_without_versions(server: LoopbackServer) -> None:
    url = f"{root_of(server)}/openai/v1/"
    config = LLMConfig.for_provider("azure-openai", environ(server, AZURE_OPENAI_BASE_URL=url))
    build_client(config, LLMUsageStats()).complete(REQUEST)
    request = server.requests[0]
    assert request.path == "/openai/v1/chat/completions"
    assert request.body["model"] == "our-docs"


def test_tokens_come_from_a_provider_and_are_kept(
    server: LoopbackServer, managed_identity: list[str]
) -> None:
    variables = environ(server, AZURE_OPENAI_AD_TOKEN_SCOPE=SCOPE)
    del variables["AZURE_OPENAI_API_KEY"]
    client = build_client(LLMConfig.for_provider("azure-openai-ad", variables), LLMUsageStats())
    assert managed_identity == []  # signed in when needed, not when built
    for _ in range(3):
        client.complete(REQUEST)
    sent = {request.headers["authorization"] for request in server.requests}
    assert sent == {"Bearer eyJtoken.number.1"}
    assert len(managed_identity) == 1
    assert "resource=https://cognitiveservices.azure.com" in managed_identity[0]


def test_no_sign_in_ends_the_run_with_what_to_do(server: LoopbackServer) -> None:
    # A deployment of its own: the client of another test may still hold a token.
    variables = environ(
        server, AZURE_OPENAI_AD_TOKEN_SCOPE=SCOPE, AZURE_OPENAI_DEPLOYMENT_NAME="nobody-s"
    )
    client = build_client(LLMConfig.for_provider("azure-openai-ad", variables), LLMUsageStats())
    with pytest.raises(LLMConfigError, match=r"no token for .*; sign in with `az login`") as caught:
        client.complete(REQUEST)
    assert caught.value.ends_run
    assert "\n" not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("scope", "full"),
    [
        (SCOPE, f"{SCOPE}/.default"),
        (f"{SCOPE}/", f"{SCOPE}/.default"),
        (f"{SCOPE}/.default", f"{SCOPE}/.default"),
        ("api://app-id/access_as_user", "api://app-id/access_as_user"),
    ],
)
def test_scopes_as_dbt_osmosis_takes_them(scope: str, full: str) -> None:
    assert token_scope(scope) == full


@pytest.mark.parametrize(
    ("provider", "missing"),
    [
        ("azure-openai", "AZURE_OPENAI_BASE_URL"),
        ("azure-openai", "AZURE_OPENAI_DEPLOYMENT_NAME"),
        ("azure-openai", "AZURE_OPENAI_API_KEY"),
        ("azure-openai-ad", "AZURE_OPENAI_AD_TOKEN_SCOPE"),
    ],
)
def test_what_is_not_set_is_named(server: LoopbackServer, provider: str, missing: str) -> None:
    variables = {**environ(server, AZURE_OPENAI_AD_TOKEN_SCOPE=SCOPE), missing: ""}
    with pytest.raises(LLMConfigError, match=missing):
        LLMConfig.for_provider(provider, variables)


def test_a_deployment_is_priced_by_the_model_behind_it(server: LoopbackServer) -> None:
    stats = LLMUsageStats()
    variables = environ(server, AZURE_OPENAI_MODEL="gpt-6-luna")
    build_client(LLMConfig.for_provider("azure-openai", variables), stats).complete(REQUEST)
    assert stats.summary()["cost_usd"] > 0
    with pytest.raises(LLMConfigError, match="set AZURE_OPENAI_MODEL"):
        build_client(LLMConfig.for_provider("azure-openai", environ(server), max_cost_usd=1.0))
