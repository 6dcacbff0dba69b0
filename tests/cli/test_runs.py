"""Runs that are parallel, disturbed, planned only or broken off, through the installed command."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands import BIN
from tests.conftest import Shop, copy_of
from tests.limits import HANG_S, patience
from tests.server import LoopbackServer, Recorded, Reply, fill


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
    deadline = time.monotonic() + HANG_S
    while len(server.requests) < count:
        assert time.monotonic() < deadline, "no requests came"
        time.sleep(0.01)


def telling(request: Recorded, number: int) -> Reply:
    """Answer with texts that tell each prompt from any other, in another order than asked."""
    prompt = hashlib.sha256(request.text.encode()).hexdigest()[:12]
    content = json.dumps(fill(request.schema)).replace("in the shop", f"by {prompt}")
    is_slow = "`waits`" in request.turns[-1][1][:80]
    return Reply(content=content, delay_s=0.7 if is_slow else 0.05 * (number * 7 % 5))


def test_the_files_are_the_same_whatever_the_concurrency(
    built_demo: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    server.script = telling
    files = []
    for concurrency in ("1", "4", "16", "64"):
        shop = copy_of(built_demo, tmp_path / concurrency, server)
        done = shop.document("--llm-concurrency", concurrency)
        assert done.returncode == 0, done.stderr
        files.append(shop.yaml_files())
    assert files[0] == files[1] == files[2] == files[3]
    assert all(shop.texts().values())


MIDDLE = {
    "top.sql": "select 1 as y",
    "waits.sql": "select 1 as s",
    "far.sql": "select y, s + 1 as v from {{ ref('top') }}, {{ ref('waits') }}",
    "middle.sql": "select y + v as k from {{ ref('far') }}",
    "last.sql": "select k + 1 as v, k + 2 as w from {{ ref('middle') }}",
    "forced.sql": "select k as y, k + 2 as w from {{ ref('middle') }}",
    "_middle__models.yml": """models:
- {name: top, columns: [{name: y}]}
- {name: waits, columns: [{name: s}]}
- {name: far, columns: [{name: y, description: Old.}, {name: v}]}
- {name: middle, description: Known., columns: [{name: k, description: Known.}]}
- {name: last, columns: [{name: v}, {name: w}]}
- {name: forced, columns: [{name: y}, {name: w}]}
""",
}
"""Past a complete table ``last`` inherits ``v`` from ``far``, and ``forced`` inherits ``y``. Where
texts are inherited by force, ``y`` of ``far`` changes too, once ``top`` and ``waits`` are done."""


@pytest.fixture
def middle(shop: Shop) -> Shop:
    """A project in which a complete table stands between two that lack texts."""
    folder = shop.directory / "models/middle"
    folder.mkdir()
    for name, content in MIDDLE.items():
        (folder / name).write_text(content)
    project = shop.directory / "dbt_project.yml"  # unrendered texts come from files, not from nodes
    project.write_text(project.read_text().replace("descriptions: true", "descriptions: false"))
    built = shop.dbt("run", "--quiet", "--select", "path:models/middle")
    assert built.returncode == 0, built.stdout
    return shop


# Without copying: texts go past a table by name alone.
@pytest.mark.parametrize("flags", [(), ("--force-inherit-descriptions",)])
def test_past_a_complete_table_the_texts_are_the_same_whatever_the_concurrency(
    middle: Shop,
    tmp_path: Path,
    server: LoopbackServer,
    flags: tuple[str, ...],
) -> None:
    server.script = telling
    found = []
    for concurrency in ("1", "16"):
        shop = copy_of(middle.directory, tmp_path / concurrency, server)
        options = ("--llm-no-copy", "--llm-concurrency", concurrency, *flags)
        done = shop.document("models/middle", *options)
        assert done.returncode == 0, done.stderr
        texts = shop.texts()
        assert (texts["last.v"], texts["forced.y"]) == (texts["far.v"], texts["far.y"])
        assert (texts["far.y"] == texts["top.y"]) is bool(flags)
        found.append(texts)
    assert found[0] == found[1]


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
    about_it = f"The model `{leaf}`."  # others name it, too
    server.script = lambda r, number: Reply(400, says="odd") if about_it in r.text else None
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
    delay_s = 1.5 * patience()
    server.script = lambda request, number: Reply(delay_s=delay_s if number > 7 else 0.0)
    process = start(shop, "--llm-stats", "--llm-concurrency", "4")
    wait_for_requests(server, 9)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=HANG_S)
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
    assert process.stderr is not None
    wait_for_requests(server, 1)
    process.send_signal(signal.SIGINT)
    while "Stopping: no new requests" not in (line := process.stderr.readline()):
        assert line, "it ended at the first"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, said
    assert "Interrupted" not in said, "it waited for answers, to the end"
    server.reset()


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_every_file_is_whole(
    shop: Shop, server: LoopbackServer, kills: int
) -> None:
    empty, moments = shop.yaml_files(), random.Random(4)
    codes = []
    for kill in range(kills):
        server.reset()
        server.script = lambda request, number: Reply(delay_s=0.1)
        # Another model each time: nothing that was answered before is of use.
        process = start(shop, "--llm-concurrency", "2", OPENAI_MODEL=f"model-{kill}")
        wait_for_requests(server, 1)
        time.sleep(moments.uniform(0, 1.2))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        codes.append(process.returncode)
        for name in shop.yaml_files():
            shop.load(name)
        if all(shop.texts().values()):
            for name, content in empty.items():
                (shop.directory / name).write_bytes(content)
    assert codes.count(-signal.SIGKILL) > kills / 2
    server.reset()
    done = shop.document()
    assert done.returncode == 0, done.stderr
    assert all(shop.texts().values())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to any file")
def test_a_read_only_file_is_said_before_anything_is_paid(
    shop: Shop, server: LoopbackServer
) -> None:
    path = shop.directory / "models/marts/_marts__models.yml"
    path.chmod(0o444)
    done = shop.document()
    assert done.returncode == 2
    assert f"{path} is read-only; make it writable for model.coffee_shop." in done.stderr
    assert "Traceback" not in done.stderr
    assert server.requests == []


def test_a_small_context_window_costs_requests_and_no_text(
    shop: Shop, server: LoopbackServer
) -> None:
    done = shop.document(OSMOSIS_LLM_CONTEXT_WINDOW="2000")
    assert done.returncode == 0, done.stderr
    assert all(shop.texts().values())
    assert len(server.requests) > 17
    assert max(len(request.text) for request in server.requests) < 8000


def test_a_plan_asks_nobody_and_writes_nothing(shop: Shop, server: LoopbackServer) -> None:
    before = shop.yaml_files()
    plan = shop.document("--llm-dry-run", OPENAI_API_KEY="")
    assert plan.returncode == 0, plan.stderr
    assert (server.requests, shop.yaml_files()) == ([], before)
    assert not (shop.directory / ".dbt-osmosis-llm").exists()
    row = r"^total +(\d+) +(\d+) +(\d+) +(\d+) +([\d,]+) +([\d,]+) +(\S+)"
    total = re.search(row, plan.stderr, re.M)
    assert total is not None, plan.stderr
    texts, inherited, copied, requests, prompt, _, cost = total.groups()
    done = shop.document("--llm-stats")
    assert done.returncode == 0
    assert int(requests) == len(server.requests)
    # Vendors count the schema of the answer as well, which this server does not.
    schemas = sum(len(json.dumps(request.schema)) // 4 for request in server.requests)
    asked = server.input_tokens + schemas
    assert int(prompt.replace(",", "")) == pytest.approx(asked, rel=0.1)
    assert f"{inherited} inherited, {copied} copied" in done.stderr
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
