"""Opens the ledger's database: any that SQLAlchemy speaks to, a SQLite file above all.

A commit to a SQLite file survives the end of the process at once, and a power cut about a second
later: a sync takes 4 ms on a cloud disk, and where each commit has its own all other writers
wait for it. `LogSync` does it beside them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from dbt_osmosis_llm._log import logger

HEAD = "0001"
"""The version of the tables that this package reads and writes."""

_VERSION_TABLE = "llm_ledger_version"
_BUSY_S = 60.0
"""How long to wait for another process's write."""
_POOL_SIZE = 5
_MOVE_S = 1.0
"""How long another process may take to move a damaged file."""
_SYNC_EVERY_S = 1.0
_sync = getattr(os, "fdatasync", os.fsync)  # which leaves out the time of the last change
_LOG_PAGES = 4000
"""Of 4 KB, after which a commit also moves the log's pages into the file, which takes a while."""
_MIGRATION_LOCK = 7228163
"""Any number, the same in each process."""
# By the driver's words: SQLite's error codes are in it from Python 3.11 on.
_CORRUPT = (
    "file is not a database",
    "disk image is malformed",
    "malformed database schema",
    "database corruption",
)
_SQLITE_MAGIC = b"SQLite format 3\0"
_DUCKDB_MAGIC = b"DUCK"
_DUCKDB_MAGIC_AT = 8
_SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_LIVENESS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq's, in seconds, the last in ms: a server that is gone is noticed, whoever took it away."""


class LedgerError(Exception):
    """The ledger cannot be used; the message says why in one line."""


class LedgerConfigError(LedgerError):
    """The user must change a setting or install something: to go on is not what they meant."""


class LedgerVersionError(LedgerConfigError):
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
        # Not through `make_url`, for which ? and % in a path have a meaning.
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        parsed = make_url(text)
        if parsed.drivername in ("postgres", "postgresql"):
            # SQLAlchemy's default is psycopg2; the extra [postgres] installs psycopg 3.
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect()
    except NoSuchModuleError:
        name = text.partition("://")[0]
        raise LedgerConfigError(
            f"the ledger's URL is of {name!r}, which no installed driver speaks; "
            "use a path, sqlite:///… or postgresql://…"
        ) from None
    except (ArgumentError, ValueError):
        raise LedgerConfigError(
            "the ledger's URL is none; use a path, sqlite:///… or postgresql://…"
        ) from None
    return parsed


def file_of(url: URL) -> Path | None:
    """Return the SQLite file of a URL; None when there is none, or it is a URI of SQLite's own."""
    database = url.database or ""
    if url.get_backend_name() != "sqlite" or database in ("", ":memory:"):
        return None
    return None if database.startswith("file:") else Path(database)


def open_engine(url: URL) -> Engine:
    """Return an engine on a database whose tables are there and of this version.

    Raises:
        LedgerVersionError: A newer version of this package has written it.
        CorruptLedgerError: The file is damaged.
        LedgerError: No driver, no connection, no permission.
    """
    path = file_of(url)
    if path is not None:
        _make_folder(path)
    try:
        engine = _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _server_engine(url)
    except ModuleNotFoundError as error:
        remedy = " pip install 'dbt-osmosis-llm[postgres]'" if "psycopg" in str(error) else ""
        raise LedgerConfigError(
            f"the ledger needs {error.name}:{remedy or ' install it'}"
        ) from None
    try:
        _migrate(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise as_ledger_error(error, url) from None
    except (TypeError, ValueError) as error:  # a driver, about what follows the URL's ?
        engine.dispose()
        raise LedgerConfigError(f"the ledger's URL is not understood: {error}") from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_folder(path: Path) -> None:
    folder = path.parent
    try:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)  # another process may have been faster
            if folder.name.startswith("."):  # the project's own, which no one commits
                (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise LedgerError(f"{folder} cannot be made: {error.strerror or error}") from None
    if not folder.is_dir():
        raise LedgerError(f"{folder} is no folder; the ledger {path.name} cannot be in it")
    if path.is_dir():
        raise LedgerError(f"{path} is a folder; the ledger wants a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise LedgerError(f"{path} cannot be written")


def _sqlite_engine(url: URL) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    engine = sa.create_engine(
        url,
        # The pool gives a connection to one thread at a time, which sqlite3 cannot know.
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
        # Each connection to memory would be a database of its own.
        poolclass=sa.pool.StaticPool if in_memory else sa.pool.QueuePool,
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below is the only one
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode not in ("wal", "memory"):
            # Where two processes do this at once one is refused: the other's mode holds for both.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        # SQLite's own knows only ASCII.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A transaction that reads first and then writes fails at once when another one has
        # written in between; one that says so at its beginning waits.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _server_engine(url: URL) -> Engine:
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        # A claim is taken, then looked whether there is an answer by now: that look must see what
        # was committed after the transaction began.
        options["isolation_level"] = "READ COMMITTED"
    if url.drivername == "postgresql+psycopg":
        # Poolers in front of a server know nothing of statements that were prepared before.
        arguments = {**_LIVENESS, "prepare_threshold": None}
    return sa.create_engine(
        url,
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_SIZE,
        pool_pre_ping=True,  # connections of before a restart of the server are dead
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
        **options,
    )


def _migrate(engine: Engine) -> None:
    # First without a lock: nearly always there is nothing to do.
    with engine.connect().execution_options(reads=True) as connection:
        version = _version(connection)
    if version == HEAD:
        return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Of two that create a table at once Postgres lets one fail; SQLite's BEGIN waits.
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        version = _version(connection)  # another process may have been faster
        # Versions have leading zeros, so that they compare as text.
        if version is not None and version > HEAD:
            raise LedgerVersionError(
                f"the ledger is of version {version}, newer than {HEAD}, the last one known here: "
                "upgrade dbt-osmosis-llm, or set OSMOSIS_LLM_LEDGER_URL to another ledger"
            )
        if version != HEAD:
            _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSION_TABLE):
        return None
    table = sa.table(_VERSION_TABLE, sa.column("version_num"))
    version = connection.execute(sa.select(table.c.version_num)).scalar()
    return None if version is None else str(version)


def _upgrade(connection: Connection) -> None:
    # Loaded only now: it takes a third of a second, and ledgers are made once.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "dbt_osmosis_llm:ledger/migrations")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = _VERSION_TABLE
    try:
        command.upgrade(config, HEAD)
    except CommandError as error:
        raise LedgerError(f"the ledger's tables cannot be brought up to date: {error}") from None


def as_ledger_error(error: SQLAlchemyError, url: URL) -> LedgerError:
    """Return our error for one of the database's, in one line and without the URL's password."""
    message = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
    is_sqlite = url.get_backend_name() == "sqlite"
    place = str(url.database) if is_sqlite else url.render_as_string(hide_password=True)
    line = f"{place}: {message[0]}"
    if url.password:
        line = line.replace(str(url.password), "***")
    is_corrupt = is_sqlite and any(word in message[0] for word in _CORRUPT)
    return CorruptLedgerError(line) if is_corrupt else LedgerError(line)


def identity(url: URL) -> tuple[int, int] | None:
    """Return what tells the SQLite file from another one that takes its name later."""
    path = file_of(url)
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status else None


def set_aside(url: URL, damaged: tuple[int, int] | None) -> None:
    """Move a damaged SQLite file out of the way, unless another process has done so.

    Args:
        url: Of the ledger.
        damaged: The `identity` of the file that was found to be damaged.

    Raises:
        LedgerError: It cannot be moved, or was never SQLite's and may be dear to somebody.
    """
    path = file_of(url)
    if path is None or damaged is None or identity(url) != damaged:
        return
    # Each process gives one file the same name, and no other file can have its number.
    aside = path.with_name(f"{path.name}.corrupt-{damaged[1]}")
    try:
        if not _was_sqlite(path):
            raise LedgerError(f"{path} is no SQLite file; name another one for the ledger")
        if not _move(path, aside):
            _await_change(url, damaged)
            return
    except FileNotFoundError:  # another process has moved it
        return
    except OSError as error:
        raise LedgerError(f"{path} is damaged and cannot be moved: {error}") from None
    logger.warning("The ledger %s is damaged; it is kept as %s and a new one begun.", path, aside)


def _move(path: Path, aside: Path) -> bool:
    """Move a file and its log; False when another process is at it.

    A rename would do as well for the last of several processes, which would move what the first
    one has begun anew. A second name can be made only once.
    """
    try:
        os.link(path, aside)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # a file system without second names
        path.replace(aside)
        return True
    # Before the name is free: a new file would take the log beside it for its own.
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    path.unlink()
    return True


def _await_change(url: URL, damaged: tuple[int, int]) -> None:
    """Wait until another process has moved a file away; take the name from one that has died."""
    path = file_of(url)
    give_up = time.monotonic() + _MOVE_S
    while identity(url) == damaged:
        if time.monotonic() > give_up and path is not None:
            path.unlink()
        time.sleep(0.01)


def _was_sqlite(path: Path) -> bool:
    """Tell whether a file that SQLite cannot read was its own once, by beginning or name."""
    with path.open("rb") as file:
        header = file.read(len(_SQLITE_MAGIC))
    if header == _SQLITE_MAGIC:
        return True
    is_duckdb = header[_DUCKDB_MAGIC_AT:].startswith(_DUCKDB_MAGIC)
    return not is_duckdb and path.suffix.lower() in _SQLITE_SUFFIXES


class LogSync:
    """Brings what was committed to a SQLite file from the system's memory to its disk.

    Safe beside SQLite: its locks are on the file and its index, never on the log, so that opening
    and closing the log here loses none.
    """

    def __init__(self, path: Path) -> None:
        self._log = f"{path}-wal"
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        """Have all that is committed by now synced within a moment; returns at once."""
        if self._wanted.is_set():
            return
        self._wanted.set()
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="ledger sync", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Finish what was begun."""
        with self._lock:
            self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait():
            self._closed.wait(_SYNC_EVERY_S)
            # Before the sync: a commit during it asks for another one.
            self._wanted.clear()
            self._sync()
            if self._closed.is_set() and not self._wanted.is_set():
                return

    def _sync(self) -> None:
        with suppress(OSError):  # there is no log, or no disk: the next commit will tell
            log = os.open(self._log, os.O_RDWR)
            try:
                _sync(log)
            finally:
                os.close(log)
