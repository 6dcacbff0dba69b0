"""Whether the warehouse answers: a connection that fails once has failed for the whole run."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from typing import Any, NoReturn

from dbt.adapters.contracts.connection import ConnectionState
from dbt.adapters.exceptions.connection import FailedToConnectError

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.host.nodes import on_one_line

OPENING_S = 300.0
"""How long opening a connection may take: what starts on demand needs minutes for it. Adapters have
shorter limits of their own, mostly."""

_MAX_FAILED_IN_A_ROW = 3
"""Connections, after which a warehouse that was there is gone."""

CLOSED = "its Jinja runs a query, and the warehouse is not to be asked"
"""What is said of a model whose Jinja runs a query all the same."""

_SECRET = re.compile(r"pass|secret|token|key", re.IGNORECASE)
"""In the names of what a profile holds."""


class Warehouse:
    """What becomes of connections and look-ups while a project is open.

    Adapters try anew for each model and each table, which an unreachable host makes minutes each.
    Here the first failure is the last attempt.

    Args:
        closed: Why no connection may be opened at all, in words; one may be when it is empty.
        opening_s: Seconds that opening a connection may take.
    """

    def __init__(self, closed: str = "", opening_s: float = OPENING_S) -> None:
        self.failure = ""
        """Why a connection could not be opened; empty as long as none has failed."""
        self._closed = closed
        self._opening_s = opening_s
        self._is_open = False
        self._failed_in_a_row = 0
        self._first = threading.Lock()
        self._first_look = threading.Lock()
        self._without_columns: set[str] = set()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Look at connections and look-ups as long as this is open."""
        with ExitStack() as stack:
            for hook, ours in zip(
                compat.WAREHOUSE_HOOKS, (self._resolve, self._look_up), strict=True
            ):
                host = hook.find()
                stack.callback(hook.put, host)
                hook.put(ours(host))
            yield

    def _resolve(self, host: Callable[..., Any]) -> Callable[..., Any]:
        """Open a connection, unless that may not be or has failed."""

        def resolve(handle: Any, connection: Any) -> Any:
            if self._is_open:
                return self._opened(host, handle, connection)
            # One attempt: threads that want a connection meanwhile wait for what becomes of it.
            with self._first:
                opened = self._opened(host, handle, connection)
                self._is_open = True
                return opened

        return resolve

    def _opened(self, host: Callable[..., Any], handle: Any, connection: Any) -> Any:
        if why := self._closed or self.failure:
            self._give_up(connection, why)
        opened: list[Any] = []
        failed: list[Exception] = []

        def open_connection() -> None:
            try:
                opened.append(host(handle, connection))
            except Exception as error:  # noqa: BLE001  # drivers raise whatever they like
                failed.append(error)

        # In a thread, because no driver can be told from outside to give up.
        thread = threading.Thread(target=copy_context().run, args=[open_connection], daemon=True)
        thread.start()
        thread.join(self._opening_s)
        if opened:
            self._failed_in_a_row = 0
            return opened[0]
        said = f"no connection within {self._opening_s:g} s"
        if failed:
            said = on_one_line(failed[0], secrets_of(connection.credentials))
            said = said.removeprefix("Database Error ")
        # Beside connections that are open, one may be one too many.
        self._failed_in_a_row += 1
        if not self._is_open or self._failed_in_a_row >= _MAX_FAILED_IN_A_ROW:
            self.failure = said
        return self._give_up(connection, said)

    def _give_up(self, connection: Any, why: str) -> NoReturn:
        # Of one that failed, dbt asks for a handle to close it, which opens it once more.
        connection.state = ConnectionState.CLOSED
        raise FailedToConnectError(why)

    def stopped(self, error: Exception) -> bool:
        """Tell whether an error is that the warehouse cannot be reached."""
        return bool(self.failure) and isinstance(error, FailedToConnectError)

    def _look_up(self, host: Callable[..., Any]) -> Callable[..., Any]:
        """Look the columns of a table up, once also where there are none to find."""

        def look_up(context: Any, relation: Any, rendered_relation: str) -> tuple[Any, ...]:
            # The first one alone: what it finds out of the warehouse is said once.
            with nullcontext() if self._is_open or self.failure else self._first_look:
                # dbt-osmosis keeps no answer of a look-up that fails, and would say so each time.
                if self.failure or rendered_relation in self._without_columns:
                    logger.debug("%s is not looked up again", rendered_relation)
                    return ()
                columns: tuple[Any, ...] = host(context, relation, rendered_relation)
                if not columns:
                    self._without_columns.add(rendered_relation)
                return columns

        return look_up


def secrets_of(credentials: Any) -> list[str]:
    """Return what of a profile must not be shown."""
    values = vars(credentials) if hasattr(credentials, "__dict__") else {}
    return [v for name, v in values.items() if _SECRET.search(name) and isinstance(v, str)]
