"""The whole stack against a real model of 135 million parameters: `make test-local-llm`.

Its texts are worthless, its wire behaviour is real: slow answers, cut answers, strange words. What
is asserted holds whatever it writes. No ``test_`` in the name: pytest collects this file only where
it is named, so that `make test` needs neither the weights nor llama.cpp.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from dbt_osmosis_llm.llm.answers import ask
from dbt_osmosis_llm.llm.configuration import LLMConfig, find_provider
from dbt_osmosis_llm.llm.exceptions import LLMAPIError, LLMTimeoutError, LLMTruncatedError
from dbt_osmosis_llm.llm.messages import FinishReason, LLMClient, LLMRequest, Message
from dbt_osmosis_llm.llm.parsing import parse_answer
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.conftest import BIN, KEY, Shop, clean_environment
from tests.live.local_model_server import ALIAS, CONTEXT_TOKENS, DEFAULT_OUTPUT_TOKENS
from tests.live.servers import get, serving

PROVIDERS = ("openai-compatible", "lm-studio", "vllm", "ollama", "openai")
"""The last one bounds its answers by another parameter than the others."""
MODELS = ("stg_pos__customers", "int_payments_latest", "fct_daily_store_sales")
PATIENCE_S = 300.0
"""For one answer: this model writes 15 to 70 tokens a second on two cores."""

# Every value is short by its schema: the model would write on to any bound.
SCHEMA = {
    "type": "object",
    "properties": {
        "sentence": {"type": "string", "maxLength": 60},
        "grain": {"type": "string", "enum": ["order", "customer", "day"]},
        "is_unique": {"type": "boolean"},
        "unit": {"type": ["string", "null"], "maxLength": 10},
    },
    "required": ["sentence", "grain", "is_unique", "unit"],
    "additionalProperties": False,
}
LONG_SCHEMA = {
    "type": "object",
    "properties": {"story": {"type": "string", "minLength": 200}},
    "required": ["story"],
    "additionalProperties": False,
}
WITH_SCHEMA = LLMRequest(
    (
        Message("system", "You document tables of a coffee shop."),
        Message("user", "Describe the table orders."),
    ),
    schema=SCHEMA,
    max_output_tokens=300,
)
STORY = LLMRequest((Message("user", "Tell a very long story about a coffee shop."),))


@dataclass(frozen=True)
class Tokens:
    """Prompt, prompt taken from the cache, completion."""

    input: int
    cached: int
    output: int

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input - other.input, self.cached - other.cached, self.output - other.output
        )


@dataclass(frozen=True)
class LocalModel:
    address: str

    def environ(self, provider: str) -> dict[str, str]:
        """Return the variables that lead a provider's row here."""
        spec = find_provider(provider)
        values = {
            "LLM_PROVIDER": provider,
            spec.key_env: KEY,
            spec.model_env: ALIAS,
            spec.base_url_env: f"{self.address}/v1",
        }
        return {name: value for name, value in values.items() if name}

    def client(
        self,
        provider: str = "openai-compatible",
        stats: LLMUsageStats | None = None,
        **settings: str,
    ) -> LLMClient:
        bounds = {"OSMOSIS_LLM_TIMEOUT": str(PATIENCE_S), "OSMOSIS_LLM_MAX_RETRIES": "0"}
        environ = {**self.environ(provider), **bounds, **settings}
        return build_client(LLMConfig.from_env(environ=environ), stats or LLMUsageStats())

    def metric(self, name: str) -> int:
        found = re.search(rf"^llamacpp:{name} (\S+)$", get(f"{self.address}/metrics"), re.M)
        assert found, name
        return int(float(found[1]))

    def tokens(self) -> Tokens:
        """Return what the server has counted since it started."""
        cached = self.metric("prompt_tokens_cached_total")
        return Tokens(
            self.metric("prompt_tokens_total") + cached,
            cached,
            self.metric("tokens_predicted_total"),
        )


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    with serving("local_model_server.py", "/health") as address:
        yield LocalModel(address)


@pytest.fixture
def tokens_before(model: LocalModel) -> Tokens:
    return model.tokens()


def tokens_of(stats: LLMUsageStats) -> Tokens:
    summary = stats.summary()
    return Tokens(summary["input_tokens"], summary["cached_tokens"], summary["output_tokens"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_follows_its_schema_and_is_counted_as_the_server_counts(
    model: LocalModel, tokens_before: Tokens, provider: str
) -> None:
    stats = LLMUsageStats()
    response = model.client(provider, stats).complete(WITH_SCHEMA)
    jsonschema.validate(json.loads(response.text), SCHEMA)
    assert (response.finish_reason, response.attempts) == (FinishReason.STOP, 1)
    assert (response.provider, response.model) == (provider, ALIAS)
    assert tokens_of(stats) == model.tokens() - tokens_before


def test_a_plain_request_is_answered_with_words(model: LocalModel) -> None:
    response = model.client().complete(STORY)
    assert re.search(r"[a-z]{3}", response.text)
    assert 0 < response.usage.output_tokens <= DEFAULT_OUTPUT_TOKENS


def test_an_answer_is_cut_at_the_bound_and_not_asked_for_again(
    model: LocalModel, tokens_before: Tokens
) -> None:
    stats = LLMUsageStats()
    client = model.client(stats=stats, OSMOSIS_LLM_MAX_OUTPUT_TOKENS="16")
    response = client.complete(STORY)
    assert response.finish_reason is FinishReason.LENGTH
    assert response.usage.output_tokens == 16
    with pytest.raises(LLMTruncatedError):
        ask(client, LLMRequest(STORY.messages, schema=LONG_SCHEMA), parse_answer)
    assert stats.summary()["requests"] == 2
    assert tokens_of(stats) == model.tokens() - tokens_before


def test_a_slow_answer_ends_with_the_timeout_and_frees_the_server(
    model: LocalModel, tokens_before: Tokens
) -> None:
    stats = LLMUsageStats()
    endless = model.client(
        stats=stats, OSMOSIS_LLM_TIMEOUT="0.5", OSMOSIS_LLM_MAX_OUTPUT_TOKENS="4000"
    )
    started = time.monotonic()
    with pytest.raises(LLMTimeoutError, match=r"no answer within 0.5 s; raise --llm-timeout"):
        endless.complete(STORY)
    assert 0.5 <= time.monotonic() - started < 1.5
    assert stats.summary()["requests"] == 1
    # There is one slot. llama.cpp looks once a second whether somebody still listens.
    assert model.client().complete(WITH_SCHEMA).finish_reason is FinishReason.STOP
    assert (model.tokens() - tokens_before).output < 2000


def test_parallel_requests_wait_for_the_one_slot_and_none_is_lost(
    model: LocalModel, tokens_before: Tokens
) -> None:
    stats = LLMUsageStats()
    client = model.client(stats=stats)
    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(client.complete, [WITH_SCHEMA] * 4))
    for response in responses:
        jsonschema.validate(json.loads(response.text), SCHEMA)
    assert stats.summary()["requests"] == 4
    assert tokens_of(stats) == model.tokens() - tokens_before


def test_a_prompt_that_is_too_long_is_refused_once_and_the_schema_stays(model: LocalModel) -> None:
    stats = LLMUsageStats()
    client = model.client(stats=stats)
    words = Message("user", "coffee " * CONTEXT_TOKENS)
    with pytest.raises(LLMAPIError, match="exceeds the available context size") as refused:
        client.complete(LLMRequest((words,), schema=SCHEMA))
    assert (refused.value.status_code, refused.value.ends_run) == (400, False)
    assert stats.summary()["requests"] == 1
    jsonschema.validate(json.loads(client.complete(WITH_SCHEMA).text), SCHEMA)


@pytest.fixture
def local_shop(model: LocalModel, built_demo: Path, tmp_path: Path) -> Shop:
    directory = tmp_path / "shop"
    shutil.copytree(built_demo, directory, symlinks=True)
    environ = clean_environment(
        **model.environ("openai-compatible"),
        OSMOSIS_LLM_MAX_RETRIES="0",
        OSMOSIS_LLM_TIMEOUT=str(PATIENCE_S),
        OSMOSIS_LLM_MAX_OUTPUT_TOKENS="160",
        HOME=str(tmp_path),
    )
    return Shop(directory, environ)


def run(shop: Shop, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=shop.directory,
        env=shop.environ,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    print(done.stdout[-2000:], done.stderr[-4000:])
    return done


@pytest.mark.parametrize(
    ("provider", "temperature"),
    [("openai-compatible", ""), ("openai-compatible", "5"), ("deepseek", "")],
    ids=["schema", "schema and wild words", "JSON mode"],
)
def test_documents_models_whatever_the_model_writes(
    local_shop: Shop,
    model: LocalModel,
    tokens_before: Tokens,
    provider: str,
    temperature: str,
) -> None:
    """In JSON mode it answers with keys that nobody asked for, and is shown what is wrong."""
    shop = local_shop
    shop.environ.update(model.environ(provider), OSMOSIS_LLM_TEMPERATURE=temperature)
    before = {key: text for key, text in shop.texts().items() if text}
    arguments = ("--synthesize", "--llm-stats", "--log-level", "WARNING", *MODELS)
    done = run(shop, "dbt-osmosis", "yaml", "document", *arguments)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stdout + done.stderr
    assert "LLMTimeoutError" not in done.stderr

    after = {key: text for key, text in shop.texts().items() if text}
    assert before.items() <= after.items(), "no human text is touched"
    new = after.keys() - before.keys()
    assert {key.split(".")[0] for key in new} <= set(MODELS)
    tables, columns, inherited = numbers(
        done.stderr, r"tables +(\d+) generated", r"columns +(\d+) generated, (\d+) inherited"
    )
    assert tables + columns + inherited == len(new)
    assert tables + columns > 0 or provider == "deepseek"
    spent = numbers(
        done.stderr, r"prompt tokens +(\S+) \((\S+) cached\)", r"completion tokens +(\S+)"
    )
    assert Tokens(*spent) == model.tokens() - tokens_before

    parsed = run(shop, "dbt", "parse")
    assert parsed.returncode == 0


def numbers(text: str, *patterns: str) -> list[int]:
    found = []
    for pattern in patterns:
        match = re.search(pattern, text)
        assert match, pattern
        found += [int(number.replace(",", "")) for number in match.groups()]
    return found


def test_test_llm_says_that_schemas_work(local_shop: Shop, model: LocalModel) -> None:
    done = run(local_shop, "dbt-osmosis", "test-llm")
    assert done.returncode == 0
    assert re.search(rf"^Model: +{ALIAS}$", done.stdout, re.M)
    assert re.search(r"^JSON schema: +yes$", done.stdout, re.M)
    assert re.search(r"^Tokens: +\d+ in, \d+ out$", done.stdout, re.M)
    assert KEY not in done.stdout + done.stderr
