"""What becomes of exceptions: sqlglot's are expected, ours are told."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlglot import exp

from dbt_osmosis_llm.evidence import lineage
from dbt_osmosis_llm.evidence.cache import FactsCache
from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS, QueryFacts
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.lineage.query import Reader

SQL = "select id from raw.orders"
_failed = lineage._failed


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are what they are outside of tests."""
    monkeypatch.setattr(lineage, "_failed", _failed)


def of_ours(*_: object, **__: object) -> None:
    raise KeyError("no\nname")


def of_ours_in_the_standard_library(*_: object, **__: object) -> None:
    re.compile("(")


def of_sqlglot(*_: object, **__: object) -> None:
    exp.to_identifier(len)  # type: ignore[call-overload]


def of_ours_after_one_of_sqlglot(*_: object, **__: object) -> None:
    try:
        of_sqlglot()
    except ValueError:
        of_ours()


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (of_ours, r"KeyError: 'no\nname'"),
        (of_ours_after_one_of_sqlglot, r"KeyError: 'no\nname'"),
        (of_ours_in_the_standard_library, "missing ), unterminated subpattern at position 0"),
    ],
)
def test_a_fault_of_ours_is_named_and_costs_the_facts_alone(
    fault: Callable[..., None],
    failure: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Reader, "read", fault)
    caplog.set_level(logging.DEBUG)
    facts = read_query(SQL)
    assert facts.failure.endswith(failure)
    assert facts == QueryFacts(failure=facts.failure)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG, "the caller knows what was read, and warns"
    assert record.exc_info is not None


@pytest.mark.usefixtures("lenient")
def test_what_sqlglot_raises_while_we_read_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Reader, "read", of_sqlglot)
    caplog.set_level(logging.DEBUG)
    assert read_query(SQL) == EMPTY_FACTS
    # Connections of other tests may be closed meanwhile, and say so.
    (message,) = (r.getMessage() for r in caplog.records if r.name == "dbt-osmosis")
    assert message.startswith("sqlglot cannot read a query (ValueError: ")


@pytest.mark.parametrize(
    ("sql", "dialect", "error"),
    [
        ("select from (", "duckdb", "ParseError"),
        ("select 'unterminated from t", "duckdb", "TokenError"),
        ("select " + "not " * 3000 + "a as x from t", "duckdb", "RecursionError"),
    ],
)
def test_sql_that_sqlglot_does_not_know_is_expected(
    sql: str, dialect: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert read_query(sql, dialect) == EMPTY_FACTS
    # Connections of other tests may be closed meanwhile, and say so.
    (message,) = (r.getMessage() for r in caplog.records if r.name == "dbt-osmosis")
    assert message.startswith(f"sqlglot cannot read a query ({error}: ")
    assert "\n" not in message
    assert len(message) < 300


def test_a_fault_of_ours_fails_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "read", of_ours)
    with pytest.raises(KeyError):
        read_query(SQL)


@pytest.mark.usefixtures("lenient")
def test_a_failure_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FactsCache(tmp_path / "lineage.db")
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "read", of_ours)
        assert cache.facts(SQL).failure
        assert cache.facts(SQL).failure
    assert cache.facts(SQL) == cache.facts(SQL) == read_query(SQL)
    assert not read_query(SQL).failure
    cache.close()


def test_a_rename_of_unknown_meaning_leaves_its_columns_unknown() -> None:
    facts = read_query("select o.* rename f(id as order_id), x from raw.orders as o", "snowflake")
    assert list(facts.columns) == ["x"]
