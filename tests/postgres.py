"""A Postgres server of the tests' own: on loopback, in a temporary directory, gone afterwards.

Postgres refuses to run as root; there it runs as the user that Debian's package makes for it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "pg-Passw0rd-4711"
_USER = "ledger"
_INSTALL = "apt-get install postgresql"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "16MB",
}


class PostgresServer:
    """One server; `stop` and `start` are for tests of a database that goes away."""

    def __init__(self, binaries: Path, directory: Path, account: str | None) -> None:
        self._binaries = binaries
        self._directory = directory
        self._account = account
        self._numbers = count(1)
        self.port = _free_port()
        self.is_running = False
        password_file = directory / "password"
        password_file.write_text(PASSWORD)
        if account is not None:
            for path in (directory, password_file):
                shutil.chown(path, account)
        self._run(
            "initdb",
            *("--username", _USER, "--pwfile", str(password_file), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--no-sync", "--pgdata", self._data),
        )

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    def start(self) -> None:
        settings = {**_SETTINGS, "port": self.port, "unix_socket_directories": self._directory}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = str(self._directory / "log")
        self._run("pg_ctl", "--pgdata", self._data, "--log", log, "--options", options, "start")
        self.is_running = True

    def stop(self) -> None:
        self._run("pg_ctl", "--pgdata", self._data, "--mode", "immediate", "stop")
        self.is_running = False

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{_USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of an empty database."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str) -> None:
        as_user: dict[str, Any] = {}
        if self._account is not None:
            as_user = {"user": self._account, "group": self._account, "extra_groups": []}
        with tempfile.TemporaryFile() as output:  # a pipe would stay open as long as the server
            done = subprocess.run(
                [self._binaries / program, *arguments],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                **as_user,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _binaries() -> Path | None:
    """Return the folder of Postgres' programs; Debian keeps them off the PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(versions, key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    found = [*([Path(on_path).resolve()] if on_path else []), *newest]
    return found[-1].parent if found else None


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Give a server of its own; skips the test where there is no Postgres."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip(f"Postgres is not installed: {_INSTALL}")
    account = None
    if os.geteuid() == 0:
        account = "postgres"
        try:
            pwd.getpwnam(account)
        except KeyError:
            pytest.skip(f"Postgres does not run as root and has no user here: {_INSTALL}")
    # Not pytest's own folder, which nobody else may enter; short, for the socket's sake.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = PostgresServer(binaries, Path(folder), account)
        server.start()
        try:
            yield server
        finally:
            if server.is_running:
                server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database that is this test's alone."""
    with postgres.database() as url:
        yield url
