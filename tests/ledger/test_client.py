"""The client that keeps answers: what is a hit, what is not, and runs whose ledger fails."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dbt_osmosis_llm.ledger import Call, Ledger
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.ledger.records import now
from dbt_osmosis_llm.llm import answers
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import (
    LLMAPIError,
    LLMBudgetError,
    LLMCancelledError,
    LLMError,
    LLMLedgerError,
    LLMResponseError,
)
from dbt_osmosis_llm.llm.messages import FinishReason, LLMRequest, LLMResponse, Message, Usage
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.conftest import KEY
from tests.limits import SOON_S
from tests.server import LoopbackServer, Reply

CONFIG = LLMConfig("openai", "mock", api_key=KEY)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
REQUEST = LLMRequest(
    (Message("system", "Instructions"), Message("user", "Question")),
    schema=SCHEMA,
    custom_id="model.shop.orders",
    part="1 of 2",
    description="2 texts of orders",
    check=answers.reader(SCHEMA),
)
GOOD = LLMResponse(
    '{"a": "text"}',
    usage=Usage(100, 10, 20, 5, 3),
    model="mock-1",
    request_id="req_1",
    cost_usd=0.25,
    attempts=3,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db") as opened:
        yield opened


def client_on(ledger: Ledger, inner: Any, **options: Any) -> LedgerClient:
    options = {"stats": LLMUsageStats(), **options}
    config = options.pop("config", CONFIG)
    return LedgerClient(inner, ledger, options.pop("run_id", "run"), config, **options)


def test_a_call_is_on_record_with_all_that_is_known_of_it(ledger: Ledger) -> None:
    ticks = iter([10.0, 10.5])
    config = replace(CONFIG, provider_kwargs={"reasoning_effort": "low"}, temperature=0.5)
    client = client_on(ledger, MockLLMClient([GOOD]), clock=lambda: next(ticks), config=config)
    response = client.complete(replace(REQUEST, parent_call_id="parent", max_output_tokens=99))
    (call,) = ledger.query()
    assert response == replace(GOOD, call_id=call.call_id)
    assert call.request == {
        "messages": [
            {"role": "system", "content": "Instructions"},
            {"role": "user", "content": "Question"},
        ],
        "schema": SCHEMA,
        "parameters": {"temperature": 0.5, "max_output_tokens": 99, "reasoning_effort": "low"},
    }
    assert replace(call, request={}, key="", row_hash="", call_id="") == Call(
        call_id="",
        run_id="run",
        parent_call_id="parent",
        provider="mock",
        model="mock",
        answered_by="mock-1",
        status="answered",
        started_at=call.started_at,
        custom_id="model.shop.orders",
        part="1 of 2",
        description="2 texts of orders",
        response='{"a": "text"}',
        attempts=3,
        latency_ms=500.0,
        input_tokens=100,
        cached_tokens=10,
        cache_write_tokens=3,
        output_tokens=20,
        reasoning_tokens=5,
        cost_usd=0.25,
        finish_reason="stop",
        request_id="req_1",
    )
    assert abs(call.started_at - now()) < timedelta(minutes=1)
    assert not list(ledger.verify())


def test_an_answer_is_used_again_and_counted_as_such(ledger: Ledger) -> None:
    inner, stats = MockLLMClient([GOOD]), LLMUsageStats()
    first = client_on(ledger, inner).complete(REQUEST)
    later = client_on(ledger, inner, run_id="later", stats=stats)
    again = later.complete(replace(REQUEST, custom_id="model.shop.renamed", description="other"))
    assert (again.text, again.model) == (GOOD.text, "mock-1")
    assert (again.finish_reason, again.request_id) == (FinishReason.STOP, "req_1")
    assert (again.cost_usd, again.attempts, again.usage) == (0.0, 0, Usage())
    assert again.call_id == first.call_id
    assert len(inner.calls) == ledger.count() == 1
    (hit,) = ledger.hits()
    assert (hit.run_id, hit.custom_id, hit.part) == ("later", "model.shop.renamed", "1 of 2")
    summary = stats.summary()
    assert (summary["hits"], summary["saved_usd"], summary["requests"]) == (1, 0.25, 0)
    (totals,) = stats.by_model().values()
    assert totals.saved == GOOD.usage


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, messages=(Message("user", "Question"),)),
        replace(REQUEST, messages=(Message("user", "Instructions"), Message("user", "Question"))),
        replace(REQUEST, schema=None, check=None),
        replace(REQUEST, temperature=0.1),
        replace(REQUEST, max_output_tokens=7),
    ],
)
def test_another_question_is_another_key(ledger: Ledger, other: LLMRequest) -> None:
    inner = MockLLMClient()
    client = client_on(ledger, inner)
    client.complete(REQUEST)
    client.complete(other)
    assert len(inner.calls) == 2
    assert not ledger.hits()


@pytest.mark.parametrize(
    ("answer", "check", "status", "error_class"),
    [
        (LLMAPIError("boom", status_code=500, request_id="r"), True, "failed", "LLMAPIError"),
        (ValueError("not ours"), True, "failed", "ValueError"),
        ("no JSON", True, "unusable", "LLMResponseError"),
        ('{"b": 1}', True, "unusable", "LLMResponseError"),
        (replace(GOOD, finish_reason=FinishReason.REFUSAL), True, "unusable", "LLMRefusalError"),
        (replace(GOOD, finish_reason=FinishReason.FILTERED), False, "unusable", "LLMRefusalError"),
        ("  ", False, "unusable", "LLMResponseError"),
    ],
)
def test_what_cannot_be_used_is_on_record_and_never_a_hit(
    ledger: Ledger, answer: Any, check: bool, status: str, error_class: str
) -> None:
    request = REQUEST if check else replace(REQUEST, check=None)
    client = client_on(ledger, MockLLMClient([answer, GOOD]))
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)) as caught:
            client.complete(request)
        call_id = getattr(caught.value, "call_id", None)
    else:
        call_id = client.complete(request).call_id
    (call,) = ledger.query()
    assert (call.status, call.error_class) == (status, error_class)
    assert call_id in (call.call_id, None)
    assert client.complete(request).text == GOOD.text
    assert client.complete(request).text == GOOD.text
    assert [call.status for call in ledger.query()] == [status, "answered"]
    assert len(ledger.hits()) == 1


def test_an_answer_is_on_record_even_if_its_check_fails(ledger: Ledger) -> None:
    def check(response: LLMResponse) -> None:
        raise KeyError("a mistake of the caller's")

    response = client_on(ledger, MockLLMClient([GOOD])).complete(replace(REQUEST, check=check))
    assert response.text == GOOD.text
    (call,) = ledger.query()
    assert (call.status, call.error_class, call.response) == ("unusable", "KeyError", GOOD.text)
    assert call.cost_usd == 0.25


@pytest.mark.parametrize("error", [LLMBudgetError("no money"), LLMCancelledError("stopped")])
def test_what_was_never_sent_is_not_on_record(ledger: Ledger, error: LLMError) -> None:
    client = client_on(ledger, MockLLMClient([error, GOOD]))
    with pytest.raises(type(error)):
        client.complete(REQUEST)
    assert ledger.count() == 0
    assert client.complete(REQUEST).text == GOOD.text


def test_a_repair_points_to_what_it_repairs_and_both_are_found_again(ledger: Ledger) -> None:
    inner = MockLLMClient(["no JSON", GOOD])
    client = client_on(ledger, inner)
    read = answers.reader(SCHEMA)
    answers.ask(client, replace(REQUEST, check=None), read)
    first, repair = ledger.query()
    assert (first.status, repair.status) == ("unusable", "answered")
    assert (first.parent_call_id, repair.parent_call_id) == (None, first.call_id)
    assert repair.description == "2 texts of orders (repair)"


def test_a_repair_of_a_failed_call_points_to_it(ledger: Ledger) -> None:
    inner = MockLLMClient([LLMResponseError("no JSON in it"), GOOD])
    answers.ask(client_on(ledger, inner), REQUEST, answers.reader(SCHEMA))
    first, repair = ledger.query()
    assert repair.parent_call_id == first.call_id


def test_asking_again_records_a_newer_answer_that_counts(ledger: Ledger) -> None:
    inner = MockLLMClient([GOOD, replace(GOOD, text='{"a": "newer"}')])
    client_on(ledger, inner).complete(REQUEST)
    newer = client_on(ledger, inner, use_answers=False).complete(REQUEST)
    assert newer.text == '{"a": "newer"}'
    assert client_on(ledger, inner).complete(REQUEST).text == newer.text
    assert ledger.count() == 2


def test_an_answer_may_be_too_old(ledger: Ledger) -> None:
    inner = MockLLMClient([GOOD, GOOD])
    client_on(ledger, inner).complete(REQUEST)
    (call,) = ledger.query()
    with ledger.writing() as connection:
        week_ago = sa.text("UPDATE llm_calls SET started_at = started_at - :us")
        connection.execute(week_ago, {"us": 7 * 86_400_000_000})
    client_on(ledger, inner, max_age_days=8).complete(REQUEST)
    assert len(inner.calls) == 1
    client_on(ledger, inner, max_age_days=6).complete(REQUEST)
    assert len(inner.calls) == 2
    assert ledger.lookup(call.key) != call


class Gate:
    """A client whose answers come when the test says so, one word for each request."""

    provider = model = "gate"

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.answers: list[LLMResponse | Exception] = []
        self.answered = threading.Semaphore(0)
        self.requests = 0

    def complete(self, request: LLMRequest) -> LLMResponse:
        self.requests += 1
        self.asked.release()
        assert self.answered.acquire(timeout=SOON_S)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, answer: LLMResponse | Exception) -> None:
        assert self.asked.acquire(timeout=SOON_S)
        self.answers.append(answer)
        self.answered.release()


def test_threads_share_one_request(ledger: Ledger) -> None:
    gate, stats = Gate(), LLMUsageStats()
    client = client_on(ledger, gate, stats=stats)
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(client.complete, REQUEST) for _ in range(16)]
        gate.answer(GOOD)
        responses = [future.result(SOON_S) for future in futures]
    assert gate.requests == ledger.count() == 1
    assert {response.text for response in responses} == {GOOD.text}
    assert len({response.call_id for response in responses}) == 1
    assert len(ledger.hits()) == stats.summary()["hits"] == 15


def test_a_leader_that_fails_hands_over(ledger: Ledger) -> None:
    gate = Gate()
    client = client_on(ledger, gate)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(client.complete, REQUEST) for _ in range(8)]
        gate.answer(LLMAPIError("boom", status_code=500))
        gate.answer(replace(GOOD, text="unusable"))
        gate.answer(GOOD)
        outcomes = [future.exception(SOON_S) or future.result().text for future in futures]
    assert gate.requests == 3
    assert sorted(map(str, outcomes)) == sorted(["boom", "unusable", *[GOOD.text] * 6])
    assert not client._flights


def test_those_who_wait_end_when_the_run_is_stopped(ledger: Ledger) -> None:
    gate, cancelled = Gate(), threading.Event()
    client = client_on(ledger, gate)
    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(client.complete, REQUEST)
        assert gate.asked.acquire(timeout=SOON_S)
        request = replace(REQUEST, cancelled=cancelled)
        followers = [pool.submit(client.complete, request) for _ in range(2)]
        other = client_on(ledger, gate)  # as another process does
        followers.append(pool.submit(other.complete, request))
        cancelled.set()
        assert {type(f.exception(SOON_S)) for f in followers} == {LLMCancelledError}
        gate.asked.release()
        gate.answer(GOOD)
        assert leader.result(SOON_S).text == GOOD.text


def test_no_key_is_in_the_database(tmp_path: Path, server: LoopbackServer) -> None:
    password = "hunter2-hunter2"
    config = LLMConfig(
        "openai",
        "gpt-x",
        api_key=KEY,
        base_url=server.url.replace("://", f"://me:{password}@") + f"?token={password}",
        max_retries=0,
        provider_kwargs={"metadata": {"api_key": "provider-kwargs-s3cret"}},
    )
    server.script = lambda request, number: Reply(
        401 if number == 2 else 200,
        says=f"Incorrect API key provided: {KEY}",
        content=None if number == 2 else json.dumps({"a": f"{KEY} sk-proj-{'Ab1' * 12}"}),
    )
    request = replace(
        REQUEST,
        messages=(Message("user", f"select '{KEY}', '{password}', 'AKIA{'A1' * 8}'"),),
        schema={**SCHEMA, "description": f"as {KEY} says"},
    )
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        plain = replace(config, base_url=server.url)
        client = client_on(ledger, build_client(plain, LLMUsageStats()), config=config)
        client.complete(request)
        with pytest.raises(LLMAPIError):
            client.complete(replace(request, part="2", temperature=0.1))
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert ledger.count() == 2
        assert not list(ledger.verify())
    raw = b"".join(files.values())
    assert b"select '***', '***', '***'" in raw
    assert "ledger.db-wal" in files
    for secret in (KEY, password, "sk-proj-", f"AKIA{'A1' * 8}", "provider-kwargs-s3cret"):
        assert secret.encode() not in raw, secret


def test_the_observer_gets_what_is_on_record(ledger: Ledger) -> None:
    seen: list[Call] = []
    client = client_on(ledger, MockLLMClient(["no JSON", GOOD]), observer=seen.append)
    for _ in range(3):
        client.complete(REQUEST)
    assert seen == ledger.query()


def full_disk(ledger: Ledger, path: Path) -> None:
    with ledger.reading() as connection:
        pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    @sa.event.listens_for(ledger._engine, "checkout")
    def _limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")


def damaged(ledger: Ledger, path: Path) -> None:
    ledger._engine.dispose()
    content = path.read_bytes()
    # The first page holds what the tables are, the others what is in them.
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def gone(ledger: Ledger, path: Path) -> None:
    with ledger.writing() as connection:
        connection.execute(sa.text("DROP TABLE llm_calls"))


LARGE = replace(GOOD, text=json.dumps({"a": "x" * 100_000}))
FAILURES: list[tuple[Callable[[Ledger, Path], None], str]] = [
    (full_disk, "full"),
    (damaged, "malformed"),
    (gone, "no such table"),
]


@pytest.mark.parametrize(("break_it", "said"), FAILURES)
def test_a_run_goes_on_without_its_ledger(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    break_it: Callable[[Ledger, Path], None],
    said: str,
) -> None:
    path = tmp_path / "ledger.db"
    inner = MockLLMClient(lambda request: LARGE)
    ledger = Ledger.open(path)
    client = client_on(ledger, inner)
    client.complete(REQUEST)
    break_it(ledger, path)
    requests = [replace(REQUEST, temperature=n / 10) for n in range(10)]
    with ThreadPoolExecutor(4) as pool:
        assert {response.text for response in pool.map(client.complete, requests)} == {LARGE.text}
    assert len(inner.calls) == 11
    client.close()
    ledger.close()
    warnings = [r.message for r in caplog.records if "the run goes on without it" in r.message]
    assert len(warnings) == 1
    assert said in warnings[0]
    if break_it is damaged:
        assert len(list(tmp_path.glob("*.corrupt-*[0-9]"))) == 1
        with Ledger.open(path) as new:
            assert new.count() == 0


@pytest.mark.parametrize(("break_it", "said"), FAILURES)
def test_a_run_that_requires_its_ledger_ends_with_it(
    tmp_path: Path, break_it: Callable[[Ledger, Path], None], said: str
) -> None:
    inner = MockLLMClient(lambda request: LARGE)
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        client = client_on(ledger, inner, required=True)
        client.complete(REQUEST)
        break_it(ledger, tmp_path / "ledger.db")
        requests = [replace(REQUEST, temperature=n / 10) for n in range(10)]
        with pytest.raises(LLMLedgerError, match=said):
            list(map(client.complete, requests))
        asked = len(inner.calls)
        with pytest.raises(LLMLedgerError, match=said) as caught:
            client.complete(replace(REQUEST, temperature=1.0))
        assert caught.value.ends_run
        assert len(inner.calls) == asked
        client.close()


def test_what_was_paid_for_is_handed_on_when_the_ledger_is_required(ledger: Ledger) -> None:
    gate = Gate()
    client = client_on(ledger, gate, required=True)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.complete, REQUEST) for _ in range(2)]
        assert gate.asked.acquire(timeout=SOON_S)
        gone(ledger, Path())
        gate.asked.release()
        gate.answer(GOOD)
        assert [future.result(SOON_S).text for future in asked] == [GOOD.text] * 2
    with pytest.raises(LLMLedgerError, match="no such table"):
        client.complete(REQUEST)
    assert gate.requests == 1
