"""Parquet files of exports and live logs, in a folder and on a real S3 server."""

from __future__ import annotations

import http.server
import json
import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from dbt_osmosis_llm.ledger import Call, Ledger, Run
from dbt_osmosis_llm.ledger.export import export
from dbt_osmosis_llm.ledger.parquet import ParquetLog, schema
from dbt_osmosis_llm.ledger.places import ExportError
from dbt_osmosis_llm.llm.exceptions import LLMLedgerError
from tests.conftest import clean_environment
from tests.limits import HANG_S

NIGHT = datetime(2026, 11, 20, 23, 59, 59, tzinfo=timezone.utc)
RUN = Run(run_id="a" * 32, started_at=NIGHT, command="dbt-osmosis yaml document")
SECRET = "hidden0123456789hidden"


def call(number: int = 0, **changes: Any) -> Call:
    """Return a call that begins so many minutes before the end of a day."""
    made = Call(
        RUN.run_id,
        "openai",
        "gpt-6-luna",
        "answered",
        call_id=f"{number:032x}",
        started_at=NIGHT - timedelta(minutes=number),
        custom_id=f"model.shop.«Größe» 🦆 {number}",
        response="answer",
        latency_ms=500.0,
    )
    return replace(made, **changes)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set what the AWS chain reads, and nothing of the person who runs the tests."""
    environ = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


def files_at(endpoint: str) -> Any:
    return pyarrow.fs.S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True)


class Target:
    """A place to write to, and how to look at what is there."""

    def __init__(self, where: str, files: Any, path: str) -> None:
        self.where, self.files, self.path = where, files, path

    def paths(self) -> list[str]:
        """Return all files below, relative."""
        selector = pyarrow.fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        found = self.files.get_file_info(selector)
        return sorted(f.path[len(self.path) + 1 :] for f in found if f.is_file)

    def read(self) -> Any:
        """Return all rows with their date."""
        return pyarrow.dataset.dataset(
            self.path, filesystem=self.files, format="parquet", partitioning="hive"
        )

    def keys(self) -> list[tuple[str, str]]:
        table = self.read().to_table()
        return sorted(zip(*(table[c].to_pylist() for c in ("run_id", "event_type")), strict=True))


@pytest.fixture(params=["folder", "bucket"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "folder":
        path = tmp_path / "calls 1"
        return Target(str(path), pyarrow.fs.LocalFileSystem(), str(path))
    return request.getfixturevalue("bucket")  # type: ignore[no-any-return]


@pytest.fixture
def bucket(
    s3_server: str, aws: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Target:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    files = files_at(s3_server)
    name = re.sub("[^a-z0-9]+", "-", f"b-{tmp_path.parent.name}-{tmp_path.name}".lower())[-50:]
    files.create_dir(name.strip("-"))
    path = f"{name.strip('-')}/some/prefix"
    return Target(f"s3://{path}", files, path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.begin_run(RUN)
        yield ledger


def test_columns_of_the_files(ledger: Ledger, target: Target) -> None:
    ledger.record(call(latency_ms=1500))
    assert export(ledger, target.where).files == 2
    assert schema() == pa.schema(
        [
            ("timestamp", pa.timestamp("us", tz="UTC")),
            ("run_id", pa.string()),
            ("parent_run_id", pa.string()),
            ("custom_id", pa.string()),
            ("event_type", pa.string()),
            ("logger_metadata", pa.string()),
            ("payload", pa.string()),
        ]
    )
    for path in target.paths():
        file = pq.ParquetFile(target.files.open_input_file(f"{target.path}/{path}"))
        assert file.schema_arrow == schema()
        columns = file.metadata.row_group(0)
        assert {columns.column(i).compression for i in range(7)} == {"ZSTD"}


def test_each_row_lies_under_its_own_day(ledger: Ledger, target: Target) -> None:
    ledger.record(call(latency_ms=1500))
    export(ledger, target.where)
    days, names = zip(*(path.split("/") for path in target.paths()), strict=True)
    assert days == ("date=2026-11-20", "date=2026-11-21")
    assert all(re.fullmatch(r"calls-[0-9a-f]{32}\.parquet", name) for name in names)
    found = [str(found) for found in target.read().to_table()["timestamp"].to_pylist()]
    assert found == ["2026-11-20 23:59:59+00:00", "2026-11-21 00:00:00.500000+00:00"]


def test_to_arrow_is_the_export(ledger: Ledger, target: Target) -> None:
    for number in (2, 0, 1):
        ledger.record(call(number))
    export(ledger, target.where)
    assert target.read().to_table().drop_columns("date").equals(ledger.to_arrow())
    assert ledger.to_arrow(status="failed").schema == schema()


def test_exports_add_only_what_is_missing(ledger: Ledger, target: Target) -> None:
    for number in range(5):
        ledger.record(call(number))
    first = export(ledger, target.where, since=call(2).started_at)
    assert (first.rows, first.known) == (6, 0)
    before = target.paths()
    again = export(ledger, target.where, since=call(2).started_at)
    assert (again.rows, again.known) == (0, 6)
    assert target.paths() == before
    more = export(ledger, target.where)
    assert (more.rows, more.known) == (4, 6)
    assert set(before) < set(target.paths())
    assert len(target.keys()) == len(set(target.keys())) == 10


def test_export_completes_a_live_log(ledger: Ledger, target: Target) -> None:
    for number in range(6):
        ledger.record(call(number))
    log = ParquetLog(target.where, RUN)
    for number in range(4):
        log.add(call(number))
    log.close()
    done = export(ledger, target.where, run_id=RUN.run_id)
    assert (done.rows, done.known) == (4, 8)
    assert len(set(target.keys())) == 12


def test_an_export_without_calls_makes_nothing(ledger: Ledger, target: Target) -> None:
    assert export(ledger, target.where).rows == 0
    assert target.paths() == []


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_text_goes_to_a_bucket(ledger: Ledger, bucket: Target, format: Any) -> None:
    ledger.record(call())
    assert export(ledger, f"{bucket.where}/sub/calls.{format}", format).rows == 2
    assert bucket.paths() == [f"sub/calls.{format}"]
    text = bucket.files.open_input_file(f"{bucket.path}/sub/calls.{format}").read().decode()
    assert text.count("«Größe» 🦆") == 4


def test_a_damaged_file_is_named(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(call())
    broken = tmp_path / "calls" / "date=2026-11-20" / "x.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PAR1 no")
    with pytest.raises(ExportError, match=r"date=2026-11-20 holds a damaged file: .*x\.parquet"):
        export(ledger, str(tmp_path / "calls"))


def test_the_statement_of_the_docs(
    ledger: Ledger, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = [0.25, 0.5, float("nan"), None]
    tokens: dict[str, Any] = {"input_tokens": 100, "output_tokens": 10}
    for number, cost in enumerate(costs):
        ledger.record(call(number, cost_usd=cost, **tokens))
    yesterday = NIGHT - timedelta(days=1)
    ledger.record(call(8, cost_usd=1.0, model="gpt-6", **tokens))
    ledger.record(call(9, cost_usd=2.0, started_at=yesterday, **tokens))
    ledger.record(call(10, status="failed", started_at=yesterday, error="no answer"))
    monkeypatch.chdir(tmp_path)
    export(ledger, "calls")
    page = (root / "docs" / "parquet.md").read_text("utf-8")
    (statement,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    day = NIGHT.date()
    assert duckdb.execute(statement).fetchall() == [
        (day - timedelta(days=1), "openai", "gpt-6-luna", 2, 100, 10, 2.0),
        (day, "openai", "gpt-6", 1, 100, 10, 1.0),
        (day, "openai", "gpt-6-luna", 4, 400, 40, 0.75),
    ]


def test_a_bucket_read_by_duckdb(ledger: Ledger, bucket: Target) -> None:
    for number in range(3):
        ledger.record(call(number, cost_usd=0.5))
    export(ledger, bucket.where)
    calls = bucket.read().to_table()  # today's DuckDB cannot filter the datasets of old pyarrows
    assert isinstance(calls, pyarrow.Table)
    query = (
        "SELECT date, sum((payload->>'cost_usd')::DOUBLE), min(payload->>'custom_id') FROM calls "
        "WHERE event_type <> 'llm_start' GROUP BY ALL"
    )
    assert duckdb.execute(query).fetchall() == [("2026-11-20", 1.5, "model.shop.«Größe» 🦆 0")]


def test_a_log_from_many_threads_keeps_every_row(target: Target) -> None:
    log = ParquetLog(target.where, RUN)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: log.add(call(number)), range(1000)))
    log.close()
    wanted = [
        (f"{number:032x}", kind) for number in range(1000) for kind in ("llm_end", "llm_start")
    ]
    assert target.keys() == sorted(wanted)
    # 100 rows each; those of a buffer that spans midnight lie in two.
    assert 20 <= len(target.paths()) <= 40


@pytest.mark.parametrize(("buffer_rows", "files"), [(1, 5), (2, 5), (4, 3), (10, 1), (100, 1)])
def test_a_log_writes_when_its_buffer_is_full(tmp_path: Path, buffer_rows: int, files: int) -> None:
    where = tmp_path / "log"
    log = ParquetLog(str(where), RUN, buffer_rows=buffer_rows)
    for number in range(5):
        log.add(call(number + 1))
    log.flush()
    assert len(list(where.rglob("*.parquet"))) == files
    assert pq.ParquetDataset(where).read().num_rows == 10
    log.close()


def test_a_closed_log_still_takes_calls(target: Target) -> None:
    log = ParquetLog(target.where, RUN, buffer_rows=2)
    log.close()
    log.add(call())
    log.close()
    assert len(target.keys()) == 2


def test_a_log_tells_failures_and_unknown_costs(target: Target) -> None:
    log = ParquetLog(target.where, RUN)
    log.add(call(status="failed", error="half a character: \udc80", cost_usd=float("nan")))
    log.close()
    rows = target.read().to_table().to_pylist()
    assert [row["event_type"] for row in rows] == ["llm_start", "llm_error"]
    payload = json.loads(rows[1]["payload"], parse_constant=pytest.fail)
    assert payload["cost_usd"] is None
    assert payload["error"] == "half a character: ?"


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise KeyboardInterrupt", -2), ("1 / 0", 1)],
    ids=["end", "exit", "interrupt", "error"],
)
def test_a_log_that_nobody_closes_is_written_at_exit(target: Target, end: str, code: int) -> None:
    script = f"""
        import sys, threading
        from tests.ledger.test_parquet import RUN, call
        from dbt_osmosis_llm.ledger.parquet import ParquetLog
        log = ParquetLog({target.where!r}, RUN, buffer_rows=6)
        for number in range(5):
            log.add(call(number))
        {end}
    """
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        env=clean_environment(**aws),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Parquet" not in done.stderr
    assert len(target.keys()) == 10


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """Start servers that answer every request with one status."""
    servers = []

    def start(status: int) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


FAILURES = {
    # what the place does: repetitions, what is said
    "unreachable": (3, "check the network, AWS_REGION and AWS_ENDPOINT_URL_S3"),
    "500": (3, "check the network"),
    "503": (3, "check the network"),
    "403": (0, "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"),
    "301": (0, "the bucket lies in another region, set AWS_REGION"),
    "no bucket": (0, "there is no bucket 'missing-bucket' at http://127.0.0.1:"),
}


@pytest.fixture(params=FAILURES)
def failing(
    request: pytest.FixtureRequest,
    aws: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    answering: Callable[[int], str],
) -> tuple[int, str]:
    """Set an endpoint that fails; return how often it is tried again and what is said."""
    kind: str = request.param
    if kind == "no bucket":
        endpoint = request.getfixturevalue("s3_server")
    else:
        endpoint = closed_port() if kind == "unreachable" else answering(int(kind))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # the other one counts
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    return FAILURES[kind]


WHERE = "s3://missing-bucket/log"


def failed_log(
    mode: Literal["error", "continue"], waits: list[float], caplog: pytest.LogCaptureFixture
) -> ParquetLog:
    """Return a log whose first buffer could not be written."""
    caplog.set_level(logging.WARNING)
    log = ParquetLog(WHERE, RUN, buffer_rows=4, on_failure=mode, sleep=waits.append)
    log.check()
    for number in range(2):
        log.add(call(number))
    log.flush()
    return log


def test_a_log_that_fails_ends_the_run(
    failing: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    repetitions, said = failing
    waits: list[float] = []
    log = failed_log("error", waits, caplog)
    with pytest.raises(LLMLedgerError) as stop:
        log.check()
    log.add(call(7))  # an answer that was in flight: nothing is raised, nothing tried again
    with pytest.raises(ExportError) as failure:
        log.close()
    for text in (str(stop.value), str(failure.value)):
        assert WHERE in text
        assert said in text
        assert "\n" not in text
        assert SECRET not in text
        assert "Request ID" not in text
    assert stop.value.ends_run
    assert "6 rows of the Parquet log are not written" in str(failure.value)
    assert len(waits) == repetitions
    assert all(0 <= wait <= 4 for wait in waits)
    log.close()  # said once


def test_a_run_goes_on_without_its_log(
    failing: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    repetitions, said = failing
    log = failed_log("continue", [], caplog)
    log.check()
    log.add(call(7))
    log.check()
    log.close()
    log.close()
    *retried, last = [record.getMessage() for record in caplog.records]
    assert len(retried) == repetitions
    assert last.startswith("6 rows of the Parquet log are not written: ")
    assert said in last
    assert f"`dbt-osmosis llm export --run {RUN.run_id} --to {WHERE}` adds them" in last


def test_a_bucket_that_comes_back_gets_its_rows_once(
    bucket: Target, monkeypatch: pytest.MonkeyPatch, s3_server: str
) -> None:
    endpoint = closed_port()
    port = int(endpoint.rpartition(":")[2])
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    started: list[Any] = []

    def start_it(seconds: float) -> None:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        started.append(server)

    log = ParquetLog(bucket.where, RUN, sleep=start_it)
    try:
        log.add(call())
        log.close()
        assert len(started) == 1
        assert len(bucket.keys()) == 2  # moto's servers of one process share their buckets
    finally:
        for server in started:
            with suppress(OSError):
                server.stop()


def test_no_call_waits_for_the_bucket(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed_port())
    stuck, go_on = threading.Event(), threading.Event()

    def wait(seconds: float) -> None:
        stuck.set()
        go_on.wait(HANG_S)

    log = ParquetLog(WHERE, RUN, buffer_rows=2, on_failure="continue", sleep=wait)
    log.add(call())
    assert stuck.wait(HANG_S)
    for number in range(10):
        log.add(call(number))
    assert log.failure is None  # its first file is still being tried
    go_on.set()
    log.close()
    assert log.failure is not None


def test_a_folder_that_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    log = ParquetLog(str(tmp_path / "file"), RUN, on_failure="continue")
    log.add(call())
    log.close()
    assert [record.getMessage()[:43] for record in caplog.records] == [
        "2 rows of the Parquet log are not written: "
    ]


def test_readers_see_whole_files_only(tmp_path: Path) -> None:
    where = tmp_path / "log"
    log = ParquetLog(str(where), RUN, buffer_rows=2)
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            paths = list(where.rglob("*.parquet"))
            seen.append(sum(pq.read_table(path).num_rows for path in paths) % 2)

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read)
        for number in range(200):
            log.add(call(number + 1))
        log.close()
        done.set()
        reader.result()
    assert set(seen) == {0}
    assert not list(where.rglob(".*"))
