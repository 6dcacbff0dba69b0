"""Starts one of the server scripts beside this module and ends it, whatever happens meanwhile.

A script serves until its standard input ends, so that it ends with the tests even when they are
killed and clean nothing up.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_S = 120.0
"""Longest wait for a server, on a machine that does other things."""


@contextmanager
def serving(script: str, health_path: str) -> Iterator[str]:
    """Run a script and yield the base URL that it prints, once it answers at a path."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).parent / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        patience = threading.Timer(_START_S, process.kill)
        patience.start()
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            while address and process.poll() is None and not _answers(f"{address}{health_path}"):
                time.sleep(0.1)
            if not address or process.poll() is not None:
                log.seek(0)
                said = log.read().decode(errors="replace")
                raise AssertionError(f"{script} ended before it answered: {said}")
            patience.cancel()
            yield address
        finally:
            patience.cancel()
            _end(process)


def get(url: str) -> str:
    """Return what a server on this machine answers."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _answers(url: str) -> bool:
    try:
        get(url)
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
