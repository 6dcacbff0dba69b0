"""Repetition: which errors, how long between, and how many requests are reported."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import replace

import pytest

from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMCancelledError,
    LLMConfigError,
    LLMError,
    LLMRateLimitError,
    LLMResponseError,
    LLMTimeoutError,
)
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.llm.retry import RetryingClient, is_transient, retry_with_backoff
from tests.limits import SOON_S

REQUEST = LLMRequest((Message("user", "Hi"),), custom_id="model.shop.orders")


def outage(**fields: object) -> LLMAPIError:
    return LLMAPIError("openai answered 500", **{"status_code": 500, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        *((LLMAPIError("x", status_code=status), True) for status in (408, 409, 429, 500, 503)),
        (LLMAPIError("x", status_code=529), True),
        *((LLMAPIError("x", status_code=s), False) for s in (400, 401, 402, 403, 404, 413, 422)),
        (LLMAPIError("x", unreachable=True), True),
        (LLMTimeoutError("x"), True),
        (LLMRateLimitError("quota", status_code=429, ends_run=True), False),
        (LLMResponseError("x"), False),
        (LLMConfigError("x"), False),
        (ConnectionResetError(), True),
        (ValueError(), False),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'status_code', '')}",
)
def test_the_class_decides_and_the_status_decides_the_class(
    error: BaseException, passes: bool
) -> None:
    assert is_transient(error) is passes


def test_waits_at_most_twice_as_long_each_time_and_reports_every_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    random.seed(7)
    slept: list[float] = []
    inner = MockLLMClient([outage(), outage(), outage(), "at last"])
    client = RetryingClient(inner, max_retries=3, retry_delay_s=2, sleep=slept.append)
    with caplog.at_level(logging.WARNING, "dbt-osmosis"):
        response = client.complete(REQUEST)
    assert (response.text, response.attempts, len(inner.calls)) == ("at last", 4, 4)
    assert all(0 <= wait <= bound for wait, bound in zip(slept, (2, 4, 8), strict=True))
    assert len({round(wait, 6) for wait in slept}) == 3
    lines = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(" in ")[0] for line in lines] == [
        f"openai answered 500; retry {n} of 3 of model.shop.orders" for n in (1, 2, 3)
    ]


def test_backoff_is_spread_over_the_whole_range() -> None:
    slept: list[float] = []
    for _ in range(200):
        client = MockLLMClient([outage(), "ok"])
        RetryingClient(client, max_retries=1, retry_delay_s=1, sleep=slept.append).complete(REQUEST)
    assert min(slept) < 0.1
    assert max(slept) > 0.9
    assert max(slept) <= 1


def test_what_the_server_asks_is_waited_and_little_more() -> None:
    slept: list[float] = []
    errors = [LLMRateLimitError("x", status_code=429, retry_after_s=wait) for wait in (0.4, 90.0)]
    client = MockLLMClient([*errors, "ok"])
    RetryingClient(client, max_retries=2, retry_delay_s=50, sleep=slept.append).complete(REQUEST)
    assert 0.4 <= slept[0] <= 0.5
    assert 90 <= slept[1] <= 91


def test_the_last_error_says_how_many_requests_were_made() -> None:
    client = RetryingClient(
        MockLLMClient(lambda _: outage()), max_retries=2, retry_delay_s=0, sleep=lambda _: None
    )
    with pytest.raises(LLMAPIError) as caught:
        client.complete(REQUEST)
    assert caught.value.attempts == 3


def test_a_wait_ends_when_nobody_wants_the_answer_any_more() -> None:
    cancelled = threading.Event()

    def fail(_: LLMRequest) -> LLMAPIError:
        # From another thread, as a stop does, once the client waits or is about to.
        threading.Thread(target=cancelled.set).start()
        return outage(retry_after_s=600.0)

    inner = MockLLMClient(fail)
    client = RetryingClient(inner, max_retries=3, retry_delay_s=600)
    started = time.monotonic()
    with pytest.raises(LLMCancelledError) as caught:
        client.complete(replace(REQUEST, cancelled=cancelled))
    assert time.monotonic() - started < SOON_S  # not the 600 s that it was to wait
    assert (caught.value.attempts, len(inner.calls)) == (1, 1)


def test_a_lasting_error_is_raised_at_once() -> None:
    slept: list[float] = []
    inner = MockLLMClient([LLMAPIError("bad request", status_code=400)])
    client = RetryingClient(inner, max_retries=3, retry_delay_s=1, sleep=slept.append)
    with pytest.raises(LLMAPIError, match="bad request") as caught:
        client.complete(REQUEST)
    assert (caught.value.attempts, slept) == (1, [])


def test_decorator_repeats_any_function() -> None:
    slept: list[float] = []
    calls: list[str] = []

    @retry_with_backoff(2, 1.0, sleep=slept.append)
    def fetch(name: str) -> str:
        """Fetch something."""
        calls.append(name)
        if len(calls) < 3:
            raise LLMTimeoutError("late")
        return name.upper()

    assert fetch("orders") == "ORDERS"
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch something.")
    assert (calls, len(slept)) == (["orders"] * 3, 2)


def test_every_call_of_a_decorated_function_has_all_its_retries() -> None:
    @retry_with_backoff(1, 0.0, sleep=lambda _: None)
    def fail() -> None:
        calls.append(1)
        raise LLMTimeoutError("late")

    calls: list[int] = []
    for _ in range(3):
        with pytest.raises(LLMError):
            fail()
    assert len(calls) == 6
