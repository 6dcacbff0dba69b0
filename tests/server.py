"""A loopback server that speaks the vendors' wire formats, with faults by script.

It answers OpenAI chat completions with what the request's JSON schema asks for, counts tokens the
way it reports them, and keeps every request for the test to look at.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One answer of the server, whole or broken."""

    status: int = 200
    body: Any = None
    """JSON, or text as it is; None: what the schema asks for."""
    content: Any = None
    """Content of the assistant's message instead of what the schema asks for."""
    finish_reason: str = "stop"
    refusal: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    disconnect: bool = False


@dataclass
class Recorded:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def text(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])

    @property
    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = self.body["response_format"]["json_schema"]["schema"]
        return schema


def text_for(name: str) -> str:
    """The text that the server writes for a property."""
    return f"Meaning of {name} in the shop."


def fill(schema: dict[str, Any], name: str = "table") -> Any:
    """Return an answer that the schema allows."""
    if "properties" in schema:
        return {key: fill(value, key) for key, value in schema["properties"].items()}
    return text_for("table" if name == "description" else name)


class LoopbackServer:
    """``script`` decides the reply to a request; without it, all are answered well."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.script: Callable[[Recorded, int], Reply | None] = lambda request, number: None
        self.input_tokens = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def reset(self) -> None:
        self.requests.clear()
        self.script = lambda request, number: None
        self.input_tokens = self.cached_tokens = self.output_tokens = 0

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {key.lower(): value for key, value in handler.headers.items()}
        request = Recorded(handler.path, headers, json.loads(raw or b"{}"), time.monotonic())
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        reply = self.script(request, number) or Reply()
        if reply.delay_s:
            time.sleep(reply.delay_s)
        if reply.disconnect:
            handler.close_connection = True
            handler.connection.close()
            return
        body = reply.body
        if body is None:
            body = self._completion(request, reply, number)
        is_text = isinstance(body, str)
        payload = (body if is_text else json.dumps(body)).encode()
        try:
            handler.send_response(reply.status)
            handler.send_header("content-type", "text/html" if is_text else "application/json")
            handler.send_header("content-length", str(len(payload)))
            handler.send_header("x-request-id", f"req_{number}")
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(payload)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _completion(self, request: Recorded, reply: Reply, number: int) -> dict[str, Any]:
        content = reply.content
        if content is None:
            wants_json = "response_format" in request.body
            content = fill(request.schema) if wants_json else text_for("table")
        text = content if isinstance(content, str) else json.dumps(content)
        prompt, completion = len(request.text) // 4, max(1, len(text) // 4)
        cached = min(prompt, len(request.body["messages"][0]["content"]) // 4) if number > 1 else 0
        with self._lock:
            self.input_tokens += prompt
            self.cached_tokens += cached
            self.output_tokens += completion
        message = {"role": "assistant", "content": None if reply.refusal else text}
        if reply.refusal:
            message["refusal"] = reply.refusal
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": request.body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        }

    @contextmanager
    def running(self) -> Iterator[LoopbackServer]:
        thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
