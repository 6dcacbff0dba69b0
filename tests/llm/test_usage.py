from __future__ import annotations

import threading

import pytest

from dbt_osmosis_llm.llm.exceptions import LLMRateLimitError
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.llm.usage import (
    LLMUsageStats,
    MeteredClient,
    Usage,
    cost_usd,
    get_usage_stats,
)

MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


def test_cost_of_a_priced_model_counts_cached_tokens_cheaper() -> None:
    full = cost_usd(MILLION, "gpt-6-luna", "openai")
    cached = cost_usd(Usage(1_000_000, 1_000_000, 1_000_000), "gpt-6-luna", "openai")
    assert full is not None
    assert cached is not None
    assert 0 < cached < full


def test_unknown_is_none_and_local_is_free() -> None:
    assert cost_usd(MILLION, "no-such-model", "openai") is None
    assert cost_usd(MILLION, "gpt-6-luna", None) is None
    assert cost_usd(MILLION, "llama3.2", "free") == 0.0


def test_one_unpriced_call_makes_the_sum_unknown() -> None:
    stats = LLMUsageStats()
    stats.record_usage("openai", "a", MILLION, cost_usd=1.0)
    assert stats.summary()["cost_usd"] == 1.0
    stats.record_usage("openai", "b", MILLION, cost_usd=None)
    stats.record_usage("openai", "a", MILLION, cost_usd=2.0)
    assert stats.summary()["cost_usd"] is None
    assert stats.by_model()["openai", "a"].cost_usd == 3.0
    stats.reset()
    assert stats.summary()["requests"] == 0


def test_failed_calls_are_counted_by_class_and_cost_nothing() -> None:
    stats = LLMUsageStats()
    client = MeteredClient(
        MockLLMClient([LLMRateLimitError("slow"), "ok"]), price_provider="free", stats=stats
    )
    with pytest.raises(LLMRateLimitError):
        client.complete(LLMRequest((Message("user", "x" * 40),)))
    client.complete(LLMRequest((Message("user", "x" * 40),)))
    summary = stats.summary()
    assert summary["errors"] == {"LLMRateLimitError": 1}
    assert (summary["requests"], summary["input_tokens"], summary["cost_usd"]) == (2, 10, 0.0)


def test_no_call_is_lost_between_threads() -> None:
    stats = LLMUsageStats()

    def record() -> None:
        for _ in range(500):
            stats.record_usage("p", "m", Usage(1, 0, 2), cost_usd=0.0)

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    summary = stats.summary()
    assert (summary["requests"], summary["input_tokens"], summary["output_tokens"]) == (
        4000,
        4000,
        8000,
    )


def test_there_is_one_instance_for_the_process() -> None:
    assert get_usage_stats() is get_usage_stats()
