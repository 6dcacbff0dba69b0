"""The ledger for other tools: each call as two events, in the way of LangChain's tracers.

A start and its end carry the call's own id as ``run_id``, so that they join; what a tracer calls
the parent is the call that this one repairs or completes, else the run (the command) it is part
of. Everything else of a call stands in one of the two payloads, under the ledger's own names.
"""

from __future__ import annotations

import csv
import heapq
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

from dbt_osmosis_llm.ledger.places import ExportError, open_place
from dbt_osmosis_llm.ledger.records import Call, Run, clean_text

if TYPE_CHECKING:
    import pyarrow

    from dbt_osmosis_llm.ledger.store import Ledger

Format = Literal["parquet", "jsonl", "csv"]

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
    return _json({f.name: getattr(run, f.name) for f in fields(run)})


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
    start = _json({**about, "request": call.request})
    end = _json({**about, **{name: getattr(call, name) for name in _OF_END}})
    kind: Literal["llm_end", "llm_error"] = "llm_end" if call.status == "answered" else "llm_error"
    return (
        Event(_utc(call.started_at), call.call_id, parent, custom_id, "llm_start", metadata, start),
        Event(_utc(answered_at), call.call_id, parent, custom_id, kind, metadata, end),
    )


def events(ledger: Ledger, calls: Iterable[Call]) -> Iterator[Event]:
    """Give the events of calls by time, holding back only ends that are still to come.

    Args:
        ledger: Where the calls' runs are on record.
        calls: By the time they began.

    Raises:
        LedgerError: The database refuses.
    """
    metadata = _metadata_by_run(ledger)
    ends: list[tuple[tuple[datetime, str, bool], Event]] = []
    for call in calls:
        start, end = events_of(call, metadata(call.run_id))
        while ends and ends[0][0] < start.order:
            yield heapq.heappop(ends)[1]
        yield start
        heapq.heappush(ends, (end.order, end))
    while ends:
        yield heapq.heappop(ends)[1]


def to_arrow(ledger: Ledger, calls: Iterable[Call]) -> pyarrow.Table:
    """Return the events of calls as an Arrow table, in the order of an export.

    Raises:
        ExportError: pyarrow is not installed.
        LedgerError: The database refuses.
    """
    from dbt_osmosis_llm.ledger.parquet import table_of

    in_order = sorted(calls, key=lambda call: (call.started_at, call.call_id))
    return table_of(list(events(ledger, in_order)))


def export(
    ledger: Ledger,
    where: str,
    format: Format = "parquet",
    *,
    run_id: str | None = None,
    since: datetime | None = None,
) -> Exported:
    """Write the events of calls to a folder or file, here or in a bucket.

    Parquet goes to a folder, to which the rows are added that are not there yet; the other formats
    to one file, which is replaced.

    Args:
        ledger: What to export.
        where: A path or ``s3://bucket/prefix``.
        format: ``parquet``, ``jsonl`` or ``csv``.
        run_id: Calls of this run only; the beginning of its id is enough.
        since: Calls begun at this moment or later only.

    Raises:
        ExportError: It cannot be written, or pyarrow is needed and not installed.
        LedgerError: The database refuses.
    """
    rows = events(ledger, ledger.stream(run_id=run_id, since=since))
    if format == "parquet":
        from dbt_osmosis_llm.ledger.parquet import add_rows

        return add_rows(open_place(where), rows)
    folder, slash, name = where.rpartition("/")
    if not name:
        raise ExportError(f"{where!r} is a folder; {format} goes to a file")
    with open_place(folder + slash or ".").new_file(name) as file:
        return Exported(rows=write_text(rows, format, file), files=1)


def write_text(rows: Iterable[Event], format: Format, file: IO[bytes]) -> int:
    """Write events as UTF-8 text and return how many.

    Args:
        rows: The events.
        format: ``jsonl``: an object a line, metadata and payload as objects in it; ``csv``: with a
            header line, metadata and payload as JSON text.
        file: Stays open.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    count = 0
    try:
        write = _line_writer(text) if format == "jsonl" else _csv_writer(text)
        for row in rows:
            write(row)
            count += 1
        text.flush()
    finally:
        text.detach()
    return count


def _line_writer(text: IO[str]) -> Callable[[Event], object]:
    def write(row: Event) -> None:
        values = {**row._asdict(), "timestamp": _text(row.timestamp)}
        # JSON already: put in as it is.
        own = [f'"{name}": {values.pop(name)}' for name in ("logger_metadata", "payload")]
        text.write(f"{_json(values)[:-1]}, {', '.join(own)}}}\n")

    return write


def _csv_writer(text: IO[str]) -> Callable[[Event], object]:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Event._fields)
    return lambda row: writer.writerow((_text(row.timestamp), *row[1:]))


def _metadata_by_run(ledger: Ledger) -> Callable[[str], str]:
    found: dict[str, str] = {}

    def metadata(run_id: str) -> str:
        if run_id not in found:
            runs = (run for run in ledger.runs(run_id=run_id) if run.run_id == run_id)
            found[run_id] = next(map(metadata_of, runs), _json({"run_id": run_id}))
        return found[run_id]

    return metadata


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_without_nan(value), ensure_ascii=False, default=_plain)
    return clean_text(text)


def _plain(value: Any) -> str:
    return _text(value) if isinstance(value, datetime) else str(value)


def _without_nan(value: Any) -> Any:
    """Return the value with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
