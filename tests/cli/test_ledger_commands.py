"""The commands that read and tend the ledger, over one that a real client has filled."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from dbt_osmosis.cli.main import cli

from dbt_osmosis_llm.ledger import Call, Ledger, Run, Text, tables
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMError, LLMResponseError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from tests.conftest import KEY, Shop, clean_environment, cli_runner
from tests.server import LoopbackServer, Recorded, Reply, text_for

FILE = ".dbt-osmosis-llm/ledger.db"
ESCAPE = "\x1b[2J"


@dataclass
class Filled:
    """A project with a ledger of two runs, the second of which never ended."""

    project: Path
    first: Run
    second: Run
    calls: list[Call]
    counted: dict[str, int]
    """As the server that answered counted."""

    @property
    def file(self) -> Path:
        return self.project / FILE

    def __call__(self, *arguments: str, **environ: str) -> Result:
        """Run ``dbt-osmosis llm`` in this process, in the project."""
        return cli_runner().invoke(cli, ["llm", *arguments], env={"COLUMNS": "80", **environ})

    def about(self, table: str) -> list[Call]:
        return [call for call in self.calls if call.custom_id == f"model.shop.{table}"]

    def change(self, statement: str, *values: Any) -> None:
        """Change the file behind the ledger's back."""
        with sqlite3.connect(self.file) as connection:
            connection.execute(statement, values)
        connection.close()


def request(table: str, **changes: Any) -> LLMRequest:
    texts = (Message("system", "s" * 400), Message("user", f"Describe {table}, 100 %{ESCAPE}"))
    values: dict[str, Any] = {
        "custom_id": f"model.shop.{table}",
        "description": f"1 text of {table}",
        "max_output_tokens": 300,
    }
    return LLMRequest(texts, **{**values, **changes})


def unusable(response: LLMResponse) -> None:
    raise LLMResponseError("not the JSON asked for")


def script(asked: Recorded, number: int) -> Reply | None:
    if "payments" in asked.text:
        return Reply(400, says=f"no payments for {KEY}")
    return Reply(503) if number == 1 else Reply(reasoning_tokens=3)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Filled once: making a ledger takes longer than most tests here."""
    project = tmp_path_factory.mktemp("ledger") / "shop"
    project.mkdir()
    (project / "dbt_project.yml").write_text("name: shop\n")
    with LoopbackServer().running() as server, Ledger.open(project / FILE) as ledger:
        server.script = script
        config = LLMConfig("openai", "gpt-6-luna", api_key=KEY, base_url=server.url)
        first = Run(
            command="dbt-osmosis yaml document",
            selection=("models/marts",),
            project="shop",
            git_commit="0123456789abcdef",
            versions={"dbt-osmosis-llm": "0.1.0"},
            config=config.to_metadata_dict(),
            settings={"show_stats": True},
        )
        ask_in_first_run(ledger, first, config)
        second = Run(command="dbt-osmosis yaml refactor")
        client = client_of(ledger, second, config)
        client.complete(request("orders"))
        client.complete(request("customers"))
        client.close()
        counted = {
            "requests": len(server.requests),
            "input_tokens": server.input_tokens,
            "cached_tokens": server.cached_tokens,
            "output_tokens": server.output_tokens,
            "reasoning_tokens": server.reasoning_tokens,
        }
        return Filled(project, first, second, ledger.query(), counted)


def client_of(ledger: Ledger, run: Run, config: LLMConfig) -> LedgerClient:
    ledger.begin_run(run)
    inner = build_client(config, LLMUsageStats(), sleep=lambda seconds: None)
    return LedgerClient(inner, ledger, run.run_id, config, stats=LLMUsageStats())


def ask_in_first_run(ledger: Ledger, run: Run, config: LLMConfig) -> None:
    client = client_of(ledger, run, config)
    orders = client.complete(request("orders"))
    with suppress(LLMError):
        client.complete(request("stg_orders", check=unusable))
    (asked,) = ledger.query(node="stg_orders")
    repair = client.complete(request("stg_orders", part="repair", parent_call_id=asked.call_id))
    with suppress(LLMError):
        client.complete(request("payments"))
    client.close()
    ledger.record_texts(
        [
            Text(orders.call_id or "", "model.shop.orders", "", "One row per order."),
            Text(orders.call_id or "", "model.shop.orders", "id", f"Its id.{ESCAPE}"),
            Text(repair.call_id or "", "model.shop.stg_orders", "", "Staged."),
        ]
    )
    ledger.end_run(run.run_id, "failed")


@pytest.fixture
def filled(original: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    """A copy, and the process in its folder."""
    project = tmp_path / "shop"
    shutil.copytree(original.project, project)
    monkeypatch.chdir(project)
    return replace(original, project=project)


def rows(output: str) -> list[list[str]]:
    """Return a printed table's cells, its heading first."""
    return [re.split(r" {2,}", line.strip()) for line in output.splitlines()]


def test_runs(filled: Filled) -> None:
    done = filled("runs")
    assert done.exit_code == 0, done.output
    heading, first, second = rows(done.stdout)
    assert heading == ["run", "started", "command", "outcome", "calls", "hits", "cost"]
    assert filled.first.run_id.startswith(first[0])
    assert first[2:6] == ["dbt-osmosis yaml document", "failed", "4", "0"]
    assert second[2:6] == ["dbt-osmosis yaml refactor", "running or killed", "1", "1"]
    assert re.fullmatch(r"\$0\.0\d+", first[6])
    assert [run["run_id"] for run in json.loads(filled("runs", "--json").stdout)] == [
        filled.first.run_id,
        filled.second.run_id,
    ]
    newest = filled("runs", "--limit", "1")
    assert rows(newest.stdout)[1:] == [second]
    assert newest.stderr == "These are the newest 1; --limit 0 lists all.\n"
    assert filled("runs", "--limit", "0").stderr == filled("runs", "--limit", "2").stderr == ""


def test_run_in_detail(filled: Filled) -> None:
    done = filled("runs", "--run", filled.first.run_id[:20])
    assert done.exit_code == 0, done.output
    facts = dict(re.findall(r"^([\w -]+): +(.*)$", done.stdout, re.M))
    assert facts["selection"] == "models/marts"
    assert facts["git commit"] == "0123456789abcdef"
    assert facts["dbt-osmosis-llm"] == "0.1.0"
    assert facts["model"] == "gpt-6-luna"
    assert facts["show_stats"] == "True"
    assert facts["outcome"] == "failed"
    assert facts["calls"] == "4 (2 failed or unusable)"
    assert facts["requests"] == "5"
    assert "temperature" not in facts, "what is not set is not shown"
    assert KEY not in done.output
    as_json = json.loads(filled("runs", "--run", filled.first.run_id, "--json").stdout)
    assert datetime.fromisoformat(as_json["started_at"]) == filled.first.started_at
    assert as_json["started_at"].endswith("+00:00")
    assert (as_json["calls"], as_json["requests"]) == (4, 5)
    assert as_json["config"]["provider"] == "openai"


@pytest.mark.parametrize(
    ("arguments", "tables_"),
    [
        ([], ["orders", "stg_orders", "stg_orders", "payments", "customers"]),
        (["--run", "{first}"], ["orders", "stg_orders", "stg_orders", "payments"]),
        (["--run", "{second}"], ["customers"]),
        (["--node", "orders"], ["orders"]),
        (["--node", "model.shop.stg_orders"], ["stg_orders", "stg_orders"]),
        (["--provider", "anthropic"], []),
        (["--model", "gpt-6-luna", "--limit", "2"], ["payments", "customers"]),
        (["--status", "answered"], ["orders", "stg_orders", "customers"]),
        (["--status", "unusable"], ["stg_orders"]),
        (["--status", "failed"], ["payments"]),
        (["--search", "DESCRIBE CUST"], ["customers"]),
        (["--search", "100 %"], ["orders", "stg_orders", "stg_orders", "payments", "customers"]),
        (["--search", "the json asked"], ["stg_orders"]),
        (["--search", "0_%"], []),
        (["--since", "1h", "--limit", "1"], ["customers"]),
        (["--since", "2999-12-31"], []),
    ],
)
def test_calls(filled: Filled, arguments: Sequence[str], tables_: Sequence[str]) -> None:
    ids = {"first": filled.first.run_id, "second": filled.second.run_id}
    filters = [argument.format(**ids) for argument in arguments]
    done = filled("calls", *filters)
    assert done.exit_code == 0, done.output
    printed = rows(done.stdout)[1:]
    assert [row[2].split(" ")[0] for row in printed] == [f"model.shop.{name}" for name in tables_]
    if not tables_:
        assert (done.stdout, done.stderr) == ("", "No call on record is like that.\n")
    found = json.loads(filled("calls", *filters, "--json").stdout)
    assert [call["custom_id"] for call in found] == [f"model.shop.{name}" for name in tables_]


def test_calls_say_what_became_of_them(filled: Filled) -> None:
    printed = rows(filled("calls").stdout)
    assert printed[0] == ["call", "started", "about", "model", "status", "tokens", "cost", "ms"]
    by_table = {row[2]: row[4] for row in printed[1:]}
    assert by_table == {
        "model.shop.orders": "answered",
        "model.shop.stg_orders": "unusable, LLMResponseError",
        "model.shop.stg_orders (repair)": "answered",
        "model.shop.payments": "failed, LLMAPIError",
        "model.shop.customers": "answered",
    }
    found = json.loads(filled("calls", "--json", "--node", "payments").stdout)
    assert found[0]["error"]
    assert found[0]["cost_usd"] is None
    assert KEY not in filled("calls", "--json").output


def test_a_run_answered_by_earlier_calls_says_so(filled: Filled) -> None:
    filled.change("delete from llm_calls where run_id = ?", filled.second.run_id)
    done = filled("calls", "--run", filled.second.run_id)
    assert done.stderr == (
        "No call on record is like that.\nEarlier calls had answered 1 question of this run.\n"
    )


def test_show(filled: Filled) -> None:
    (orders,) = filled.about("orders")
    done = filled("show", orders.call_id[:-3])
    assert done.exit_code == 0, done.output
    facts, *sections = re.split(r"\n\n(system|user|answer|written)\n", done.stdout)
    shown = dict(re.findall(r"^([\w ]+): +(.*)$", facts, re.M))
    assert shown["call"] == orders.call_id
    assert shown["about"] == "model.shop.orders"
    assert shown["asked for"] == "1 text of orders"
    assert shown["parameters"] == '{"max_output_tokens": 300}'
    assert shown["requests"] == "2"
    assert shown["tokens"] == f"{orders.input_tokens:,} in (0 cached), 10 out (3 reasoning)"
    assert shown["used again"] == "once"
    assert not {"parent", "children", "error"} & set(shown)
    texts = dict(zip(sections[::2], sections[1::2], strict=True))
    assert texts["user"] == "Describe orders, 100 %\\x1b[2J"
    assert texts["answer"] == text_for("table")
    assert texts["written"] == (
        "model.shop.orders: One row per order.\nmodel.shop.orders, column id: Its id.\\x1b[2J\n"
    )
    assert ESCAPE not in done.stdout, "an answer does nothing to the terminal"


def test_show_parent_and_children(filled: Filled) -> None:
    parent, child = filled.about("stg_orders")
    facts = {
        call.call_id: dict(
            re.findall(r"^([\w ]+): +(.*)$", filled("show", call.call_id).stdout, re.M)
        )
        for call in (parent, child)
    }
    assert facts[parent.call_id]["children"] == child.call_id
    assert facts[child.call_id]["parent"] == parent.call_id
    assert facts[child.call_id]["about"] == "model.shop.stg_orders (repair)"
    assert facts[parent.call_id]["status"] == "unusable"
    assert facts[parent.call_id]["error"] == "LLMResponseError: not the JSON asked for"
    assert facts[parent.call_id]["used again"] == "0 times"


def test_show_as_json(filled: Filled) -> None:
    (orders,) = filled.about("orders")
    shown = json.loads(filled("show", orders.call_id, "--json").stdout)
    assert shown["request"] == orders.request
    assert shown["response"] == orders.response
    assert shown["row_hash"] == orders.row_hash
    assert [text["text"] for text in shown["texts"]] == ["One row per order.", f"Its id.{ESCAPE}"]
    assert [hit["run_id"] for hit in shown["hits"]] == [filled.second.run_id]
    assert shown["children"] == []


def test_show_of_a_failure_has_the_error_and_no_key(filled: Filled) -> None:
    (failed,) = filled.about("payments")
    done = filled("show", failed.call_id)
    assert "no payments for ***" in done.stdout
    assert "\nanswer\n" not in done.stdout
    assert not re.search("^cost:", done.stdout, re.M)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "zz"], "No call's id begins with 'zz'; dbt-osmosis llm calls lists them."),
        (["show", "%"], "No call's id begins with '%'"),
        (["show", ""], "Several calls' ids begin with ''"),
        (["show", "1"], "Several calls' ids begin with '1', "),
        (["calls", "--run", "zz"], "No run's id begins with 'zz'; dbt-osmosis llm runs lists"),
        (["runs", "--run", "1"], "Several runs' ids begin with '1', "),
    ],
)
def test_ids_that_mean_none_or_several(filled: Filled, arguments: Sequence[str], says: str) -> None:
    done = filled(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {says}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("by", ["provider", "model", "day", "run"])
def test_stats_are_the_servers_numbers(filled: Filled, by: str) -> None:
    groups = json.loads(filled("stats", "--by", by, "--json").stdout)
    counted = filled.counted
    names = (*counted, "calls", "failures", "hits")
    sums = {name: sum(group[name] for group in groups) for name in names}
    assert sums == {**counted, "calls": 5, "failures": 2, "hits": 1}
    as_csv = list(csv.DictReader(io.StringIO(filled("stats", "--by", by, "--csv").stdout)))
    assert [list(row) for row in as_csv] == [list(group) for group in groups]
    assert [row["input_tokens"] for row in as_csv] == [str(g["input_tokens"]) for g in groups]
    printed = rows(filled("stats", "--by", by).stdout)
    assert len(printed) == 1 + len(groups) + (len(groups) > 1)
    name = {"run": "run", "day": "day (UTC)"}.get(by, "provider")
    assert printed[0][0] == name
    assert (printed[-1][0] == "total") is (len(groups) > 1)
    assert f"{counted['input_tokens']:,}" in printed[-1]


def test_an_unknown_cost_stays_unknown(filled: Filled) -> None:
    filled.change("update llm_calls set cost_usd = null where status = 'answered'")
    assert "  unknown  " in filled("stats").stdout
    assert json.loads(filled("stats", "--json").stdout)[0]["cost_usd"] is None
    (row,) = csv.DictReader(io.StringIO(filled("stats", "--csv").stdout))
    assert row["cost_usd"] == ""
    assert rows(filled("runs").stdout)[1][-1] == "unknown"


def test_stats_since(filled: Filled) -> None:
    started = filled.second.started_at
    after = (started + timedelta(microseconds=1)).isoformat()
    (row,) = json.loads(filled("stats", "--json", "--since", after).stdout)
    assert (row["calls"], row["hits"]) == (1, 1)
    z = filled.first.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert json.loads(filled("stats", "--json", "--since", z).stdout)[0]["calls"] == 5
    nothing = filled("stats", "--since", "2999-01-01")
    assert (nothing.stdout, nothing.stderr) == ("", "No calls on record.\n")
    assert filled("stats", "--since", "2999-01-01", "--json").stdout == "[]\n"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process is fixed here")
def test_times_are_local(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 3, 31, 22, 30, tzinfo=timezone.utc)
    filled.change("update llm_calls set started_at = ?", int(moment.timestamp() * 1e6))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert "2026-04-01 07:30:00" in filled("calls").stdout
        found = json.loads(filled("calls", "--json", "--limit", "1").stdout)
        assert found[0]["started_at"] == "2026-03-31T22:30:00.000000+00:00"
        for since, count in (("2026-04-01T07:30", 5), ("2026-04-01T07:31", 0)):
            found = json.loads(filled("calls", "--json", "--since", since).stdout)
            assert len(found) == count
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", "--json", "--csv"],
        ["stats", "--since", "yesterday"],
        ["stats", "--since", "2026-13-01"],
        ["stats", "--since", "99999999w"],
        ["stats", "--by", "colour"],
        ["calls", "--limit", "-1"],
        ["calls", "--status", "fine"],
        ["prune"],
        ["prune", "--older-than", "90"],
        ["prune", "--older-than", "90m"],
        ["prune", "--older-than", "-3d"],
        ["prune", "--older-than", "36501d"],
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense(filled: Filled, arguments: Sequence[str]) -> None:
    done = filled(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("age", "left"),
    [("12h", 4), ("11.5h", 3), ("2d", 4), ("1.5d", 4), ("1w", 5), ("0d", 0)],
)
def test_prune(filled: Filled, age: str, left: int) -> None:
    now = datetime.now(timezone.utc)
    for call, hours in zip(filled.calls, (72, 11.75, 1, 1, 1), strict=True):
        at = int((now - timedelta(hours=hours)).timestamp() * 1e6)
        filled.change("update llm_calls set started_at = ? where call_id = ?", at, call.call_id)
    done = filled("prune", "--older-than", age, "--yes")
    assert (done.exit_code, done.stdout) == (0, "")
    gone = 5 - left
    assert done.stderr == f"{gone} call{'' if gone == 1 else 's'} deleted.\n"
    assert len(json.loads(filled("calls", "--json").stdout)) == left


@pytest.mark.parametrize(("answer", "left"), [("n\n", 5), ("\n", 5), ("", 5), ("y\n", 0)])
def test_prune_asks(filled: Filled, answer: str, left: int) -> None:
    done = cli_runner().invoke(cli, ["llm", "prune", "--older-than", "0h"], input=answer)
    assert done.stdout.strip() in ("", answer.strip())  # click 8.1's runner echoes the answer
    assert f"Delete 5 calls of 5 from {filled.file}, for good? [y/N]" in done.stderr
    assert done.exit_code == (1 if left else 0)
    assert len(json.loads(filled("calls", "--json").stdout)) == left


@pytest.mark.parametrize(
    "change",
    [
        "cost_usd = 0.0",
        "response = 'Something else.'",
        "request = replace(request, 'orders', 'riders')",
        "request = 'no JSON'",
        "started_at = 'yesterday'",
        "row_hash = 'v1:sha256:00'",
    ],
)
def test_verify_names_what_was_changed(filled: Filled, change: str) -> None:
    sound = filled("verify")
    assert (sound.exit_code, sound.stdout) == (0, "")
    assert sound.stderr == "5 calls looked at, all match.\n"
    (orders,) = filled.about("orders")
    filled.change(f"update llm_calls set {change} where call_id = ?", orders.call_id)
    done = filled("verify")
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{orders.call_id} model.shop.orders: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == "5 calls looked at, 1 of them do not match.\n"


def test_a_call_that_cannot_be_read_is_one_line(filled: Filled) -> None:
    filled.change("update llm_calls set request = 'no JSON'")
    done = filled("calls")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "dbt-osmosis llm verify names all such calls" in done.stderr
    assert done.stderr.count("\n") == 1
    assert filled("stats").exit_code == 0


COMMANDS = (
    ["runs"],
    ["calls"],
    ["show", "1"],
    ["stats"],
    ["prune", "--older-than", "1d"],
    ["verify"],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_a_ledger_none_is_made(
    arguments: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dbt_project.yml").write_text("name: shop\n")
    for place, says in (
        (None, f"there is no ledger at {tmp_path / FILE}"),
        (str(tmp_path / "elsewhere/ledger.db"), "there is no ledger at"),
        (f"sqlite:///{tmp_path / 'other.db'}", "there is no ledger at"),
        ("none", "No ledger is kept"),
        ("nosuchdatabase://host/name", "'nosuchdatabase'"),
    ):
        environ = {} if place is None else {"OSMOSIS_LLM_LEDGER_URL": place}
        done = cli_runner().invoke(cli, ["llm", *arguments], env=environ)
        assert (done.exit_code, done.stdout) == (2, ""), place
        assert says in done.stderr
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["dbt_project.yml"]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_ledger_that_cannot_be_used_stays_as_it_is(
    arguments: Sequence[str], filled: Filled
) -> None:
    filled.change("update llm_ledger_version set version_num = '9999'")
    newer = filled(*arguments)
    assert (newer.exit_code, newer.stdout) == (2, "")
    assert "upgrade dbt-osmosis-llm" in newer.stderr
    for path in filled.file.parent.glob("ledger.db*"):
        path.unlink()
    filled.file.write_bytes(b"no database at all " * 400)
    damaged = filled(*arguments)
    assert (damaged.exit_code, damaged.stdout) == (2, "")
    assert damaged.stderr.startswith("Error: The ledger is damaged: ")
    assert newer.stderr.count("\n") == damaged.stderr.count("\n") == 1
    assert filled.file.read_bytes() == b"no database at all " * 400


def test_the_project_may_lie_elsewhere(
    filled: Filled, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert filled("stats").exit_code == 2
    there = filled("stats", "--json", "--project-dir", str(filled.project))
    assert json.loads(there.stdout)[0]["calls"] == 5
    monkeypatch.chdir(filled.file.parent)
    assert json.loads(filled("stats", "--json").stdout)[0]["calls"] == 5
    named = filled("stats", "--json", OSMOSIS_LLM_LEDGER_URL=f"sqlite:///{filled.file}")
    assert json.loads(named.stdout)[0]["calls"] == 5


def test_nothing_is_cut_or_wrapped(filled: Filled) -> None:
    long = "a-model-with-a-name-" * 20
    filled.change("update llm_calls set model = ?, custom_id = ?", long, f"model.shop.{long}")
    for command in ("calls", "stats"):
        done = filled(command, COLUMNS="40")
        assert all(long in line for line in done.stdout.splitlines()[1:])
    assert f"model.shop.{long}" in filled("calls").stdout


def test_installed_command(filled: Filled) -> None:
    shop = Shop(filled.project, clean_environment(HOME=str(filled.project)), process=True)
    done = shop.dbt_osmosis("llm", "stats", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["calls"] == 5
    piped = shop.dbt_osmosis("llm", "show", filled.calls[0].call_id, PYTHONIOENCODING="ascii")
    assert piped.returncode == 0, piped.stderr


def test_help_lists_every_command(filled: Filled) -> None:
    listed = re.findall(r"^  (\w+) +\w", filled("--help").stdout, re.M)
    assert {"runs", "calls", "show", "stats", "prune", "verify"} <= set(listed)


def test_other_commands_do_not_pay_for_the_ledger() -> None:
    code = "import dbt_osmosis_llm.cli, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(DBT_OSMOSIS_LLM="off"),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "dbt_osmosis_llm.cli.ledger" in loaded
    assert not {"sqlalchemy", "rich", "alembic", "dbt_osmosis_llm.ledger"} & loaded


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/ledger.md").read_text("utf-8")


def test_docs_name_every_column(page: str) -> None:
    for table in tables.metadata.tables.values():
        assert f"`{table.name}`" in page
        if table is not tables.claims:
            for column in table.columns:
                assert f"`{column.name}`" in page, column


def test_sql_of_the_docs_runs(page: str, filled: Filled) -> None:
    statements = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(statements) >= 2
    connection = sqlite3.connect(filled.file)
    for statement in statements:
        assert connection.execute(statement).fetchall(), statement
    connection.close()


def test_docs_name_every_option(page: str, filled: Filled) -> None:
    for command in ("runs", "calls", "show", "stats", "prune", "verify"):
        assert f"dbt-osmosis llm {command}" in page
        for option in re.findall(r"--[a-z-]+", filled(command, "--help").stdout):
            assert option in page or option == "--help", option
