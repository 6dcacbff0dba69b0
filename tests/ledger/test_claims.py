"""Who asks, who waits: within a process, between processes, and when one of them dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from dbt_osmosis_llm.ledger import Call, Hit, Ledger, LedgerError, tables
from dbt_osmosis_llm.ledger.claims import Claims
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.ledger.records import now, to_microseconds
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.messages import LLMRequest, Message
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.conftest import KEY
from tests.ledger.processes import CONTEXT, at_once
from tests.limits import HANG_S, SOON_S
from tests.server import LoopbackServer, Recorded, Reply

HIT = Hit("run", "", custom_id="model.shop.orders")


def answer(ledger: Ledger, key: str) -> Call:
    call = Call(run_id="other", provider="p", model="m", status="answered", key=key, response="a")
    return ledger.record(call)


def test_one_asks_and_the_other_waits(opened: Ledger) -> None:
    ours, theirs = Claims(opened), Claims(opened)
    assert ours.take("k", HIT) is True
    assert theirs.take("k", HIT) is False
    assert theirs.is_taken("k")
    assert theirs.take("another", HIT) is True
    ours.release("k")
    assert not theirs.is_taken("k")
    assert theirs.take("k", HIT) is True
    theirs.close()
    assert not ours.is_taken("k")
    assert not ours.is_taken("another")


def test_an_answer_ends_the_claim_and_is_noted_as_a_hit(opened: Ledger) -> None:
    ours, theirs = Claims(opened), Claims(opened)
    assert ours.take("k", HIT) is True
    call = answer(opened, "k")
    assert not theirs.is_taken("k")
    assert theirs.take("k", HIT) == call
    (hit,) = opened.hits()
    assert (hit.run_id, hit.call_id, hit.custom_id) == ("run", call.call_id, HIT.custom_id)
    assert not theirs.is_taken("k")
    assert theirs.take("k", HIT, max_age_days=0) is True


def test_a_failure_ends_no_claim(opened: Ledger) -> None:
    ours, theirs = Claims(opened), Claims(opened)
    assert ours.take("k", HIT) is True
    opened.record(Call(run_id="r", provider="p", model="m", status="failed", key="k"))
    assert theirs.is_taken("k")


def test_an_answer_between_the_look_and_the_claim_is_found(postgres_url: str) -> None:
    """SQLite has no such moment: it lets one transaction write at a time."""
    with Ledger.open(postgres_url) as ledger, Ledger.open(postgres_url) as other:
        calls: list[Call] = []

        @sa.event.listens_for(ledger._engine, "before_cursor_execute")
        def _answer(*arguments: Any) -> None:
            if not calls and str(arguments[2]).startswith("INSERT INTO llm_claims"):
                calls.append(answer(other, "k"))

        claims = Claims(ledger)
        assert [claims.take("k", HIT)] == calls
        assert not claims.is_taken("k")
        assert len(ledger.hits()) == 1


def test_of_many_one_asks(opened: Ledger) -> None:
    claims = [Claims(opened) for _ in range(16)]
    together = threading.Barrier(16)

    def take(claim: Claims) -> bool:
        together.wait()
        return claim.take("k", HIT) is True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, claims)) == 1


@pytest.mark.parametrize(
    ("host", "is_gone", "lease_s", "stays"),
    [
        ("ours", True, 30, False),
        ("ours", False, 30, True),
        ("ours", False, -1, False),
        ("another", True, 30, True),
        ("another", True, -1, False),
    ],
)
def test_a_claim_ends_with_its_process_or_its_lease(
    opened: Ledger, host: str, is_gone: bool, lease_s: float, stays: bool
) -> None:
    process = os.getpid()
    if is_gone:
        process = subprocess.Popen([sys.executable, "-c", ""]).pid
        os.waitpid(process, 0)
    ours = Claims(opened)
    row = {
        **ours._row("k"),
        "owner": "somebody",
        "process": process,
        "expires_at": to_microseconds(now()) + round(lease_s * 1e6),
    }
    if host != "ours":
        row["host"] = host
    with opened.writing() as connection:
        connection.execute(sa.insert(tables.claims), row)
    assert ours.take("k", HIT) is False
    assert ours.is_taken("k") is stays
    assert ours.take("k", HIT) is not stays


def test_a_claim_is_renewed_as_long_as_its_process_lives(opened: Ledger) -> None:
    claims = Claims(opened, lease_s=0.3)
    assert claims.take("k", HIT) is True
    ends: set[int] = set()
    give_up = time.monotonic() + SOON_S
    while len(ends) < 3 and time.monotonic() < give_up:
        with opened.reading() as connection:
            ends.add(connection.execute(sa.select(tables.claims.c.expires_at)).scalar_one())
    claims.close()
    assert len(ends) >= 3


def test_an_error_of_the_database_is_no_claim_of_somebody_elses(opened: Ledger) -> None:
    with opened.writing() as connection:
        connection.execute(sa.text("DROP TABLE llm_claims"))
    with pytest.raises(LedgerError, match="llm_claims"):
        Claims(opened).take("k", HIT)


def ask_all(number: int, url: str, server_url: str, questions: int) -> list[str]:
    """Ask the same questions as every other process, four at a time."""
    config = LLMConfig("openai", "gpt-x", api_key=KEY, base_url=server_url, requests_per_minute=1e6)
    stats = LLMUsageStats()
    with Ledger.open(url) as ledger, ThreadPoolExecutor(4) as pool:
        inner = build_client(config, stats)
        client = LedgerClient(inner, ledger, f"run-{number}", config, stats=stats)
        texts = list(pool.map(lambda n: client.complete(request_for(n)).text, range(questions)))
        client.close()
    return texts


def request_for(number: int) -> LLMRequest:
    return LLMRequest((Message("user", f"Question {number}"),), custom_id=str(number))


def slowly(request: Recorded, number: int) -> Reply:
    return Reply(content=f"Answer to {request.text}", delay_s=0.05)


def test_processes_ask_nothing_twice(url: str, server: LoopbackServer) -> None:
    server.script = slowly
    results = at_once(3, ask_all, url, server.url, 40)
    assert results == [[f"Answer to Question {n}" for n in range(40)]] * 3
    asked = [request.text for request in server.requests]
    assert len(asked) == len(set(asked)) == 40
    with Ledger.open(url) as ledger:
        assert [call.status for call in ledger.query()] == ["answered"] * 40
        assert len(ledger.hits()) == 80
        with ledger.reading() as connection:
            assert connection.execute(sa.select(tables.claims)).all() == []


def test_a_killed_process_keeps_nobody_waiting(url: str, server: LoopbackServer) -> None:
    is_asked = threading.Event()

    def script(request: Recorded, number: int) -> Reply:
        if number > 1:
            return Reply(content="Answer")
        is_asked.set()
        return Reply(delivery="hang")

    server.script = script
    process = CONTEXT.Process(target=ask_all, args=(0, url, server.url, 1))
    process.start()
    assert is_asked.wait(HANG_S)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask_all, 1, url, server.url, 1)
        process.kill()
        process.join()
        died_at = time.monotonic()
        assert waiting.result(HANG_S) == ["Answer"]
    assert time.monotonic() - died_at < 25  # not after the lease of 30 s
    assert len(server.requests) == 2
