from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_osmosis_llm.evidence import cache
from dbt_osmosis_llm.evidence.cache import FactsCache
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
    Step,
)
from dbt_osmosis_llm.evidence.lineage import read_query
from tests.evidence.lineage_cases import CASES, ORDERS, SHOP, Schema
from tests.limits import HANG_S
from tests.properties import examples

SQL = "select id, amount * 2 as twice from raw.orders where status = 'ok'"
CORNERS = {
    "nothing but a star": "select * from t",
    "everything": "select distinct a.k, count(*) as n, max(b.x) as m from s.a left join b using (k)"
    " where a.x > 1 group by 1 qualify row_number() over (partition by a.k order by b.y) = 1"
    " union all select k, 1, x from c",
    "other alphabets": 'select "naïve" as "Größe", \'漢字"\t\' as "日本" from t',
    "half a surrogate pair": "select '\ud800' as a, b from t",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "project" / ".state" / "lineage.db"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL that was really read, as it happens."""
    read: list[str] = []

    def spy(sql: str, dialect: str | None = None, schema: Schema | None = None) -> QueryFacts:
        read.append(sql)
        return read_query(sql, dialect, schema)

    monkeypatch.setattr(cache, "read_query", spy)
    return read


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM facts").fetchone()
    finally:
        connection.close()
    return int(count)


def test_every_case_of_the_battery_comes_back_exactly(path: Path, reads: list[str]) -> None:
    queries = [(case.sql, case.dialect, case.schema) for case in CASES]
    queries += [(sql, "snowflake", None) for sql in CORNERS.values()]
    first = FactsCache(path)
    fresh = [first.facts(*query) for query in queries]
    first.close()
    assert fresh == [read_query(*query) for query in queries]
    assert sum(facts == EMPTY_FACTS for facts in fresh) == 0
    reads.clear()
    again = FactsCache(path)
    kept = [again.facts(*query) for query in queries]
    again.close()
    assert reads == []
    assert kept == fresh
    # Equality of mappings overlooks the order, and 1 equals True.
    assert [repr(facts) for facts in kept] == [repr(facts) for facts in fresh]
    assert hash(next(iter(kept[0].columns.values()))) is not None


TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)  # half surrogate pairs too
MANY = st.lists(TEXTS, max_size=3).map(tuple)
LEAVES = st.lists(st.builds(Leaf, TEXTS, TEXTS), max_size=2).map(tuple)
LEAF = st.builds(Leaf, TEXTS, TEXTS)
PASSAGES = st.builds(Passage, TEXTS, TEXTS, is_optional=st.booleans(), picks=TEXTS)
JOINS = st.builds(Join, TEXTS, TEXTS, st.none() | TEXTS, TEXTS)
COLUMNS = st.builds(
    ColumnLineage,
    TEXTS,
    st.sampled_from(ColumnKind),
    st.none() | TEXTS,
    LEAVES,
    st.booleans(),
    TEXTS,
    st.lists(PASSAGES, max_size=2).map(tuple),
    st.lists(st.builds(Absence, PASSAGES, TEXTS), max_size=2).map(tuple),
    MANY,
    TEXTS,
    MANY,
)
STRUCTURED = {
    "joins": JOINS,
    "restrictions": st.builds(Restriction, TEXTS, LEAVES, MANY),
    "steps": st.builds(Step, TEXTS, st.lists(JOINS, max_size=2).map(tuple), MANY, MANY, MANY),
    "equalities": st.builds(Equality, LEAF, LEAF, TEXTS, TEXTS),
    "inner_restrictions": st.builds(Restriction, TEXTS, LEAVES, MANY),
}
FACTS = st.builds(
    QueryFacts,
    st.lists(COLUMNS, max_size=3, unique_by=lambda one: one.name).map(
        lambda columns: MappingProxyType({one.name: one for one in columns})
    ),
    **{name: st.lists(each, max_size=2).map(tuple) for name, each in STRUCTURED.items()},
    **{
        one.name: st.booleans() if one.type == "bool" else MANY
        for one in fields(QueryFacts)
        if one.name not in ("columns", *STRUCTURED)
    },
)


@examples(100)
@given(FACTS)
def test_whatever_is_kept_comes_back(facts: QueryFacts) -> None:
    back = cache._decoded(cache._encoded(facts).encode("ascii"))
    assert (back, repr(back)) == (facts, repr(facts))


@pytest.mark.parametrize(
    ("sql", "dialect", "schema"),
    [
        (SQL + " ", "duckdb", SHOP),
        (SQL, "snowflake", SHOP),
        (SQL, None, SHOP),
        (SQL, "duckdb", None),
        (SQL, "duckdb", ORDERS),
        (SQL, "duckdb", {**SHOP, "raw.orders": [*SHOP["raw.orders"], "new"]}),
        (SQL, "duckdb", {**SHOP, "raw.orders": SHOP["raw.orders"][::-1]}),
    ],
)
def test_all_that_decides_is_in_the_key(
    sql: str, dialect: str | None, schema: Schema | None, path: Path, reads: list[str]
) -> None:
    kept = FactsCache(path)
    kept.facts(SQL, "duckdb", SHOP)
    kept.facts(sql, dialect, schema)
    kept.close()
    assert reads == [SQL, sql]


def test_nothing_else_is_in_the_key(path: Path, reads: list[str]) -> None:
    kept = FactsCache(path)
    kept.facts(SQL, "duckdb", SHOP)
    kept.facts(SQL, "duckdb", dict(reversed(SHOP.items())))
    kept.facts(SQL, "duckdb", {name: dict.fromkeys(names, "int") for name, names in SHOP.items()})
    kept.close()
    assert reads == [SQL]


def test_another_algorithm_reads_again(
    path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = FactsCache(path)
    kept.facts(SQL)
    monkeypatch.setattr(cache, "_algorithm", lambda: "another")
    kept.facts(SQL)
    kept.close()
    assert len(reads) == 2


def test_the_algorithm_is_all_code_that_reads() -> None:
    """Import the cache in a fresh interpreter: what of ours comes along is what reads."""
    program = "import sys, dbt_osmosis_llm.evidence.cache; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("dbt_osmosis_llm.")}
    harmless = {"dbt_osmosis_llm._log", "dbt_osmosis_llm._version", "dbt_osmosis_llm.evidence"}
    assert cache._code().keys() == loaded - harmless


def test_every_line_of_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    code = cache._code()
    before = cache._algorithm.__wrapped__()
    for name, source in code.items():
        changed = {**code, name: source + b"#"}
        monkeypatch.setattr(cache, "_code", lambda changed=changed: changed)
        assert cache._algorithm.__wrapped__() != before, name


def test_what_was_not_read_is_not_kept(path: Path, reads: list[str]) -> None:
    kept = FactsCache(path)
    assert kept.facts("no select") == kept.facts("no select") == EMPTY_FACTS
    kept.close()
    assert len(reads) == 2
    assert rows(path) == 0


def test_the_oldest_rows_are_dropped(path: Path, reads: list[str]) -> None:
    kept = FactsCache(path, max_rows=3)
    for number in range(5):
        kept.facts(f"select {number} as x")
    kept.facts("select 4 as x")
    kept.facts("select 0 as x")
    kept.close()
    assert rows(path) == 3
    assert reads[5:] == ["select 0 as x"]


def test_git_does_not_see_it(path: Path) -> None:
    kept = FactsCache(path)
    assert not path.parent.exists(), "made before it is needed"
    kept.facts(SQL)
    kept.close()
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_it_opens_again_after_close(path: Path, reads: list[str]) -> None:
    kept = FactsCache(path)
    kept.facts(SQL)
    kept.close()
    kept.close()
    kept.facts(SQL)
    kept.close()
    assert reads == [SQL]


def filled(path: Path, count: int = 50) -> None:
    kept = FactsCache(path)
    for number in range(count):
        kept.facts(f"select id + {number} as x, id as y from t")
    kept.close()


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def other_file(path: Path) -> None:
    path.write_bytes(b"models:\n" * 500)


def torn_file(path: Path) -> None:
    filled(path)
    path.write_bytes(path.read_bytes()[:6000])


def torn_pages(path: Path) -> None:
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def stray_log(path: Path) -> None:
    other_file(path)
    path.with_name("lineage.db-wal").write_bytes(b"\x37\x7f\x06\x82" + b"\0" * 4000)


@pytest.mark.parametrize("damage", [empty_file, other_file, torn_file, torn_pages, stray_log])
def test_a_damaged_file_is_made_anew(
    damage: object, path: Path, reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir(parents=True)
    assert callable(damage)
    damage(path)
    reads.clear()
    caplog.set_level(logging.DEBUG)
    kept = FactsCache(path)
    assert kept.facts(SQL) == kept.facts(SQL) == read_query(SQL)
    kept.close()
    assert reads == [SQL]
    assert rows(path) == 1
    assert {record.levelno for record in caplog.records} <= {logging.DEBUG}


@pytest.mark.parametrize(
    "value", ["", "{}", "null", "[1]", "{'a", '{"columns": [[1]], "joins": []}', b"\xff\xfe"]
)
def test_a_damaged_row_is_made_anew(value: object, path: Path, reads: list[str]) -> None:
    kept = FactsCache(path)
    kept.facts(SQL)
    kept.close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE facts SET facts = CAST(? AS TEXT)", (value,))
    connection.close()
    assert kept.facts(SQL) == kept.facts(SQL) == read_query(SQL)
    kept.close()
    assert reads == [SQL, SQL]


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def below_a_file(path: Path) -> None:
    path.parent.parent.mkdir()
    path.parent.write_text("")


def of_another_program(path: Path) -> None:
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE facts (something_else)")
    connection.close()


@pytest.mark.parametrize("obstacle", [a_folder, below_a_file, of_another_program])
def test_without_a_file_sql_is_read_all_the_same(
    obstacle: object, path: Path, reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(obstacle)
    obstacle(path)
    caplog.set_level(logging.DEBUG)
    kept = FactsCache(path)
    assert kept.facts(SQL) == kept.facts(SQL) == read_query(SQL)
    kept.close()
    assert reads == [SQL, SQL]
    assert [record.levelno for record in caplog.records] == [logging.DEBUG], "said once"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_read_only_file_or_folder(is_there: bool, reads: list[str]) -> None:
    with TemporaryDirectory() as folder:  # pytest's own are closed to other users
        path = Path(folder) / "lineage.db"
        if is_there:
            filled(path, 1)
            path.chmod(0o444)
        path.parent.chmod(0o555)
        reads.clear()
        expected = read_query(SQL)
        kept = FactsCache(path)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)  # root may write everywhere
        try:
            assert kept.facts(SQL) == kept.facts(SQL) == expected
        finally:
            if was_root:
                os.seteuid(0)
        kept.close()
        assert reads == [SQL, SQL]
        path.parent.chmod(0o755)


def test_a_lock_is_not_waited_for_again(
    path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, 1)
    reads.clear()
    monkeypatch.setattr(cache, "_BUSY_S", 0.01)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    kept = FactsCache(path)
    assert kept.facts(SQL) == kept.facts(SQL) == read_query(SQL)
    kept.close()
    holder.close()
    assert reads == [SQL, SQL]
    assert rows(path) == 1


def test_threads_share_one_cache(path: Path) -> None:
    kept = FactsCache(path)
    queries = [f"select id + {number % 40} as x from t" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(kept.facts, queries))
    kept.close()
    assert found == [read_query(query) for query in queries]
    assert rows(path) == 40


PROCESS = """
import logging, sys
from pathlib import Path
from dbt_osmosis_llm.evidence.cache import FactsCache
from dbt_osmosis_llm.evidence.lineage import read_query
logging.basicConfig(level=logging.DEBUG)
kept = FactsCache(Path(sys.argv[1]))
sys.stdin.readline()
for number in range(60):
    sql = f"select id + {number} as x from t"
    assert kept.facts(sql) == read_query(sql)
kept.close()
"""


def test_processes_share_one_file(path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=HANG_S)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert said == [""] * 4
    assert rows(path) == 60


def test_a_reader_keeps_nothing_and_makes_no_file(path: Path, reads: list[str]) -> None:
    looking = FactsCache(path, read_only=True)
    assert looking.facts(SQL) == read_query(SQL)
    assert not path.parent.exists()
    keeping = FactsCache(path)
    kept = keeping.facts(SQL)
    keeping.close()
    before = path.read_bytes()
    reads.clear()
    looking = FactsCache(path, read_only=True)
    assert looking.facts(SQL) == kept
    assert reads == []
    looking.facts("select 1 as one")
    looking.close()
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == [".gitignore", "lineage.db"]


def test_a_reader_leaves_a_damaged_file_as_it_is(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database " * 1000)
    assert FactsCache(path, read_only=True).facts(SQL) == read_query(SQL)
    assert path.read_bytes() == b"no database " * 1000
