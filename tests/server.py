"""A loopback server that speaks the vendors' wire formats, with faults by script.

It answers OpenAI, Azure, Anthropic and Gemini requests with what their JSON schema asks for, counts
tokens the way it reports them, and keeps every request for the test to look at. A token is four
characters. Only tokens of whole answers count: a client cannot know what a broken one cost.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.wire_formats import Answer, Counts, WireFormat, credential, format_of

Delivery = Literal[
    "whole", "drip_body", "drip_headers", "cut", "cut_chunk", "hang", "disconnect", "reset"
]
DRIP_S = 0.03
"""Between two bytes of an answer that drips: below every timeout on a single read."""
HANGING_S = 60.0
"""No thread of the server drips or hangs for longer, whatever the client does."""
_KIND_BY_STATUS = {
    401: "key",
    402: "billing",
    403: "permission",
    404: "model",
    429: "rate_limit",
    500: "server",
    502: "server",
    503: "overloaded",
    529: "overloaded",
}


@dataclass
class Reply:
    """One answer of the server, whole or broken."""

    status: int = 200
    body: Any = None
    """JSON, or text or bytes as they are; None: what the schema asks for, or the vendor's error."""
    content: Any = None
    """Content of the assistant's message instead of what the schema asks for."""
    finish_reason: str = "stop"
    """``stop``, ``length``, ``filtered``, or a word of the vendor's own."""
    refusal: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    disconnect: bool = False
    delivery: Delivery = "whole"
    error: str | None = None
    """What is wrong, by `WireFormat.error`'s kinds; None: what the status says."""
    says: str | None = None
    """The error's message instead of the vendor's."""
    retry_after_s: float | None = None
    """What the error's body asks to wait, for vendors that say it there."""
    content_type: str | None = None
    """None: HTML for text, JSON for all else."""
    keep: float = 1.0
    """Fraction of the answer's text that is sent: a cut answer has less than all."""
    reasoning_tokens: int = 0
    limits: tuple[int, int] | None = None
    """Requests and tokens a minute, told in the vendor's headers."""


@dataclass
class Recorded:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def wire_format(self) -> WireFormat:
        """The format of the path; ``LookupError`` for a path that no vendor has."""
        found = format_of(self.path)
        if found is None:
            raise LookupError(self.path)
        return found

    @property
    def turns(self) -> list[tuple[str, str]]:
        """(role, text) of every message, the system prompt first."""
        return self.wire_format.turns(self.body)

    @property
    def text(self) -> str:
        return "\n".join(text for _, text in self.turns)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema asked for; ``LookupError`` without one."""
        schema = self.wire_format.schema(self.body)
        if schema is None:
            raise LookupError("the request brings no schema")
        return schema

    @property
    def model(self) -> str:
        return self.wire_format.model(self.path, self.body)

    @property
    def key(self) -> str | None:
        """The key that the request carries, by whichever header."""
        return credential(self.headers)


Script = Callable[[Recorded, int], "Reply | None"]
"""Decides the reply to a request by its number, from 1; None: a good answer."""


def text_for(name: str) -> str:
    """The text that the server writes for a property."""
    return f"Meaning of {name} in the shop."


def fill(schema: dict[str, Any], name: str = "table") -> Any:
    """Return an answer that the schema allows."""
    if "properties" in schema:
        return {key: fill(value, key) for key, value in schema["properties"].items()}
    return text_for("table" if name == "description" else name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed between two requests."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class LoopbackServer:
    """``script`` decides the reply to a request; without it, all are answered well."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.script: Script = lambda request, number: None
        self.input_tokens = 0
        self.cached_tokens = 0
        self.cache_write_tokens = 0
        self.output_tokens = 0
        self.reasoning_tokens = 0
        self._prefixes: set[str] = set()
        self._lock = threading.Lock()
        self._round = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body leave as two segments: without this the second waits for an
            # acknowledgement, 40 ms a request.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                server._handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = _Server(("127.0.0.1", 0), Handler)

    @property
    def root(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def reset(self) -> None:
        """Forget everything, and let go of clients that still wait for an answer."""
        self._round += 1
        self.requests.clear()
        self.script = lambda request, number: None
        self.input_tokens = self.cached_tokens = self.cache_write_tokens = 0
        self.output_tokens = self.reasoning_tokens = 0
        self._prefixes.clear()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {key.lower(): value for key, value in handler.headers.items()}
        request = Recorded(handler.path, headers, json.loads(raw or b"{}"), time.monotonic())
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        reply = self.script(request, number) or _complaint(request) or Reply()
        if reply.delay_s:
            time.sleep(reply.delay_s)
        delivery: Delivery = "disconnect" if reply.disconnect else reply.delivery
        try:
            if delivery in ("hang", "disconnect", "reset"):
                self._stay_silent(handler, delivery)
            else:
                self._deliver(handler, *self._written(request, reply, number), delivery)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _written(
        self, request: Recorded, reply: Reply, number: int
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the status, headers and body of a reply."""
        body = reply.body
        if body is None:
            ok = reply.status < 400
            answer = self._completion if ok else self._error
            body = answer(request, reply, number)
        is_text = isinstance(body, str)
        payload = body
        if not isinstance(body, bytes):
            payload = (body if is_text else json.dumps(body)).encode()
        spoken = format_of(request.path)
        headers = {
            "content-type": "text/html" if is_text else "application/json",
            "content-length": str(len(payload)),
            **(spoken.headers(number, reply.limits) if spoken else {}),
            **{name.lower(): value for name, value in reply.headers.items()},
        }
        if reply.content_type is not None:
            headers["content-type"] = reply.content_type
        return reply.status, headers, payload

    def _error(self, request: Recorded, reply: Reply, number: int) -> Any:
        spoken = format_of(request.path)
        if spoken is None:
            return {"error": {"message": f"no such path: {request.path}"}}
        kind = reply.error or _KIND_BY_STATUS.get(reply.status, "bad_request")
        return spoken.error(reply.status, kind, reply.says, number, reply.retry_after_s)

    def _completion(self, request: Recorded, reply: Reply, number: int) -> dict[str, Any]:
        spoken = request.wire_format
        content = reply.content
        if content is None:
            schema = spoken.schema(request.body)
            content = text_for("table") if schema is None else fill(schema)
        text = content if isinstance(content, str) else json.dumps(content)
        text = text[: round(len(text) * reply.keep)]
        counts = self._counted(request, text, reply)
        return spoken.answer(
            Answer(number, request.model, text, reply.finish_reason, reply.refusal, counts)
        )

    def _counted(self, request: Recorded, text: str, reply: Reply) -> Counts:
        """Return the tokens of an answer, and add them up when it will be delivered whole."""
        prompt = len(request.text) // 4
        prefix = request.turns[0][1]
        asks_to_write = "cache_control" in json.dumps(request.body.get("system", ""))
        with self._lock:
            cached = written = 0
            if prefix in self._prefixes:
                cached = min(prompt, len(prefix) // 4)
            elif request.wire_format.writes_cache and asks_to_write:
                written = min(prompt, len(prefix) // 4)
            output = max(1, len(text) // 4) + reply.reasoning_tokens
            if reply.delivery == "whole":
                self._prefixes.add(prefix)
                self.input_tokens += prompt
                self.cached_tokens += cached
                self.cache_write_tokens += written
                self.output_tokens += output
                self.reasoning_tokens += reply.reasoning_tokens
        return Counts(prompt, cached, output, reply.reasoning_tokens, written)

    def _stay_silent(self, handler: BaseHTTPRequestHandler, delivery: Delivery) -> None:
        """Answer nothing: until the client leaves, or by leaving first."""
        connection = handler.connection
        handler.close_connection = True
        if delivery == "hang":
            until, begun = time.monotonic() + HANGING_S, self._round
            connection.settimeout(0.02)
            while time.monotonic() < until and self._round == begun:
                with suppress(TimeoutError):
                    connection.recv(1, socket.MSG_PEEK)
                    return  # the client has left
        if delivery == "reset":  # a reset instead of a farewell
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        connection.shutdown(socket.SHUT_RDWR)

    def _deliver(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        payload: bytes,
        delivery: Delivery,
    ) -> None:
        if delivery == "cut_chunk":
            del headers["content-length"]
            headers["transfer-encoding"] = "chunked"
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        out = handler.wfile
        if delivery == "drip_headers":
            handler.flush_headers()
            self._drip(handler, b"x-slow: " + b"a" * 1000 + b"\r\n")
        handler.end_headers()
        if delivery in ("whole", "drip_headers"):
            out.write(payload)
        elif delivery == "drip_body":
            self._drip(handler, payload)
        else:  # half of what was announced
            half = payload[: len(payload) // 2]
            out.write(b"%x\r\n%s" % (len(payload), half) if delivery == "cut_chunk" else half)
            handler.close_connection = True
            out.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)

    def _drip(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        until, begun = time.monotonic() + HANGING_S, self._round
        for byte in data:
            if time.monotonic() > until or self._round != begun:
                raise BrokenPipeError
            handler.wfile.write(bytes([byte]))
            time.sleep(DRIP_S)

    @contextmanager
    def running(self) -> Iterator[LoopbackServer]:
        thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self.reset()
            self._http.shutdown()
            self._http.server_close()


def _complaint(request: Recorded) -> Reply | None:
    """Return what the vendor would refuse of the request, script or not."""
    route, _, query = request.path.partition("?")
    spoken = format_of(route)
    if spoken is None:
        return Reply(404)
    found = spoken.complaint(query, request.headers, request.body)
    return Reply(found.status, error=found.kind, says=found.says) if found else None
