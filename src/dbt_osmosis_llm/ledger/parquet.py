"""Events as Parquet files, one folder a UTC day: an export's, or those of a run as it goes.

A file is named after the events in it. So a file that is written again, because an answer from S3
got lost on its way, takes the place of the first one, and no other file is ever overwritten.
"""

from __future__ import annotations

import atexit
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.ledger.events import Event, Exported, events_of, metadata_of
from dbt_osmosis_llm.ledger.places import ExportError, Place, load_pyarrow, open_place
from dbt_osmosis_llm.ledger.records import Call, Run
from dbt_osmosis_llm.llm.exceptions import LLMLedgerError

if TYPE_CHECKING:
    import pyarrow

_MAX_ROWS = 20_000
_MAX_CHARS = 32_000_000
"""Of one file in memory: prompts differ in length by a factor of a thousand."""

_Key = tuple[str, str]


def schema() -> pyarrow.Schema:
    """Return the columns of all exports.

    Raises:
        ExportError: pyarrow is not installed.
    """
    pa = load_pyarrow()
    types = {"timestamp": pa.timestamp("us", tz="UTC")}
    return pa.schema([(name, types.get(name, pa.string())) for name in Event._fields])


def table_of(rows: list[Event]) -> pyarrow.Table:
    """Return events as an Arrow table.

    Raises:
        ExportError: pyarrow is not installed.
    """
    pa = load_pyarrow()
    columns = {name: [row[i] for row in rows] for i, name in enumerate(Event._fields)}
    return pa.table(columns, schema=schema())


def add_rows(place: Place, rows: Iterable[Event]) -> Exported:
    """Write the events that are not in a place yet.

    Args:
        place: May hold files of earlier exports and of live logs.
        rows: By time.

    Raises:
        ExportError: It cannot be written, or a Parquet file that is there cannot be read.
    """
    load_pyarrow()
    written = files = seen = 0
    for day, of_day in groupby(rows, key=_day):
        known_keys = _known_keys(place, day)
        for chunk in _chunks(of_day):
            new = [row for row in chunk if _key(row) not in known_keys]
            seen += len(chunk)
            written += len(new)
            if new:
                _write_file(place, day, new)
                files += 1
    return Exported(rows=written, files=files, known=seen - written)


def _chunks(rows: Iterable[Event]) -> Iterator[list[Event]]:
    chunk: list[Event] = []
    chars = 0
    for row in rows:
        chunk.append(row)
        chars += len(row.payload) + len(row.logger_metadata)
        if len(chunk) >= _MAX_ROWS or chars >= _MAX_CHARS:
            yield chunk
            chunk, chars = [], 0
    if chunk:
        yield chunk


def _day(row: Event) -> date:
    return row.timestamp.date()


def _key(row: Event) -> _Key:
    return (row.run_id, row.event_type)


def _folder(day: date) -> str:
    return f"date={day.isoformat()}"


def _known_keys(place: Place, day: date) -> set[_Key]:
    """Return which events of a day are in a place already."""
    pa = load_pyarrow()
    files, folder = place.arrow(_folder(day))
    columns = ["run_id", "event_type"]

    def read() -> set[_Key]:
        selector = pa.fs.FileSelector(folder, allow_not_found=True)
        paths = [
            info.path
            for info in files.get_file_info(selector)
            if info.base_name.endswith(".parquet") and not info.base_name.startswith(".")
        ]
        if not paths:
            return set()
        keys = pa.schema([(name, pa.string()) for name in columns])
        # With a schema of these two columns: no payload is read.
        table = pa.dataset.dataset(paths, keys, format="parquet", filesystem=files).to_table()
        return set(zip(*(table[name].to_pylist() for name in columns), strict=True))

    try:
        return place.attempt(read)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise ExportError(f"{place.name}/{_folder(day)} holds a damaged file: {reason}") from None


def _write_file(place: Place, day: date, rows: list[Event]) -> None:
    pa = load_pyarrow()
    keys = "\n".join(" ".join(_key(row)) for row in rows)
    name = f"{_folder(day)}/calls-{hashlib.sha256(keys.encode()).hexdigest()[:32]}.parquet"
    with place.new_file(name) as file:
        pa.parquet.write_table(table_of(rows), file, compression="zstd")


class ParquetLog:
    """Writes the calls of a run to Parquet files as they happen.

    Full buffers are written by a thread of its own: no request waits for a bucket. After the
    first failure nothing more is written; the calls are in the ledger, from where an export to
    the same place adds exactly those that are missing.

    Args:
        where: A folder or ``s3://bucket/prefix``.
        run: That the calls belong to.
        buffer_rows: Events in one file; each call has two.
        on_failure: ``error``: `check` and `close` raise; ``continue``: `close` warns.
        sleep: Instead of waiting in real time between attempts.

    Raises:
        ExportError: pyarrow is not installed, or the place is none.
    """

    def __init__(
        self,
        where: str,
        run: Run,
        *,
        buffer_rows: int = 100,
        on_failure: Literal["error", "continue"] = "error",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        load_pyarrow()
        self._place = open_place(where, sleep=sleep)
        self._run_id = run.run_id
        self._metadata = metadata_of(run)
        self._buffer_rows = buffer_rows
        self._on_failure = on_failure
        self._buffer: list[Event] = []
        self._lost_rows = 0
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="parquet log")
        self.failure: ExportError | None = None
        """Why nothing more is written."""
        # After pyarrow is loaded, whose own exit handler ends S3: the last one runs first.
        atexit.register(self._close_at_exit)

    def add(self, call: Call) -> None:
        """Take the events of a call; safe in any thread, also after `close`."""
        rows = events_of(call, self._metadata)
        with self._lock:
            self._buffer.extend(rows)
            full = self._take_buffer() if len(self._buffer) >= self._buffer_rows else None
        if full is not None:
            self._hand_over(full)

    def check(self) -> None:
        """Do nothing while all is well, or while a failure is none of the run's concern.

        Raises:
            LLMLedgerError: Rows could not be written and the run shall end.
        """
        if self.failure is not None and self._on_failure == "error":
            raise LLMLedgerError(f"the Parquet log failed: {self.failure}")

    def flush(self) -> None:
        """Write what is in the buffer and wait until all is written or has failed."""
        with self._lock:
            rows = self._take_buffer()
        # Even with no rows: they are written in turn, the last one's end is the end of all.
        last = self._hand_over(rows)
        if last is not None:
            last.result()

    def close(self) -> None:
        """Write what is left; what could not be written is said once.

        Raises:
            ExportError: With ``error``; with ``continue`` it is a warning.
        """
        self.flush()
        self._writer.shutdown()
        atexit.unregister(self._close_at_exit)
        with self._lock:
            lost_rows, self._lost_rows = self._lost_rows, 0
        if not lost_rows:
            return
        message = (
            f"{lost_rows} rows of the Parquet log are not written: {self.failure}. The calls are "
            f"in the ledger: `dbt-osmosis llm export --run {self._run_id} --to {self._place.name}` "
            "adds them"
        )
        if self._on_failure == "error":
            raise ExportError(message) from self.failure
        logger.warning("%s.", message)

    def _take_buffer(self) -> list[Event]:
        rows, self._buffer = self._buffer, []
        return rows

    def _hand_over(self, rows: list[Event]) -> Future[None] | None:
        """Have rows written after those before them."""
        try:
            return self._writer.submit(self._write, rows)
        except RuntimeError:  # closed, or the interpreter ends
            self._write(rows)
            return None

    def _write(self, rows: list[Event]) -> None:
        # Calls end in another order than they began in.
        rows.sort(key=lambda row: row.order)
        for day, of_day in groupby(rows, key=_day):
            chunk = list(of_day)
            try:
                if self.failure is None:
                    _write_file(self._place, day, chunk)
                    continue
            except ExportError as error:
                self.failure = error
            with self._lock:
                self._lost_rows += len(chunk)

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except ExportError as error:
            logger.warning("%s.", error)
