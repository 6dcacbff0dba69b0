"""What makes a text stale, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dbt_osmosis_llm.evidence.fingerprint import (
    Fingerprint,
    column_fingerprint,
    table_fingerprint,
    text_hash,
)
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable

SQL = "select o.id as order_id, o.price * 2 as double, '{x}' as mark from {db}.raw o {rest}"


def node(
    sql: str = SQL,
    *,
    database: str = "dev.alice",
    mark: str = "a",
    rest: str = "",
    tests: tuple[str, ...] = (),
    text: str = "",
) -> NodeEvidence:
    compiled = sql.format(x=mark, db=database, rest=rest)
    relation = f"{database}.raw"
    return NodeEvidence(
        unique_id="model.shop.orders",
        name="orders",
        resource_type="model",
        sql=compiled,
        facts=read_query(compiled, "duckdb", {relation: ["id", "price"]}),
        columns=tuple(ColumnEvidence(name, tests=tests) for name in ("order_id", "double", "mark")),
        upstream=(
            UpstreamTable("raw", relation, text, {"id": "", "price": ""}, "source.shop.raw"),
        ),
    )


def of(one: NodeEvidence, column: str, said: str = "what it is") -> Fingerprint:
    return column_fingerprint(one, column, lambda table, name: f"{said} {table} {name}")


SAME = [
    pytest.param({"database": "prod.main"}, id="another database"),
    pytest.param({"rest": "\n\n  where true"}, id="what rows there are"),
]


@pytest.mark.parametrize("change", SAME)
@pytest.mark.parametrize("column", ["order_id", "double", "mark"])
def test_what_is_no_change(change: dict[str, str], column: str) -> None:
    assert of(node(**change), column) == of(node(), column)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-11-21 10:00:00", "2026-11-22 11:30:12.345"),
        ("2026-11-21T10:00:00+00:00", "2027-01-01 00:00"),
        ("8f14e45f-ceea-467f-9c1a-0123456789ab", "00000000-ceea-467f-9c1a-0123456789ab"),
    ],
)
def test_what_each_compilation_makes_anew_is_no_change(one: str, other: str) -> None:
    assert of(node(mark=one), "mark") == of(node(mark=other), "mark")
    assert of(node(mark="2026-11-21"), "mark") != of(node(mark="2026-11-22"), "mark")


def test_how_it_is_written_is_no_change() -> None:
    spread = SQL.replace("o.price * 2", "o.price\n   *   2").replace("select", "SELECT")
    assert of(node(spread), "double") == of(node(), "double")


def test_a_new_name_is_no_change() -> None:
    renamed = node(SQL.replace("as order_id", "as id"))
    renamed = NodeEvidence(**{**vars(renamed), "columns": (ColumnEvidence("id"),)})
    assert of(renamed, "id").evidence == of(node(), "order_id").evidence


def test_each_part_changes_by_itself() -> None:
    before = of(node(), "double")
    other_sql = of(node(SQL.replace("* 2", "* 3")), "double")
    assert (before.upstream, before.tests) == (other_sql.upstream, other_sql.tests)
    assert before.definition != other_sql.definition
    assert (before.expression, other_sql.expression) == ("price * 2", "price * 3")
    other_upstream = of(node(), "double", "something else")
    assert before.upstream != other_upstream.upstream
    assert before.definition == other_upstream.definition
    tested = of(node(tests=("never null",)), "double")
    assert before.tests == "-" != tested.tests
    assert before.definition == tested.definition


def test_other_columns_are_no_change() -> None:
    assert of(node(SQL.replace("* 2", "* 3")), "order_id") == of(node(), "order_id")


def test_sql_that_shows_no_lineage_counts_as_a_whole() -> None:
    one, other = node("pivot {db}.raw on x"), node("pivot {db}.raw on y")
    assert of(one, "double").definition != of(other, "double").definition
    assert of(one, "double") == of(node("pivot {db}.raw on x", database="prod.main"), "double")


def test_what_changes_a_table() -> None:
    before = table_fingerprint(node())
    assert table_fingerprint(node(SQL.replace("* 2", "* 3"))) == before
    assert table_fingerprint(node(database="prod.main")) == before
    assert table_fingerprint(node(rest="where o.price > 0")).definition != before.definition
    assert table_fingerprint(node(text="What the till has sent.")).upstream != before.upstream


def test_line_breaks_make_no_other_text() -> None:
    assert text_hash("Two\nlines. ") == text_hash("Two lines.") != text_hash("Two  Lines.")


AGGREGATED = """
with o as (select * from {db}.raw where {where}),
agg as (select id, sum(price) as total, max(price) as top from o group by {keys})
select agg.id, agg.id as key, coalesce(agg.total, 0) as total, agg.total * 1.2 as gross,
  agg.top > 3 as is_dear, upper(raw.id) as code
from {db}.raw as raw {join} agg on agg.id = raw.id
"""


def aggregated(where: str = "true", keys: str = "id", join: str = "left join") -> NodeEvidence:
    sql = AGGREGATED.format(db="dev.alice", where=where, keys=keys, join=join)
    facts = read_query(sql, "duckdb", {"dev.alice.raw": ["id", "price"]})
    return replace(node(), sql=sql, facts=facts)


@pytest.mark.parametrize(
    "change", [{"where": "price > 0"}, {"keys": "id, price"}, {"join": "join"}]
)
def test_an_aggregate_is_what_its_rows_are(change: dict[str, str]) -> None:
    for column in ("total", "gross", "is_dear"):
        before, after = of(aggregated(), column), of(aggregated(**change), column)
        # A join behind it takes no row from it, but some from the table.
        assert (after.definition == before.definition) == ("join" in change)
        assert after.expression == before.expression
    for column in ("key", "code"):
        assert of(aggregated(**change), column) == of(aggregated(), column)
    assert table_fingerprint(aggregated(**change)) != table_fingerprint(aggregated())


ROWS = """
with d as (select {distinct} id, price from {db}.raw where id in ({ids}) {limit}),
other as (select id, max(price) as top from {db}.raw where {where} group by 1),
counted as (select id, count(*) as n from d group by 1)
select counted.id, counted.n, other.top, row_number() over (order by counted.id) as place
from counted {join} other on other.id = counted.id
"""
SAME_ROWS = {
    "distinct": "", "ids": "1", "limit": "", "where": "true", "join": "left join", "db": "dev.a"
}  # fmt: skip


def with_rows(*, known: bool = True, **changes: str) -> NodeEvidence:
    values = {**SAME_ROWS, **changes}
    sql, relation = ROWS.format(**values), f"{values['db']}.raw"
    facts = read_query(sql, "duckdb", {relation: ["id", "price"]} if known else {})
    upstream = (UpstreamTable("raw", relation, "", {}, "source.shop.raw"),)
    return replace(node(), sql=sql, facts=facts, upstream=upstream)


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"distinct": "distinct"}, {"n", "place"}),
        ({"limit": "limit 10"}, {"n", "place"}),
        ({"ids": ", ".join(map(str, range(900)))}, {"n", "place"}),
        ({"where": "price > 0"}, {"top", "place"}),
        ({"join": "join"}, {"place"}),
        ({"db": "prod.main"}, set()),
        ({"where": "price > 0 and id < '2026-11-21'"}, {"top", "place"}),
    ],
    ids=["distinct", "limit", "many ids", "filter", "join", "schema", "filter with a date"],
)
def test_each_aggregate_is_stale_by_its_own_rows(change: dict[str, str], stale: set[str]) -> None:
    before, after = with_rows(), with_rows(known=True, **change)
    changed = {n for n in ("id", "n", "top", "place") if of(before, n) != of(after, n)}
    assert changed == stale
    assert (table_fingerprint(before) != table_fingerprint(after)) == bool(stale)


def test_the_end_of_a_long_filter_counts() -> None:
    ids = ", ".join(map(str, range(900)))
    assert of(with_rows(ids=ids), "n") != of(with_rows(ids=f"{ids}, 1000"), "n")


def test_the_day_of_a_run_is_no_change() -> None:
    one, other = (with_rows(where=f"price > '2026-11-{day}'") for day in (21, 22))
    assert of(one, "top") == of(other, "top")
    assert table_fingerprint(one).evidence == table_fingerprint(other).evidence


def test_rows_are_the_same_whether_columns_are_known() -> None:
    assert with_rows().facts.rows == with_rows(known=False).facts.rows


@pytest.mark.parametrize("rest", ["where o.price > {}", "where o.day > x - interval '{} days'"])
def test_a_listed_value_of_the_build_is_no_change(rest: str) -> None:
    values = ("7", "12") if rest.endswith("{}") else ("7 days", "12 days")
    one, other = (
        replace(node(rest=rest.format(number)), build_values=(value,))
        for number, value in zip(("7", "12"), values, strict=True)
    )
    assert table_fingerprint(one) == table_fingerprint(other)
    assert table_fingerprint(one) != table_fingerprint(replace(other, build_values=()))
