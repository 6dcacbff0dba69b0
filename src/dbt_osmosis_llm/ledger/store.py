"""The ledger itself: writes calls once and never changes them, finds answers again.

Every method is safe to call from several threads, and several processes may have the same ledger
open. A commit has happened when a method that writes returns.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from dbt_osmosis_llm.ledger import database, tables
from dbt_osmosis_llm.ledger.database import CorruptLedgerError, LedgerError
from dbt_osmosis_llm.ledger.export import to_arrow
from dbt_osmosis_llm.ledger.records import (
    Call,
    Hit,
    Run,
    Status,
    Text,
    clean_text,
    from_microseconds,
    now,
    to_microseconds,
)

if TYPE_CHECKING:
    import pyarrow

_CHUNK = 500
"""Calls that are in memory at a time where all are gone through."""
_DAY_MICROSECONDS = 24 * 60 * 60 * 1_000_000
_JSON_OF_RUN = ("selection", "versions", "config", "settings")
_CALL_FIELDS = tuple(f.name for f in fields(Call))


class Ledger:
    """Calls, the answers they got, and what became of them.

    Use `Ledger.open`; close it, or use it in a ``with`` statement.
    """

    def __init__(self, url: sa.URL, engine: sa.Engine) -> None:
        self._url = url
        self._engine = engine
        self._file = database.identity(url)
        # SQLite lets one write at a time, and a thread that polls for its turn waits too long.
        self._writes = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        in_memory = isinstance(engine.pool, sa.pool.StaticPool)  # one connection for all threads
        self._reads = self._writes if in_memory else nullcontext()
        path = database.file_of(url)
        self._sync = database.LogSync(path) if path else None

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> Ledger:
        """Open a ledger, make it where there is none, and bring its tables up to date.

        A damaged SQLite file is set aside under another name and a new one begun.

        Args:
            url: A path to a SQLite file or any URL that SQLAlchemy takes.
            create: False makes no file: one that is missing or damaged is an error.

        Raises:
            LedgerError: It cannot be used; the message says why.
        """
        parsed = database.parse_url(url)
        is_file = parsed.get_backend_name() == "sqlite"
        if is_file and not create and not Path(str(parsed.database)).is_file():
            raise LedgerError(f"there is no ledger at {parsed.database}")
        identity = database.identity(parsed)
        try:
            engine = database.open_engine(parsed)
        except CorruptLedgerError:
            if not create:
                raise
            database.set_aside(parsed, identity)
            engine = database.open_engine(parsed)
        return cls(parsed, engine)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Return the file's path, or the URL without its password."""
        if self._engine.dialect.name == "sqlite":
            return str(self._url.database)
        return self._url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        if self._sync is not None:
            self._sync.close()
        self._engine.dispose()

    def set_aside(self) -> None:
        """Close a damaged SQLite file and move it out of the way.

        Raises:
            LedgerError: It cannot be moved.
        """
        self.close()
        database.set_aside(self._url, self._file)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection for reading.

        Raises:
            LedgerError: The database refuses.
        """
        try:
            with self._reads, self._engine.connect() as connection:
                yield connection.execution_options(reads=True)
        except SQLAlchemyError as error:
            raise database.as_ledger_error(error, self._url) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is committed at the end.

        Raises:
            LedgerError: The database refuses.
        """
        try:
            with self._writes, self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise database.as_ledger_error(error, self._url) from error

    def begin_run(self, run: Run) -> None:
        """Put a run on record.

        Raises:
            LedgerError: The database refuses.
        """
        with self.writing() as connection:
            connection.execute(sa.insert(tables.runs).values(_row_of_run(run)))

    def end_run(self, run_id: str, outcome: str) -> None:
        """Note how and when a run ended.

        Raises:
            LedgerError: The database refuses.
        """
        update = sa.update(tables.runs).where(tables.runs.c.run_id == run_id)
        with self.writing() as connection:
            connection.execute(update.values(ended_at=to_microseconds(now()), outcome=outcome))

    def record(self, call: Call) -> Call:
        """Put a call on record, for good, and return it with its hash.

        Raises:
            LedgerError: The database refuses.
        """
        call = call.as_stored()
        with self.writing() as connection:
            connection.execute(_INSERT_CALL, _row_of_call(call))
            if call.status == "answered":  # whoever waits for it finds it now
                connection.execute(_RELEASE, {"claimed_key": call.key})
        if self._sync is not None:
            self._sync.soon()
        return call

    def record_hit(self, hit: Hit) -> None:
        """Note that an answer was used again.

        Raises:
            LedgerError: The database refuses.
        """
        with self.writing() as connection:
            insert_hit(connection, hit)

    def record_texts(self, texts: Sequence[Text]) -> None:
        """Note what answers became.

        Raises:
            LedgerError: The database refuses.
        """
        if texts:
            with self.writing() as connection:
                connection.execute(sa.insert(tables.texts), [_row_of(text) for text in texts])

    def lookup(self, key: str, *, max_age_days: float | None = None) -> Call | None:
        """Return the newest usable answer to a request.

        Args:
            key: `cache_key` of the request.
            max_age_days: Older ones do not count.

        Raises:
            LedgerError: The database refuses.
        """
        with self.reading() as connection:
            return find_answer(connection, key, max_age_days)

    def query(
        self,
        *,
        run_id: str | None = None,
        call_id: str | None = None,
        parent_call_id: str | None = None,
        node: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        status: Status | None = None,
        search: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[Call]:
        """Return calls, oldest first; with ``limit`` the newest so many.

        Args:
            run_id: Of this run; the beginning of its id is enough.
            call_id: This call; the beginning of its id is enough.
            parent_call_id: That repair, halve or complete this call.
            node: About this node: its dbt unique id, or the name at its end.
            provider: Of this provider.
            model: Asked of this model.
            status: ``answered``, ``unusable`` or ``failed``.
            search: That hold this text in question, answer or error, whatever its case.
            since: Begun at this moment or later.
            until: Begun before this moment.
            limit: At most so many.

        Raises:
            LedgerError: The database refuses.
        """
        columns = tables.calls.c
        exact = {
            "parent_call_id": parent_call_id,
            "provider": provider,
            "model": model,
            "status": status,
        }
        where = [columns[name] == value for name, value in exact.items() if value is not None]
        if run_id is not None:
            where.append(columns.run_id.startswith(run_id, autoescape=True))
        if call_id is not None:
            where.append(columns.call_id.startswith(call_id, autoescape=True))
        if node is not None:
            ends = columns.custom_id.endswith(f".{node}", autoescape=True)
            where.append(sa.or_(columns.custom_id == node, ends))
        if search is not None:
            search = clean_text(search)
            # The request is searched as JSON, in which quotes and line ends are escaped.
            in_json = json.dumps(search, ensure_ascii=False)[1:-1]
            places = {"request": in_json}
            places |= dict.fromkeys(("response", "error", "description"), search)
            where.append(
                sa.or_(
                    *(
                        columns[name].icontains(text, autoescape=True)
                        for name, text in places.items()
                    )
                )
            )
        if since is not None:
            where.append(columns.started_at >= to_microseconds(since))
        if until is not None:
            where.append(columns.started_at < to_microseconds(until))
        query = sa.select(tables.calls).where(*where)
        newest_first = query.order_by(columns.started_at.desc(), columns.call_id.desc())
        if limit is not None:
            newest_first = newest_first.limit(limit)
        with self.reading() as connection:
            calls = [_call_of_row(row) for row in connection.execute(newest_first).mappings()]
        return calls[::-1]

    def count(self, *, until: datetime | None = None) -> int:
        """Return how many calls are on record, or how many of them begun before a moment.

        Raises:
            LedgerError: The database refuses.
        """
        query = sa.select(sa.func.count()).select_from(tables.calls)
        if until is not None:
            query = query.where(tables.calls.c.started_at < to_microseconds(until))
        with self.reading() as connection:
            return connection.execute(query).scalar_one()

    def stream(self, *, run_id: str | None = None, since: datetime | None = None) -> Iterator[Call]:
        """Give calls one by one, oldest first; only some hundred are in memory at a time.

        Args:
            run_id: Of this run; the beginning of its id is enough.
            since: Begun at this moment or later.

        Raises:
            LedgerError: The database refuses.
        """
        columns = tables.calls.c
        query = sa.select(tables.calls).order_by(columns.started_at, columns.call_id)
        if run_id is not None:
            query = query.where(columns.run_id.startswith(run_id, autoescape=True))
        after = (0 if since is None else to_microseconds(since), "")
        while True:
            # From where the last page ended: no connection is held while the caller works.
            later = sa.or_(
                columns.started_at > after[0],
                sa.and_(columns.started_at == after[0], columns.call_id > after[1]),
            )
            with self.reading() as connection:
                page = query.where(columns.started_at >= after[0], later).limit(_CHUNK)
                calls = [_call_of_row(row) for row in connection.execute(page).mappings()]
            yield from calls
            if len(calls) < _CHUNK:
                return
            after = (to_microseconds(calls[-1].started_at), calls[-1].call_id)

    def runs(self, *, run_id: str | None = None, limit: int | None = None) -> list[Run]:
        """Return runs, oldest first; with ``limit`` the newest so many.

        Args:
            run_id: This run; the beginning of its id is enough.
            limit: At most so many.

        Raises:
            LedgerError: The database refuses.
        """
        query = sa.select(tables.runs).order_by(
            tables.runs.c.started_at.desc(), tables.runs.c.run_id.desc()
        )
        if run_id is not None:
            query = query.where(tables.runs.c.run_id.startswith(run_id, autoescape=True))
        if limit is not None:
            query = query.limit(limit)
        with self.reading() as connection:
            return [_run_of_row(row) for row in connection.execute(query).mappings()][::-1]

    def hits(self, *, run_id: str | None = None, call_id: str | None = None) -> list[Hit]:
        """Return the hits of a run, of a call, or all, oldest first.

        Raises:
            LedgerError: The database refuses.
        """
        columns = tables.hits.c
        query = sa.select(tables.hits).order_by(columns.hit_id)
        for name, value in {"run_id": run_id, "call_id": call_id}.items():
            if value is not None:
                query = query.where(columns[name] == value)
        with self.reading() as connection:
            rows = connection.execute(query).mappings()
            return [
                Hit(
                    run_id=row["run_id"],
                    call_id=row["call_id"],
                    at=from_microseconds(row["at"]),
                    custom_id=row["custom_id"],
                    part=row["part"],
                )
                for row in rows
            ]

    def texts(self, *, call_id: str | None = None, node_id: str | None = None) -> list[Text]:
        """Return the texts that a call's answer became, or a node's, in the order of writing.

        Raises:
            LedgerError: The database refuses.
        """
        columns = tables.texts.c
        query = sa.select(tables.texts).order_by(columns.text_id)
        for name, value in {"call_id": call_id, "node_id": node_id}.items():
            if value is not None:
                query = query.where(columns[name] == value)
        with self.reading() as connection:
            rows = connection.execute(query).mappings()
            return [Text(*(row[f.name] for f in fields(Text))) for row in rows]

    def prune(self, older_than_days: float) -> int:
        """Delete calls begun before so many days ago, with all that hangs on them.

        Returns:
            How many calls were deleted.

        Raises:
            LedgerError: The database refuses.
        """
        limit = _oldest(older_than_days)
        old = sa.select(tables.calls.c.call_id).where(tables.calls.c.started_at < limit)
        runs_with_calls = sa.select(tables.calls.c.run_id)
        runs_with_hits = sa.select(tables.hits.c.run_id)
        with self.writing() as connection:
            # Before the calls, which tell what hangs on them.
            for table in (tables.texts, tables.hits):
                connection.execute(sa.delete(table).where(table.c.call_id.in_(old)))
            deleted = connection.execute(
                sa.delete(tables.calls).where(tables.calls.c.started_at < limit)
            ).rowcount
            connection.execute(
                sa.delete(tables.runs)
                .where(tables.runs.c.started_at < limit)
                .where(
                    tables.runs.c.run_id.not_in(runs_with_calls),
                    tables.runs.c.run_id.not_in(runs_with_hits),
                )
            )
        if self._engine.dialect.name == "sqlite":
            with self._writes, self._engine.connect() as connection:
                raw = connection.connection.driver_connection
                # Through the driver: VACUUM refuses to run in a transaction. While somebody else
                # writes, the file stays as large as it is.
                with suppress(sqlite3.Error):
                    if raw is not None:
                        raw.execute("VACUUM")
        return deleted

    def verify(self) -> Iterator[tuple[Call, str]]:
        """Go through all calls and give each whose hash does not match, with what is wrong.

        Raises:
            LedgerError: The database refuses.
        """
        query = sa.select(tables.calls).order_by(tables.calls.c.call_id)
        with self.reading() as connection:
            rows = connection.execution_options(yield_per=_CHUNK).execute(query)
            for row in rows.mappings():
                try:
                    call = _call_of_row(row)
                except LedgerError:
                    bare = {**row, "started_at": 0, "request": "{}"}
                    yield _call_of_row(bare), "it cannot be read any more"
                    continue
                if call.computed_hash() != call.row_hash:
                    yield call, "the row was changed after it was written"
                elif call.computed_key() != call.key:
                    yield call, "its key is not that of its question"

    def to_arrow(self, **filters: Any) -> pyarrow.Table:
        """Return the events of the calls that `query` would return, as an Arrow table.

        Its columns are those of the Parquet export.

        Raises:
            LedgerError: pyarrow is not installed, or the database refuses.
        """
        return to_arrow(self, self.query(**filters))


_columns = tables.calls.c
_ANSWER = (
    sa.select(tables.calls)
    .where(_columns.key == sa.bindparam("key"))
    .where(_columns.status.in_(("answered", "unusable")))
    .where(_columns.started_at >= sa.bindparam("oldest"))
    # By name: what was answered comes first.
    .order_by(_columns.status, _columns.started_at.desc(), _columns.call_id.desc())
    .limit(1)
)
_parents = tables.calls.alias("parents")
_REPAIR = (
    sa.select(tables.calls)
    .join(_parents, _columns.parent_call_id == _parents.c.call_id)
    .where(_parents.c.key == sa.bindparam("key"), _parents.c.status == "unusable")
    # What asks for the rest of an answer has another part.
    .where(_columns.custom_id == _parents.c.custom_id, _columns.part == _parents.c.part)
    .where(_columns.status == "answered", _columns.started_at >= sa.bindparam("oldest"))
    .order_by(_columns.started_at.desc(), _columns.call_id.desc())
    .limit(1)
)
"""The answer to the request that repaired one: it is the answer to the first question."""
_INSERT_CALL = sa.insert(tables.calls)
_INSERT_HIT = sa.insert(tables.hits)
_RELEASE = sa.delete(tables.claims).where(tables.claims.c.key == sa.bindparam("claimed_key"))


def find_answer(connection: Connection, key: str, max_age_days: float | None) -> Call | None:
    """Return the newest usable answer, as `Ledger.lookup` does, within a transaction."""
    values = {"key": key, "oldest": _oldest(max_age_days)}
    row = connection.execute(_ANSWER, values).mappings().first()
    if row is not None and row["status"] == "unusable":
        row = connection.execute(_REPAIR, values).mappings().first()
    return None if row is None else _call_of_row(row)


def insert_hit(connection: Connection, hit: Hit) -> None:
    """Note that an answer was used again, as `Ledger.record_hit` does, within a transaction."""
    connection.execute(_INSERT_HIT, _row_of(hit) | {"at": to_microseconds(hit.at)})


def _oldest(max_age_days: float | None) -> int:
    """Return the moment so many days ago, 0 for all time."""
    if max_age_days is None:
        return 0
    return max(0, to_microseconds(now()) - round(max_age_days * _DAY_MICROSECONDS))


def _json(value: Any) -> str:
    return clean_text(json.dumps(value, ensure_ascii=False, default=str))


def _row_of(record: Run | Hit | Text) -> dict[str, Any]:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {k: clean_text(v) if isinstance(v, str) else v for k, v in values.items()}


def _row_of_run(run: Run) -> dict[str, Any]:
    row = _row_of(run)
    row["started_at"] = to_microseconds(run.started_at)
    row["ended_at"] = None if run.ended_at is None else to_microseconds(run.ended_at)
    selection = {"selection": list(run.selection)}
    return row | {name: _json({**row, **selection}[name]) for name in _JSON_OF_RUN}


def _run_of_row(row: Mapping[Any, Any]) -> Run:
    values = {f.name: row[f.name] for f in fields(Run)}
    values |= {name: json.loads(values[name]) for name in _JSON_OF_RUN}
    ended_at = values["ended_at"]
    values["started_at"] = from_microseconds(values["started_at"])
    values["ended_at"] = None if ended_at is None else from_microseconds(ended_at)
    return Run(**values)


def _row_of_call(call: Call) -> dict[str, Any]:
    row = {f.name: getattr(call, f.name) for f in fields(call)}
    row["started_at"] = to_microseconds(call.started_at)
    row["request"] = _json(call.request)
    return row


def _call_of_row(row: Mapping[Any, Any]) -> Call:
    values = {name: row[name] for name in _CALL_FIELDS}
    try:
        values["started_at"] = from_microseconds(values["started_at"])
        values["request"] = json.loads(values["request"])
    except (ValueError, TypeError, OverflowError):
        raise LedgerError(
            f"call {values['call_id']} was changed after it was written and cannot be read; "
            "dbt-osmosis llm verify names all such calls"
        ) from None
    return Call(**values)
