"""Who is asking what at this moment, so that nobody else asks the same.

A claim is a row with a lease: whoever dies leaves one that runs out, and on the same machine one
whose process is gone counts as run out at once. No lock of the database is held while a model
thinks, so that this works on any database.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.ledger import tables
from dbt_osmosis_llm.ledger.database import LedgerError
from dbt_osmosis_llm.ledger.records import Call, Hit, new_id, now, to_microseconds
from dbt_osmosis_llm.ledger.store import Ledger, find_answer, insert_hit

_LEASE_S = 30.0
_RENEWALS_PER_LEASE = 3  # so that one may fail

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES = Path("/proc/self/ns/pid")

_columns = tables.claims.c
_INSERT = sa.insert(tables.claims)
_DELETE = sa.delete(tables.claims).where(
    _columns.key == sa.bindparam("its_key"), _columns.owner == sa.bindparam("its_owner")
)


class Claims:
    """The claims of one process on a ledger; safe to share between threads."""

    def __init__(self, ledger: Ledger, *, lease_s: float = _LEASE_S) -> None:
        self._ledger = ledger
        self._lease_s = lease_s
        self._owner = new_id()
        self._host = _machine()
        self._process = os.getpid()
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._renewer: threading.Thread | None = None

    def take(self, key: str, hit: Hit, *, max_age_days: float | None = None) -> Call | bool:
        """Return the answer on record, or claim the question.

        One transaction does both: each costs a caller who waits for it, and the database.

        Args:
            key: `cache_key` of the request.
            hit: What to note where there is an answer; its call is filled in.
            max_age_days: Older answers do not count.

        Returns:
            The answer; else True: the question is this process's to ask, False: somebody else
            is asking it.

        Raises:
            LedgerError: The database refuses.
        """
        try:
            with self._ledger.writing() as connection:
                call = find_answer(connection, key, max_age_days)
                if call is None:
                    connection.execute(_INSERT, self._row(key))
                    # Between the look and the claim somebody else may have been answered; not
                    # where transactions that write come one after the other.
                    if connection.dialect.name != "sqlite":
                        call = find_answer(connection, key, max_age_days)
                    if call is not None:
                        connection.execute(_DELETE, {"its_key": key, "its_owner": self._owner})
                if call is not None:
                    insert_hit(connection, replace(hit, call_id=call.call_id))
        except LedgerError as error:
            # The key is the primary key: the row of somebody else is there.
            if isinstance(error.__cause__, IntegrityError):
                return False
            raise
        if call is not None:
            return call
        self._hold(key)
        return True

    def is_taken(self, key: str) -> bool:
        """Tell whether somebody is asking a question; a claim that has run out is removed.

        Raises:
            LedgerError: The database refuses.
        """
        query = sa.select(tables.claims).where(_columns.key == key)
        with self._ledger.reading() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return False
        if not self._has_run_out(row):
            return True
        unchanged = [column == row[column.name] for column in _columns]  # it may be renewed by now
        with self._ledger.writing() as connection:
            connection.execute(sa.delete(tables.claims).where(*unchanged))
        return False

    def release(self, key: str) -> None:
        """Give a claim back, if it is still there.

        Raises:
            LedgerError: The database refuses.
        """
        self.forget(key)
        with self._ledger.writing() as connection:
            connection.execute(_DELETE, {"its_key": key, "its_owner": self._owner})

    def forget(self, key: str) -> None:
        """Stop renewing a claim that is gone: an answer on record ends it."""
        with self._lock:
            self._held.discard(key)

    def stop(self) -> None:
        """Stop renewing, where the ledger is of no use any more."""
        self._closed.set()

    def close(self) -> None:
        """Give back what is left.

        Raises:
            LedgerError: The database refuses.
        """
        self.stop()
        with self._lock:
            held, self._held = self._held, set()
        if held:
            with self._ledger.writing() as connection:
                is_ours = _columns.owner == self._owner
                connection.execute(sa.delete(tables.claims).where(is_ours))

    def _hold(self, key: str) -> None:
        with self._lock:
            self._held.add(key)
            if self._renewer is None:
                self._renewer = threading.Thread(
                    target=self._renew, name="ledger claims", daemon=True
                )
                self._renewer.start()

    def _row(self, key: str) -> dict[str, Any]:
        return {
            "key": key,
            "owner": self._owner,
            "host": self._host,
            "process": self._process,
            "expires_at": self._end_of_lease(),
        }

    def _end_of_lease(self) -> int:
        return to_microseconds(now() + timedelta(seconds=self._lease_s))

    def _has_run_out(self, row: Mapping[Any, Any]) -> bool:
        if row["expires_at"] < to_microseconds(now()):
            return True
        return row["host"] == self._host and not _is_running(row["process"])

    def _renew(self) -> None:
        while not self._closed.wait(self._lease_s / _RENEWALS_PER_LEASE):
            with self._lock:
                if not self._held:
                    continue
            update = sa.update(tables.claims).where(_columns.owner == self._owner)
            try:
                with self._ledger.writing() as connection:
                    connection.execute(update.values(expires_at=self._end_of_lease()))
            except LedgerError as error:
                logger.debug("Claims are not renewed: %s", error)


def _machine() -> str:
    """Return what tells this machine's processes from others', also from a container's."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # Linux alone has these, and has containers of one name
        parts += [_BOOT_ID.read_text(encoding="ascii").strip(), str(_PROCESSES.readlink())]
    return " ".join(parts)


def _is_running(process: int) -> bool:
    """Tell whether a process of this machine still runs; where that cannot be asked, it does."""
    if os.name != "posix":  # elsewhere the same call would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, as another user's
        return True
    return True
