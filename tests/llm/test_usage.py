from __future__ import annotations

import threading

import pytest

from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMBudgetError,
    LLMRateLimitError,
    LLMTimeoutError,
)
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message, Usage
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.llm.usage import (
    Budget,
    BudgetedClient,
    LLMUsageStats,
    MeteredClient,
    Price,
    get_usage_stats,
)

MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


def test_cost_of_a_priced_model_counts_cached_tokens_cheaper() -> None:
    price = Price("openai", "gpt-6-luna")
    full, cached = price.of(MILLION), price.of(Usage(1_000_000, 1_000_000, 1_000_000))
    assert full is not None
    assert cached is not None
    assert 0 < cached < full


def test_tokens_written_to_a_cache_cost_more() -> None:
    price = Price("anthropic", "claude-haiku-5-5")
    plain, written = (
        price.of(Usage(1_000_000)),
        price.of(Usage(1_000_000, cache_write_tokens=1_000_000)),
    )
    assert plain is not None
    assert written is not None
    assert written == pytest.approx(plain * 1.25)


def test_the_answer_s_own_model_name_wins_when_it_has_a_price() -> None:
    price = Price("openai", "gpt-6-luna")
    assert price.of(MILLION, "a-gateway-s-name") == price.of(MILLION)
    assert price.of(MILLION, "gpt-6-sol") == Price("openai", "gpt-6-sol").of(MILLION)
    assert price.of(MILLION, "gpt-6-sol") != price.of(MILLION)


def test_an_endpoint_without_a_row_is_priced_by_its_address() -> None:
    known = Price(None, "deepseek-v4-flash", "https://api.deepseek.com/v1").of(MILLION)
    assert known == Price("deepseek", "deepseek-v4-flash").of(MILLION)
    assert Price(None, "deepseek-v4-flash", "http://gateway.example/v1").of(MILLION) is None


def test_unknown_is_none_and_local_is_free() -> None:
    assert Price("openai", "no-such-model").of(MILLION) is None
    assert Price(None, "gpt-6-luna").of(MILLION) is None
    assert Price("free", "llama3.2").of(MILLION) == 0.0


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
        MockLLMClient([LLMRateLimitError("slow"), "ok"]), price=Price("free", "mock"), stats=stats
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


REQUEST = LLMRequest((Message("user", "x" * 400),), max_output_tokens=1000)


def budgeted(budget: Budget, *answers: object) -> tuple[BudgetedClient, MockLLMClient]:
    inner = MockLLMClient(answers)  # type: ignore[arg-type]
    price = Price("openai", "gpt-6-luna")
    return BudgetedClient(inner, price=price, budget=budget), inner


def test_a_request_that_may_pass_the_budget_is_not_made() -> None:
    expected = Price("openai", "gpt-6-luna").of(REQUEST.expected_usage)
    assert expected is not None
    client, inner = budgeted(Budget(expected * 1.5))
    client.complete(REQUEST)  # took next to nothing of what it might have
    spent = Usage(input_tokens=10_000_000)
    client, inner = budgeted(Budget(expected * 1.5), LLMResponse("dear", usage=spent))
    client.complete(REQUEST)
    with pytest.raises(LLMBudgetError, match=r"no room for .*: \$\S+ spent, .*raise --llm-max"):
        client.complete(REQUEST)
    assert len(inner.calls) == 1


def test_a_failed_request_gives_its_reserve_back() -> None:
    expected = Price("openai", "gpt-6-luna").of(REQUEST.expected_usage)
    assert expected is not None
    client, _ = budgeted(Budget(expected * 1.1), *[LLMAPIError("x", status_code=500)] * 3, "ok")
    for _ in range(3):
        with pytest.raises(LLMAPIError):
            client.complete(REQUEST)
    assert client.complete(REQUEST).text == "ok"


def test_a_timeout_is_paid_for() -> None:
    expected = Price("openai", "gpt-6-luna").of(REQUEST.expected_usage)
    assert expected is not None
    client, inner = budgeted(Budget(expected * 1.5), LLMTimeoutError("late"), "never asked")
    with pytest.raises(LLMTimeoutError):
        client.complete(REQUEST)
    with pytest.raises(LLMBudgetError):
        client.complete(REQUEST)
    assert len(inner.calls) == 1


def test_what_a_model_once_wrote_it_is_expected_to_write_again() -> None:
    price = Price("openai", "gpt-6-luna")
    reasoned = Usage(output_tokens=5000, reasoning_tokens=4900)
    cost = price.of(reasoned)
    assert cost is not None
    client, inner = budgeted(Budget(cost * 1.5), LLMResponse("a", usage=reasoned))
    client.complete(REQUEST)
    with pytest.raises(LLMBudgetError):
        client.complete(REQUEST)
    assert len(inner.calls) == 1


def test_parallel_requests_reserve_together() -> None:
    budget = Budget(1.0)
    budget.reserve(0.6)
    with pytest.raises(LLMBudgetError):
        budget.reserve(0.6)
    budget.settle(0.6, 0.1)
    budget.reserve(0.6)


def test_repetitions_are_requests_and_counted_apart() -> None:
    stats = LLMUsageStats()
    error = LLMTimeoutError("late")
    error.attempts = 4
    repeated_for = ("LLMRateLimitError", "LLMTimeoutError")
    answered = LLMResponse("ok", attempts=3, repeated_for=repeated_for)
    inner = MockLLMClient([answered, error])
    client = MeteredClient(inner, price=Price("free", "mock"), stats=stats)
    client.complete(REQUEST)
    with pytest.raises(LLMTimeoutError):
        client.complete(REQUEST)
    summary = stats.summary()
    assert (summary["requests"], summary["retries"]) == (7, 5)
    assert summary["errors"] == {"LLMRateLimitError": 1, "LLMTimeoutError": 2}


def test_texts_are_logged_at_debug_only_and_without_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner = MockLLMClient(["the key is sk-test-12345678, you said"])
    request = LLMRequest((Message("user", "my key: sk-test-12345678"),), custom_id="model.a.b")
    client = MeteredClient(
        inner, price=Price("free", "m"), stats=LLMUsageStats(), secrets=["sk-test-12345678"]
    )
    with caplog.at_level("INFO", "dbt-osmosis"):
        client.complete(request)
    assert not caplog.records
    with caplog.at_level("DEBUG", "dbt-osmosis"):
        client.complete(request)
    assert "my key" in caplog.text
    assert "model.a.b" in caplog.text
    assert "12345678" not in caplog.text
