"""What is put on record is found again as it was, on SQLite and on Postgres."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from dbt_osmosis_llm.ledger import Call, Hit, Ledger, LedgerError, Run, Text
from dbt_osmosis_llm.ledger.records import new_id, now, request_body
from tests.ledger.processes import at_once

RUN = Run(
    command="dbt-osmosis yaml document",
    selection=["customers", "+orders"],
    project="shop",
    git_commit="0" * 40,
    versions={"dbt-core": "1.11.16"},
    config={"provider": "openai", "max_cost_usd": None, "options": {}},
    settings={"concurrency": 16},
)
OLD = datetime(2026, 1, 1, tzinfo=timezone.utc)


def call_about(question: str, **values: Any) -> Call:
    """Return an answered call, not yet on record."""
    body = request_body([("user", question)], {"type": "object"}, {"temperature": 0.5})
    given: dict[str, Any] = {
        "run_id": RUN.run_id,
        "provider": "openai",
        "model": "gpt-x",
        "status": "answered",
        "request": body,
        "response": f"answer to {question}",
    }
    return Call(**given | values)


def test_a_call_is_read_as_it_was_written(opened: Ledger) -> None:
    call = call_about(
        "everything",
        parent_call_id=new_id(),
        custom_id="model.shop.orders",
        part="2 of 3",
        description="2 texts of orders",
        answered_by="gpt-x-2026-01-01",
        error_class="LLMResponseError",
        error="the answer is empty",
        attempts=3,
        latency_ms=1234.5678901234567,
        input_tokens=2_000_000_000,
        cached_tokens=1,
        cache_write_tokens=2,
        output_tokens=3,
        reasoning_tokens=4,
        cost_usd=0.1 + 0.2,
        finish_reason="stop",
        request_id="req_1",
    )
    stored = opened.record(call)
    assert replace(stored, key="", row_hash="") == call
    assert stored.key == call.computed_key()
    assert stored.row_hash.startswith("v1:sha256:")
    assert opened.lookup(stored.key) == stored
    assert opened.query() == [stored]
    assert not list(opened.verify())


@pytest.mark.parametrize(
    "text",
    [
        "a\0b",
        "half a character: \ud800 and \udfff",
        "😀 ü \u2028 \u202e \x1b[31m",
        "quotes \" ' \\ % _ /",
        "",
        "x" * 1_000_000,
    ],
    ids=["nul", "surrogates", "unicode", "quotes", "empty", "megabyte"],
)
def test_any_text_can_be_kept(opened: Ledger, text: str) -> None:
    call = opened.record(
        Call(
            run_id=RUN.run_id,
            provider="openai",
            model=text,
            status="answered",
            custom_id=text[:100],
            description=text,
            request={"messages": [{"role": "user", "content": text}], text[:9]: (1, 2)},
            response=text,
            error=text,
            latency_ms=5,
            cost_usd=0,
        )
    )
    assert opened.lookup(call.key) == call
    assert call.response == text.replace("\0", "\ufffd").encode(errors="replace").decode()
    assert not list(opened.verify())
    if text:
        assert opened.query(search=text[:1000]) == [call]
    opened.begin_run(replace(RUN, command=text, selection=[text], config={"x": text}))
    opened.record_hit(Hit(RUN.run_id, call.call_id, custom_id=text))
    opened.record_texts([Text(call.call_id, "model.shop.a", "b", text)])
    (found,) = opened.texts(call_id=call.call_id)
    assert found.text == call.response
    assert len(opened.runs()) == len(opened.hits()) == 1


def test_a_moment_without_a_zone_is_taken_as_utc(opened: Ledger) -> None:
    stored = opened.record(call_about("when", started_at=datetime(2026, 1, 1)))
    assert stored.started_at == OLD
    assert opened.lookup(stored.key) == stored
    assert not list(opened.verify())


def test_runs_begin_and_end(opened: Ledger) -> None:
    opened.begin_run(RUN)
    assert opened.runs() == [RUN]
    opened.end_run(RUN.run_id, "done")
    (ended,) = opened.runs(run_id=RUN.run_id[:20])
    assert ended.outcome == "done"
    assert ended.ended_at is not None
    assert replace(ended, outcome=None, ended_at=None) == RUN
    assert opened.runs(run_id="nobody") == []


def test_a_call_is_never_changed(opened: Ledger) -> None:
    stored = opened.record(call_about("first"))
    with pytest.raises(LedgerError, match=r"(?i)unique"):
        opened.record(replace(stored, response="another"))
    assert opened.query() == [stored]


def test_only_the_newest_usable_answer_is_found(opened: Ledger) -> None:
    first = opened.record(call_about("q", started_at=OLD))
    opened.record(call_about("q", status="failed", response=None))
    opened.record(call_about("q", status="unusable"))
    assert opened.lookup(first.key) == first
    second = opened.record(call_about("q", response="newer"))
    assert opened.lookup(first.key) == second
    same_moment = opened.record(replace(second, call_id=new_id(), response="newest"))
    assert opened.lookup(first.key) == same_moment


@pytest.mark.parametrize(
    ("max_age_days", "is_found"),
    [(None, True), (11, True), (9, False), (0, False), (1e12, True)],
)
def test_an_answer_may_be_too_old(
    opened: Ledger, max_age_days: float | None, is_found: bool
) -> None:
    key = opened.record(call_about("q", started_at=now() - timedelta(days=10))).key
    assert (opened.lookup(key, max_age_days=max_age_days) is not None) is is_found


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abcd"),
        ({"limit": 2}, "cd"),
        ({"provider": "anthropic"}, "c"),
        ({"model": "gpt-y"}, "b"),
        ({"status": "failed"}, "d"),
        ({"node": "model.shop.orders"}, "ab"),
        ({"node": "orders"}, "ab"),
        ({"node": "rders"}, ""),
        ({"node": "_rders"}, ""),
        ({"search": "ANSWER TO A"}, "a"),
        ({"search": "ÜBER"}, "b"),
        ({"search": 'say "no"'}, "bd"),
        ({"search": "100%"}, "c"),
        ({"search": "1_0"}, ""),
        ({"since": OLD + timedelta(days=1)}, "bcd"),
        ({"until": OLD + timedelta(days=2)}, "ab"),
        ({"run_id": "feed"}, "d"),
        ({"provider": "openai", "limit": 1}, "d"),
    ],
)
def test_calls_are_filtered(opened: Ledger, filters: dict[str, Any], expected: str) -> None:
    orders, customers = {"custom_id": "model.shop.orders"}, {"custom_id": "model.shop.customers"}
    calls = {
        "a": call_about("a", **orders),
        "b": call_about('say "no" über', model="gpt-y", response="b", **orders),
        "c": call_about("c", provider="anthropic", description="100% of it", **customers),
        "d": call_about("d", status="failed", response=None, error='say "no"', run_id="feed1"),
    }
    for days, (name, call) in enumerate(calls.items()):
        calls[name] = opened.record(replace(call, started_at=OLD + timedelta(days=days)))
    assert opened.query(**filters) == [calls[name] for name in expected]
    (only,) = opened.query(call_id=calls["a"].call_id[:31])
    assert only == calls["a"]


def test_hits_and_texts_hang_on_their_call(opened: Ledger) -> None:
    first, second = (opened.record(call_about(name)).call_id for name in "ab")
    hits = [Hit("r1", first, custom_id="x", part="1"), Hit("r2", first), Hit("r2", second)]
    for hit in hits:
        opened.record_hit(hit)
    assert opened.hits() == hits
    assert opened.hits(run_id="r2") == hits[1:]
    assert opened.hits(call_id=first, run_id="r1") == hits[:1]
    texts = [
        Text(first, "n1", "", "table"),
        Text(first, "n1", "id", "key"),
        Text(second, "n2", "", "t"),
    ]
    opened.record_texts(texts)
    opened.record_texts([])
    assert opened.texts() == texts
    assert opened.texts(call_id=first) == texts[:2]
    assert opened.texts(node_id="n2") == texts[2:]


def test_prune_deletes_what_is_old_and_what_hangs_on_it(opened: Ledger) -> None:
    runs = {name: Run(run_id=name, started_at=OLD) for name in ("old", "used", "kept")}
    for run in runs.values():
        opened.begin_run(run)
    old = opened.record(call_about("old", run_id="old", started_at=OLD))
    kept = opened.record(call_about("kept", run_id="kept"))
    for call in (old, kept):
        opened.record_hit(Hit("used" if call is kept else "old", call.call_id))
        opened.record_texts([Text(call.call_id, "n", "", "t")])
    assert opened.prune(30) == 1
    assert opened.query() == [kept]
    assert [hit.call_id for hit in opened.hits()] == [kept.call_id]
    assert [text.call_id for text in opened.texts()] == [kept.call_id]
    assert {run.run_id for run in opened.runs()} == {"used", "kept"}
    assert opened.prune(30) == 0


def test_prune_makes_the_file_smaller(tmp_path: Any) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(path) as ledger:
        for number in range(50):
            ledger.record(call_about(f"q{number}", response="x" * 100_000, started_at=OLD))
    large = path.stat().st_size
    with Ledger.open(path) as ledger:
        ledger.prune(1)
    assert path.stat().st_size < large / 10


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("response", "another answer", "changed"),
        ("response", None, "changed"),
        ("cost_usd", 0.0, "changed"),
        ("output_tokens", 9, "changed"),
        ("started_at", 0, "changed"),
        ("status", "failed", "changed"),
        ("run_id", "another", "changed"),
        ("row_hash", "v1:sha256:0", "changed"),
        ("key", "v1:sha256:0", "changed"),
        ("request", '{"messages": []}', "changed"),
        ("request", "no JSON", "read"),
    ],
)
def test_verify_reports_a_row_that_was_changed(
    opened: Ledger, column: str, value: Any, complaint: str
) -> None:
    calls = [opened.record(call_about(name, cost_usd=0.5)) for name in "abc"]
    with opened.writing() as connection:
        connection.execute(
            sa.text(f"UPDATE llm_calls SET {column} = :value WHERE call_id = :call_id"),
            {"value": value, "call_id": calls[1].call_id},
        )
    ((found, said),) = opened.verify()
    assert found.call_id == calls[1].call_id
    assert complaint in said


def test_verify_reports_a_key_that_is_not_the_questions(opened: Ledger) -> None:
    stored = opened.record(call_about("a", key="v1:sha256:0"))
    assert [(call, "key" in said) for call, said in opened.verify()] == [(stored, True)]


def test_one_ledger_is_used_while_it_is_gone_through(opened: Ledger) -> None:
    for name in "ab":
        opened.record(call_about(name, key="wrong"))
    seen = 0
    for call, _ in opened.verify():
        opened.record(replace(call, call_id=new_id(), key=""))
        seen += 1
    assert seen >= 2


def test_threads_share_a_ledger_in_memory() -> None:
    with Ledger.open("sqlite://") as ledger, ThreadPoolExecutor(16) as pool:
        calls = list(pool.map(lambda n: ledger.record(call_about(str(n))), range(200)))
        assert list(pool.map(lambda call: ledger.lookup(call.key), calls)) == calls


def test_threads_share_a_ledger(opened: Ledger) -> None:
    together = threading.Barrier(32)

    def work(number: int) -> bool:
        together.wait()
        call = opened.record(call_about(str(number)))
        opened.record_hit(Hit(RUN.run_id, call.call_id))
        return opened.lookup(call.key) == call

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, range(32)))
    assert len(opened.hits()) == opened.count() == 32


def hammer(number: int, url: str, records: int) -> int:
    """Write and read as fast as possible; run in a process of its own."""
    with Ledger.open(url) as ledger:
        run = Run(run_id=f"run-{number}")
        ledger.begin_run(run)

        def work(turn: int) -> None:
            call = call_about(f"{number} {turn}", run_id=run.run_id, response="x" * 5000)
            stored = ledger.record(call)
            assert ledger.lookup(stored.key) == stored
            ledger.record_hit(Hit(run.run_id, stored.call_id))
            ledger.record_texts([Text(stored.call_id, "n", "", "t")])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(records)))
        ledger.end_run(run.run_id, "done")
        return len(ledger.query(run_id=run.run_id))


def test_processes_share_a_ledger(url: str) -> None:
    assert at_once(4, hammer, url, 200) == [200] * 4
    with Ledger.open(url) as ledger:
        assert ledger.count() == len(ledger.hits()) == len(ledger.texts()) == 800
        assert [run.outcome for run in ledger.runs()] == ["done"] * 4
        assert not list(ledger.verify())


def prune_again_and_again(number: int, url: str) -> int:
    """Write in one process while another deletes and shrinks the file."""
    with Ledger.open(url) as ledger:
        if number == 0:
            return sum(ledger.prune(1) for _ in range(20))
        for turn in range(100):
            ledger.record(call_about(f"{number} {turn}", started_at=OLD if turn % 2 else now()))
        return 0


def test_pruning_disturbs_nobody(url: str) -> None:
    deleted = sum(at_once(3, prune_again_and_again, url))
    with Ledger.open(url) as ledger:
        assert ledger.count() + deleted == 200
        assert ledger.prune(1) + deleted == 100
