"""Connections and look-ups that fail, without a warehouse: what is tried once, and what is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.exceptions.connection import FailedToConnectError

from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.host.warehouse import Warehouse, secrets_of
from tests.limits import HANG_S

PASSWORD = "harbor-Passw0rd-4711"


def connection() -> Any:
    return SimpleNamespace(credentials=SimpleNamespace(password=PASSWORD, user="harbor"))


def opening(warehouse: Warehouse, open_connection: Callable[[], Any]) -> Callable[[], Any]:
    """Return what dbt does when a handle is wanted for the first time."""
    handle = SimpleNamespace(opener=lambda _: open_connection())
    resolve = compat.WAREHOUSE_HOOKS[0].find()
    return lambda: resolve(handle, connection())


@pytest.fixture(autouse=True)
def quiet_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let handles open what they are given, without dbt's events."""
    owner = compat.WAREHOUSE_HOOKS[0]
    monkeypatch.setattr(
        f"{owner.module}.{owner.name}", lambda self, connection: self.opener(connection)
    )


def test_a_connection_that_fails_is_not_tried_again() -> None:
    attempts: list[str] = []

    def fail() -> None:
        attempts.append(threading.current_thread().name)
        time.sleep(0.05)
        raise FailedToConnectError(f"no route for harbor with {PASSWORD}")

    warehouse = Warehouse()
    with warehouse.in_place():
        attempt = opening(warehouse, fail)
        with ThreadPoolExecutor(4) as pool:
            errors = [future.exception() for future in [pool.submit(attempt) for _ in range(8)]]
        with pytest.raises(FailedToConnectError, match=r"no route for harbor with \*\*\*"):
            attempt()
    assert len(attempts) == 1
    assert all(isinstance(error, FailedToConnectError) for error in errors)
    assert warehouse.failure == "no route for harbor with ***"


def test_opening_takes_no_longer_than_it_may() -> None:
    end = threading.Event()
    warehouse = Warehouse(opening_s=0.1)
    with warehouse.in_place(), pytest.raises(FailedToConnectError, match=r"within 0\.1 s"):
        opening(warehouse, lambda: end.wait(HANG_S))()
    end.set()
    assert warehouse.failure == "no connection within 0.1 s"


def test_a_closed_warehouse_opens_nothing_and_has_not_failed() -> None:
    warehouse = Warehouse("not today")
    with warehouse.in_place(), pytest.raises(FailedToConnectError, match="not today"):
        opening(warehouse, lambda: pytest.fail("opened"))()
    assert warehouse.failure == ""


def test_connections_open_side_by_side_once_one_is() -> None:
    both = threading.Barrier(2)
    warehouse = Warehouse()
    with warehouse.in_place():
        assert opening(warehouse, lambda: "first")() == "first"
        attempt = opening(warehouse, lambda: both.wait(HANG_S) in (0, 1))
        with ThreadPoolExecutor(2) as pool:
            assert all(pool.map(lambda _: attempt(), range(2)))


def test_one_connection_too_many_is_no_warehouse_that_is_gone() -> None:
    def fail() -> None:
        raise FailedToConnectError("too many connections")

    def tried(times: int) -> str:
        for _ in range(times):
            with pytest.raises(FailedToConnectError, match="too many"):
                opening(warehouse, fail)()
        return warehouse.failure

    warehouse = Warehouse()
    with warehouse.in_place():
        assert opening(warehouse, lambda: "first")() == "first"
        assert tried(2) == ""
        assert opening(warehouse, lambda: "another")() == "another"
        assert tried(2) == ""
        assert tried(1) == "too many connections"


@pytest.mark.parametrize("answer", [(), ("id",)])
def test_a_table_without_columns_is_looked_up_once(
    answer: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = compat.WAREHOUSE_HOOKS[1]
    asked: list[str] = []

    def look_up(context: Any, relation: Any, rendered_relation: str) -> tuple[str, ...]:
        asked.append(rendered_relation)
        return answer

    monkeypatch.setattr(f"{hook.module}.{hook.name}", look_up)
    with Warehouse().in_place():
        found = [hook.find()(None, None, "main.orders") for _ in range(3)]
    assert found == [answer] * 3
    # dbt-osmosis keeps what it finds by itself.
    assert len(asked) == (3 if answer else 1)
    assert hook.find() is look_up


def test_what_a_profile_holds_back() -> None:
    credentials = SimpleNamespace(
        user="ann", password="one-secret", private_key="two", Token="three", port=5432, keepalive=1
    )
    assert secrets_of(credentials) == ["one-secret", "two", "three"]
    assert secrets_of(object()) == []
