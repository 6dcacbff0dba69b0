"""The loopback server itself: a fault that it does not make would test nothing."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest

from tests.limits import SOON_S, patience
from tests.server import DRIP_S, LoopbackServer, Reply, text_for

KEY = "test-key-0123456789"
SYSTEM, USER = "s" * 400, "u" * 40
SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": "string"}},
    "required": ["description"],
    "additionalProperties": False,
}
CHAT = {
    "model": "m",
    "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    },
}
MESSAGES = {
    "model": "m",
    "max_tokens": 100,
    "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": USER}],
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
}
GENERATE = {
    "systemInstruction": {"parts": [{"text": SYSTEM}]},
    "contents": [{"role": "user", "parts": [{"text": USER}]}],
    "generationConfig": {"responseJsonSchema": SCHEMA},
}
AZURE = "/openai/deployments/d/chat/completions"
ANTHROPIC = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "/v1/chat/completions": (CHAT, {"authorization": f"Bearer {KEY}"}),
    "/api/v1/chat/completions": (CHAT, {"authorization": f"Bearer {KEY}"}),
    f"{AZURE}?api-version=2024-10-21": (CHAT, {"api-key": KEY}),
    "/v1/messages": (MESSAGES, ANTHROPIC),
    "/v1/models/m:generateContent": (GENERATE, {"x-goog-api-key": KEY}),
    "/v1beta/models/m:generateContent": (GENERATE, {"x-goog-api-key": KEY}),
}


def post(
    server: LoopbackServer,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
    timeout_s: float = SOON_S,
) -> tuple[int, bytes]:
    host = server.root.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=timeout_s)
    try:
        connection.request("POST", path, json.dumps(body), headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def words_of(answer: Any) -> str:
    """Return the text of an answer in any of the formats."""
    if "choices" in answer:
        return str(answer["choices"][0]["message"]["content"])
    if "candidates" in answer:
        return str(answer["candidates"][0]["content"]["parts"][-1]["text"])
    return str(answer["content"][-1]["text"])


@pytest.mark.parametrize("path", REQUESTS)
def test_each_format_is_answered_and_counted_alike(server: LoopbackServer, path: str) -> None:
    for _ in range(2):
        status, raw = post(server, path, *REQUESTS[path])
        assert status == 200
    assert json.loads(words_of(json.loads(raw))) == {"description": text_for("table")}
    request = server.requests[0]
    assert (request.text, request.schema, request.key) == (f"{SYSTEM}\n{USER}", SCHEMA, KEY)
    assert (server.input_tokens, server.cached_tokens) == (220, 100)
    assert server.output_tokens == 2 * (len(words_of(json.loads(raw))) // 4)
    assert server.cache_write_tokens == (100 if path == "/v1/messages" else 0)


OPTIONAL = {**SCHEMA, "required": []}
UNIONS = {
    **SCHEMA,
    "properties": {f"c{number}": {"type": ["string", "null"]} for number in range(17)},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": OPTIONAL, "strict": True}}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/v1/messages", MESSAGES, ANTHROPIC, 404),
        ("/v1beta/v1/models/m:generateContent", GENERATE, {"x-goog-api-key": KEY}, 404),
        (AZURE, CHAT, {"api-key": KEY}, 404),
        (f"{AZURE}?api-version=1", CHAT, {}, 401),
        ("/v1/messages", MESSAGES, {"anthropic-version": "1"}, 401),
        ("/v1/messages", MESSAGES, {"x-api-key": KEY}, 400),
        ("/v1/messages", {**MESSAGES, "max_tokens": None}, ANTHROPIC, 400),
        ("/v1/models/m:generateContent", GENERATE, {}, 403),
        ("/v1/chat/completions", {**CHAT, "response_format": FORMAT}, {}, 400),
        (
            "/v1/messages",
            {**MESSAGES, "output_config": {"format": {"type": "json_schema", "schema": UNIONS}}},
            ANTHROPIC,
            400,
        ),
    ],
)
def test_what_a_vendor_would_refuse_is_refused(
    server: LoopbackServer, path: str, body: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    assert post(server, path, body, headers)[0] == status
    assert server.output_tokens == 0


@pytest.mark.parametrize(
    ("delivery", "error"),
    [
        ("hang", TimeoutError),
        ("disconnect", ConnectionError),
        ("reset", ConnectionResetError),
        ("cut", http.client.IncompleteRead),
        ("cut_chunk", http.client.IncompleteRead),
    ],
)
def test_broken_deliveries_are_broken_and_not_counted(
    server: LoopbackServer, delivery: Any, error: type[Exception]
) -> None:
    server.script = lambda request, number: Reply(delivery=delivery)
    timeout_s = 0.2 if delivery == "hang" else SOON_S
    with pytest.raises(error):
        post(server, "/v1/chat/completions", CHAT, timeout_s=timeout_s)
    assert server.input_tokens == 0


@pytest.mark.parametrize("delivery", ["drip_body", "drip_headers"])
def test_drips_pass_a_timeout_of_single_reads(server: LoopbackServer, delivery: Any) -> None:
    drips = round(8 * patience())
    timeout_s = drips * DRIP_S
    server.script = lambda request, number: Reply(body="x" * (drips + 2), delivery=delivery)
    host = server.root.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=timeout_s)
    started = time.monotonic()
    connection.request("POST", "/v1/chat/completions", json.dumps(CHAT))
    if delivery == "drip_body":
        assert connection.getresponse().read() == b"x" * (drips + 2)
        assert time.monotonic() - started > timeout_s
    else:
        connection.sock.settimeout(timeout_s)
        read = b"".join(
            connection.sock.recv(1)
            for _ in range(400)
            if time.monotonic() - started < max(1, 2 * timeout_s)
        )
        assert b"x-slow: aaa" in read
        assert b"\r\n\r\n" not in read
    connection.close()


def test_a_reset_lets_go_of_those_who_wait(server: LoopbackServer) -> None:
    host = server.root.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=SOON_S)
    server.script = lambda request, number: Reply(delivery="hang")
    connection.request("POST", "/v1/chat/completions", json.dumps(CHAT))
    while not server.requests:
        time.sleep(0.005)
    server.reset()
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()
