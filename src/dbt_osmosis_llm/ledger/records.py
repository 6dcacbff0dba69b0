"""What the ledger holds, as plain values, and the hashes that tell rows apart.

Hashes are taken over JSON with sorted keys and no blanks, and name their version and algorithm:
``v1:sha256:…``. A change of what goes into one needs a new version, or every answer that was paid
for would be asked again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

_HASH = "v1:sha256"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Status = Literal["answered", "unusable", "failed"]


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


def to_microseconds(moment: datetime) -> int:
    """Return the microseconds since 1970 in UTC; a moment without a time zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(value: int) -> datetime:
    """Return the moment in UTC."""
    return _EPOCH + timedelta(microseconds=value)


_id_lock = threading.Lock()
_last_ns = 0


def new_id() -> str:
    """Return 32 hexadecimal digits that sort by time, also within one process's microsecond."""
    global _last_ns  # the clock may stand still between two calls
    with _id_lock:
        _last_ns = max(_last_ns + 1, time.time_ns())
        return f"{_last_ns:016x}{os.urandom(8).hex()}"


def clean_text(text: str) -> str:
    """Return the text without what databases cannot hold: NUL and halves of characters."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def canonical(value: Any) -> str:
    """Return JSON that is the same for the same value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)


def plain(value: Any) -> Any:
    """Return a JSON-like value as it can be read back from a database."""
    return json.loads(clean_text(json.dumps(value, ensure_ascii=False, default=str)))


def content_hash(value: Any) -> str:
    """Return the tagged hash of a JSON-like value."""
    return f"{_HASH}:{hashlib.sha256(canonical(value).encode()).hexdigest()}"


@dataclass(frozen=True)
class Run:
    """One command that asked a model, or might have."""

    run_id: str = field(default_factory=new_id)
    started_at: datetime = field(default_factory=now)
    ended_at: datetime | None = None
    """None: it still runs, or was killed."""
    outcome: str | None = None
    """``done``, ``failed`` (some nodes), ``stopped`` or ``interrupted``; None as above."""
    command: str = ""
    selection: Sequence[str] = ()
    project: str | None = None
    git_commit: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Distribution to version."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """`LLMConfig.to_metadata_dict()`."""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One question and what came of it, repetitions of the same request included."""

    run_id: str
    provider: str
    model: str
    """As asked for."""
    status: Status
    call_id: str = field(default_factory=new_id)
    parent_call_id: str | None = None
    """The call that this one repairs, halves or completes."""
    started_at: datetime = field(default_factory=now)
    custom_id: str = ""
    """What was asked about, e.g. a dbt unique id."""
    part: str = ""
    """Which of several requests about it, empty for the only one."""
    description: str = ""
    """What was asked, for people."""
    key: str = ""
    """Of the cache: `cache_key` of the request, and set to it when the call is put on record."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """``messages``, ``schema`` and ``parameters``, as in `cache_key`."""
    response: str | None = None
    answered_by: str | None = None
    """The model that the answer names."""
    error_class: str | None = None
    error: str | None = None
    attempts: int = 1
    """Requests made."""
    latency_ms: float = 0.0
    """Wall time, waits for a turn and between repetitions included."""
    input_tokens: int = 0
    """Those read from or written to the provider's cache included."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """Reasoning included."""
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    """None: not known."""
    finish_reason: str | None = None
    request_id: str | None = None
    """The provider's."""
    row_hash: str = ""
    """Of all other fields; set when the call is put on record."""

    def computed_hash(self) -> str:
        """Return the hash of all fields but the hash itself."""
        return _row_hash(vars(self))

    def as_stored(self) -> Call:
        """Return the call as it can be read back, with its key and hash."""
        values: dict[str, Any] = {
            name: clean_text(value) if isinstance(value, str) else value
            for name, value in vars(self).items()
        }
        # As a database gives them back: the hash is computed again from what it gives.
        values["started_at"] = from_microseconds(to_microseconds(self.started_at))
        values["request"] = plain(self.request)
        values["latency_ms"] = float(self.latency_ms)
        values["cost_usd"] = None if self.cost_usd is None else float(self.cost_usd)
        values["key"] = values["key"] or cache_key(
            values["provider"], values["model"], values["request"]
        )
        values["row_hash"] = _row_hash(values)
        return Call(**values)

    def computed_key(self) -> str:
        """Return the cache key of what was asked."""
        return cache_key(self.provider, self.model, self.request)


def _row_hash(values: Mapping[str, Any]) -> str:
    hashed = {name: value for name, value in values.items() if name != "row_hash"}
    return content_hash({**hashed, "started_at": to_microseconds(values["started_at"])})


@dataclass(frozen=True)
class Hit:
    """A question that an earlier call had answered."""

    run_id: str
    call_id: str
    """The call that answered it."""
    at: datetime = field(default_factory=now)
    custom_id: str = ""
    part: str = ""


@dataclass(frozen=True)
class Text:
    """A text that an answer became."""

    call_id: str
    node_id: str
    column: str
    """Empty for the table's own."""
    text: str


def request_body(
    messages: Sequence[tuple[str, str]],
    schema: Mapping[str, Any] | None,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what is asked in the form that is stored and hashed.

    Args:
        messages: Role and text of each.
        schema: Of the answer.
        parameters: What else shapes the answer, e.g. ``temperature``; None values do not count.
    """
    body = {
        "messages": [{"role": role, "content": content} for role, content in messages],
        "schema": schema,
        "parameters": {key: value for key, value in parameters.items() if value is not None},
    }
    stored: dict[str, Any] = plain(body)
    return stored


def cache_key(provider: str, model: str, request: Mapping[str, Any]) -> str:
    """Return the key under which the answer to a request is found again.

    Addresses and keys are no part of it: an answer is a colleague's and CI's as well.
    """
    return content_hash({"provider": provider, "model": model, **request})
