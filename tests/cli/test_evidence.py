"""What prompts hold of a real project: tests, constraints, meta, what is downstream, samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Shop, copy_of
from tests.server import LoopbackServer, Recorded

SMALL_YAML = """
version: 2
models:
  - name: small
    config:
      contract: {enforced: true}
    constraints:
      - {type: primary_key, columns: [id, kind]}
    data_tests:
      - unique:
          column_name: "id || kind"
    columns:
      - name: id
        data_type: integer
        constraints:
          - {type: not_null}
          - {type: check, expression: "id > 0"}
        data_tests:
          - unique:
              config: {where: "kind = 'a'"}
          - relationships:
              to: ref('stores')
              field: store_id
      - name: kind
        data_type: varchar
        config:
          tags: [b_tag, a_tag]
          meta:
            unit: none
            dbt-osmosis-skip-merge-meta: true
            osmosis_progenitor: model.x
            password: hunter2
            note: "sk-ant-api03-abcdefghijklmnop1234"
            nested: {a: 1}
            long: "%s"
""" % ("x" * 81)


def prompt_about(server: LoopbackServer, name: str) -> str:
    """Return the one user message about a table."""
    found = [
        message["content"]
        for request in server.requests
        for message in request.body["messages"]
        if message["role"] == "user" and f"`{name}`" in message["content"].splitlines()[0]
    ]
    assert len(found) == 1, name
    return str(found[0])


def test_tests_constraints_and_meta_go_along(shop: Shop, server: LoopbackServer) -> None:
    models = shop.directory / "models" / "marts"
    (models / "small.sql").write_text("select 1 as id, 'a' as kind")
    (models / "_small.yml").write_text(SMALL_YAML)
    built = shop.dbt("run", "--quiet", "--select", "small")
    assert built.returncode == 0, built.stdout
    assert shop.document("small").returncode == 0
    prompt = prompt_about(server, "small")
    assert (
        "materialized as: table, under a contract\n"
        "tested: id || kind: unique\n"
        "tested: primary key: id, kind\n"
        "one row per id || kind (unique); per id, kind (unique)\n"
    ) in prompt
    assert (
        "- `id` (integer)\n"
        "    literal: 1\n"
        "    tested: found in stores.store_id, unique where kind = 'a', never null, check id > 0\n"
        "- `kind` (varchar)\n"
        "    literal: 'a'\n"
        "    tags: a_tag, b_tag\n"
        "    meta: unit=none\n"
    ) in prompt


def test_sources_say_what_models_make_of_them(shop: Shop, server: LoopbackServer) -> None:
    assert shop.document("--llm-concurrency", "1").returncode == 0
    prompt = prompt_about(server, "pos.orders")
    assert (
        "- `status` (VARCHAR)\n"
        "    said of it as stg_pos__orders.order_status: Where the order stands in the shop: "
        "placed, completed, cancelled or returned.\n"
    ) in prompt
    # Two of them have been asked about before: their new texts are none of what people wrote.
    assert (
        "other tables of this source:\n"
        "- customers: One row per member of the loyalty programme.\n"
        "- payments: Append-only log of payments, one row per change of state.\n"
        "- order_items, refunds\n"
    ) in prompt


@pytest.mark.parametrize("flags", [[], ["--llm-sample"]])
def test_values_of_seeds_are_sent_only_when_asked_for(
    shop: Shop, server: LoopbackServer, flags: list[str]
) -> None:
    csv = shop.directory / "seeds" / "stores.csv"
    csv.write_text(csv.read_text() + "30,By x@y.example,Oslo,2024-01-01\n")
    assert shop.document("seeds", *flags, OSMOSIS_LLM_REDACT_PII="1").returncode == 0
    prompt = prompt_about(server, "stores")
    assert ("values in the file: 'Bergen', 'Oslo'" in prompt) is bool(flags)
    assert ("header of the file: store_id, store_name, city, opened_on" in prompt) is bool(flags)
    assert "Espresso" not in prompt
    assert ("'Espresso', 'Latte'" in prompt_about(server, "products")) is bool(flags)
    assert "x@y.example" not in str(server.requests)


def test_prompts_are_the_same_whatever_the_hash_seed_and_the_concurrency(
    built_demo: Path, tmp_path: Path, server: LoopbackServer
) -> None:
    asked: list[list[str]] = []
    for seed, concurrency in (("0", "1"), ("1", "8")):
        server.reset()
        shop = copy_of(built_demo, tmp_path / seed, server)
        flags = ["--llm-concurrency", concurrency]
        assert shop.document(*flags, PYTHONHASHSEED=seed).returncode == 0
        asked.append(sorted(_messages(request) for request in server.requests))
    assert len(asked[0]) > 10
    assert asked[0] == asked[1]


def _messages(request: Recorded) -> str:
    return str(request.body["messages"])


def test_a_long_prompt_is_shortened_and_says_so(shop: Shop, server: LoopbackServer) -> None:
    flags = ["--log-level", "DEBUG"]
    done = shop.document("fct_orders", *flags, OSMOSIS_LLM_MAX_PROMPT_TOKENS="1500")
    assert done.returncode == 0, done.stderr
    prompt = prompt_about(server, "fct_orders")
    assert "model.coffee_shop.fct_orders: left out of the prompt, which may take" in done.stderr
    assert "SUM(CASE WHEN products.category = 'drink'" in prompt
