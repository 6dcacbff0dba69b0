"""The ledger for other tools: the events of its calls as Parquet, JSON lines or CSV."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import IO, TYPE_CHECKING, Literal, Protocol

from dbt_osmosis_llm.ledger.events import (
    Event,
    Exported,
    events_of,
    metadata_of,
    time_text,
    to_json,
)
from dbt_osmosis_llm.ledger.parquet import add_rows, table_of
from dbt_osmosis_llm.ledger.places import ExportError, open_place
from dbt_osmosis_llm.ledger.records import Call, Run

if TYPE_CHECKING:
    import pyarrow

Format = Literal["parquet", "jsonl", "csv"]


class CallSource(Protocol):
    """What an export needs of a ledger."""

    def stream(self, *, run_id: str | None = None, since: datetime | None = None) -> Iterator[Call]:
        """Give calls one by one, oldest first."""
        ...

    def runs(self, *, run_id: str | None = None, limit: int | None = None) -> list[Run]:
        """Return runs, oldest first."""
        ...


def events(ledger: CallSource, calls: Iterable[Call]) -> Iterator[Event]:
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


def to_arrow(ledger: CallSource, calls: Iterable[Call]) -> pyarrow.Table:
    """Return the events of calls as an Arrow table, in the order of an export.

    Raises:
        ExportError: pyarrow is not installed.
        LedgerError: The database refuses.
    """
    in_order = sorted(calls, key=lambda call: (call.started_at, call.call_id))
    return table_of(list(events(ledger, in_order)))


def export(
    ledger: CallSource,
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
        text.detach()  # else it closes the file when it is collected
    return count


def _line_writer(text: IO[str]) -> Callable[[Event], object]:
    def write(row: Event) -> None:
        values = {**row._asdict(), "timestamp": time_text(row.timestamp)}
        # JSON already: put in as it is.
        json_fields = [f'"{name}": {values.pop(name)}' for name in ("logger_metadata", "payload")]
        text.write(f"{to_json(values)[:-1]}, {', '.join(json_fields)}}}\n")

    return write


def _csv_writer(text: IO[str]) -> Callable[[Event], object]:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Event._fields)
    return lambda row: writer.writerow((time_text(row.timestamp), *row[1:]))


def _metadata_by_run(ledger: CallSource) -> Callable[[str], str]:
    by_run: dict[str, str] = {}

    def metadata(run_id: str) -> str:
        if run_id not in by_run:
            # `runs` takes the beginning of an id, too. A run that was pruned leaves its id.
            runs = (run for run in ledger.runs(run_id=run_id) if run.run_id == run_id)
            by_run[run_id] = next(map(metadata_of, runs), to_json({"run_id": run_id}))
        return by_run[run_id]

    return metadata
