"""The offline provider's sentences: what the SQL shows, nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.llm.client import LLMConfig, build_client
from dbt_osmosis_llm.llm.prompts import Prompts
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from dbt_osmosis_llm.synthesis.plan import Missing, build_request

SCHEMA = {
    "db.orders": {"id": "int", "day": "date", "amount": "int", "status": "text", "who": "text"},
    "db.people": {"who": "text", "name": "text"},
}
UPSTREAM = (
    UpstreamTable("orders", "db.orders", "", {"amount": "Price in euros."}),
    UpstreamTable("people", "db.people"),
)


def answer(sql: str | None, *columns: ColumnEvidence, description: bool = True) -> dict[str, Any]:
    node = NodeEvidence(
        "model.x.t",
        "t",
        "model",
        sql=sql,
        facts=read_query(sql or "", "duckdb", SCHEMA),
        columns=columns,
        upstream=UPSTREAM,
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
        ("amount * 2 as double_amount", "Computed as `amount * 2`."),
        ("sum(amount) as total", "Sum of `amount` of `orders`."),
        ("coalesce(sum(amount), 0) as t", "Sum of `amount` of `orders`, 0 where there is none."),
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
