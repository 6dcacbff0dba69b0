"""Nothing is paid for twice: killed, rehearsed, doubled and broken runs, through the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt_osmosis_llm.ledger import Call, Ledger
from tests.cli.test_runs import start, telling, wait_for_requests
from tests.conftest import Shop, copy_of
from tests.limits import HANG_S
from tests.server import LoopbackServer, Recorded, Reply

LEDGER = ".dbt-osmosis-llm/ledger.db"


def put_back(shop: Shop, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (shop.directory / name).write_bytes(content)


def calls_of(shop: Shop, **filters: Any) -> list[Call]:
    with Ledger.open(shop.directory / LEDGER) as ledger:
        return ledger.query(**filters)


def test_a_second_run_asks_nothing_and_writes_the_same(shop: Shop, server: LoopbackServer) -> None:
    before = shop.yaml_files()
    server.script = telling
    first = shop.document()
    assert first.returncode == 0, first.stderr
    written, asked = shop.yaml_files(), len(server.requests)
    put_back(shop, before)
    second = shop.document()
    assert second.returncode == 0, second.stderr
    assert (shop.yaml_files(), len(server.requests)) == (written, asked)
    assert f"0 requests, {asked} answered before, cost $0.00." in second.stderr
    assert (shop.directory / ".dbt-osmosis-llm/.gitignore").read_text() == "*\n"

    put_back(shop, before)
    plan = shop.document("--llm-dry-run")
    assert f"{asked} more questions were answered before" in plan.stderr
    again = shop.document("--llm-no-cache")
    assert again.returncode == 0, again.stderr
    assert len(server.requests) == 2 * asked


def test_a_rehearsal_makes_the_real_run_free(shop: Shop, server: LoopbackServer) -> None:
    before = shop.yaml_files()
    rehearsal = shop.document("--dry-run")
    assert rehearsal.returncode == 0, rehearsal.stderr
    assert shop.yaml_files() == before
    asked = len(server.requests)
    assert asked > 0
    real = shop.document()
    assert real.returncode == 0, real.stderr
    assert len(server.requests) == asked
    assert all(shop.texts().values())


def test_a_repaired_answer_is_not_asked_for_again(shop: Shop, server: LoopbackServer) -> None:
    before = shop.yaml_files()
    server.script = lambda _, number: Reply(content="no JSON at all") if number == 3 else Reply()
    assert shop.document().returncode == 0
    written, asked = shop.yaml_files(), len(server.requests)
    put_back(shop, before)
    assert shop.document().returncode == 0
    assert (shop.yaml_files(), len(server.requests)) == (written, asked)


def test_old_answers_do_not_count_when_an_age_is_set(shop: Shop, server: LoopbackServer) -> None:
    before = shop.yaml_files()
    assert shop.document().returncode == 0
    asked = len(server.requests)
    put_back(shop, before)
    assert shop.document(OSMOSIS_LLM_CACHE_DAYS="0").returncode == 0
    assert len(server.requests) == 2 * asked


def test_all_calls_are_on_record(shop: Shop, server: LoopbackServer) -> None:
    def script(request: Recorded, number: int) -> Reply:
        if "fct_daily_store_sales" in request.text:
            return Reply(400, says="no such luck")
        return Reply(content="no JSON at all") if number == 3 else Reply()

    server.script = script
    done = shop.document()
    assert done.returncode == 1
    calls = calls_of(shop)
    assert sum(call.attempts for call in calls) == len(server.requests)
    assert sum(call.input_tokens for call in calls) == server.input_tokens
    assert sum(call.output_tokens for call in calls) == server.output_tokens
    failed = calls_of(shop, status="failed")
    assert {call.error_class for call in failed} == {"LLMAPIError"}
    assert "no such luck" in str(failed[0].error)
    (unusable,) = calls_of(shop, status="unusable")
    (repair,) = [call for call in calls if call.parent_call_id == unusable.call_id]
    assert (unusable.response, repair.status) == ("no JSON at all", "answered")
    texts = shop.texts()
    with Ledger.open(shop.directory / LEDGER) as ledger:
        on_record = [text for call in calls for text in ledger.texts(call_id=call.call_id)]
    assert len(on_record) > 20
    for text in on_record:
        name = text.node_id.rpartition(".")[2] + (f".{text.column}" if text.column else "")
        assert texts[name] == text.text


def test_the_calls_go_to_parquet_files_as_they_happen(shop: Shop, server: LoopbackServer) -> None:
    done = shop.document(OSMOSIS_LLM_PARQUET_DIR="calls")
    assert done.returncode == 0, done.stderr
    query = f"select event_type, count(*) from '{shop.directory}/calls/**/*.parquet' group by 1"
    rows = duckdb.connect().execute(query).fetchall()
    asked = len(server.requests)
    assert dict(rows) == {"llm_start": asked, "llm_end": asked}


@pytest.mark.parametrize("models", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, server: LoopbackServer, models: int
) -> None:
    concurrency = 16
    made = tmp_path / "made/project"
    subprocess.run(
        [sys.executable, "benchmarks/generate.py", made, "--models", str(models)],
        check=True,
        capture_output=True,
    )
    project = copy_of(made, tmp_path, server)
    server.script = lambda request, number: Reply(delay_s=0.2)
    options = ["--llm-concurrency", str(concurrency), "--llm-rate-limit", "100000"]
    options += ["--log-level", "ERROR"]  # nobody reads the pipe
    process = start(project, *options)
    wait_for_requests(server, models * 9 // 20)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = project.document(*options)
    assert done.returncode == 0, done.stderr
    assert all(project.texts().values())
    keys = {call.key for call in calls_of(project)}
    assert len(server.requests) <= len(keys) + concurrency
    assert "answered before" in done.stderr


def test_two_runs_at_once_pay_once(shop: Shop, server: LoopbackServer) -> None:
    server.script = lambda request, number: Reply(delay_s=0.3)
    processes = [start(shop) for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=HANG_S)
        assert process.returncode == 0, said
        assert "locked" not in said
    assert all(shop.texts().values())
    keys = [call.key for call in calls_of(shop, status="answered")]
    assert len(keys) == len(set(keys)) == len(server.requests)


@pytest.mark.parametrize("is_required", [False, True])
def test_a_ledger_that_cannot_be_opened(
    shop: Shop, server: LoopbackServer, is_required: bool
) -> None:
    (shop.directory / LEDGER).mkdir(parents=True)
    done = shop.document(OSMOSIS_LLM_LEDGER_REQUIRED=str(is_required))
    if is_required:
        assert done.returncode == 2
        assert "The ledger cannot be used: " in done.stderr
        assert server.requests == []
    else:
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("goes on without it") == 1
        assert all(shop.texts().values())


def test_a_ledger_that_makes_no_sense(shop: Shop, server: LoopbackServer) -> None:
    done = shop.document(OSMOSIS_LLM_LEDGER_URL="nosuch://place")
    assert (done.returncode, server.requests) == (2, [])
    assert "the ledger's URL is of 'nosuch', which no installed driver speaks" in done.stderr


def test_no_ledger_when_none_is_wanted(shop: Shop) -> None:
    done = shop.document(OSMOSIS_LLM_LEDGER_URL="none")
    assert done.returncode == 0, done.stderr
    assert not (shop.directory / LEDGER).parent.exists()
