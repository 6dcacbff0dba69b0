"""No test reaches anything but loopback, no test sees the keys of the person who runs it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import LoopbackServer

_OURS = ("OSMOSIS_LLM_", "OPENAI_", "OLLAMA_", "LM_STUDIO_", "LLM_", "DBT_")
for _name in list(os.environ):
    if _name.startswith(_OURS):
        del os.environ[_name]

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: object) -> None:
    host = address[0] if isinstance(address, tuple) else "local"
    if host not in {"127.0.0.1", "::1", "localhost", "local"}:
        raise AssertionError(f"a test tried to reach {host}")
    _connect(self, address)  # type: ignore[arg-type]


socket.socket.connect = _loopback_only  # type: ignore[assignment, method-assign]


@pytest.fixture(scope="session")
def _running_server() -> Iterator[LoopbackServer]:
    with LoopbackServer().running() as server:
        yield server


@pytest.fixture
def server(_running_server: LoopbackServer) -> LoopbackServer:
    _running_server.reset()
    return _running_server


@pytest.fixture
def root() -> Path:
    return Path(__file__).resolve().parent.parent
