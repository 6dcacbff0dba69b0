"""Runs that are parallel, disturbed, planned only or broken off, through the installed command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import BIN, Shop, copy_of
from tests.server import LoopbackServer, Reply


def start(shop: Shop, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start ``dbt-osmosis yaml document --synthesize`` and do not wait for it."""
    return subprocess.Popen(
        [BIN / "dbt-osmosis", "yaml", "document", "--synthesize", *arguments],
        cwd=shop.directory,
        env={**shop.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_requests(server: LoopbackServer, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(server.requests) < count:
        assert time.monotonic() < deadline, "no requests came"
        time.sleep(0.01)


def test_the_files_are_the_same_whatever_the_concurrency(
    built_demo: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    # Answers come in another order than requests went out.
    server.script = lambda request, number: Reply(delay_s=0.05 * (number * 7 % 5))
    files = []
    for concurrency in ("1", "4", "16", "64"):
        shop = copy_of(built_demo, tmp_path / concurrency, server)
        done = shop.document("--llm-concurrency", concurrency)
        assert done.returncode == 0, done.stderr
        files.append(shop.yaml_files())
    assert files[0] == files[1] == files[2] == files[3]
    assert all(shop.texts().values())


def test_faults_by_the_dozen_cost_no_text(shop: Shop, server: LoopbackServer) -> None:
    faults = {
        3: Reply(500),
        5: Reply(429, headers={"retry-after-ms": "20"}),
        8: Reply(content="no JSON"),
        11: Reply(delivery="disconnect"),
        13: Reply(503),
    }
    server.script = lambda request, number: faults.get(number)
    # One request may meet them all: a repetition goes out at once.
    retries = str(len(faults))
    environ = {"OSMOSIS_LLM_MAX_RETRIES": retries, "OSMOSIS_LLM_RETRY_DELAY": "0.01"}
    done = shop.document("--llm-stats", **environ)
    assert done.returncode == 0, done.stderr
    assert all(shop.texts().values())
    assert len(server.requests) == 17 + len(faults)


def test_one_table_that_never_works_stops_no_other(shop: Shop, server: LoopbackServer) -> None:
    leaf = "fct_daily_store_sales"
    server.script = lambda request, number: Reply(400, says="odd") if leaf in request.text else None
    done = shop.document()
    assert done.returncode == 1, done.stderr
    assert {name.partition(".")[0] for name, text in shop.texts().items() if not text} == {leaf}
    assert "Failed, left for the next run: openai answered 400: odd" in done.stderr
    assert f"model.coffee_shop.{leaf}" in done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_keeps_what_was_answered(
    shop: Shop, server: LoopbackServer, name: str
) -> None:
    # The sources and seeds are answered, the models behind them hang.
    server.script = lambda request, number: Reply(delay_s=1.5 if number > 7 else 0.0)
    process = start(shop, "--llm-stats", "--llm-concurrency", "4")
    wait_for_requests(server, 9)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    asked = len(server.requests)
    assert asked < 17
    assert "Stopping: no new requests" in said
    assert re.search(r"Interrupted; \d+ tables still to document, run again", said)
    assert "Traceback" not in said
    written = [text for text in shop.texts().values() if text]
    assert len(written) > 30
    server.script = lambda request, number: None
    again = shop.document()
    assert again.returncode == 0, again.stderr
    assert all(shop.texts().values())
    assert len(server.requests) == 17  # what was answered is not asked for again


def test_a_second_interrupt_leaves_at_once(shop: Shop, server: LoopbackServer) -> None:
    server.script = lambda request, number: Reply(delivery="hang")
    process = start(shop)
    wait_for_requests(server, 1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    started = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert time.monotonic() - started < 5
    server.reset()


def test_killed_at_any_moment_every_file_is_whole(shop: Shop, server: LoopbackServer) -> None:
    server.script = lambda request, number: Reply(delay_s=0.1)
    for kill in range(4):
        server.reset()
        server.script = lambda request, number: Reply(delay_s=0.1)
        process = start(shop, "--llm-concurrency", "2")
        wait_for_requests(server, 1)
        time.sleep(0.15 + 0.3 * kill)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for name in shop.yaml_files():
            shop.load(name)
    server.reset()
    done = shop.document()
    assert done.returncode == 0, done.stderr
    assert all(shop.texts().values())


def test_a_plan_asks_nobody_and_writes_nothing(shop: Shop, server: LoopbackServer) -> None:
    before = shop.yaml_files()
    plan = shop.document("--llm-dry-run", OPENAI_API_KEY="")
    assert plan.returncode == 0, plan.stderr
    assert (server.requests, shop.yaml_files()) == ([], before)
    total = re.search(r"^total +(\d+) +(\d+) +(\d+) +([\d,]+) +([\d,]+) +(\S+)", plan.stderr, re.M)
    assert total is not None, plan.stderr
    texts, inherited, requests, prompt, _, cost = total.groups()
    done = shop.document("--llm-stats")
    assert done.returncode == 0
    assert int(requests) == len(server.requests)
    assert int(prompt.replace(",", "")) == pytest.approx(server.input_tokens, rel=0.1)
    assert f"{inherited} inherited" in done.stderr
    generated = re.search(r"(\d+) generated.*\n +columns +(\d+) generated", done.stderr)
    assert generated is not None
    assert int(texts) == int(generated[1]) + int(generated[2])
    assert re.fullmatch(r"\$0\.0\d+", cost)


def test_refactor_synthesizes_like_document(
    built_demo: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    one, other = (copy_of(built_demo, tmp_path / name, server) for name in ("a", "b"))
    assert one.document().returncode == 0
    assert other.document("--auto-apply", command="refactor").returncode == 0
    assert one.texts() == other.texts()
