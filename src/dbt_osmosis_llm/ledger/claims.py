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
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.ledger import tables
from dbt_osmosis_llm.ledger.database import LedgerError
from dbt_osmosis_llm.ledger.records import new_id, now, to_microseconds
from dbt_osmosis_llm.ledger.store import Ledger

_LEASE_S = 30.0
_RENEWALS_PER_LEASE = 3

_columns = tables.claims.c


class Claims:
    """The claims of one process on a ledger; safe to share between threads."""

    def __init__(self, ledger: Ledger, *, lease_s: float = _LEASE_S) -> None:
        self._ledger = ledger
        self._lease_s = lease_s
        self._owner = new_id()
        self._host = socket.gethostname()
        self._process = os.getpid()
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._renewer: threading.Thread | None = None

    def take(self, key: str) -> bool:
        """Claim a question; False when somebody else is asking it.

        Raises:
            LedgerError: The database refuses.
        """
        if not self._insert(key):
            with self._ledger.writing() as connection:
                query = sa.select(tables.claims).where(_columns.key == key)
                row = connection.execute(query).mappings().first()
                if row is not None:
                    if not self._has_run_out(row):
                        return False
                    same = (_columns.key == key, _columns.owner == row["owner"])
                    connection.execute(sa.delete(tables.claims).where(*same))
            if not self._insert(key):
                return False
        with self._lock:
            self._held.add(key)
            if self._renewer is None:
                self._renewer = threading.Thread(
                    target=self._renew, name="ledger claims", daemon=True
                )
                self._renewer.start()
        return True

    def release(self, key: str) -> None:
        """Give a claim back, if it is still there.

        Raises:
            LedgerError: The database refuses.
        """
        self.forget(key)
        own = (_columns.key == key, _columns.owner == self._owner)
        with self._ledger.writing() as connection:
            connection.execute(sa.delete(tables.claims).where(*own))

    def forget(self, key: str) -> None:
        """Stop renewing a claim that is gone: an answer on record ends it."""
        with self._lock:
            self._held.discard(key)

    def close(self) -> None:
        """Give back what is left."""
        self._closed.set()
        with self._lock:
            left, self._held = self._held, set()
        if left:
            with self._ledger.writing() as connection:
                own = _columns.owner == self._owner
                connection.execute(sa.delete(tables.claims).where(own))

    def _insert(self, key: str) -> bool:
        values = {
            "key": key,
            "owner": self._owner,
            "host": self._host,
            "process": self._process,
            "expires_at": self._end_of_lease(),
        }
        try:
            with self._ledger.writing() as connection:
                connection.execute(sa.insert(tables.claims), values)
        except LedgerError as error:
            if isinstance(error.__cause__, IntegrityError):
                return False
            raise
        return True

    def _end_of_lease(self) -> int:
        return to_microseconds(now() + timedelta(seconds=self._lease_s))

    def _has_run_out(self, row: Mapping[Any, Any]) -> bool:
        if row["expires_at"] < to_microseconds(now()):
            return True
        return row["host"] == self._host and not _runs(row["process"])

    def _renew(self) -> None:
        while not self._closed.wait(self._lease_s / _RENEWALS_PER_LEASE):
            with self._lock:
                if not self._held:
                    continue
            own = sa.update(tables.claims).where(_columns.owner == self._owner)
            try:
                with self._ledger.writing() as connection:
                    connection.execute(own.values(expires_at=self._end_of_lease()))
            except LedgerError as error:
                logger.debug("Claims are not renewed: %s", error)


def _runs(process: int) -> bool:
    """Tell whether a process of this machine still runs; where that cannot be asked, it does."""
    if os.name != "posix":  # elsewhere the same call would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
