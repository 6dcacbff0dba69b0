"""Values that dbt compiles into SQL, which are others in another build: none reaches a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import clean_environment, run_command
from tests.conftest import Shop, copy_of
from tests.server import LoopbackServer

REGION = "frankfurt-7"
SHOP = {"SHOP_REGION": REGION, "SHOP_LIMIT": "15"}
MARK = "'(set by the build)'"
ORDERS = """
-- built for {{ target.name }}
{% set methods = ['card', 'coupon'] -%}
select
    order_id,
    {% for method in methods -%}
    sum(case when method = '{{ method }}' then amount end) as {{ method }}_amount,
    '{{ method }}_payment' as {{ method }}_kind,
    {% endfor -%}
    {{ where_built() }} as built_in,
    '{{ this.schema }}' as schema_name,
    '{{ var("shop_country", "norway") }}' as country,
    '{{ env_var("SHOP_REGION", "oslo") }}' as region,
    '{{ run_started_at }}' as started_at,
    '{{ invocation_id }}' as invocation,
    {{ channel() }} as channel,
    {{ label('gift') }} as label,
    max(minutes) >= {{ env_var('SHOP_LIMIT') }} as is_late,
    max(paid_at) - interval '{{ var("term", 11) }} days' as due_from
from {{ ref('prepared') }}
where method <> '{{ var("left_out", "voucher") }}'
group by order_id
"""
PREPARED = """
select *, '{{ target.name }}' as target from {{ ref('payments') }} where method <> 'void'
"""
PAYMENTS = """
select 1 as order_id, 'card' as method, 2.5 as amount, 7 as minutes,
    timestamp '2024-05-01' as paid_at
"""
MACROS = """
{% macro where_built() %}'{{ target.database }}' || '.' || '{{ target.name }}'{% endmacro %}
{% macro channel() %}{{ return(adapter.dispatch('channel')()) }}{% endmacro %}
{% macro default__channel() %}'web shop'{% endmacro %}
{% macro label(kind) %}'{{ kind }} wrapped'{% endmacro %}
"""
PROFILE = """
till:
  target: dev
  outputs:
    dev: {type: duckdb, path: till.duckdb, schema: alpha_dev}
    prod: {type: duckdb, path: till.duckdb, schema: omega_prod}
"""
VALUES = ["norway", "oslo", REGION, "alpha_dev", "omega_prod", "voucher", "'dev'", "'prod'"]
VALUES += ["'till'"]


def build(folder: Path) -> None:
    files = {
        "models/orders.sql": ORDERS,
        "models/prepared.sql": "{{ config(materialized='ephemeral') }}" + PREPARED,
        "models/payments.sql": PAYMENTS,
        "models/_models.yml": "version: 2\nmodels: [{name: orders}, {name: payments}]\n",
        "macros/built.sql": MACROS,
        "profiles.yml": PROFILE,
        "dbt_project.yml": "name: till\nversion: '1.0'\nprofile: till\n"
        "models: {till: {+materialized: table, +dbt-osmosis: _models.yml}}\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for target in ("dev", "prod"):
        command = ("dbt", "run", "--quiet", "--target", target)
        done = run_command(*command, directory=folder, environ=clean_environment(**SHOP))
        assert done.returncode == 0, done.stdout


@pytest.fixture
def till(made_once: Callable[..., Path], tmp_path: Path, server: LoopbackServer) -> Shop:
    shop = copy_of(made_once("till", build), tmp_path, server)
    return Shop(shop.directory, {**shop.environ, **SHOP})


def prompt_of_orders(server: LoopbackServer) -> str:
    (text,) = [request.text for request in server.requests if "`orders`" in request.text]
    return text


def test_a_prompt_says_that_values_are_set_by_the_build_and_not_which(
    till: Shop, server: LoopbackServer
) -> None:
    done = till.document()
    assert done.returncode == 0, done.stderr
    prompt = prompt_of_orders(server)
    code = re.sub(r"--.*", "", prompt)
    for value in (*VALUES, "00:00"):
        assert value not in code.replace(f'"{value}"', ""), value
    for column in ("schema_name", "country", "region", "started_at", "invocation"):
        assert re.search(rf"- `{column}` .*\n    literal: {re.escape(MARK)}", prompt), column
    assert f"literal: {MARK} || '.' || {MARK}" in prompt
    assert f"only rows where method <> {MARK}; method <> 'void'\n" in prompt
    # What stands in the project's own text stays what it is.
    for constant in ("card", "card_payment", "coupon_payment", "web shop", "gift wrapped", "void"):
        assert f"'{constant}'" in prompt
    assert f"{MARK} stands for a value of this build\n" in prompt
    assert "values of this build alone: 15; 11 days\n" in prompt
    # The model without any has a prompt as before.
    (other,) = [request.text for request in server.requests if "`payments`" in request.text]
    assert "this build" not in other


def test_the_offline_writer_says_no_value_of_the_build(till: Shop) -> None:
    done = till.document(LLM_PROVIDER="offline")
    assert done.returncode == 0, done.stderr
    texts = till.texts()
    for name, text in texts.items():
        for value in (*VALUES, "set by the", "15", "11"):
            assert value.strip("'") not in text, name
    for column in ("built_in", "schema_name", "country", "region", "started_at", "invocation"):
        assert texts[f"orders.{column}"] == "Set when the project is built."
    assert texts["orders.is_late"] == "Computed from `minutes` of `payments`."
    assert texts["orders.channel"] == "Constant `'web shop'`."
    assert texts["orders.card_kind"] == "Constant `'card_payment'`."


def test_texts_are_right_on_another_target_and_with_other_values(till: Shop) -> None:
    assert till.document().returncode == 0
    other = {"SHOP_REGION": "bergen", "SHOP_LIMIT": "36"}
    flags = ["--target", "prod", "--vars", "{term: 12, left_out: lent}"]
    here = till.dbt_osmosis("llm", "check")
    there = till.dbt_osmosis("llm", "check", *flags, **other)
    assert (here.returncode, there.returncode) == (0, 0), there.stdout
    assert here.stdout == there.stdout
    # A constant of the project's own is none of them.
    path = till.directory / "macros" / "built.sql"
    path.write_text(path.read_text().replace("web shop", "app"))
    assert "channel" in till.dbt_osmosis("llm", "check", *flags, **other).stdout


def test_prompts_are_the_same_on_two_targets_but_for_names(till: Shop) -> None:
    prompts = []
    for target in ("dev", "prod"):
        done = till.dbt_osmosis("llm", "explain", "orders", "--prompt", "--target", target)
        assert done.returncode == 0, done.stderr
        names = r'"(alpha_dev|omega_prod)"|--.*|about [\d,]+ tokens'
        prompts.append(re.sub(names, "", done.stdout))
    assert MARK in prompts[0]
    assert prompts[0] == prompts[1]
