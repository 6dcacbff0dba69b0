"""Events of calls: what stands in them, in which order, and as lines of text."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dbt_osmosis_llm.cli.commands import llm
from dbt_osmosis_llm.ledger import Call, Ledger, LedgerError, Run
from dbt_osmosis_llm.ledger.events import Event, events_of, metadata_of
from dbt_osmosis_llm.ledger.export import events, export, write_text
from dbt_osmosis_llm.ledger.places import ExportError
from tests.conftest import cli_runner

AT = datetime(2026, 11, 20, 10, 30, 0, 123456, tzinfo=timezone.utc)
RUN = Run(
    run_id="a" * 32,
    started_at=AT,
    command="dbt-osmosis yaml document",
    selection=("models/marts",),
    project="shop",
    versions={"dbt-core": "1.11.0"},
    config={"provider": "openai"},
)
CALL = Call(
    RUN.run_id,
    "openai",
    "gpt-6-luna",
    "answered",
    call_id="b" * 32,
    started_at=AT,
    custom_id="model.shop.orders",
    part="2",
    description="texts of orders",
    key="v1:sha256:00",
    request={"messages": [{"role": "user", "content": "what is «Größe» 🦆?"}], "schema": None},
    response='{"a": "ü\n"}',
    answered_by="gpt-6-luna-2026",
    attempts=2,
    latency_ms=1500.25,
    input_tokens=10,
    cached_tokens=4,
    cache_write_tokens=1,
    output_tokens=5,
    reasoning_tokens=2,
    cost_usd=0.0002,
    finish_reason="stop",
    request_id="req_1",
)
FAILED = replace(
    CALL, status="failed", response=None, error_class="LLMTimeoutError", error="no answer"
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.begin_run(RUN)
        yield ledger


def call_from(start: Event, end: Event) -> Call:
    """Return the call that two events tell of."""
    values: dict[str, Any] = {**json.loads(start.payload), **json.loads(end.payload)}
    run_id = json.loads(start.logger_metadata)["run_id"]
    parent = None if start.parent_run_id == run_id else start.parent_run_id
    return Call(
        run_id=run_id,
        call_id=start.run_id,
        parent_call_id=parent,
        started_at=start.timestamp,
        **values,
    )


@pytest.mark.parametrize(
    ("call", "ends_as"),
    [
        (CALL, "llm_end"),
        (FAILED, "llm_error"),
        (replace(CALL, status="unusable", error="no JSON"), "llm_error"),
        (replace(CALL, parent_call_id="c" * 32), "llm_end"),
        (replace(CALL, cost_usd=None), "llm_end"),
    ],
    ids=["answered", "failed", "unusable", "child", "unknown cost"],
)
def test_two_events_hold_the_whole_call(call: Call, ends_as: str) -> None:
    start, end = events_of(call, metadata_of(RUN))
    assert (start.event_type, end.event_type) == ("llm_start", ends_as)
    assert start.run_id == end.run_id == call.call_id
    assert start.parent_run_id == end.parent_run_id == (call.parent_call_id or RUN.run_id)
    assert start.custom_id == end.custom_id == "model.shop.orders#2"
    assert start.timestamp == AT
    assert end.timestamp - start.timestamp == timedelta(microseconds=1_500_250)
    assert call_from(start, end) == call
    assert "response" not in json.loads(start.payload)
    assert "request" not in json.loads(end.payload)
    for event in (start, end):
        assert json.loads(event.payload)["model"] == "gpt-6-luna"
        assert set(json.loads(event.logger_metadata)) == {f.name for f in fields(Run)}


def test_a_call_of_one_request_has_no_part() -> None:
    assert events_of(replace(CALL, part=""), "{}")[0].custom_id == "model.shop.orders"


def test_a_time_in_another_zone_becomes_utc() -> None:
    local = replace(CALL, started_at=AT.astimezone(timezone(timedelta(hours=9))))
    assert events_of(local, "{}")[0].timestamp.isoformat() == AT.isoformat()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), None])
def test_numbers_that_json_does_not_have_are_null(number: float | None) -> None:
    request = {"parameters": {"temperature": number, "stop": [number]}}
    start, end = events_of(replace(CALL, cost_usd=number, request=request), "{}")
    assert json.loads(end.payload, parse_constant=pytest.fail)["cost_usd"] is None
    parameters = json.loads(start.payload, parse_constant=pytest.fail)["request"]["parameters"]
    assert parameters == {"temperature": None, "stop": [None]}


def test_events_come_by_time_whatever_overlaps(ledger: Ledger) -> None:
    luck = random.Random(7)
    calls = [
        replace(
            CALL,
            call_id=f"{luck.getrandbits(128):032x}",
            started_at=AT + timedelta(milliseconds=luck.randrange(300)),
            latency_ms=luck.choice([0, 1, 20, 500]),
        )
        for _ in range(400)
    ]
    calls.sort(key=lambda call: (call.started_at, call.call_id))
    found = list(events(ledger, calls))
    assert len(found) == 800
    assert found == sorted(found, key=lambda event: event.order)
    seen: set[str] = set()
    for event in found:
        assert (event.event_type == "llm_start") == (event.run_id not in seen)
        seen.add(event.run_id)


def test_stream_gives_each_call_once_across_pages(ledger: Ledger) -> None:
    # Many begin in the same microsecond: a page may end between two of those.
    for number in range(1203):
        ledger.record(replace(CALL, call_id=f"{number:032x}", started_at=_after(number // 300)))
    found = [call.call_id for call in ledger.stream()]
    assert found == [f"{number:032x}" for number in range(1203)]
    assert len(list(ledger.stream(since=_after(2)))) == 603
    assert list(ledger.stream(run_id="b")) == []


def _after(seconds: int) -> datetime:
    return AT + timedelta(seconds=seconds)


def lines_of(ledger: Ledger, format: Any) -> str:
    file = io.BytesIO()
    write_text(events(ledger, ledger.stream()), format, file)
    return file.getvalue().decode()


def test_json_lines_hold_objects(ledger: Ledger) -> None:
    ledger.record(CALL)
    start, end = map(json.loads, lines_of(ledger, "jsonl").splitlines())
    assert list(start) == list(Event._fields)
    assert start["timestamp"] == "2026-11-20T10:30:00.123456+00:00"
    assert start["logger_metadata"]["selection"] == ["models/marts"]
    assert start["payload"]["request"] == CALL.request
    assert end["payload"]["response"] == CALL.response


def test_csv_holds_json_text(ledger: Ledger) -> None:
    ledger.record(replace(CALL, custom_id='a,"b"\nc'))
    header, start, end = csv.reader(io.StringIO(lines_of(ledger, "csv"), newline=""))
    assert header == list(Event._fields)
    assert start[3] == 'a,"b"\nc#2'
    assert json.loads(start[6])["request"] == CALL.request
    assert json.loads(end[6])["response"] == CALL.response


def test_calls_whose_run_is_gone_are_still_exported(ledger: Ledger) -> None:
    ledger.record(replace(CALL, run_id="f" * 32))
    line = json.loads(lines_of(ledger, "jsonl").splitlines()[0])
    assert line["logger_metadata"] == {"run_id": "f" * 32}


def test_a_file_is_replaced_only_by_a_whole_one(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(CALL)
    target = tmp_path / "new" / "calls.jsonl"
    assert export(ledger, str(target), "jsonl").rows == 2
    before = target.read_bytes()
    ledger.record(replace(CALL, call_id="c" * 32, attempts=1))
    with ledger.writing() as connection:
        connection.exec_driver_sql("update llm_calls set request = '{' where call_id like 'c%'")
    with pytest.raises(LedgerError, match="cannot be read"):
        export(ledger, str(target), "jsonl")
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ["calls.jsonl"]


@pytest.mark.parametrize(
    ("where", "format", "said"),
    [
        ("{tmp}/", "jsonl", "is a folder; jsonl goes to a file"),
        ("{tmp}", "csv", "is a folder; name a file in it"),
        ("{tmp}/ledger.db/x.csv", "csv", "cannot be used: "),
        ("{tmp}/ledger.db", "parquet", "cannot be used: "),
        ("gs://bucket/x", "parquet", "'gs://bucket/x' is neither a path nor s3://bucket/prefix"),
        ("", "parquet", "'' is neither"),
        ("s3://", "parquet", "s3:// names no bucket"),
        ("s3://bucket/a//b", "parquet", "'s3://bucket/a//b' holds a folder without a name"),
        ("s3://AKIAX:hidden@bucket/x", "parquet", "s3://bucket/x names no bucket"),
        ("https://me:hidden@host/x?sig=hidden", "parquet", "'https://host/x' is neither"),
    ],
)
def test_places_that_are_none(
    ledger: Ledger, tmp_path: Path, where: str, format: Any, said: str
) -> None:
    ledger.record(CALL)
    with pytest.raises(ExportError) as error:
        export(ledger, where.format(tmp=tmp_path), format)
    assert said in str(error.value)
    assert "hidden" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def project(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose ledger holds two calls of one run and one of another."""
    later = Run(run_id="d" * 32)
    ledger.begin_run(later)
    ledger.record(CALL)
    ledger.record(replace(FAILED, call_id="c" * 32))
    ledger.record(
        replace(CALL, run_id=later.run_id, call_id="e" * 32, started_at=AT + timedelta(days=9))
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return cli_runner().invoke(
        llm, ["export", *arguments], env={"OSMOSIS_LLM_LEDGER_URL": str(Path("ledger.db"))}
    )


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ((), 6),
        (("--run", "a"), 4),
        (("--run", "d" * 32), 2),
        (("--since", "2026-11-25"), 2),
        (("--run", "a", "--since", "2026-11-25"), 0),
    ],
)
def test_command_writes_what_is_asked_for(
    project: Path, arguments: tuple[str, ...], rows: int
) -> None:
    done = run("--to", "-", "--format", "jsonl", *arguments)
    assert done.exit_code == 0, done.output
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == rows
    assert done.stderr == f"{rows} rows written to stdout.\n"


@pytest.mark.parametrize(
    ("where", "made"),
    [
        ("calls.jsonl", ["calls.jsonl"]),
        ("calls.csv", ["calls.csv"]),
        ("calls", ["date=2026-11-20", "date=2026-11-29"]),
    ],
)
def test_command_takes_the_format_from_the_ending(
    project: Path, where: str, made: list[str]
) -> None:
    done = run("--to", where)
    assert (done.exit_code, done.stderr) == (0, f"6 rows written to {where}.\n")
    found = project / where
    assert sorted(p.name for p in (found.iterdir() if found.is_dir() else [found])) == made


def test_command_says_what_was_there_already(project: Path) -> None:
    run("--to", "calls", "--run", "a")
    assert run("--to", "calls").stderr == "2 rows written to calls; 4 were there already.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "-"), "--to - is for jsonl and csv; Parquet goes to a folder."),
        (("--to", "x", "--run", "9"), "No run's id begins with '9'"),
        (("--to", "x", "--since", "soon"), "'soon' is no moment"),
        (("--to", "gs://x"), "The export failed: 'gs://x' is neither a path nor s3://"),
        (("--to", "ledger.db"), "The export failed: "),
    ],
)
def test_command_says_mistakes_in_one_line(
    project: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr.splitlines()[-1]
    assert not done.stdout


def test_parquet_without_pyarrow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for where in ("calls", "s3://bucket/calls", "s3://bucket/calls.csv"):
        done = run("--to", where)
        assert done.exit_code == 2
        assert done.stderr == (
            "Error: The export failed: Parquet and s3:// need pyarrow: "
            "pip install 'dbt-osmosis-llm[parquet]'.\n"
        )
    assert run("--to", "calls.csv").exit_code == 0
