"""What is particular to the openai SDK, on loopback; `test_faults` has what all providers share."""

from __future__ import annotations

import socket

import pytest

from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMResponseError, LLMTimeoutError
from dbt_osmosis_llm.llm.messages import Usage
from dbt_osmosis_llm.llm.providers.registry import PROVIDERS
from dbt_osmosis_llm.llm.usage import Price
from dbt_osmosis_llm.stack import create_provider_client
from tests.llm.endpoints import ENDPOINTS, REQUEST, play
from tests.server import LoopbackServer, Reply

OPENAI = next(endpoint for endpoint in ENDPOINTS if endpoint.provider == "openai")
OLLAMA = next(endpoint for endpoint in ENDPOINTS if endpoint.provider == "ollama")


def test_what_the_server_counts_is_what_it_costs(server: LoopbackServer) -> None:
    done = play(OPENAI, server, lambda request, number: Reply(reasoning_tokens=8), calls=2)
    counted = Usage(server.input_tokens, server.cached_tokens, server.output_tokens)
    cost_usd = Price("openai", OPENAI.model).of(counted)
    assert cost_usd
    assert done.stats.summary()["cost_usd"] == pytest.approx(cost_usd)
    assert done.response.latency_ms > 0


def test_the_key_is_a_bearer_token(server: LoopbackServer) -> None:
    play(OPENAI, server, api_key="sk-test-0123456789")
    assert server.requests[0].headers["authorization"] == "Bearer sk-test-0123456789"


@pytest.mark.parametrize("provider", ["ollama", "lm-studio"])
def test_a_local_server_never_sees_the_key_of_openai(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-other-0123456789",
        "OPENAI_ADMIN_KEY": "sk-admin-0123456789",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_ORG_ID": "our-organization",
        "OPENAI_PROJECT_ID": "our-project",
    }.items():
        monkeypatch.setenv(name, value)
    config = LLMConfig(provider, "m", base_url=server.url)
    create_provider_client(config, PROVIDERS[provider]).complete(REQUEST)
    headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {provider}"
    assert not {"our-organization", "our-project"} & set(headers.values())


def test_an_address_where_nobody_is_comes_with_its_variable_and_without_its_password(
    server: LoopbackServer,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}/v1"
    done = play(OLLAMA, server, base_url=f"http://me:word@{address}", max_retries=0)
    assert isinstance(done.error, LLMAPIError)
    said = str(done.error)
    assert said.startswith(f"cannot reach ollama at http://{address} (")
    assert said.endswith("is it running, and is OLLAMA_BASE_URL right?")


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (
            Reply(delivery="hang"),
            LLMTimeoutError,
            "openai gave no answer within 0.2 s; raise --llm-timeout if the model is slow",
        ),
        (
            Reply(body="<html>proxy</html>"),
            LLMResponseError,
            "the server answered 200 with something that is not JSON; is the base URL right?",
        ),
    ],
    ids=["slow", "not JSON"],
)
def test_errors_that_no_table_holds_say_what_happened(
    server: LoopbackServer, reply: Reply, error: type[Exception], says: str
) -> None:
    done = play(OPENAI, server, lambda request, number: reply, timeout_s=0.2, max_retries=0)
    assert (type(done.error), str(done.error)) == (error, says)
