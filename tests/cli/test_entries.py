"""Entries that a file holds twice, shares or hides; columns that stars and structs hide."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Shop, build_project, copy_of
from tests.server import LoopbackServer, Reply

LEFT_ALONE = {
    "models/case/_stamps.yml": "column ID of stamps is listed twice, as ID and id",
    "models/twice/_refunds.yml": "column id of refunds is listed twice",
    "models/shared/_shared.yml": "region of orders_eu cannot be changed: "
    "line 10 is shared with orders_us",
}


@pytest.fixture(scope="session")
def built_entries(made_once: Callable[..., Path]) -> Path:
    return made_once("entries", lambda directory: build_project("entries", directory))


@pytest.fixture(scope="module")
def documented(
    built_entries: Path, tmp_path_factory: pytest.TempPathFactory, _running_server: LoopbackServer
) -> tuple[Path, str, list[str]]:
    """Return a documented copy, what the run said, and the prompts that it sent."""
    _running_server.reset()
    shop = copy_of(built_entries, tmp_path_factory.mktemp("entries"), _running_server)
    done = shop.document()
    assert done.returncode == 1, done.stderr  # it names what it leaves alone
    return shop.directory, done.stderr, [request.text for request in _running_server.requests]


@pytest.fixture
def entries(
    documented: tuple[Path, str, list[str]], tmp_path: Path, server: LoopbackServer
) -> Shop:
    return copy_of(documented[0], tmp_path, server)


def columns_of(shop: Shop, file: str, name: str) -> list[dict[str, Any]]:
    (model,) = (model for model in shop.load(file)["models"] if model["name"] == name)
    columns: list[dict[str, Any]] = model["columns"]
    return columns


def asked(prompts: list[str]) -> str:
    return "\n".join(prompts)


def test_what_is_left_alone_is_named_and_not_asked(
    documented: tuple[Path, str, list[str]],
) -> None:
    _, said, _prompts = documented
    for file, reason in LEFT_ALONE.items():
        assert re.search(rf"{file}: .*{re.escape(reason)}", said), said
    # Its own text can be written, and what its columns have in common with the other's.
    assert re.search(r"Request to \S+ for 3 texts of orders_eu", said), said
    assert re.search(r"Request to \S+ for 1 text of orders_us", said), said


def test_a_column_listed_twice_keeps_every_word(entries: Shop, built_entries: Path) -> None:
    for file in ("_receipts.yml", "_refunds.yml", "_sources.yml"):
        before = (built_entries / "models/twice" / file).read_text()
        after = (entries.directory / "models/twice" / file).read_text()
        for line in before.splitlines():
            assert line in after.splitlines(), file
        assert after.count("data_tests") == before.count("data_tests")
    columns = columns_of(entries, "models/twice/_receipts.yml", "receipts")
    assert [column["name"] for column in columns] == ["id", "total", "id"]
    assert columns[0]["description"] == "Number on the receipt."
    assert columns[1]["description"]  # what stands beside it is documented
    assert set(columns[2]) == {"name", "data_tests"}


@pytest.mark.parametrize(
    ("name", "spelled"), [("parcels", ["PARCEL_ID", "AMOUNT"]), ("letters", ["letterid", "Amount"])]
)
@pytest.mark.parametrize("command", ["document", "refactor"])
def test_a_column_in_another_case_than_the_warehouse_is_one(
    built_entries: Path,
    tmp_path: Path,
    server: LoopbackServer,
    command: str,
    name: str,
    spelled: list[str],
) -> None:
    shop = copy_of(built_entries, tmp_path, server)
    file = f"models/case/_{name}.yml"
    before = (shop.directory / file).read_text()
    assert shop.document(f"models/case/{name}.sql", command=command).returncode == 0
    columns = columns_of(shop, file, name)
    assert [column["name"] for column in columns] == spelled
    assert all(column["description"] for column in columns)
    assert [
        line for line in before.splitlines() if line not in (shop.directory / file).read_text()
    ] == []
    (request,) = server.requests
    assert request.schema["properties"].keys() == {"description"}  # of one column


def test_a_column_that_versions_define_alike_is_asked_once(entries: Shop) -> None:
    (model,) = entries.load("models/versions/_prices.yml")["models"]
    texts = [
        {column["name"]: column["description"] for column in version["columns"]}
        for version in model["versions"]
    ]
    assert [set(columns) for columns in texts] == [{"price_id", "amount", "currency", "level"}] * 2
    lock = (entries.directory / "dbt-osmosis-llm.lock.yml").read_text()
    second = lock[lock.index("model.entries.prices.v2:") :].partition("\n  model")[0]
    copied = re.findall(r"(\w+): .*\"from\": \"model.entries.prices.v1.(\w+)\"", second)
    # Those that both define alike.
    assert copied == [(name, name) for name in ("currency", "price_id")]


def test_the_rest_of_a_file_is_written(entries: Shop, built_entries: Path) -> None:
    file = "models/shared/_shared.yml"
    before, after = ((d / file).read_text() for d in (built_entries, entries.directory))
    assert all(c["description"] for c in columns_of(entries, file, "customers"))
    head = before[: before.index("  - name: customers")]
    described = [line for line in after.splitlines() if "  description: " not in line]
    assert described[: head.count("\n")] == head.splitlines()
    texts = [model["description"] for model in yaml.safe_load(after)["models"]]
    assert all(texts)


def test_a_list_that_tables_share_gets_what_is_true_of_all(entries: Shop) -> None:
    file = "models/shared/_shared.yml"
    for name in ("orders_eu", "orders_us"):
        columns = {column["name"]: column for column in columns_of(entries, file, name)}
        assert [n for n, c in columns.items() if c.get("description")] == ["id", "amount"]
    lock = (entries.directory / "dbt-osmosis-llm.lock.yml").read_text()
    assert '"from": "model.entries.orders_eu.amount"' in lock


def test_what_tables_share_is_written_anew_for_all(entries: Shop, server: LoopbackServer) -> None:
    server.script = lambda request, number: Reply(
        content=dict.fromkeys(request.schema["properties"], f"New meaning {number} of it.")
        if "columns" not in request.schema["properties"]
        else {
            "description": f"New meaning {number} of it.",
            "columns": {
                name: f"New meaning {number} of {name}."
                for name in request.schema["properties"]["columns"]["properties"]
            },
        }
    )
    done = entries.document("--llm-refresh", "all-generated")
    assert done.returncode == 1, done.stderr
    file = "models/shared/_shared.yml"
    texts = [
        {c["name"]: c.get("description") for c in columns_of(entries, file, name)}
        for name in ("orders_eu", "orders_us")
    ]
    assert texts[0] == texts[1]
    assert str(texts[0]["amount"]).startswith("New meaning")
    before = entries.yaml_files()
    server.reset()
    entries.document()
    assert (server.requests, entries.yaml_files()) == ([], before)


def test_a_file_of_comments_gets_its_entries_below_them(entries: Shop) -> None:
    text = (entries.directory / "models/bare/_notes.yml").read_text()
    assert text.startswith("# documentation goes here\n# version: 2\n")
    columns = columns_of(entries, "models/bare/_notes.yml", "notes")
    assert all(column["description"] for column in columns)


def test_names_that_yaml_reads_as_something_else_are_names(entries: Shop) -> None:
    columns = columns_of(entries, "models/odd/_odd_names.yml", "odd_names")
    assert [column["name"] for column in columns] == ["no", "1e3", "on"]


def test_dbt_reads_all_of_it(entries: Shop) -> None:
    parsed = entries.dbt("parse", "--no-partial-parse", "--quiet")
    assert parsed.returncode == 0, parsed.stdout


def test_a_second_run_asks_nothing_and_changes_nothing(
    entries: Shop, server: LoopbackServer
) -> None:
    before = entries.yaml_files()
    assert entries.document().returncode == 1
    assert server.requests == []
    assert entries.yaml_files() == before


def test_no_column_that_is_there_is_orphaned(entries: Shop) -> None:
    done = entries.dbt_osmosis("llm", "check", "--format", "json")
    found = json.loads(done.stdout)
    assert {node["node"]: node["orphaned"] for node in found["nodes"] if node["orphaned"]} == {}


@pytest.mark.parametrize(
    ("file", "model", "column", "is_asked"),
    [
        ("models/nested/_events.yml", "events", "position.lon", True),
        ("models/star/_stg_tickets.yml", "stg_tickets", "note", False),  # the source has it too
    ],
)
def test_a_deleted_text_is_never_replaced_by_that_of_a_sibling(
    entries: Shop, server: LoopbackServer, file: str, model: str, column: str, is_asked: bool
) -> None:
    columns = columns_of(entries, file, model)
    if column not in {c["name"] for c in columns}:
        pytest.skip("older dbt-duckdb does not tell the fields of structs")
    siblings = {c["description"] for c in columns if c["name"] != column}
    path = entries.directory / file
    lines = path.read_text().splitlines(keepends=True)
    start = next(n for n, line in enumerate(lines) if line.strip() == f"- name: {column}")
    deleted = next(n for n in range(start, len(lines)) if "description:" in lines[n])
    del lines[deleted]
    path.write_text("".join(lines))
    assert entries.document("--llm-no-cache").returncode == 1
    (new,) = (c.get("description") for c in columns_of(entries, file, model) if c["name"] == column)
    assert new
    assert new not in siblings
    assert (column in asked([request.text for request in server.requests])) == is_asked


def test_a_new_column_of_a_star_gets_a_text_of_its_own(
    entries: Shop, server: LoopbackServer
) -> None:
    macro = entries.directory / "macros/load_raw.sql"
    macro.write_text(macro.read_text().replace("'x' as note", "'x' as note, 'EU' as region"))
    assert entries.dbt("build", "--quiet").returncode == 0
    before = columns_of(entries, "models/star/_stg_tickets.yml", "stg_tickets")
    entries.document()
    after = columns_of(entries, "models/star/_stg_tickets.yml", "stg_tickets")
    (new,) = (column for column in after if column["name"] == "region")
    assert new["description"] not in {column["description"] for column in before}
    assert [column for column in after if column["name"] != "region"] == before
    assert "region" in asked([request.text for request in server.requests])


def test_check_counts_what_a_run_leaves_alone_with_the_reason(entries: Shop) -> None:
    done = entries.dbt_osmosis("llm", "check", "--format", "json")
    found = json.loads(done.stdout)
    assert [node["node"] for node in found["nodes"] if node["missing"]] == []
    reasons = {n["file"]: one["why"] for n in found["nodes"] for one in n["left_alone"]}
    assert {*LEFT_ALONE} <= {*reasons}
    for file, reason in LEFT_ALONE.items():
        assert reason.partition(": ")[0] in " ".join(
            one["why"] for n in found["nodes"] if n["file"] == file for one in n["left_alone"]
        )


@pytest.mark.parametrize(
    ("table", "column", "why"),
    [
        ("refunds", "id", "column id of refunds is listed twice"),
        ("orders_us", "region", "region of orders_us cannot be changed: line 12 is shared with"),
        ("few_columns", "ghost", "neither the warehouse nor the SQL has it"),
    ],
)
def test_explain_says_why_a_text_is_not_asked_for(
    built_entries: Path, tmp_path: Path, server: LoopbackServer, table: str, column: str, why: str
) -> None:
    shop = copy_of(built_entries, tmp_path, server)
    listed = shop.directory / "models/listed/_few_columns.yml"
    listed.write_text(listed.read_text().rstrip("\n") + "\n      - name: ghost\n")
    done = shop.dbt_osmosis("llm", "explain", table, column)
    assert f"not asked: {why}" in " ".join(done.stdout.split()), done.stdout + done.stderr


def test_explain_says_whose_text_a_shared_entry_gets(
    built_entries: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    shop = copy_of(built_entries, tmp_path, server)
    for table, column, other in (
        ("orders_us", "amount", "orders_eu.amount"),
        ("prices.v2", "currency", "prices.v1.currency"),
    ):
        done = shop.dbt_osmosis("llm", "explain", table, column)
        assert f"waits: copied from {other} (one and the same)" in done.stdout, done.stdout


def test_check_asks_for_no_column_that_the_project_does_not_list(entries: Shop) -> None:
    columns = columns_of(entries, "models/listed/_few_columns.yml", "few_columns")
    assert [column["name"] for column in columns] == ["id", "amount"]
    done = entries.dbt_osmosis("llm", "check", "--format", "json")
    missing = {n["node"].rpartition(".")[2]: n["missing"] for n in json.loads(done.stdout)["nodes"]}
    assert missing["few_columns"] == []


def test_a_relative_project_folder_is_written_to_once(
    built_entries: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    shop = copy_of(built_entries, tmp_path, server)
    # The database's path is a relative one: what is described is found in the project alone.
    above = replace(shop, directory=tmp_path)
    done = above.document("--project-dir", "entries", "--profiles-dir", "entries")
    assert not (shop.directory / "entries").exists(), done.stderr
    assert (shop.directory / "models/bare/_notes.yml").read_text().count("name: notes") == 1
