"""No test reaches anything but loopback, no test sees the keys of the person who runs it."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
from click.testing import CliRunner

from tests.commands import BIN as BIN
from tests.commands import OURS, run_command
from tests.commands import clean_environment as clean_environment
from tests.limits import HANG_S
from tests.server import LoopbackServer

KEY = "sk-loopback-0123456789abcdef"
for _name in list(os.environ):
    if _name.startswith(OURS):
        del os.environ[_name]

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: object) -> None:
    host = address[0] if isinstance(address, tuple) else "local"
    if host not in {"127.0.0.1", "::1", "localhost", "local"}:
        raise AssertionError(f"a test tried to reach {host}")
    _connect(self, address)  # type: ignore[arg-type]


socket.socket.connect = _loopback_only  # type: ignore[assignment, method-assign]


def cli_runner() -> CliRunner:
    """Return one that keeps stdout and stderr apart, as click 8.1 has to be told."""
    knows = "mix_stderr" in inspect.signature(CliRunner).parameters
    options: dict[str, Any] = {"mix_stderr": False} if knows else {}
    return CliRunner(**options)


def pytest_runtest_setup() -> None:
    """Let our lines reach caplog: dbt-osmosis, once imported, keeps its logger to itself."""
    logger = logging.getLogger("dbt-osmosis")
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def _running_server() -> Iterator[LoopbackServer]:
    with LoopbackServer().running() as server:
        yield server


@pytest.fixture
def server(_running_server: LoopbackServer) -> LoopbackServer:
    _running_server.reset()
    return _running_server


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parent.parent


@dataclass
class Shop:
    """A private copy of a built project, and the command that documents it."""

    directory: Path
    environ: dict[str, str]
    process: bool = False
    """Whether commands run as processes from scratch, whatever a fork could do."""

    def dbt_osmosis(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the installed ``dbt-osmosis`` in the project."""
        return self._run("dbt-osmosis", *arguments, **environ)

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed ``dbt`` in the project."""
        return self._run("dbt", *arguments)

    def _run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environ, **environ}
        return run_command(
            *words, directory=self.directory, environ=environment, process=self.process
        )

    def document(
        self, *arguments: str, command: str = "document", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``dbt-osmosis yaml document --synthesize`` in the project."""
        return self.dbt_osmosis("yaml", command, "--synthesize", *arguments, **environ)

    def yaml_files(self) -> dict[str, bytes]:
        files = [p for part in ("models", "seeds") for p in (self.directory / part).rglob("*.yml")]
        return {str(p.relative_to(self.directory)): p.read_bytes() for p in sorted(files)}

    def load(self, name: str) -> Any:
        return ruamel.yaml.YAML(typ="safe").load((self.directory / name).read_bytes())

    def texts(self) -> dict[str, str]:
        """Return every text by ``table`` or ``table.column``."""
        found = {}
        for name in self.yaml_files():
            content = self.load(name) or {}
            tables = [*content.get("models", []), *content.get("seeds", [])]
            tables += [t for s in content.get("sources", []) for t in s.get("tables", [])]
            for table in tables:
                found[table["name"]] = table.get("description") or ""
                for column in table.get("columns", []):
                    key = f"{table['name']}.{column['name']}"
                    found[key] = column.get("description") or ""
        return found


def build_project(name: str, directory: Path) -> Path:
    """Copy one of the test projects and build it on DuckDB."""
    shutil.copytree(Path(__file__).parent / "projects" / name, directory)
    commands = [["deps"]] if (directory / "packages.yml").exists() else []
    for command in [*commands, ["build"]]:
        done = run_command("dbt", *command, "--quiet", directory=directory)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a directory once for all workers: the first that asks makes it, the others wait."""
    everybody = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        everybody = everybody.parent

    def directory(name: str, make: Callable[[Path], object]) -> Path:
        place = everybody / "made" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.parent.joinpath(f"{name}.claimed").mkdir()
        except FileExistsError:
            _wait_for(place.with_name(f"{name}.ready"), place.with_name(f"{name}.failed"))
        else:
            outcome = "failed"
            try:
                make(place)
                outcome = "ready"
            finally:
                place.with_name(f"{name}.{outcome}").mkdir()
        return place

    return directory


def _wait_for(ready: Path, failed: Path) -> None:
    patience_until = time.monotonic() + HANG_S
    while not ready.exists():
        assert not failed.exists(), f"another test could not make {failed.stem}; it says why"
        assert time.monotonic() < patience_until, f"nobody makes {ready.stem}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def built_demo(made_once: Callable[..., Path]) -> Path:
    return made_once("shop", lambda directory: build_project("demo", directory))


@pytest.fixture(scope="session")
def built_shapes(made_once: Callable[..., Path]) -> Path:
    return made_once("shapes", lambda directory: build_project("shapes", directory))


@pytest.fixture
def shop(built_demo: Path, tmp_path: Path, server: LoopbackServer) -> Shop:
    return copy_of(built_demo, tmp_path, server)


@pytest.fixture
def shapes(built_shapes: Path, tmp_path: Path, server: LoopbackServer) -> Shop:
    return copy_of(built_shapes, tmp_path, server)


def copy_of(built: Path, tmp_path: Path, server: LoopbackServer) -> Shop:
    """Return a private copy of a built project that asks the loopback server."""
    directory = tmp_path / built.name
    shutil.copytree(built, directory, symlinks=True)
    environ = clean_environment(
        LLM_PROVIDER="openai",
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL=server.url,
        OSMOSIS_LLM_MAX_RETRIES="0",
        HOME=str(tmp_path),
    )
    return Shop(directory, environ)
