"""Texts that are taken over by lineage: which, from where, and never a wrong one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.llm.exceptions import LLMAPIError
from dbt_osmosis_llm.llm.messages import LLMRequest
from dbt_osmosis_llm.llm.mock import MockLLMClient, valid_answer
from dbt_osmosis_llm.synthesis.copying import copies, decided_by_lineage
from dbt_osmosis_llm.synthesis.engine import Engine
from dbt_osmosis_llm.synthesis.prompts import Prompts
from tests.synthesis.test_engine import MemoryProject

TABLES = {
    "orders": {
        "id": "Unique id of the order.",
        "amount": "Amount paid, in euros.",
        "note": "",
        "placed_at": "When the order was placed; never null.",
        "customer_id": "The customer.",
    },
    "refunds": {"id": "Unique id of the refund.", "amount": "Amount paid,\n  in euros."},
}


def node(sql: str, tables: Mapping[str, Mapping[str, str]] = TABLES) -> NodeEvidence:
    facts = read_query(sql, "duckdb", {name: list(columns) for name, columns in tables.items()})
    return NodeEvidence(
        "model.shop.m",
        "m",
        "model",
        sql=sql,
        facts=facts,
        columns=tuple(ColumnEvidence(name) for name in facts.columns),
        upstream=tuple(UpstreamTable(n, n, "", c, f"model.shop.{n}") for n, c in tables.items()),
    )


@pytest.mark.parametrize(
    ("sql", "origins"),
    [
        ("select id from orders", {"id": "orders.id"}),
        ("select id as order_id from orders", {"order_id": "orders.id"}),
        ("select cast(amount as int) as euros from orders", {"euros": "orders.amount"}),
        ("with o as (select id as k from orders) select k as final from o", {"final": "orders.id"}),
        ("select note from orders", {}),
        ("select sum(amount) as amount from orders", {}),
        ("select coalesce(amount, 0) as amount from orders", {}),
        ("select case when id > 0 then amount end as amount from orders", {}),
        ("select max(amount) over () as amount from orders", {}),
        (
            "select customer_id, count(*) as n from orders group by 1",
            {"customer_id": "orders.customer_id"},
        ),
        ("select 1 as one from orders", {}),
        (
            "select amount from orders union all select amount from refunds",
            {"amount": "orders.amount"},
        ),
        ("select id from orders union all select id from refunds", {}),
        ("select amount from orders union all select -amount from refunds", {}),
        (
            "select r.amount from orders o left join refunds r on o.id = r.id",
            {"amount": "refunds.amount"},
        ),
        ("select o.placed_at from refunds r left join orders o on o.id = r.id", {}),
        (
            "select o.placed_at from refunds r join orders o on o.id = r.id",
            {"placed_at": "orders.placed_at"},
        ),
        ("select x from unknown_table", {}),
    ],
)
def test_what_is_a_column_unchanged_takes_its_text(sql: str, origins: dict[str, str]) -> None:
    evidence = node(sql)
    found = copies(evidence, [column.name for column in evidence.columns])
    assert {
        copy.column: f"{copy.origin_id.rpartition('.')[2]}.{copy.origin_column}" for copy in found
    } == origins
    for copy in found:
        table = copy.origin_id.rpartition(".")[2]
        assert copy.text == TABLES[table][copy.origin_column]


@pytest.mark.parametrize(
    ("selected", "decided"),
    [(set(), {"amount"}), ({"model.shop.orders"}, {"customer_id", "amount"})],
)
def test_names_count_only_where_lineage_is_silent(selected: set[str], decided: set[str]) -> None:
    evidence = node(
        "select customer_id, sum(amount) as amount, x from orders, elsewhere group by all"
    )
    assert decided_by_lineage(evidence, ["customer_id", "amount", "x"], selected) == decided


def project() -> MemoryProject:
    made = MemoryProject(
        {"b": ["a"], "c": ["b"]},
        {"a": {"id": "", "x": ""}, "b": {"a_id": "", "x": ""}, "c": {"key": "", "x": "", "y": ""}},
    )
    made.sql["b"] = "select id as a_id, x + 1 as x from a"
    made.sql["c"] = "select a_id as key, x, x * 2 as y from b"
    return made


def telling(request: LLMRequest) -> dict[str, object]:
    """Answer with texts that name the node they were asked for."""
    answer = valid_answer(request.schema or {})
    columns = answer.get("columns", {})
    return {
        "description": f"Table {request.custom_id}.",
        "columns": {name: f"{name} of {request.custom_id}." for name in columns},
    }


def test_generated_texts_go_on_through_renames() -> None:
    made = project()
    report = Engine(MockLLMClient(telling), Prompts()).run(made)
    assert made.columns == {
        "a": {"id": "id of a.", "x": "x of a."},
        "b": {"a_id": "id of a.", "x": "x of b."},
        "c": {"key": "id of a.", "x": "x of b.", "y": "y of c."},
    }
    assert [outcome.copied for outcome in report.outcomes] == [(), ("a_id",), ("key", "x")]
    assert not any(outcome.inherited for outcome in report.outcomes)


def test_what_the_model_could_not_tell_takes_no_text_by_name() -> None:
    made = project()
    made.unknown = {"c": {"x"}, "b": {"x"}}
    Engine(MockLLMClient(telling), Prompts()).run(made)
    assert made.columns["b"] == {"a_id": "id of a.", "x": ""}
    assert made.columns["c"] == {"key": "id of a.", "x": "", "y": "y of c."}


def test_without_copying_names_decide_as_dbt_osmosis_has_it() -> None:
    made = project()
    Engine(MockLLMClient(telling), Prompts(), copies=False).run(made)
    assert made.columns["b"] == {"a_id": "a_id of b.", "x": "x of a."}


def test_columns_of_a_failed_table_wait_under_any_name() -> None:
    made = project()

    def failing(request: LLMRequest) -> LLMAPIError | dict[str, object]:
        return LLMAPIError("odd", status_code=400) if request.custom_id == "a" else telling(request)

    report = Engine(MockLLMClient(failing), Prompts()).run(made)
    assert [outcome.waiting for outcome in report.outcomes] == [(), ("a_id",), ("key",)]
    assert made.columns["c"] == {"key": "", "x": "x of b.", "y": "y of c."}
