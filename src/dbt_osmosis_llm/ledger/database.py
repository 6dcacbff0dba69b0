"""Opens the ledger's database: any that SQLAlchemy speaks to, a SQLite file above all.

SQLite is told to sync at each commit: an answer that is on record survives a power cut. A request
takes seconds, the sync a fraction of a millisecond.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from dbt_osmosis_llm._log import logger

HEAD = "0001"
"""The version of the tables that this package reads and writes."""

_VERSION_TABLE = "llm_ledger_version"
_BUSY_S = 60.0
"""How long to wait for another process's write."""
_POOL_SIZE = 5
_MIGRATION_LOCK = 7228163
"""Any number, the same in each process."""
_CORRUPT = ("file is not a database", "malformed", "database corruption")


class LedgerError(Exception):
    """The ledger cannot be used; the message says why in one line."""


class LedgerVersionError(LedgerError):
    """A newer version of this package has written the ledger."""


class CorruptLedgerError(LedgerError):
    """The ledger's file is damaged."""


def parse_url(url: str | Path) -> URL:
    """Return the database's URL; a bare path is a SQLite file.

    Raises:
        LedgerError: It is neither.
    """
    text = str(url)
    if isinstance(url, Path) or "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        parsed = make_url(text)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect()
    except NoSuchModuleError:
        name = text.partition("://")[0]
        raise LedgerError(
            f"the ledger's URL is of {name!r}, which no installed driver speaks; "
            "use a path, sqlite:///… or postgresql://…"
        ) from None
    except (ArgumentError, ValueError):
        raise LedgerError(
            "the ledger's URL is none; use a path, sqlite:///… or postgresql://…"
        ) from None
    return parsed


def open_engine(url: URL) -> Engine:
    """Return an engine on a database whose tables are there and of this version.

    Raises:
        LedgerVersionError: A newer version of this package has written it.
        CorruptLedgerError: The file is damaged.
        LedgerError: No driver, no connection, no permission.
    """
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    if is_file:
        _make_folder(Path(str(url.database)))
    try:
        engine = _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _server_engine(url)
    except ModuleNotFoundError as error:
        wanted = " pip install 'dbt-osmosis-llm[postgres]'" if "psycopg" in str(error) else ""
        raise LedgerError(f"the ledger needs {error.name}:{wanted or ' install it'}") from None
    try:
        _migrate(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise as_ledger_error(error, url) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_folder(path: Path) -> None:
    folder = path.parent
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            if folder.name.startswith("."):  # the project's own, which no one commits
                (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise LedgerError(f"{folder} cannot be made: {error.strerror or error}") from None
    if path.is_dir():
        raise LedgerError(f"{path} is a folder; the ledger wants a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise LedgerError(f"{path} cannot be written")


def _sqlite_engine(url: URL) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
        poolclass=sa.pool.StaticPool if in_memory else sa.pool.QueuePool,
    )

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below is the only one
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode not in ("wal", "memory"):
            # Where two processes do this at once one is refused: the other's mode holds for both.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A transaction that reads first and then writes fails at once when another one has
        # written in between; one that says so at its beginning waits.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _server_engine(url: URL) -> Engine:
    connect_args = {"connect_timeout": 10} if url.get_backend_name() == "postgresql" else {}
    return sa.create_engine(
        url,
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_SIZE,
        pool_pre_ping=True,
        connect_args=connect_args,
    )


def _migrate(engine: Engine) -> None:
    with engine.connect().execution_options(reads=True) as connection:
        found = _version(connection)
    if found == HEAD:
        return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        found = _version(connection)  # another process may have been faster
        if found is not None and found > HEAD:
            raise LedgerVersionError(
                f"the ledger is of version {found}, newer than {HEAD}, the last one known here: "
                "upgrade dbt-osmosis-llm, or set OSMOSIS_LLM_LEDGER_URL to another ledger"
            )
        if found != HEAD:
            _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()  # noqa: S608
    return None if found is None else str(found)


def _upgrade(connection: Connection) -> None:
    # Loaded only now: it takes a third of a second, and ledgers are made once.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "dbt_osmosis_llm:ledger/migrations")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = _VERSION_TABLE
    command.upgrade(config, HEAD)


def as_ledger_error(error: SQLAlchemyError, url: URL) -> LedgerError:
    """Return our error for one of the database's, in one line and without the URL's password."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
    place = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        place = str(url.database)
    line = f"{place}: {said[0]}"
    if url.password:
        line = line.replace(str(url.password), "***")
    kind = CorruptLedgerError if any(word in said[0] for word in _CORRUPT) else LedgerError
    return kind(line)


def set_aside(url: URL) -> Path:
    """Move a damaged SQLite file out of the way and return its new name.

    Raises:
        LedgerError: It cannot be moved.
    """
    path = Path(str(url.database))
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise LedgerError(f"{path} is damaged and cannot be moved: {error}") from None
    logger.warning("The ledger %s is damaged; it is kept as %s and a new one begun.", path, aside)
    return aside
