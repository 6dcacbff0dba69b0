"""A ledger on a Postgres that restarts, goes away, or lets nobody in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dbt_osmosis_llm.ledger import Call, Ledger, LedgerError
from dbt_osmosis_llm.ledger.client import LedgerClient
from dbt_osmosis_llm.llm.configuration import LLMConfig
from dbt_osmosis_llm.llm.exceptions import LLMLedgerError
from dbt_osmosis_llm.llm.messages import LLMRequest, LLMResponse, Message
from dbt_osmosis_llm.llm.mock import MockLLMClient
from dbt_osmosis_llm.llm.usage import LLMUsageStats
from tests.postgres import PASSWORD, PostgresServer

REQUEST = LLMRequest((Message("user", "Question"),))


@pytest.fixture
def stoppable(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, which runs again after the test."""
    yield postgres
    if not postgres.is_running:
        postgres.start()


def client_on(ledger: Ledger, inner: MockLLMClient, *, required: bool = False) -> LedgerClient:
    config = LLMConfig("openai", "mock", api_key="sk-0123456789")
    return LedgerClient(inner, ledger, "run", config, required=required, stats=LLMUsageStats())


def test_a_restart_of_the_server_is_not_noticed(
    postgres_url: str, stoppable: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Ledger.open(postgres_url) as ledger:
        client = client_on(ledger, MockLLMClient())
        client.complete(REQUEST)
        stoppable.stop()
        stoppable.start()
        client.complete(REQUEST)
        client.complete(replace(REQUEST, temperature=0.5))
        assert (ledger.count(), len(ledger.hits())) == (2, 1)
    assert not caplog.records


def test_a_run_goes_on_without_its_database(
    postgres_url: str, stoppable: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: LLMRequest) -> str:
        if len(inner.calls) == 2:
            stoppable.stop()
        return f"Answer {len(inner.calls)}"

    inner = MockLLMClient(answer)
    with Ledger.open(postgres_url) as ledger:
        client = client_on(ledger, inner)
        requests = [replace(REQUEST, temperature=n / 10) for n in range(5)]
        texts = [client.complete(request).text for request in requests]
        client.close()
    assert texts == [f"Answer {n}" for n in range(1, 6)]
    (warning,) = [record.message for record in caplog.records]
    assert "the run goes on without it" in warning
    assert PASSWORD not in warning
    assert "\n" not in warning


def test_a_run_that_requires_its_database_ends_with_it(
    postgres_url: str, stoppable: PostgresServer
) -> None:
    def answer(request: LLMRequest) -> LLMResponse:
        stoppable.stop()
        return LLMResponse("Answer")

    inner = MockLLMClient(answer)
    with Ledger.open(postgres_url) as ledger:
        client = client_on(ledger, inner, required=True)
        assert client.complete(REQUEST).text == "Answer"  # it was paid for
        with pytest.raises(LLMLedgerError, match=r"refused|closed") as caught:
            client.complete(REQUEST)
        assert PASSWORD not in str(caught.value)
    assert len(inner.calls) == 1


@pytest.mark.parametrize(
    ("of", "to", "said"),
    [
        (PASSWORD, "Wrong-4711", "password authentication failed"),
        ("ledger:", "nobody:", "nobody"),
        ("/postgres", "/nowhere", '"nowhere" does not exist'),
        ("/postgres", "/postgres?nonsense=1", "nonsense"),
        ("postgresql:", "postgresql+pg8000:", "pg8000"),
    ],
)
def test_a_database_that_lets_nobody_in_is_named(
    postgres: PostgresServer, of: str, to: str, said: str
) -> None:
    with pytest.raises(LedgerError, match=said) as caught:
        Ledger.open(postgres.url().replace(of, to))
    assert "\n" not in str(caught.value)
    assert "4711" not in str(caught.value)


def test_the_driver_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"pip install 'dbt-osmosis-llm\[postgres\]'"):
        Ledger.open("postgresql://h/d")


def test_the_tables_may_be_in_a_schema_of_their_own(postgres_url: str) -> None:
    with Ledger.open(postgres_url) as ledger, ledger.writing() as connection:
        connection.exec_driver_sql("CREATE SCHEMA team")
    call = Call(run_id="r", provider="p", model="m", status="answered", response="in its own")
    own = f"{postgres_url}?options=-csearch_path%3Dteam"
    with Ledger.open(own) as ledger:
        ledger.record(call)
    with Ledger.open(own) as ledger:
        assert ledger.count() == 1
    with Ledger.open(postgres_url) as ledger:
        assert ledger.count() == 0
