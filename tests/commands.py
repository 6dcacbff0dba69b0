"""Tests run the installed commands through ``run_command``: as a fork where a fork will do.

A fork is the same script in a process of its own, without the imports: see ``fork_server``. What
signals, the end of an interpreter, an installation or imports do is tested with ``process=True``.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from tests import fork_server
from tests.limits import HANG_S

BIN = Path(sys.executable).parent

OURS = (
    "OSMOSIS_LLM_",
    "OPENAI_",
    "ANTHROPIC_",
    "AZURE_",
    "GOOGLE_",
    "GEMINI_",
    "OLLAMA_",
    "LM_STUDIO_",
    "VLLM_",
    "OPENROUTER_",
    "GROQ_",
    "MISTRAL_",
    "DEEPSEEK_",
    "TOGETHER_",
    "HYPERBOLIC_",
    "LLM_",
    "DBT_",
)
_OF_THE_INTERPRETER = ("PYTHON", "LC_", "LANG", "LD_", "DYLD_", "MALLOC_", "TZ", "DBT_OSMOSIS_LLM")
"""Variables that are read before anything is imported."""

_ASKED_FOR_AGAIN = frozenset(
    {
        "HOME",
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "FORCE_COLOR",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
    }
)
"""Read on import by dbt-osmosis's logger, which each fork makes anew, and by nothing that a run
uses: dbt-core-interface has a constant of the home directory that nobody reads."""


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without anything that a user's own set-up would change."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        **more,
    }


def run_command(
    command: str,
    *arguments: str | Path,
    directory: Path,
    environ: Mapping[str, str] | None = None,
    process: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a command that is installed beside the interpreter, and wait for it.

    Args:
        command: ``dbt-osmosis`` or ``dbt``.
        arguments: The rest of the command line.
        directory: Where it runs.
        environ: Its whole environment; the clean one if none is given.
        process: A process from scratch, whatever a fork could do.
    """
    environment = dict(clean_environment() if environ is None else environ)
    words = [str(BIN / command), *map(str, arguments)]
    if not process and (server := the_server()) is not None and server.suits(environment):
        return server.run(words, directory, environment)
    return subprocess.run(
        words,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


class ForkServer:
    """The process that forks, and the wire to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wire, theirs = socket.socketpair()
        self._home = tempfile.TemporaryDirectory(prefix="fork-server-")
        self._environ = clean_environment(HOME=self._home.name)
        with theirs, tempfile.TemporaryFile("w+") as said:
            self._process = subprocess.Popen(
                [BIN / "python", fork_server.__file__, str(theirs.fileno())],
                cwd=self._home.name,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for the tests: without them the server ends by itself.
                start_new_session=True,
            )
            theirs.close()
            try:
                (length,) = fork_server.COUNT.unpack(self._receive(fork_server.COUNT.size))
                asked_for = json.loads(self._receive(length))
            except EOFError as error:
                said.seek(0)
                raise AssertionError(f"the fork server ended: {said.read()}") from error
        self.reads = frozenset(asked_for) - _ASKED_FOR_AGAIN
        """Variables whose values a fork has from the server, not from its own environment."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def suits(self, environ: Mapping[str, str]) -> bool:
        """Tell whether a new process with this environment would import the same."""
        names = {n for n in (*environ, *self._environ) if n.startswith(_OF_THE_INTERPRETER)}
        return all(environ.get(n) == self._environ.get(n) for n in names | self.reads)

    def run(
        self, words: list[str], directory: Path, environ: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Do what ``subprocess.run`` does with pipes and text."""
        script, *arguments = words
        request = {
            "script": script,
            "arguments": arguments,
            "directory": str(directory),
            "environ": environ,
        }
        with (
            self._lock,
            tempfile.TemporaryFile("w+", encoding="utf-8") as asked,
            open(os.devnull) as nothing,
            tempfile.TemporaryFile("w+") as stdout,
            tempfile.TemporaryFile("w+") as stderr,
        ):
            json.dump(request, asked)
            asked.seek(0)
            descriptors = [file.fileno() for file in (asked, nothing, stdout, stderr)]
            socket.send_fds(self._wire, [b"!"], descriptors)
            pid = self._status()
            code, hangs = self._wait(pid)
            stdout.seek(0)
            stderr.seek(0)
            if hangs:
                raise subprocess.TimeoutExpired(words, HANG_S, stdout.read(), stderr.read())
            return subprocess.CompletedProcess(words, code, stdout.read(), stderr.read())

    def close(self) -> None:
        self._wire.close()
        self._process.wait()
        self._home.cleanup()

    def _wait(self, pid: int) -> tuple[int, bool]:
        """Return the exit code of a run, and whether it had to be killed."""
        self._wire.settimeout(HANG_S)
        try:
            return self._status(), False
        except TimeoutError:
            self._wire.settimeout(None)
            os.kill(pid, signal.SIGKILL)
            return self._status(), True
        finally:
            self._wire.settimeout(None)

    def _status(self) -> int:
        (status,) = fork_server.STATUS.unpack(self._receive(fork_server.STATUS.size))
        return int(status)

    def _receive(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._wire.recv(count - len(found))
            if not part:
                raise EOFError("the fork server is gone")
            found += part
        return found


@lru_cache(maxsize=1)
def the_server() -> ForkServer | None:
    """Return the one of this process, which is started by its first run."""
    if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
        return None
    server = ForkServer()
    atexit.register(server.close)
    return server
