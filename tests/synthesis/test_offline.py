"""The offline provider's sentences: what the SQL shows, nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import (
    ColumnEvidence,
    ColumnUse,
    NodeEvidence,
    UpstreamTable,
)
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.stack import build_client
from dbt_osmosis_llm.synthesis.offline import column_sentence
from dbt_osmosis_llm.synthesis.plan import Missing, build_request
from dbt_osmosis_llm.synthesis.prompts import Prompts

SCHEMA = {
    "db.orders": {"id": "int", "day": "date", "amount": "int", "status": "text", "who": "text"},
    "db.people": {"who": "text", "name": "text"},
}
UPSTREAM = (
    UpstreamTable("orders", "db.orders", "", {"amount": "Price in euros."}),
    UpstreamTable("people", "db.people"),
)


def answer(
    sql: str | None,
    *columns: ColumnEvidence,
    description: bool = True,
    keys: tuple[tuple[str, ...], ...] = (),
    build_values: tuple[str, ...] = (),
) -> dict[str, Any]:
    node = NodeEvidence(
        "model.x.t",
        "t",
        "model",
        sql=sql,
        facts=read_query(sql or "", "duckdb", SCHEMA),
        columns=columns,
        upstream=UPSTREAM,
        keys=keys,
        build_values=build_values,
    )
    missing = Missing(description, tuple(column.name for column in columns))
    client = build_client(LLMConfig("offline", "evidence"), LLMUsageStats())
    found: dict[str, Any] = json.loads(
        client.complete(build_request(node, missing, Prompts())).text
    )
    return found


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("select id from db.orders", "Rows of `orders`."),
        ("select distinct id from db.orders", "Distinct rows of `orders`."),
        (
            "select day, sum(amount) as total from db.orders where status = 'paid' group by day",
            "Aggregates of `orders`, one row per `day`. Only rows where `status = 'paid'`.",
        ),
        (
            "select o.id from db.orders o left join db.people p on p.who = o.who where o.id > 1",
            "Joins `orders` and `people`. Only rows where `orders.id > 1`.",
        ),
        (
            "select o.id from db.orders o left join (select who from db.people where old) p "
            "on p.who = o.who",
            "Joins `orders` and `people`.",
        ),
        (
            "select who from db.orders union all select who from db.people",
            "Union of rows of `orders` and `people`.",
        ),
        (
            "select id from db.orders qualify row_number() over (partition by who) = 1",
            "Rows of `orders`, one row per `who`. "
            "Only rows where `ROW_NUMBER() OVER (PARTITION BY who) = 1`.",
        ),
        (None, None),
    ],
)
def test_table_sentences(sql: str | None, sentence: str | None) -> None:
    assert answer(sql)["description"] == sentence


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("id", None),
        ("amount", "Price in euros."),
        ("amount as price", "Price in euros."),
        ("day as ordered_on", "`day` of `orders`."),
        ("cast(day as timestamp) as ordered_at", "`day` of `orders`."),
        ("'shop' as origin", "Constant `'shop'`."),
        (
            "amount * 2 as double_amount",
            "Computed as `amount * 2` of `orders`. `amount`: Price in euros.",
        ),
        ("sum(amount) as total", "Sum of `amount` of `orders`. `amount`: Price in euros."),
        (
            "coalesce(sum(amount), 0) as t",
            "Sum of `amount` of `orders`, 0 where there is none. `amount`: Price in euros.",
        ),
        ("coalesce(amount, 0) as paid", "Price in euros. `0` where there is none."),
        ("coalesce(status, 'new') as state", "Computed as `COALESCE(status, 'new')` of `orders`."),
        ("'a;' || status as code", "Computed as `'a;' || status` of `orders`."),
        (
            "row_number() over (partition by who order by day desc) as n",
            "Row number within `who`, ordered by `day DESC`.",
        ),
        (
            "case when amount > 9 then 'then' when amount > 1 then 'it''s' else 'end' end as size",
            "One of 'then', 'it''s' and 'end', by `amount` of `orders`. `amount`: Price in euros.",
        ),
        (
            "case status when 'a' then 'b' else who end as s",
            "Computed as `CASE status WHEN 'a' THEN 'b' ELSE who END` of `orders`.",
        ),
        ("count(*) as n", "Number of rows."),
        ("count(id) as n", "Number of non-null `id` values of `orders`."),
        ("count(distinct who) as n", "Number of distinct `who` values of `orders`."),
        ("max(day) as latest", "Largest `day` of `orders`."),
    ],
)
def test_column_sentences(expression: str, sentence: str | None) -> None:
    name = expression.rpartition(" as ")[2] if " as " in expression else expression
    sql = f"select {expression}, id as other from db.orders"
    columns = (ColumnEvidence(name), ColumnEvidence("nowhere"))
    found = answer(sql, *columns)["columns"]
    assert found == {name: sentence, "nowhere": None}


def test_a_single_column_and_its_tests() -> None:
    # "unique" would not stay true where the text is inherited; a list of values does.
    column = ColumnEvidence("status", tests=("unique", "never null", "one of 'a', 'b'"))
    assert answer("select status from db.orders", column, description=False) == {
        "description": "One of 'a', 'b'."
    }


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("select id from db.orders", "Rows of `orders`, one row per `id`."),
        (
            "select o.id from db.orders o join db.people p using (who)",
            "Joins `orders` and `people`, one row per `id`.",
        ),
        ("select day, count(*) as n from db.orders group by 1", None),
        ("select id from db.orders qualify row_number() over (partition by who) = 1", None),
    ],
)
def test_tests_say_what_one_row_is_where_the_sql_does_not(sql: str, sentence: str | None) -> None:
    without = answer(sql)["description"]
    found = answer(sql, keys=(("day", "who"), ("id",)))["description"]
    assert found == (sentence or without)
    assert (found != without) == (sentence is not None)


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (
            "select who, sum(amount) as n from db.orders group by 1",
            "Sum of `amount` of `orders` per `who`. `amount`: Price in euros.",
        ),
        (
            "select o.day, p.name, count(*) as n from db.orders o join db.people p using (who) "
            "group by all",
            "Number of rows per `day` and `name`.",
        ),
        # Grouped by the sum of an inner query: it is not taken per that sum.
        (
            "select n, count(*) as c from (select who, sum(amount) as n from db.orders group by 1) "
            "group by 1",
            "Sum of `amount` of `orders`. `amount`: Price in euros.",
        ),
        # Joined in: its own query says per what.
        (
            "select o.id, s.n from db.orders o join (select who, sum(amount) as n from db.orders "
            "group by 1) s using (who)",
            "Sum of `amount` of `orders` per `who`. `amount`: Price in euros.",
        ),
        (
            "with s as (select who, count(*) as n from db.orders group by 1) "
            "select p.who, coalesce(s.n, 0) as n from db.people p left join s using (who)",
            "Number of rows of `orders` per `who`, 0 where there is none.",
        ),
        (
            "with a as (select who, count(*) as n from db.orders where id > 1 group by 1), "
            "b as (select day, count(*) as m from db.orders group by 1) select a.n, b.m from a, b",
            "Number of rows of `orders` where `id > 1` per `who`.",
        ),
    ],
)
def test_aggregates_say_per_what(sql: str, sentence: str | None) -> None:
    assert answer(sql, ColumnEvidence("n"))["columns"] == {"n": sentence}


def test_what_a_source_means_is_added_once_and_only_when_short() -> None:
    column = ColumnEvidence("double_amount")
    request = build_request(
        NodeEvidence(
            "model.x.t",
            "t",
            "model",
            facts=read_query("select amount * 2 as double_amount from db.orders", "duckdb", SCHEMA),
            columns=(column,),
            upstream=(UpstreamTable("orders", "db.orders", "", {"amount": "Cents. `c`: One."}),),
        ),
        Missing(False, ("double_amount",)),
        Prompts(),
    )
    client = build_client(LLMConfig("offline", "evidence"), LLMUsageStats())
    assert json.loads(client.complete(request).text) == {
        "description": "Computed as `amount * 2` of `orders`."
    }


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["", "Who paid."], "Who paid."),
        (["Who paid.", "Who ordered."], None),
        (["Who paid, see `paid_at`."], None),
        ([], None),
    ],
)
def test_a_source_column_means_what_models_say_of_it(
    texts: list[str], sentence: str | None
) -> None:
    uses = tuple(ColumnUse(f"stg_{n}", "who", text) for n, text in enumerate(texts))
    found = answer(None, ColumnEvidence("who", uses=uses), description=False)
    assert found == {"description": sentence}


def test_a_list_of_values_is_not_said_twice() -> None:
    sql = "select case when amount > 9 then 'big' else 'small' end as size from db.orders"
    column = ColumnEvidence("size", tests=("never null", "one of 'big', 'small'", "primary key"))
    assert answer(sql, column)["columns"] == {
        "size": "Computed from `amount` of `orders`. One of 'big', 'small'."
    }


MARK = "'(set by the build)'"
FROM_BUILD = "Set when the project is built."


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        (MARK, FROM_BUILD),
        (f"{MARK} || '.' || {MARK}", FROM_BUILD),
        (f"cast({MARK} as date)", FROM_BUILD),
        ("15", FROM_BUILD),
        ("14", "Constant `14`."),
        ("amount >= 15", "Computed from `amount` of `orders`."),
        ("amount >= 150", "Computed as `amount >= 150` of `orders`. `amount`: Price in euros."),
        (f"coalesce(amount, {MARK})", "Computed from `amount` of `orders`."),
        (f"case when id = 1 then {MARK} else 'b' end", "Computed from `id` of `orders`."),
        ("day - interval '7 days'", "Computed from `day` of `orders`."),
    ],
)
def test_no_value_of_the_build_is_said(expression: str, sentence: str) -> None:
    sql = f"select {expression} as x from db.orders"
    found = answer(sql, ColumnEvidence("x"), build_values=("15", "7 days"))
    assert found["columns"]["x"] == sentence


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (f"select id from db.orders where status <> {MARK}", "Rows of `orders`."),
        (
            "select id from db.orders where amount > 15 and id > 2",
            "Rows of `orders`. Only rows where `id > 2`.",
        ),
        (
            f"select count(*) as n from db.orders group by status = {MARK}",
            "Aggregates of `orders`.",
        ),
    ],
)
def test_a_table_is_described_without_values_of_the_build(sql: str, sentence: str) -> None:
    assert answer(sql, build_values=("15",))["description"] == sentence


def test_a_union_of_values_of_the_build_says_none() -> None:
    sql = f"select {MARK} as x from db.orders union all select {MARK} from db.people"
    assert answer(sql, ColumnEvidence("x"))["columns"]["x"] == FROM_BUILD


def test_a_group_of_the_build_is_not_said() -> None:
    sql = f"select sum(amount) as x from db.orders group by status = {MARK}"
    text = answer(sql, ColumnEvidence("x"))["columns"]["x"]
    assert text == "Sum of `amount` of `orders`. `amount`: Price in euros."


def test_a_text_that_names_what_a_filter_leaves_out_says_the_filter() -> None:
    sql = "select state from db.tills where state <> 'shut'"
    node = NodeEvidence(
        "model.shop.m",
        "m",
        "model",
        sql=sql,
        facts=read_query(sql, "duckdb", {"db.tills": ["state"]}),
        columns=(ColumnEvidence("state"),),
        upstream=(UpstreamTable("tills", "db.tills", "", {"state": "Open or shut"}, "t"),),
    )
    assert column_sentence(node, "state") == "Open or shut. Only rows where `state <> 'shut'`."
