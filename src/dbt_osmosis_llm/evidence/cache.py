"""Keeps what was read out of SQL, in a file, for the next run.

Only a cache: whatever is wrong with the file, the SQL is read as if there were none. The key holds
all that decides an answer, the reading code itself included, so nothing is ever out of date.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import threading
from contextlib import suppress
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dbt_osmosis_llm._log import logger
from dbt_osmosis_llm.evidence.facts import (
    EMPTY_FACTS,
    Absence,
    ColumnKind,
    ColumnLineage,
    Equality,
    Join,
    Leaf,
    Passage,
    QueryFacts,
    Restriction,
    Schema,
    Step,
)
from dbt_osmosis_llm.evidence.lineage import read_query

MAX_ROWS = 10_000
"""Of some 5 KB for a model of 25 columns."""
_BUSY_S = 5.0
"""How long to wait for another process's write, once: after that there is no cache."""
_IMPORT = re.compile(rb"^\s*from (dbt_osmosis_llm\.evidence\.[\w.]+) import", re.MULTILINE)


class FactsCache:
    """`QueryFacts` by what they were read from; many processes and threads may share a file.

    Args:
        path: Of a SQLite file, made with its folder at the first use.
        max_rows: The oldest beyond that are dropped.
        read_only: Make no file, keep nothing, mend nothing.
    """

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._max_rows = max_rows
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_off = False

    def facts(
        self, sql: str, dialect: str | None = None, schema: Schema | None = None
    ) -> QueryFacts:
        """Return what `read_query` returns, kept from an earlier time if there was one."""
        if self._is_off:
            return read_query(sql, dialect, schema)
        try:
            key = _key(sql, dialect, schema or {})
        except OSError as error:  # our own code is no file to read, inside a zip, say
            self._switch_off(error)
            return read_query(sql, dialect, schema)
        rows = self._execute("SELECT facts FROM facts WHERE key = ?", (key,))
        if rows:
            try:
                return _decoded(rows[0][0])
            except (ValueError, TypeError, KeyError, RecursionError) as error:  # damaged JSON
                logger.debug("A kept lineage is unreadable and made anew: %s", error)
        facts = read_query(sql, dialect, schema)
        # Nothing found may be for want of memory or stack: it is looked for again. So is what our
        # own code failed on, or only the first run would tell.
        if facts != EMPTY_FACTS and not facts.failure and not self._read_only:
            self._keep(key, _encoded(facts))
        return facts

    def close(self) -> None:
        """Close the file; another call of `facts` opens it again."""
        with self._lock:
            self._close()

    def _keep(self, key: str, facts: str) -> None:
        self._execute("INSERT OR REPLACE INTO facts (key, facts) VALUES (?, ?)", (key, facts))
        self._execute(
            "DELETE FROM facts WHERE rowid <= (SELECT max(rowid) FROM facts) - ?",
            (self._max_rows,),
        )

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        """Return the statement's rows; none when there is no cache."""
        with self._lock:
            if self._is_off:
                return []
            try:
                try:
                    return self._opened().execute(statement, values).fetchall()
                except sqlite3.DatabaseError as error:
                    if type(error) is not sqlite3.DatabaseError or self._read_only:
                        raise  # locked, read-only, full: the file may be well
                    logger.debug("%s is damaged (%s) and made anew", self._path, error)
                    self._close()
                    for suffix in ("-wal", "-shm", ""):
                        Path(f"{self._path}{suffix}").unlink(missing_ok=True)
                    return self._opened().execute(statement, values).fetchall()
            except (sqlite3.Error, OSError) as error:
                self._switch_off(error)
                return []

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            if self._read_only and not self._path.exists():
                raise FileNotFoundError(self._path)
            folder = self._path.parent
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                if folder.name.startswith("."):  # the project's own, which no one commits
                    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.text_factory = bytes  # a damaged text is no reason to stop
            if self._read_only:
                return self._connection
            with suppress(sqlite3.OperationalError):  # another process is at it
                self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, facts TEXT NOT NULL)"
            )
        return self._connection

    def _switch_off(self, error: Exception) -> None:
        logger.debug("No lineage is kept in %s: %s", self._path, error)
        self._is_off = True
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@cache
def _algorithm() -> str:
    """What reads: a hash of our code, which nobody can forget to raise, and sqlglot's version."""
    code = hashlib.sha256(b"".join(source for _, source in sorted(_code().items())))
    return f"{code.hexdigest()} {metadata.version('sqlglot')}"


def _code() -> dict[str, bytes]:
    """Return the source of this module and of all that it stands on, by name."""
    sources: dict[str, bytes] = {}
    waiting = [__name__]
    while waiting:
        name = waiting.pop()
        if name not in sources:
            sources[name] = Path(str(import_module(name).__file__)).read_bytes()
            waiting += [imported.decode() for imported in _IMPORT.findall(sources[name])]
    return sources


def _key(sql: str, dialect: str | None, schema: Schema) -> str:
    relations = sorted((name, list(columns)) for name, columns in schema.items())
    # ASCII: SQL may hold half a surrogate pair, which no encoding has.
    text = json.dumps([_algorithm(), sql, dialect, relations])
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _encoded(facts: QueryFacts) -> str:
    passages: dict[Passage, int] = {}
    columns = [
        {
            **vars(column),
            # Many columns come through one join.
            "passages": [passages.setdefault(p, len(passages)) for p in column.passages],
            "absences": [
                [passages.setdefault(p, len(passages)), value] for p, value in column.absences
            ],
        }
        for column in facts.columns.values()
    ]
    kept = {**vars(facts), "columns": [list(column.values()) for column in columns]}
    return json.dumps(
        {**kept, "passages": list(passages)},
        separators=(",", ":"),
        default=lambda value: list(vars(value).values()),
    )


def _decoded(text: bytes) -> QueryFacts:
    kept = dict(json.loads(text))
    passages = [Passage(*passage) for passage in kept.pop("passages")]
    columns = {}
    for name, kind, expression, leaves, is_plain, rows, through, absences, *rest in kept["columns"]:
        columns[name] = ColumnLineage(
            name,
            ColumnKind(kind),
            expression,
            _leaves(leaves),
            is_plain,
            rows,
            tuple(passages[at] for at in through),
            tuple(Absence(passages[at], value) for at, value in absences),
            *map(_plain, rest),
        )
    kept["columns"] = MappingProxyType(columns)
    kept["joins"] = tuple(Join(*join) for join in kept["joins"])
    for name in ("restrictions", "inner_restrictions"):
        kept[name] = tuple(
            Restriction(text, _leaves(leaves), tuple(values)) for text, leaves, values in kept[name]
        )
    kept["equalities"] = tuple(
        Equality(Leaf(*one), Leaf(*other), *aliases) for one, other, *aliases in kept["equalities"]
    )
    kept["steps"] = tuple(
        Step(name, tuple(Join(*source) for source in sources), *map(tuple, rest))
        for name, sources, *rest in kept["steps"]
    )
    return QueryFacts(**{name: _plain(value) for name, value in kept.items()})


def _leaves(kept: list[list[str]]) -> tuple[Leaf, ...]:
    return tuple(Leaf(relation, column) for relation, column in kept)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
