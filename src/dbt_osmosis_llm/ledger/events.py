"""A call as two events, in the way of LangChain's tracers, for other tools.

A start and its end carry the call's own id as ``run_id``, so that they join; what a tracer calls
the parent is the call that this one repairs or completes, else the run (the command) it is part
of. Everything else of a call stands in one of the two payloads, under the ledger's own names.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple

from dbt_osmosis_llm.ledger.records import Call, Run, clean_text

_ABOUT = ("custom_id", "part", "description", "provider", "model", "key")
"""Stands in both payloads: what costs are grouped by should not need a join."""
_ELSEWHERE = ("run_id", "call_id", "parent_call_id", "started_at", "request", "row_hash")
_OF_END = tuple(f.name for f in fields(Call) if f.name not in (*_ABOUT, *_ELSEWHERE))


class Event(NamedTuple):
    """One row of an export; the fields are its columns."""

    timestamp: datetime
    run_id: str
    """The call's id, the same in both of its events."""
    parent_run_id: str
    """The id of the parent call, of the run when there is none."""
    custom_id: str
    """What was asked about, with ``#part`` when it took several requests."""
    event_type: Literal["llm_start", "llm_end", "llm_error"]
    logger_metadata: str
    """The run as JSON."""
    payload: str
    """The call as JSON: the question in ``llm_start``, what came of it in the other."""

    @property
    def order(self) -> tuple[datetime, str, bool]:
        """Return the key by which events are sorted: by time, a start before its end."""
        return (self.timestamp, self.run_id, self.event_type != "llm_start")


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    rows: int = 0
    """Written."""
    files: int = 0
    known: int = 0
    """Rows that were there already and are not written again."""


def metadata_of(run: Run) -> str:
    """Return a run as JSON."""
    return to_json({f.name: getattr(run, f.name) for f in fields(run)})


def events_of(call: Call, metadata: str) -> tuple[Event, Event]:
    """Return the two events of a call.

    Args:
        call: Any, answered or failed.
        metadata: Of its run, from `metadata_of`.
    """
    about = {name: getattr(call, name) for name in _ABOUT}
    answered_at = call.started_at + timedelta(milliseconds=call.latency_ms)
    parent = call.parent_call_id or call.run_id
    custom_id = clean_text(f"{call.custom_id}#{call.part}" if call.part else call.custom_id)
    start = to_json({**about, "request": call.request})
    end = to_json({**about, **{name: getattr(call, name) for name in _OF_END}})
    kind: Literal["llm_end", "llm_error"] = "llm_end" if call.status == "answered" else "llm_error"
    return (
        Event(_utc(call.started_at), call.call_id, parent, custom_id, "llm_start", metadata, start),
        Event(_utc(answered_at), call.call_id, parent, custom_id, kind, metadata, end),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def time_text(moment: datetime) -> str:
    """Return a moment as exports write it."""
    return moment.isoformat(timespec="microseconds")


def to_json(value: Any) -> str:
    """Return JSON of any value of the ledger's, with null for numbers that JSON does not have."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_without_nan(value), ensure_ascii=False, default=_plain)
    return clean_text(text)


def _plain(value: Any) -> str:
    return time_text(value) if isinstance(value, datetime) else str(value)


def _without_nan(value: Any) -> Any:
    """Return the value with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
