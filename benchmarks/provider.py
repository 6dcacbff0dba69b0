"""A loopback provider with latency and limits, which writes down what every request asks for.

Tokens are four characters each. The JSON schema counts as the first part of a prompt, as vendors
bill and cache it: without that, a request with a schema would look cheaper than it is.
"""

from __future__ import annotations

import json
import math
import re
import string
import threading
import time
from dataclasses import dataclass

from tests.server import Recorded, Reply
from tests.wire_formats import Answer, Counts

OUTPUT_TOKENS_PER_S = 200
"""How fast the model writes: a large answer takes longer than a small one."""
_CHARS_PER_TOKEN = 4
_CACHED_FROM, _CACHED_IN_STEPS_OF = 1024, 128
"""Tokens of a prefix that OpenAI caches, and the steps in which it does."""

_ABOUT = re.compile(r"(?:[Tt]he|of the) (?:model|seed|source|snapshot) `([^`]+)`")
_COLUMNS = re.compile(r"<columns>\n(.*?)\n</columns>", re.DOTALL)
_COLUMN = re.compile(r"^- `([^`]+)`", re.MULTILINE)
_HOST_COLUMN = re.compile(r"The column name is: (\S+)")
_HOST_SELECT = re.compile(r"SELECT (.*?) FROM", re.DOTALL)
_HOST_NODE = re.compile(r"(?:ColumnParent|NodeId)=(\S+)|for a table named (\S+)\.\n")


@dataclass(frozen=True)
class Conditions:
    """What the provider allows, how long it takes, and how many requests a client may have open."""

    latency_s: float
    """Of an answer without its tokens."""
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int


@dataclass(frozen=True)
class Asked:
    """What a request asks for, whoever makes it."""

    node: str
    columns: tuple[str, ...] = ()
    table: bool = False
    """It asks for the table's own text."""


@dataclass(frozen=True)
class Served:
    """One request as the provider saw it; times in seconds of one clock."""

    asked: Asked
    status: int
    arrived_at: float
    answered_at: float
    prompt: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    texts: dict[str, str]
    """Column to its text; the empty name stands for the table."""

    @property
    def latency_s(self) -> float:
        return self.answered_at - self.arrived_at


class Bucket:
    """Refills all the time and holds one second's worth: how vendors enforce a limit per minute."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._per_s = per_minute / 60
        self._capacity = max(1.0, self._per_s)
        self._level, self._at = self._capacity, -math.inf

    def wait_s(self, amount: int, now: float) -> float:
        """Return how long until there is as much, or until it is full if it never can be."""
        self._level = min(self._capacity, self._level + (now - self._at) * self._per_s)
        self._at = now
        return max(0.0, min(amount, self._capacity) - self._level) / self._per_s

    def take(self, amount: int) -> None:
        self._level -= amount

    def headers(self, resource: str) -> dict[str, str]:
        """Return what OpenAI says of a limit."""
        used = self._capacity - self._level
        return {
            f"x-ratelimit-limit-{resource}": str(self.per_minute),
            f"x-ratelimit-remaining-{resource}": str(max(0, int(self.per_minute - used))),
            f"x-ratelimit-reset-{resource}": f"{math.ceil(used / self._per_s * 1000)}ms",
        }


class Provider:
    """A script for the loopback server."""

    def __init__(self, given: Conditions) -> None:
        self.served: list[Served] = []
        self._given = given
        self._requests = Bucket(given.requests_per_minute)
        self._tokens = Bucket(given.tokens_per_minute)
        self._prefixes: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, request: Recorded, number: int) -> Reply:
        schema = request.wire_format.schema(request.body)
        asked = read(request.turns, schema)
        texts = texts_for(asked, number)
        content = _content(request.turns, schema, texts)
        prompt = (json.dumps(schema) if schema else "") + request.text
        tokens, output = _tokens(prompt), max(1, _tokens(content))
        headers, wait_s, short_of = self._turn(tokens + output, request.at)
        if wait_s:
            headers["retry-after-ms"] = str(math.ceil(wait_s * 1000))
            headers["retry-after"] = str(math.ceil(wait_s))
            says = f"Rate limit reached on {short_of} per min."
            reply, counts = Reply(429, headers=headers, says=says), Counts()
        else:
            counts = Counts(tokens, self._cached(prompt), output)
            time.sleep(self._given.latency_s + output / OUTPUT_TOKENS_PER_S)
            self._remember(prompt)
            answer = Answer(number, request.model, content, "stop", None, counts)
            reply = Reply(body=request.wire_format.answer(answer), headers=headers)
        served = Served(
            asked,
            reply.status,
            request.at,
            time.monotonic(),
            request.text,
            counts.input,
            counts.cached,
            counts.output,
            texts,
        )
        with self._lock:
            self.served.append(served)
        return reply

    def _turn(self, tokens: int, now: float) -> tuple[dict[str, str], float, str]:
        """Take a request and its tokens, or return how long it came too early, and for what."""
        with self._lock:
            waits = [
                (self._requests.wait_s(1, now), "requests"),
                (self._tokens.wait_s(tokens, now), "tokens"),
            ]
            wait_s, short_of = max(waits)
            if not wait_s:
                self._requests.take(1)
                self._tokens.take(tokens)
            headers = self._requests.headers("requests") | self._tokens.headers("tokens")
        return headers, wait_s, short_of

    def _cached(self, prompt: str) -> int:
        """Return how many tokens of a prompt begin one that was answered."""
        cached = 0
        with self._lock:
            for tokens, prefix in _cacheable(prompt):
                if prefix not in self._prefixes:
                    break
                cached = tokens
        return cached

    def _remember(self, prompt: str) -> None:
        with self._lock:
            self._prefixes.update(prefix for _, prefix in _cacheable(prompt))


def _tokens(text: str) -> int:
    return len(text) // _CHARS_PER_TOKEN


def _cacheable(prompt: str) -> list[tuple[int, int]]:
    """Return the prefixes that a vendor would cache: their tokens and a hash of each."""
    ends = range(_CACHED_FROM, _tokens(prompt) + 1, _CACHED_IN_STEPS_OF)
    return [(tokens, hash(prompt[: tokens * _CHARS_PER_TOKEN])) for tokens in ends]


def read(turns: list[tuple[str, str]], schema: dict | None) -> Asked:
    """Return what a request asks for: one of the plugin's has a schema, dbt-osmosis's have none."""
    if schema is None:
        return _asked_by_host("\n".join(text for _, text in turns))
    prompt = next(text for role, text in turns if role == "user")
    found = _ABOUT.search(prompt)
    if found is None:
        raise LookupError("the prompt names no table")
    node = found[1].rsplit(".", 1)[-1]  # a source's name has its own before it
    properties = schema["properties"]
    if "columns" in properties:
        names = tuple(properties["columns"]["properties"])
        return Asked(node, names, "description" in properties)
    listed = _COLUMNS.search(prompt)
    names = tuple(_COLUMN.findall(listed[1])) if listed else ()
    return Asked(node, names, not names)


def _asked_by_host(text: str) -> Asked:
    found = _HOST_NODE.search(text)
    if found is None:
        raise LookupError("the prompt names no table")
    node = (found[1] or found[2]).rsplit(".", 1)[-1].strip('"`')
    if column := _HOST_COLUMN.search(text):
        return Asked(node, (column[1],))
    select = _HOST_SELECT.search(text) if "ONLY VALID JSON" in text else None
    return Asked(node, tuple(select[1].split(", ")) if select else (), table=True)


def texts_for(asked: Asked, number: int) -> dict[str, str]:
    """Return texts that tell which answer they come from; about 20 tokens each, as people write."""
    # In letters: a figure that is not in the evidence would be a fault.
    name_of_answer = "".join(string.ascii_lowercase[int(digit)] for digit in str(number))
    of_answer = f"of {asked.node}, in the words of answer {name_of_answer}."
    texts = {"": f"One row {of_answer}"} if asked.table else {}
    return texts | {name: f"What {name} says of one row {of_answer}" for name in asked.columns}


def _content(turns: list[tuple[str, str]], schema: dict | None, texts: dict[str, str]) -> str:
    """Return an answer in the form that the request wants."""
    if schema is not None:
        if "columns" not in schema["properties"]:
            return json.dumps({"description": next(iter(texts.values()))})
        columns = {name: text for name, text in texts.items() if name}
        table = {"description": texts[""]} if "" in texts else {}
        return json.dumps({**table, "columns": columns})
    if "ONLY VALID JSON" in turns[0][1]:
        columns = [{"name": name, "description": text} for name, text in texts.items() if name]
        return json.dumps({"description": texts[""], "columns": columns})
    return next(iter(texts.values()))
