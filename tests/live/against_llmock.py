"""Our retries as a stranger judges them: `make test-llmock`.

llmock, a mock server from PyPI, fails requests by script, measures how long its client waits, and
tells repetitions by their bodies: every call here has words of its own. Each call meets at most one
error without Retry-After, because full jitter may wait longer first and shorter then, which llmock
takes for no backoff at all. No ``test_`` in the name: pytest collects this file only where it is
named.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest

from dbt_osmosis_llm.llm.configuration import LLMConfig, find_provider
from dbt_osmosis_llm.llm.exceptions import LLMAPIError
from dbt_osmosis_llm.llm.messages import LLMClient, LLMRequest, Message
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.conftest import BIN, KEY, clean_environment
from tests.live.servers import get, serving

PATHS = {
    "openai": "/v1",
    "anthropic": "/anthropic",
    "groq": "/groq/openai/v1",
    "mistral": "/mistral/v1",
    "together": "/together/v1",
}
"""Where llmock speaks a provider's wire format. Its Gemini speaks v1beta alone."""

RATE_LIMIT = {"type": "fail", "status": 429, "retry_after": 1}
PASSING: dict[str, list[dict[str, Any]]] = {
    "429 with Retry-After, twice": [{**RATE_LIMIT, "times": 2}],
    "429 with Retry-After in milliseconds": [{**RATE_LIMIT, "retry_after": 0.3}],
    "503 with Retry-After": [{"type": "fail", "status": 503, "retry_after": 1}],
    **{str(status): [{"type": "fail", "status": status}] for status in (408, 409, 500, 502, 529)},
    "429, 500, 429": [RATE_LIMIT, {"type": "fail", "status": 500}, RATE_LIMIT],
}
FINAL = (400, 401, 403, 404, 422)

SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": "string"}, "is_unique": {"type": "boolean"}},
    "required": ["description", "is_unique"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Judge:
    address: str

    def client(self, provider: str, stats: LLMUsageStats | None = None) -> LLMClient:
        spec = find_provider(provider)
        environ = {
            str(spec.key_env): KEY,
            str(spec.base_url_env): f"{self.address}{PATHS[provider]}",
        }
        config = LLMConfig.for_provider(provider, environ, timeout_s=30.0)
        return build_client(config, stats or LLMUsageStats())

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/_llmock/{path}", data, method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def fail(self, *behaviors: Mapping[str, Any]) -> None:
        """Let the next requests fail like this."""
        self.post("scenario", {"behaviors": behaviors})

    @property
    def statuses(self) -> list[int]:
        """Return what the requests were answered with, in their order."""
        log = json.loads(get(f"{self.address}/_llmock/requests"))
        return [request["status"] for request in log["requests"]]

    def report(self) -> str:
        """Return the verdict on all requests; llmock's own command, whose exit code counts."""
        done = subprocess.run(
            [BIN / "llmock", "report", "--strict", "--url", self.address],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def running() -> Iterator[Judge]:
    with serving("llmock_server.py", "/_llmock/verdict") as address:
        yield Judge(address)


@pytest.fixture
def judge(running: Judge) -> Judge:
    running.post("reset", {})
    return running


def question(*words: object, schema: Mapping[str, Any] | None = None) -> LLMRequest:
    return LLMRequest(
        (Message("user", " ".join(map(str, words))),), schema=schema, max_output_tokens=100
    )


@pytest.mark.parametrize("provider", PATHS)
def test_what_passes_is_repeated_as_asked_for(judge: Judge, provider: str) -> None:
    stats = LLMUsageStats()
    client = judge.client(provider, stats)
    failures = 0
    for name, behaviors in PASSING.items():
        judge.fail(*behaviors)
        count = sum(behavior.get("times", 1) for behavior in behaviors)
        response = client.complete(question(provider, name))
        assert (bool(response.text), response.attempts) == (True, count + 1), name
        failures += count
    assert len([status for status in judge.statuses if status != 200]) == failures
    assert stats.summary()["retries"] == failures
    assert stats.summary()["requests"] == len(judge.statuses) == failures + len(PASSING)
    assert "PASS" in judge.report()


@pytest.mark.parametrize("provider", PATHS)
def test_what_cannot_pass_is_not_repeated(judge: Judge, provider: str) -> None:
    client = judge.client(provider)
    for status in FINAL:
        judge.fail({"type": "fail", "status": status})
        with pytest.raises(LLMAPIError) as refused:
            client.complete(question(provider, status))
        assert refused.value.status_code == status
        assert KEY not in str(refused.value)
    assert judge.statuses == list(FINAL)
    assert "PASS" in judge.report()


@pytest.mark.parametrize("provider", PATHS)
def test_parallel_calls_wait_together(judge: Judge, provider: str) -> None:
    client = judge.client(provider)
    judge.fail({**RATE_LIMIT, "times": 3})
    with ThreadPoolExecutor(8) as pool:
        questions = [question(provider, "column", number) for number in range(8)]
        responses = list(pool.map(client.complete, questions))
    assert all(response.text for response in responses)
    assert sorted(judge.statuses) == [200] * 8 + [429] * 3
    assert "PASS" in judge.report()


@pytest.mark.parametrize("provider", ["openai", "groq", "mistral", "together"])
def test_an_answer_follows_its_schema(judge: Judge, provider: str) -> None:
    """Anthropic's schemas are no part of it: llmock answers them with plain text."""
    response = judge.client(provider).complete(question(provider, schema=SCHEMA))
    jsonschema.validate(json.loads(response.text), SCHEMA)
    assert response.usage.input_tokens > 0
    assert response.usage.output_tokens > 0
