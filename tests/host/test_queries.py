from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS, QueryFacts
from dbt_osmosis_llm.host.queries import Queries

FAILURE = "KeyError: 'x'"


def queries(facts: QueryFacts) -> Queries:
    credentials = SimpleNamespace(type="duckdb")
    project = SimpleNamespace(runtime_cfg=SimpleNamespace(credentials=credentials))
    nodes: Any = SimpleNamespace(tables_read=lambda _: {})
    return Queries(SimpleNamespace(project=project), nodes, lambda *_: facts)


def model(name: str) -> Any:
    return SimpleNamespace(
        unique_id=f"model.shop.{name}",
        name=name,
        resource_type="model",
        compiled_code="select 1 as x",
    )


def test_a_table_whose_sql_we_fail_to_read_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    failing = queries(QueryFacts(failure=FAILURE))
    orders, customers = model("orders"), model("customers")
    for node in (orders, customers):
        failing.query(node)
        failing.declared(node)
        failing.forget(node.unique_id)
        failing.query(node)
    assert failing.read_failures == {orders.unique_id: FAILURE, customers.unique_id: FAILURE}
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert orders.unique_id in caplog.messages[0]
    assert FAILURE in caplog.messages[0]


def test_a_table_without_facts_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    unknown = queries(EMPTY_FACTS)
    unknown.query(model("orders"))
    assert unknown.read_failures == {}
    assert caplog.records == []
