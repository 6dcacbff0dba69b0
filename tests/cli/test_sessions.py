"""What a run leaves behind in its process, and what it leaves on record when it cannot begin."""

from __future__ import annotations

import json
import re
import subprocess

from tests.conftest import BIN, Shop
from tests.limits import HANG_S
from tests.server import LoopbackServer

TWICE = """
import signal, sys
from dbt_osmosis.cli.main import cli
from dbt_osmosis_llm import get_usage_stats

before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
for number in range(2):
    try:
        cli(["yaml", "document", "--synthesize", "--llm-stats"], standalone_mode=False)
    except SystemExit as stop:
        assert not stop.code, stop.code
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before, after
    print("-- end of run", number, file=sys.stderr)
assert get_usage_stats().summary()["requests"] == 0
"""


def test_a_second_run_in_one_process_begins_anew(shop: Shop, server: LoopbackServer) -> None:
    done = subprocess.run(
        [BIN / "python", "-c", TWICE],
        cwd=shop.directory,
        env=shop.environ,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, _ = done.stderr.split("-- end of run")
    found = [re.search(r"requests +(\d+) \(", text) for text in (first, second)]
    requests = [int(match[1]) for match in found if match]
    assert requests == [len(server.requests), 0]


def test_a_run_that_cannot_begin_is_not_on_record(shop: Shop, server: LoopbackServer) -> None:
    done = shop.document(OSMOSIS_LLM_PARQUET_DIR="ftp://somewhere/else")
    assert done.returncode == 2
    assert "OSMOSIS_LLM_PARQUET_DIR: 'ftp://somewhere/else' is neither a path" in done.stderr
    assert server.requests == []
    runs = shop.dbt_osmosis("llm", "runs", "--json")
    assert json.loads(runs.stdout or "[]") == []
