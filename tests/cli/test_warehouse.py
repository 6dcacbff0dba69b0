"""A warehouse that refuses connections or never answers, one that is not to be asked, and one that
is there: what a run and `llm check` make of the models all the same."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.conftest import Shop, clean_environment
from tests.postgres import postgres as postgres
from tests.postgres import postgres_url as postgres_url
from tests.server import LoopbackServer

pytest.importorskip("dbt.adapters.postgres")

PASSWORD = "harbor-Passw0rd-4711"
MOST_ATTEMPTS = 2
"""Of one connection: dbt-postgres tries once more."""
UNREACHABLE = "The warehouse cannot be reached ("
NOT_COMPILED = (
    "Read as written, without lineage, because they do not compile (1):\n  model.harbor.{}:"
)


class SilentServer:
    """Accepts connections, counts them, and never says a word."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                self._kept.append(self._socket.accept()[0])
                self.connections += 1

    def close(self) -> None:
        for each in (self._socket, *self._kept):
            each.close()


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


@contextmanager
def closed_port() -> Iterator[int]:
    # Bound and not listening: nobody else gets it meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture
def harbor(tmp_path: Path, server: LoopbackServer) -> Shop:
    """A project on Postgres, never built, that asks the loopback server."""
    directory = tmp_path / "harbor"
    shutil.copytree(Path(__file__).parents[1] / "projects/harbor", directory)
    environ = clean_environment(
        LLM_PROVIDER="openai",
        OPENAI_API_KEY="sk-loopback-0123456789abcdef",
        OPENAI_BASE_URL=server.url,
        HARBOR_PASSWORD=PASSWORD,
        HOME=str(tmp_path),
    )
    return Shop(directory, environ)


def prompt_of(server: LoopbackServer, table: str) -> str:
    (text,) = (r.text for r in server.requests if f"Table: {table}\n" in r.text)
    return text


def test_a_warehouse_that_never_answers_is_tried_once(
    harbor: Shop, silent: SilentServer, server: LoopbackServer
) -> None:
    done = harbor.document("--log-level", "WARNING", HARBOR_PORT=str(silent.port))
    assert done.returncode == 0, done.stderr
    assert 1 <= silent.connections <= MOST_ATTEMPTS
    assert done.stderr.count(UNREACHABLE) == 1
    assert done.stderr.count("Could not introspect columns") == 1
    assert NOT_COMPILED.format("pivoted") in done.stderr  # no other model runs a query
    assert PASSWORD not in done.stdout + done.stderr
    asked = "\n".join(request.text for request in server.requests)
    assert "run_query" in asked  # its SQL as it is written
    assert "is_incremental" not in asked
    assert harbor.texts()["arrivals.weight"]


def test_nothing_is_asked_of_a_warehouse_that_is_not_there(harbor: Shop) -> None:
    with closed_port() as port:
        done = harbor.document("--llm-dry-run", "--log-level", "ERROR", HARBOR_PORT=str(port))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(UNREACHABLE) == 1
    assert NOT_COMPILED.format("pivoted") in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_no_connection_is_opened_without_introspection(harbor: Shop, silent: SilentServer) -> None:
    port = str(silent.port)
    done = harbor.document(
        "--disable-introspection", "--llm-dry-run", "--log-level", "ERROR", HARBOR_PORT=port
    )
    assert done.returncode == 0, done.stderr
    assert NOT_COMPILED.format("pivoted") in done.stderr
    assert "the warehouse is not to be asked" in done.stderr
    assert UNREACHABLE not in done.stderr
    checked = harbor.dbt_osmosis("llm", "check", HARBOR_PORT=port)
    assert checked.returncode == 1, checked.stderr  # texts are missing
    assert " 1 not checked." in checked.stdout
    assert "the warehouse is not to be asked" in checked.stderr
    assert silent.connections == 0


def test_models_compile_as_dbt_compiles_them(harbor: Shop, server: LoopbackServer) -> None:
    with closed_port() as port:
        assert harbor.dbt_osmosis("llm", "check", HARBOR_PORT=str(port)).returncode == 1
        # Nothing is parsed anew now, so dbt-core-interface builds no graph.
        options = ["--disable-introspection", "--fqn", "fleet", "--log-level", "ERROR"]
        done = harbor.document(*options, HARBOR_PORT=str(port))
    assert done.returncode == 0, done.stderr
    assert "do not compile" not in done.stderr
    (request,) = server.requests
    assert "True as command" in request.text
    assert "4 as resources" in request.text.replace("\\n", " ")
    for name in ("arrivals", "fleet", "pivoted", "ships"):
        assert f"has_{name}" in request.text


def test_what_cannot_go_on_without_a_warehouse_says_so(harbor: Shop) -> None:
    project = harbor.directory / "dbt_project.yml"
    project.write_text(
        f"{project.read_text()}vars: {{dbt-osmosis: {{sources: {{sea: _sea.yml}}}}}}\n"
    )
    with closed_port() as port:
        done = harbor.document(
            "--auto-apply", "--log-level", "ERROR", command="refactor", HARBOR_PORT=str(port)
        )
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if "annot be reached" in line)
    assert line.startswith(f"Error: {UNREACHABLE}")
    assert "--disable-introspection" in line
    assert "Traceback" not in done.stderr


def test_a_warehouse_that_answers_is_asked(
    harbor: Shop, server: LoopbackServer, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create schema raw")
        connection.execute(
            "create table raw.ships (ship_id int, name text, tonnage int, kind text, "
            "arrived_at timestamp)"
        )
        connection.execute("insert into raw.ships values (1, 'Ada', 7, 'barque', now())")
    url = urlsplit(postgres_url)
    done = harbor.document(
        HARBOR_PORT=str(url.port),
        HARBOR_USER=str(url.username),
        HARBOR_PASSWORD=str(url.password),
        HARBOR_DATABASE=url.path.strip("/"),
    )
    assert done.returncode == 0, done.stderr
    assert UNREACHABLE not in done.stderr
    assert "do not compile" not in done.stderr
    assert "max(tonnage) as barque" in "\n".join(r.text for r in server.requests)
    assert "max(arrived_at)" not in "\n".join(r.text for r in server.requests)
