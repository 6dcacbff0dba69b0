"""Any place a ledger may be at: made, brought up to date, refused with one line, set aside."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import alembic.op
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from dbt_osmosis_llm.ledger import Call, Ledger, LedgerError, Run, database, tables
from dbt_osmosis_llm.ledger.database import HEAD, LedgerVersionError, parse_url
from tests.ledger.processes import at_once
from tests.postgres import PASSWORD

VERSION = "llm_ledger_version"


def a_call() -> Call:
    return Call(run_id="r", provider="openai", model="m", status="answered", response="text")


def execute(url: str, *statements: str) -> None:
    """Change a database behind the ledger's back."""
    engine = sa.create_engine(parse_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/tmp/l.db", "sqlite:////tmp/l.db"),
        ("sqlite:////tmp/l.db", "sqlite:////tmp/l.db"),
        ("sqlite://", "sqlite://"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql+psycopg://u:p@h/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
    ],
)
def test_a_place_is_a_path_or_a_url(text: str, expected: str) -> None:
    assert parse_url(text).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mongodb://u:secret@h/d", "'mongodb'"),
        ("postgresql+nothing://u:secret@h/d", r"'postgresql\+nothing'"),
        ("://u:secret@h", "none"),
        ("postgresql://u:secret@h:port/d", "none"),
    ],
)
def test_a_url_that_nobody_speaks_is_refused(text: str, said: str) -> None:
    with pytest.raises(LedgerError, match=said) as caught:
        Ledger.open(text)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_migrations_make_the_tables(url: str) -> None:
    Ledger.open(url).close()
    engine = sa.create_engine(parse_url(url))
    options = {"version_table": VERSION, "compare_server_default": True}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
        assert context.get_current_revision() == HEAD
    engine.dispose()


def open_and_record(number: int, url: str) -> str:
    with Ledger.open(url) as ledger:
        ledger.begin_run(Run(run_id=f"run-{number}"))
        return ledger.record(a_call()).call_id


def test_processes_open_a_new_ledger_at_once(url: str) -> None:
    ids = at_once(4, open_and_record, url)
    with Ledger.open(url) as ledger:
        assert sorted(call.call_id for call in ledger.query()) == sorted(ids)
        assert len(ledger.runs()) == 4


@pytest.mark.parametrize(
    "statements",
    [
        (),
        (f"CREATE TABLE {VERSION} (version_num VARCHAR(32) NOT NULL)",),
        ("CREATE TABLE customers (id INTEGER)", "INSERT INTO customers VALUES (7)"),
    ],
    ids=["empty", "never finished", "somebody else's tables"],
)
def test_a_database_without_the_tables_gets_them(url: str, statements: tuple[str, ...]) -> None:
    if "://" not in url:
        Path(url).parent.mkdir(parents=True)
    execute(url, *statements)
    for _ in range(2):
        with Ledger.open(url) as ledger:
            ledger.record(a_call())
            others = sa.text("SELECT id FROM customers")
            if "customers" in str(statements):
                with ledger.reading() as connection:
                    assert connection.execute(others).scalars().all() == [7]


def test_a_migration_that_fails_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create = alembic.op.create_index

    def fail(name: str, *arguments: object, **more: object) -> None:
        create(name, *arguments, **more)  # type: ignore[arg-type]
        raise sa.exc.OperationalError("CREATE INDEX", {}, Exception("no space left"))

    monkeypatch.setattr(alembic.op, "create_index", fail)
    with pytest.raises(LedgerError, match="no space left"):
        Ledger.open(url)
    monkeypatch.undo()
    with Ledger.open(url) as ledger:
        ledger.record(a_call())


@pytest.mark.parametrize(
    ("version", "kind", "said"),
    [
        ("0002", LedgerVersionError, "version 0002, newer than 0001.*upgrade dbt-osmosis-llm"),
        ("0000", LedgerError, "cannot be brought up to date: .*0000"),
    ],
)
def test_a_version_that_is_not_known_is_refused(
    url: str, version: str, kind: type[LedgerError], said: str
) -> None:
    with Ledger.open(url) as ledger:
        call = ledger.record(a_call())
    execute(url, f"UPDATE {VERSION} SET version_num = '{version}'")
    with pytest.raises(kind, match=said) as caught:
        Ledger.open(url)
    assert "\n" not in str(caught.value)
    execute(url, f"UPDATE {VERSION} SET version_num = '{HEAD}'")
    with Ledger.open(url) as ledger:
        assert ledger.query() == [call]


def test_the_projects_folder_is_kept_out_of_git(tmp_path: Path) -> None:
    Ledger.open(tmp_path / ".dbt-osmosis-llm" / "ledger.db").close()
    assert (tmp_path / ".dbt-osmosis-llm" / ".gitignore").read_text() == "*\n"
    Ledger.open(tmp_path / "elsewhere" / "ledger.db").close()
    assert not (tmp_path / "elsewhere" / ".gitignore").exists()


def a_folder(path: Path) -> str:
    path.mkdir()
    return str(path)


def under_a_file(path: Path) -> str:
    path.write_text("")
    return str(path / "ledger.db")


def deep_under_a_file(path: Path) -> str:
    path.write_text("")
    return str(path / "folder" / "ledger.db")


def with_an_option(path: Path) -> str:
    return f"postgresql://user:{PASSWORD}@127.0.0.1:1/{path.name}?nonsense=1"


def nobody_listens(path: Path) -> str:
    return f"postgresql://user:{PASSWORD}@127.0.0.1:1/{path.name}"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (a_folder, "is a folder"),
        (under_a_file, "is no folder"),
        (deep_under_a_file, "cannot be made"),
        (with_an_option, "nonsense"),
        (nobody_listens, r"user:\*\*\*@127.0.0.1:1.*[Cc]onnection"),
    ],
)
def test_a_place_that_cannot_be_used_is_named(
    tmp_path: Path, place: Callable[[Path], str], said: str
) -> None:
    with pytest.raises(LedgerError, match=said) as caught:
        Ledger.open(place(file(tmp_path)))
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_file_that_may_only_be_read_is_read(tmp_path: Path) -> None:
    with Ledger.open(file(tmp_path)) as ledger:
        call = ledger.record(a_call())
    with Ledger.open(f"sqlite:///file:{file(tmp_path)}?mode=ro&uri=true") as ledger:
        assert ledger.query() == [call]
        with pytest.raises(LedgerError, match="readonly"):
            ledger.record(a_call())


GARBAGE = b"this was a ledger once " * 500


def garbage(path: Path) -> None:
    path.write_bytes(GARBAGE)


def broken_pages(path: Path) -> None:
    Ledger.open(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


def cut(path: Path) -> None:
    Ledger.open(path).close()
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [garbage, broken_pages, cut])
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    damage(file(tmp_path))
    before = file(tmp_path).read_bytes()
    with Ledger.open(file(tmp_path)) as ledger:
        ledger.record(a_call())
    (aside,) = tmp_path.glob("ledger.db.corrupt-*[0-9]")  # without its -wal
    assert aside.read_bytes() == before
    (warning,) = [record.message for record in caplog.records]
    assert f"{aside}" in warning
    with Ledger.open(file(tmp_path)) as ledger:
        assert ledger.count() == 1


def test_processes_set_a_damaged_file_aside_once(tmp_path: Path) -> None:
    garbage(file(tmp_path))
    ids = at_once(4, open_and_record, str(file(tmp_path)))
    (aside,) = tmp_path.glob("ledger.db.corrupt-*")
    assert aside.read_bytes() == GARBAGE
    with Ledger.open(file(tmp_path)) as ledger:
        assert ledger.count() == len(ids)


def a_warehouse(path: Path) -> Path:
    import duckdb

    duckdb.connect(str(path)).close()
    return path


def a_text(path: Path) -> Path:
    path = path.with_name("README.md")
    path.write_text("Read me. " * 20)
    return path


@pytest.mark.parametrize("make", [a_warehouse, a_text])
def test_a_file_of_somebody_elses_stays_where_it_is(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(file(tmp_path))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="is no SQLite file"):
        Ledger.open(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_on_record_survives_a_copy_of_the_files(tmp_path: Path) -> None:
    """As it would a killed process: nothing is in its memory alone."""
    with Ledger.open(file(tmp_path)) as ledger:
        call = ledger.record(a_call())
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("copy", "*-shm"))
    with Ledger.open(copy / "ledger.db") as ledger:
        assert ledger.query() == [call]


def test_what_is_on_record_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    sync = database._sync

    def spy(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size))
        sync(descriptor)

    monkeypatch.setattr(database, "_sync", spy)
    with Ledger.open(file(tmp_path)) as ledger:
        for _ in range(10):
            ledger.record(a_call())
        log = tmp_path.joinpath("ledger.db-wal").stat()
    assert synced == [(log.st_ino, log.st_size)]  # once for all ten


def test_others_may_read_the_file_while_it_is_written(tmp_path: Path) -> None:
    with Ledger.open(file(tmp_path)) as ledger:
        other = sqlite3.connect(file(tmp_path))
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM llm_calls").fetchone() == (0,)
        ledger.record(a_call())
        assert other.execute("SELECT count(*) FROM llm_calls").fetchone() == (0,)
        other.close()


def test_a_process_that_dies_while_it_sets_a_file_aside_stops_nobody(tmp_path: Path) -> None:
    garbage(file(tmp_path))
    url, damaged = parse_url(file(tmp_path)), database.identity(parse_url(file(tmp_path)))
    database.set_aside(url, damaged)
    (aside,) = tmp_path.iterdir()
    file(tmp_path).hardlink_to(aside)  # as it is before the last step
    with Ledger.open(file(tmp_path)) as ledger:
        ledger.record(a_call())
    assert aside.read_bytes() == GARBAGE
