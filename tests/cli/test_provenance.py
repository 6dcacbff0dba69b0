"""Whose each text is, and which are stale, through the command."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_command
from tests.conftest import Shop, copy_of
from tests.server import LoopbackServer, Recorded, Reply, fill

LOCK = "dbt-osmosis-llm.lock.yml"
MODELS = {
    "raw_sales": "select 1 as sale_id, 12.5 as price, 2.0 as rebate, 'de' as country",
    "sales": "select sale_id, price - rebate as net, price as gross, country from"
    " {{ ref('raw_sales') }}",
    "sales_copy": "select sale_id, net as net_amount, gross, country from {{ ref('sales') }}",
    "totals": "select country, sum(net_amount) as net_total, sum(gross) as gross_total,"
    " count(*) as sale_count from {{ ref('sales_copy') }} group by country",
}


def write_models(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, sql in MODELS.items():
        (folder / f"{name}.sql").write_text(sql + "\n")
    entries = "".join(f"  - name: {name}\n" for name in MODELS)
    (folder / "_models.yml").write_text(f"version: 2\n\nmodels:\n{entries}")


@pytest.fixture(scope="module")
def built_sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sales") / "sales"
    write_models(folder / "models")
    (folder / "dbt_project.yml").write_text(
        "name: sales\nversion: '1.0'\nprofile: sales\n"
        "models:\n  sales:\n    +dbt-osmosis: '_models.yml'\n"
    )
    (folder / "profiles.yml").write_text(
        "sales:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: sales.duckdb}\n"
    )
    done = run_command("dbt", "run", "--quiet", directory=folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def sales(built_sales: Path, tmp_path: Path, server: LoopbackServer) -> Shop:
    return copy_of(built_sales, tmp_path, server)


@pytest.fixture(scope="module")
def documented(
    built_sales: Path, tmp_path_factory: pytest.TempPathFactory, _running_server: LoopbackServer
) -> Path:
    _running_server.reset()
    shop = copy_of(built_sales, tmp_path_factory.mktemp("documented"), _running_server)
    done = shop.document()
    assert done.returncode == 0, done.stderr
    return shop.directory


@pytest.fixture
def documented_sales(documented: Path, tmp_path: Path, server: LoopbackServer) -> Shop:
    return copy_of(documented, tmp_path, server)


def check(shop: Shop, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = shop.dbt_osmosis("llm", "check", "--format", "json", *arguments)
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout)


def listed(found: dict[str, Any], kind: str) -> set[str]:
    """Return ``table.column`` of what is listed."""
    return {
        f"{node['node'].rpartition('.')[2]}.{one['column'] if isinstance(one, dict) else one}"
        for node in found["nodes"]
        for one in node[kind]
    }


def edit(shop: Shop, name: str, old: str, new: str) -> None:
    path = shop.directory / "models" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def asked_columns(request: Recorded) -> set[str]:
    return set(re.findall(r"^- `(\w+)`", request.text, re.MULTILINE))


def changed(answer: Any, change: Callable[[str, str], str | None], name: str = "") -> Any:
    if isinstance(answer, dict):
        return {key: changed(value, change, key) for key, value in answer.items()}
    return change(name, answer)


def in_other_words(request: Recorded, number: int) -> Reply:
    answer = changed(fill(request.schema), lambda _, text: f"Again: {text}")
    return Reply(content=json.dumps(answer))


def as_before(request: Recorded, number: int) -> Reply:
    (old,) = re.findall(r"text so far: (.*)", request.text)
    return Reply(content=json.dumps({"description": old}))


def without_country(request: Recorded, number: int) -> Reply:
    answer = changed(fill(request.schema), lambda name, text: None if name == "country" else text)
    return Reply(content=json.dumps(answer))


def test_a_documented_project_has_nothing_to_tell(documented_sales: Shop) -> None:
    code, found = check(documented_sales)
    assert (code, found["coverage"], found["missing"]) == (0, 100.0, 0)
    assert not any(listed(found, kind) for kind in ("stale", "orphaned", "conflicting"))


def test_a_second_run_changes_nothing(documented_sales: Shop, server: LoopbackServer) -> None:
    before = documented_sales.yaml_files(), (documented_sales.directory / LOCK).read_bytes()
    done = documented_sales.document("--llm-refresh", "stale")
    assert done.returncode == 0, done.stderr
    after = documented_sales.yaml_files(), (documented_sales.directory / LOCK).read_bytes()
    assert after == before
    assert server.requests == []


def test_an_edited_expression_makes_its_downstream_columns_stale(
    documented_sales: Shop, server: LoopbackServer
) -> None:
    shop = documented_sales
    by_hand = "Sum of what customers paid in a country."
    edit(shop, "_models.yml", shop.texts()["totals.net_total"], by_hand)
    edit(shop, "sales.sql", "price - rebate as net", "price - 2 * rebate as net")
    before = shop.texts()
    code, found = check(shop)
    assert code == 1
    # net_total is a person's by now.
    assert listed(found, "stale") == {"sales.net", "sales_copy.net_amount"}
    (net,) = (n["stale"] for n in found["nodes"] if n["node"] == "model.sales.sales")
    assert net[0]["aspects"] == ["expression"]
    assert (net[0]["old_expression"], net[0]["new_expression"]) == (
        "price - rebate",
        "price - 2 * rebate",
    )

    server.script = in_other_words
    done = shop.document("--llm-refresh", "stale")
    assert done.returncode == 0, done.stderr
    (request,) = server.requests  # the copy is copied again
    assert asked_columns(request) == {"net"}
    assert f"text so far: {before['sales.net']}" in request.text
    assert "Keep a text so far word for word where it is still right." in request.turns[0][1]
    after = shop.texts()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"sales.net", "sales_copy.net_amount"}
    assert after["sales.net"] == after["sales_copy.net_amount"]
    assert after["sales.net"].startswith("Again: ")
    assert after["totals.net_total"] == by_hand
    assert "net_total" not in (shop.directory / LOCK).read_text()
    assert check(shop)[0] == 0


def test_a_text_that_is_still_right_stays(documented_sales: Shop, server: LoopbackServer) -> None:
    edit(documented_sales, "sales.sql", "price - rebate as net", "price - 2 * rebate as net")
    before = documented_sales.yaml_files()
    server.script = as_before
    assert documented_sales.document("--llm-refresh", "stale").returncode == 0
    asked = [asked_columns(request) for request in server.requests]
    assert asked == [{"net"}, {"net_total"}]
    assert documented_sales.yaml_files() == before
    assert check(documented_sales)[0] == 0


def test_a_failed_refresh_keeps_the_old_texts(
    documented_sales: Shop, server: LoopbackServer
) -> None:
    edit(documented_sales, "sales.sql", "price - rebate as net", "price - 2 * rebate as net")
    before = documented_sales.yaml_files()
    server.script = lambda request, number: Reply(status=500)
    assert documented_sales.document("--llm-refresh", "stale").returncode == 1
    assert documented_sales.yaml_files() == before
    assert check(documented_sales)[0] == 1  # and it is still known that they are stale


@pytest.mark.parametrize("refresh", ["stale", "all-generated"])
def test_a_stale_text_in_a_file_that_is_left_alone_is_named(
    documented_sales: Shop, server: LoopbackServer, refresh: str
) -> None:
    edit(documented_sales, "sales.sql", "price - rebate as net", "price - 2 * rebate as net")
    edit(documented_sales, "_models.yml", "version: 2", "version: 2\nx-note: {a: 1, a: 2}")
    before = documented_sales.yaml_files()
    done = documented_sales.document("--llm-refresh", refresh)
    assert done.returncode == 1
    assert "Left alone, because they cannot be changed safely:" in done.stderr
    assert "_models.yml: line 2 has the key 'a' twice" in done.stderr
    assert server.requests == []
    assert documented_sales.yaml_files() == before


def test_another_filter_makes_aggregates_stale(documented_sales: Shop) -> None:
    edit(documented_sales, "totals.sql", "group by", "where gross > 1 group by")
    _, found = check(documented_sales)
    assert listed(found, "stale") == {
        "totals.", "totals.net_total", "totals.gross_total", "totals.sale_count"
    }  # fmt: skip
    done = documented_sales.dbt_osmosis("llm", "check")
    assert "net_total: the joins, filters or grouping behind it changed\n" in done.stdout
    assert "now " not in done.stdout.partition("net_total")[2].partition("\n  ")[0]


def test_all_generated_texts_are_written_again(
    documented_sales: Shop, server: LoopbackServer
) -> None:
    shop = documented_sales
    edit(shop, "_models.yml", shop.texts()["raw_sales.price"], "What is on the tag.")
    server.script = in_other_words
    done = shop.document("--llm-refresh", "all-generated")
    assert done.returncode == 0, done.stderr
    texts = shop.texts()
    assert texts["raw_sales.price"] == texts["sales.gross"] == texts["sales_copy.gross"]
    assert texts.pop("raw_sales.price") == "What is on the tag."
    rest = {name for name, text in texts.items() if text != "What is on the tag."}
    assert all(texts[name].startswith("Again: ") for name in rest)
    assert len(server.requests) == len(MODELS)


def test_a_renamed_column_takes_its_text_along(
    documented_sales: Shop, server: LoopbackServer
) -> None:
    shop = documented_sales
    text = shop.texts()["totals.sale_count"]
    edit(shop, "totals.sql", "count(*) as sale_count", "count(*) as number_of_sales")
    assert shop.dbt("run", "--quiet", "--select", "totals").returncode == 0
    assert listed(check(shop)[1], "orphaned") == {"totals.sale_count"}
    done = shop.document(command="refactor")
    assert done.returncode == 0, done.stderr
    assert server.requests == []
    texts = shop.texts()
    assert texts["totals.number_of_sales"] == text
    assert "totals.sale_count" not in texts
    assert check(shop)[0] == 0


def test_a_deleted_model_leaves_an_orphan_until_the_next_run(documented_sales: Shop) -> None:
    (documented_sales.directory / "models/totals.sql").unlink()
    path = documented_sales.directory / "models/_models.yml"
    path.write_text(path.read_text().partition("  - name: totals")[0])
    code, found = check(documented_sales)
    assert (code, found["orphaned_nodes"]) == (1, ["model.sales.totals"])
    assert documented_sales.document().returncode == 0
    assert check(documented_sales)[0] == 0


def test_a_machine_written_copy_that_differs_is_a_conflict(documented_sales: Shop) -> None:
    shop = documented_sales
    text = shop.texts()["sales.gross"]
    yaml_file = shop.directory / "models/_models.yml"
    whole = yaml_file.read_text()
    before, table, rest = whole.partition("  - name: sales\n")
    yaml_file.write_text(before + table + rest.replace(text, "Price before the rebate.", 1))
    code, found = check(shop)
    assert (code, listed(found, "conflicting")) == (1, {"sales_copy.gross"})
    assert shop.document("--llm-refresh", "stale").returncode == 0
    assert shop.texts()["sales_copy.gross"] == "Price before the rebate."
    assert check(shop)[0] == 0


@pytest.mark.parametrize("side", ["ours", "theirs", "both"])
def test_either_side_of_a_merge_conflict_will_do(
    documented_sales: Shop, server: LoopbackServer, side: str
) -> None:
    lock = documented_sales.directory / LOCK
    lines = lock.read_text().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if line.startswith("    net_total"))
    theirs = re.sub(r'"text": "\w+"', '"text": "0000000000"', lines[place])
    marks = ["<<<<<<< HEAD\n", lines[place], "=======\n", theirs, ">>>>>>> branch\n"]
    lines[place : place + 1] = {"ours": [lines[place]], "theirs": [theirs], "both": marks}[side]
    lock.write_text("".join(lines))
    assert check(documented_sales)[0] == 0
    before = documented_sales.yaml_files()
    assert documented_sales.document().returncode == 0
    assert (documented_sales.yaml_files(), server.requests) == (before, [])
    assert "<<<" not in lock.read_text()


def test_what_a_model_cannot_tell_is_asked_once(sales: Shop, server: LoopbackServer) -> None:
    server.script = without_country
    done = sales.document()
    assert done.returncode == 0, done.stderr
    asked = len(server.requests)
    before = sales.yaml_files()
    again = sales.document()
    assert again.returncode == 0, again.stderr
    assert (len(server.requests), sales.yaml_files()) == (asked, before)
    code, found = check(sales)
    assert code == 1
    assert "raw_sales.country" in listed(found, "missing")
    edit(sales, "raw_sales.sql", "'de' as country", "upper('de') as country")
    assert sales.document().returncode == 0
    assert len(server.requests) > asked


def test_min_coverage_and_the_other_forms(documented_sales: Shop) -> None:
    shop = documented_sales
    edit(shop, "_models.yml", f"        description: {shop.texts()['totals.country']}\n", "")
    assert shop.dbt_osmosis("llm", "check").returncode == 1
    assert shop.dbt_osmosis("llm", "check", "--min-coverage", "80").returncode == 0
    assert shop.dbt_osmosis("llm", "check", "--min-coverage", "99.9").returncode == 1
    one = shop.dbt_osmosis("llm", "check", "models/sales.sql").stdout
    assert one.splitlines()[-1].startswith("1 table, 4 of 5 texts (80.0 %): 1 missing")
    edit(shop, "sales.sql", "price - rebate as net", "price\n  - 2 * rebate as net")
    text = shop.dbt_osmosis("llm", "check").stdout
    assert "stale        net: its SQL changed" in text
    assert re.search(r"was  price - rebate\n +now  price - 2 \* rebate\n", text)
    github = shop.dbt_osmosis("llm", "check", "--format", "github").stdout
    line = (
        (shop.directory / "models/_models.yml").read_text().splitlines().index("      - name: net")
    )
    place = f"file=models/_models.yml,line={line + 1}"
    assert f"::error {place},title=stale text::model.sales.sales.net: " in github
    assert "%0Awas: price - rebate%0Anow: price - 2 * rebate\n" in github
    markdown = shop.dbt_osmosis("llm", "check", "--format", "markdown").stdout
    assert "| `price - rebate` | `price - 2 * rebate` |" in markdown


def test_check_needs_neither_key_nor_warehouse(documented_sales: Shop) -> None:
    (documented_sales.directory / "sales.duckdb").unlink()
    environ = dict.fromkeys(("OPENAI_API_KEY", "OPENAI_BASE_URL"), "")
    done = documented_sales.dbt_osmosis("llm", "check", **environ)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_schema_makes_nothing_stale(documented_sales: Shop) -> None:
    profile = documented_sales.directory / "profiles.yml"
    profile.write_text(profile.read_text().replace("{type", "{schema: ci_42, type"))
    assert check(documented_sales)[0] == 0


def test_a_model_that_does_not_compile_is_said_to_be_unchecked(documented_sales: Shop) -> None:
    edit(
        documented_sales,
        "sales.sql",
        "select sale_id",
        "select {% if execute %}{{ 1 / 0 }}{% endif %} as sale_id",
    )
    done = documented_sales.dbt_osmosis("llm", "check")
    assert "not checked  its SQL does not compile" in done.stdout
    assert "Traceback" not in done.stderr


def test_shared_texts_are_written_once(
    documented_sales: Shop, server: LoopbackServer, tmp_path: Path
) -> None:
    shop = documented_sales
    before = shop.texts()
    done = shop.document("--llm-docs-blocks")
    assert done.returncode == 0, done.stderr
    assert server.requests == []
    docs = (shop.directory / "models/dbt_osmosis_llm.md").read_text()
    blocks = dict(re.findall(r"{% docs (\w+) %}\n(.*?)\n{% enddocs %}", docs))
    assert blocks["llm_sale_id"] == before["sales.sale_id"]
    texts = shop.texts()
    for table in ("raw_sales", "sales", "sales_copy"):
        assert texts[f"{table}.sale_id"] == '{{ doc("llm_sale_id") }}'
    assert texts["sales.net"] == before["sales.net"]  # that of two columns
    assert check(shop)[0] == 0

    written = shop.yaml_files()
    assert shop.document("--llm-docs-blocks").returncode == 0
    assert (shop.yaml_files(), server.requests) == (written, [])
    assert (shop.directory / "models/dbt_osmosis_llm.md").read_text() == docs

    # A changed text changes in its one place.
    edit(shop, "raw_sales.sql", "1 as sale_id", "1 + 1 as sale_id")
    assert {"raw_sales.sale_id", "sales.sale_id"} <= listed(check(shop)[1], "stale")
    server.script = in_other_words
    assert shop.document("--llm-docs-blocks", "--llm-refresh", "stale").returncode == 0
    assert shop.yaml_files() == written
    docs = (shop.directory / "models/dbt_osmosis_llm.md").read_text()
    assert "{% docs llm_sale_id %}\nAgain: " in docs
    assert docs.count("sale_id %}") == 1
    assert check(shop)[0] == 0


def test_no_lock_file_makes_every_text_a_persons(
    documented_sales: Shop, server: LoopbackServer
) -> None:
    (documented_sales.directory / LOCK).unlink()
    before = documented_sales.yaml_files()
    done = documented_sales.document("--llm-refresh", "all-generated")
    assert done.returncode == 0, done.stderr
    assert (documented_sales.yaml_files(), server.requests) == (before, [])
    shutil.rmtree(documented_sales.directory / ".dbt-osmosis-llm")
