"""Runs ``llmock serve`` on a free port until its standard input ends.

The first line on standard output is its address.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    from llmock.cli import app  # type: ignore[import-not-found]

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threading.Thread(target=_end_with_input, daemon=True).start()
    print(f"http://127.0.0.1:{port}", flush=True)
    # Its log would go to the same place as the address.
    sys.stdout = sys.stderr
    app(["serve", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"])


if __name__ == "__main__":
    main()
