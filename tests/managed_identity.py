"""A managed identity's endpoint as Azure's App Service has it: azure-identity signs in there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def running_managed_identity() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yield the variables that lead azure-identity here, and the paths that it asks for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            token = {
                "access_token": f"eyJtoken.number.{len(asked)}",
                "expires_on": str(int(time.time()) + 3600),
                "resource": "https://cognitiveservices.azure.com",
                "token_type": "Bearer",
            }
            payload = json.dumps(token).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_address[1]}/msi/token"
    try:
        yield {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": "secret"}, asked
    finally:
        http.shutdown()
        http.server_close()
