from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import Token
from sqlglot.parser import Parser

from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS, ColumnKind, ColumnLineage, Join, Leaf
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.lineage.printing import MAX_EXPRESSION_LENGTH
from tests.evidence.lineage_cases import CASES, SHOP, Case
from tests.properties import examples

MINIMUM_RIGHT = 0.9


def label(column: ColumnLineage, with_expression: bool) -> str:
    leaves = ", ".join(f"{leaf.relation}.{leaf.column}" for leaf in column.leaves)
    plain = ("", "plain ")[column.is_plain]
    if column.kind in (ColumnKind.PASS, ColumnKind.RENAME, ColumnKind.CAST):
        plain = ("not plain ", "")[column.is_plain]
    expression = f" = {column.expression}" if with_expression else ""
    return f"{plain}{column.kind.value} {leaves}".rstrip() + expression


def verdicts(case: Case) -> dict[str, str]:
    """Of each labelled column: right, unknown, or what is wrong."""
    facts = read_query(case.sql, case.dialect, case.schema)
    found: dict[str, str] = {}
    for name in case.absent:
        if facts.column(name) is not None:
            found[name] = "must not be a column"
    for name in set(facts.columns) - set(case.columns) - set(case.absent):
        found[name] = "is not labelled"
    for name, expected in case.columns.items():
        column = facts.columns.get(name)
        if column is None:
            found[name] = "missing"
            continue
        answer = label(column, with_expression=" = " in expected)
        if answer == expected:
            found[name] = "right"
        elif label(column, with_expression=True) == "unknown = None":
            found[name] = "unknown"
        else:
            found[name] = f"{answer!r} instead of {expected!r}"
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_no_column_is_wrong(case: Case) -> None:
    wrong = {n: v for n, v in verdicts(case).items() if v not in ("right", "unknown")}
    assert wrong == {}


def test_most_columns_are_exactly_right() -> None:
    answers = [answer for case in CASES for answer in verdicts(case).values()]
    assert len(CASES) >= 45
    assert answers.count("right") / len(answers) >= MINIMUM_RIGHT


def test_the_battery_can_fail() -> None:
    case = Case("", None, None, "select a as b, c from t", {"b": "rename t.x", "d": "pass t.d"})
    assert set(verdicts(case)) == {"b", "c", "d"}
    assert not {"right", "unknown"} & set(verdicts(case).values())


def test_columns_are_found_whatever_their_case() -> None:
    facts = read_query('select id as "Id", x from t', "snowflake")
    found = facts.column("ID")
    assert found is not None
    assert found == ColumnLineage("Id", ColumnKind.PASS, "id", (Leaf("t", "id"),), is_plain=True)
    assert facts.column("missing") is None


REPORT = """
with orders as (select * from raw.orders where status = 'ok' and (amount > 0 or refunded)),
payments as (select order_id, sum(amount) as paid from raw.payments group by order_id),
unused as (select * from raw.never where x = 1)
select o.id, p.paid, c.name from orders as o
left join payments as p on p.order_id = o.id and p.paid > 0
inner join (select * from raw.customers) as c using (customer_id)
cross join raw.settings
where o.id in (select id from raw.allowed where y = 2) and p.paid < 100
"""


def test_relations_are_those_read_in_order_of_appearance() -> None:
    assert read_query(REPORT, "snowflake").relations == (
        "raw.orders",
        "raw.payments",
        "raw.customers",
        "raw.settings",
        "raw.allowed",
    )


def test_filters_are_split_at_and_resolved() -> None:
    assert read_query(REPORT, "snowflake").filters == (
        "orders.id IN (SELECT id FROM allowed WHERE y = 2)",
        "SUM(payments.amount) < 100",
        "orders.status = 'ok'",
        "orders.amount > 0 OR orders.refunded",
    )


def test_joins_name_the_table_behind_an_import_cte() -> None:
    assert read_query(REPORT, "snowflake").joins == (
        Join("left", "payments", "p.order_id = o.id AND p.paid > 0", "p"),
        Join("inner", "raw.customers", "USING (customer_id)"),
        Join("cross", "raw.settings", None),
    )


@pytest.mark.parametrize(
    ("clause", "kind", "condition"),
    [
        ("join b on a.id = b.id", "inner", "a.id = b.id"),
        ("left outer join b on a.id = b.id", "left", "a.id = b.id"),
        ("full outer join b on a.id = b.id and a.x = b.x", "full", "a.id = b.id AND a.x = b.x"),
        ("right join b using (id, x)", "right", "USING (id, x)"),
        ("natural left join b", "natural left", None),
        (", b", "cross", None),
        ("cross join b", "cross", None),
        ("left semi join b on a.id = b.id", "left semi", "a.id = b.id"),
    ],
)
def test_kinds_of_joins(clause: str, kind: str, condition: str | None) -> None:
    assert read_query(f"select a.x from a {clause}", "spark").joins == (Join(kind, "b", condition),)


@pytest.mark.parametrize(
    ("dialect", "clause", "expected"),
    [
        ("postgres", "", False),
        ("postgres", "join b on a.id = b.id", False),
        ("postgres", ", b", False),
        ("postgres", "left join b on a.id = b.id", True),
        ("postgres", "right outer join b using (id)", True),
        ("postgres", "natural full join b", True),
        ("postgres", "left join lateral (select y from b where b.id = a.id) as l on true", True),
        ("postgres", "cross join lateral (select y from b where b.id = a.id) as l", False),
        ("duckdb", "outer join b using (id)", True),
        ("duckdb", "asof left join b using (id)", True),
        ("duckdb", "asof join b using (id)", False),
        ("duckdb", "positional join b", True),
        ("snowflake", "asof join b match_condition (a.at >= b.at) on a.id = b.id", True),
        ("snowflake", ", b where a.id = b.id(+)", True),
        ("oracle", ", b where a.id = b.id ( + )", True),
        ("tsql", "outer apply (select y from b where b.id = a.id) as l", True),
        ("tsql", "cross apply (select y from b where b.id = a.id) as l", False),
        ("spark", "left semi join b on a.id = b.id", False),
        ("spark", "left anti join b on a.id = b.id", False),
        ("clickhouse", "global any left join b using (id)", True),
        ("snowflake", "join (select b.id from b left join c using (id)) as q using (id)", True),
        ("postgres", "where exists (select 1 from b left join c using (id))", True),
    ],
)
def test_outer_joins(dialect: str, clause: str, expected: bool) -> None:
    assert read_query(f"select a.x from a {clause}", dialect).has_outer_join is expected


def test_an_outer_join_in_a_cte_counts_if_it_is_read() -> None:
    sql = "with q as (select a.x from a left join b using (id)) select x from {}"
    assert read_query(sql.format("q"), "duckdb").has_outer_join
    assert not read_query(sql.format("a"), "duckdb").has_outer_join


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select k, upper(c) as d, count(*) as n from t group by 1, d", ("k", "d")),
        ("select k, count(*) as n from t group by all", ("k",)),
        ("select k, try_sum(x) as s, stats_mode(y) as m from t group by all", ("k",)),
        ("with a as (select k, sum(x) as s from t group by k) select * from a where s > 1", ("k",)),
        ("select k, sum(x) as s from t group by rollup (k)", ("ROLLUP (k)",)),
        ("select sum(s) as s from (select k, sum(x) as s from t group by k) as q", ()),
        ("with a as (select k from t group by k) select b.x from b join a on a.k = b.k", ()),
        ("select a, b from t", ()),
    ],
)
def test_group_by_is_that_of_the_query_that_decides_the_rows(
    sql: str, expected: tuple[str, ...]
) -> None:
    assert read_query(sql, "snowflake").group_by == expected


@pytest.mark.parametrize(
    ("sql", "distinct"),
    [
        ("select distinct a from t", True),
        ("with f as (select distinct a, b from t) select * from f order by 1", True),
        ("with f as (select distinct a, b from t) select a from f", False),
        ("select count(distinct a) as n from t", False),
    ],
)
def test_distinct(sql: str, distinct: bool) -> None:
    assert read_query(sql).distinct is distinct


def test_set_operations() -> None:
    sql = "select a from t union all select b from u union select c from v except select d from w"
    assert read_query(sql).set_operations == ("union all", "union", "except")


@pytest.mark.parametrize(
    ("sql", "partition"),
    [
        (
            "with r as (select *, row_number() over (partition by id, k order by ts desc) as n"
            " from t) select * from r where n = 1",
            ("id", "k"),
        ),
        (
            "with r as (select *, row_number() over (partition by lower(id) order by ts) as n"
            " from t), d as (select * from r where 1 = n and x) select upper(x) as x from d",
            ("LOWER(id)",),
        ),
        ("select a from t qualify row_number() over (partition by a order by b) = 1", ("a",)),
        (
            "select a, row_number() over (partition by a order by b) as n from t qualify n < 2",
            ("a",),
        ),
        ("select a from t qualify row_number() over (partition by a order by b) = 2", ()),
        ("select a from t qualify rank() over (partition by a order by b) = 1", ()),
        (
            "with r as (select *, row_number() over (partition by id order by ts) as n from t)"
            " select u.x from u join r on r.id = u.id where u.y = 1",
            (),
        ),
        (
            "with r as (select *, row_number() over (partition by id order by ts) as n from t)"
            " select r.id, u.x from r join u on u.id = r.id where r.n = 1",
            (),
        ),
        (
            "with r as (select *, row_number() over (partition by id order by ts) as n from t)"
            " select r.id, f.value from r, lateral flatten(input => r.items) as f where n = 1",
            (),
        ),
        (
            "with r as (select *, row_number() over (partition by id order by ts) as n from t)"
            " select k, id from r where n = 1 group by k, id",
            (),
        ),
        (
            "with r as (select *, row_number() over (partition by id order by ts) as n from t)"
            " select count(*) as c from r where n = 1",
            (),
        ),
        (
            "with r as (select *, row_number() over (partition by id order by ts) as n from t)"
            " select pack(k => => sum(x)) as c from r where n = 1",
            (),
        ),
        (
            "select t.a from t join u on u.id = t.id"
            " qualify row_number() over (partition by t.a order by u.b) = 1",
            ("a",),
        ),
        (
            "select t.a, row_number() over (partition by t.a order by u.b) as n"
            " from t join u on u.id = t.id qualify n = 1",
            ("a",),
        ),
    ],
)
def test_row_number_partition(sql: str, partition: tuple[str, ...]) -> None:
    assert read_query(sql, "snowflake").row_number_partition == partition


def test_a_long_expression_is_given_as_written() -> None:
    terms = " + ".join(f"some_rather_long_column_name_{number}" for number in range(15))
    sql = f"with a as (select {terms} as s from t) select s, s * s as twice, 1 as one from a"
    facts = read_query(sql)
    assert facts.columns["s"].expression == terms
    assert facts.columns["twice"].expression == "s * s"
    assert len(facts.columns["twice"].leaves) == 15


def test_a_longer_expression_is_cut() -> None:
    terms = " + ".join(f"column_{number}" for number in range(80))
    expression = read_query(f"select {terms} as s from t").columns["s"].expression
    assert expression is not None
    assert len(expression) <= MAX_EXPRESSION_LENGTH
    assert expression.endswith(" ...")
    assert terms.startswith(expression.removesuffix(" ..."))


def test_expressions_do_not_grow_with_every_cte() -> None:
    ctes = [f"c{n} as (select x + x as x, k from c{n - 1})" for n in range(1, 40)]
    sql = f"with c0 as (select x, k from t), {', '.join(ctes)} select x, k from c39"
    facts = read_query(sql)
    assert facts.columns["x"].expression == "x + x"
    assert facts.columns["x"].leaves == (Leaf("t", "x"),)
    assert facts.columns["k"].kind is ColumnKind.PASS


def test_expressions_are_one_line() -> None:
    sql = "select case -- when\n when a > 1\n then b /* c */ end as v from t where a\n> 1"
    facts = read_query(sql)
    assert facts.columns["v"].expression == "CASE WHEN a > 1 THEN b END"
    assert facts.filters == ("a > 1",)


@pytest.mark.parametrize("adapter", ["fabric", "synapse", "SQLServer", "tsql"])
def test_adapters_of_one_dialect(adapter: str) -> None:
    assert list(read_query("select top 5 [Order Id] from [dbo].[t]", adapter).columns) == [
        "Order Id"
    ]


def test_schemas_of_every_shape() -> None:
    sql = "select * from raw.customers"
    for schema in (
        SHOP,
        {"raw.customers": dict.fromkeys(SHOP["raw.customers"], "text")},
        {"DB.RAW.CUSTOMERS": tuple(SHOP["raw.customers"])},
    ):
        facts = read_query(sql, "snowflake", schema)
        assert [name.lower() for name in facts.columns] == ["id", "name", "email"]
        assert {one.kind for one in facts.columns.values()} == {ColumnKind.PASS}


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "-- nothing",
        "select",
        "select from",
        "drop table t",
        "create table a as select 1 as x",
        "insert into a select 1 as x",
        "select 1 as a; select 2 as b",
        "select * from {{ ref('orders') }}",
        "select {{ x }} as y from t",
        "{{ config(materialized='table') }} select a from t",
        "{% set x = 1 %} select a from t",
        "select 'unterminated from t",
        "\x00\x01",
        "(" * 5000,
        "select " + "(" * 5000 + "a" + ")" * 5000 + " as a from t",
        "select " + "case when a then 1 else " * 3000 + "2" + " end" * 3000 + " as a from t",
    ],
)
def test_anything_but_one_select_gives_no_facts(sql: str) -> None:
    assert read_query(sql, "duckdb") == EMPTY_FACTS


def test_a_huge_flat_query_is_read() -> None:
    columns = ", ".join(f"c{number} as d{number}" for number in range(3000))
    condition = " and ".join(f"c{number} > 0" for number in range(3000))
    facts = read_query(f"select {columns} from t where {condition}")
    assert len(facts.columns) == 3000
    assert len(facts.filters) == 3000


def test_a_deep_operator_chain_keeps_its_leaves() -> None:
    facts = read_query("select " + " + ".join(["a"] * 4000) + " as s, b from t")
    assert facts.columns["s"].leaves == (Leaf("t", "a"),)
    assert facts.columns["b"].expression == "b"


@pytest.mark.parametrize(
    ("sql", "dialect"),
    [
        ("vacuum t", "duckdb"),
        ("with a as (select 1 as x) rename (id as b) from t) select 1", "snowflake"),
        ("select json_extract(x, 'a b c $') as y from t", "mysql"),
    ],
)
def test_nothing_is_logged(sql: str, dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    read_query(sql, dialect)
    assert caplog.records == []


def test_other_code_may_log(caplog: pytest.LogCaptureFixture) -> None:
    read_query("select 1 as a")
    logging.getLogger("sqlglot").warning("kept")
    assert [record.message for record in caplog.records] == ["kept"]


DIALECTS = st.sampled_from(
    ["snowflake", "bigquery", "duckdb", "postgres", "tsql", "spark", "clickhouse", "nope", "", None]
)
SOUP = """
select distinct * from t u raw.orders a b c id , . ( ) join left full cross lateral unnest on using
where group by order having qualify as with recursive union all except exclude replace values case
when then else end over partition row_number sum count exists in not null cast :: : [ ] { } -> =>
+ - / || = > 'x' 1 "Q" flatten pivot for is and or ; -- /* */ $1 {{ }}
"""
WORDS = SOUP.split()


@examples(300)
@given(st.text(max_size=200), DIALECTS)
def test_arbitrary_text_never_raises(text: str, dialect: str | None) -> None:
    for sql in (text, f"select {text}", f"select a from {text}"):
        assert not read_query(sql, dialect, SHOP).failure


@examples(500)
@given(st.lists(st.sampled_from(WORDS), max_size=40), DIALECTS)
def test_token_soups_never_raise(words: list[str], dialect: str | None) -> None:
    for sql in (" ".join(words), "select " + " ".join(words), "select a from t " + " ".join(words)):
        check_invariants(sql, dialect)


@examples(500)
@given(st.data())
def test_broken_cases_never_raise(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES))
    words = case.sql.split()
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(words) - 1))
        words[position] = data.draw(st.sampled_from([*WORDS, *case.sql.split()]))
    check_invariants(" ".join(words), case.dialect)


def check_invariants(sql: str, dialect: str | None) -> None:
    facts = read_query(sql, dialect, SHOP)
    assert not facts.failure
    for name, column in facts.columns.items():
        assert column.name == name
        if column.kind is ColumnKind.UNKNOWN:
            assert (column.expression, column.leaves) == (None, ())
        if column.kind in (ColumnKind.PASS, ColumnKind.RENAME):
            assert len(column.leaves) == 1
        if column.kind not in (ColumnKind.PASS, ColumnKind.RENAME, ColumnKind.CAST):
            assert not column.is_plain or column.kind is ColumnKind.UNION
        else:
            assert column.is_plain
            assert column.leaves
        if column.kind is ColumnKind.LITERAL:
            assert column.leaves == ()
        assert {leaf.relation for leaf in column.leaves} <= set(facts.relations)
        if column.expression is not None:
            assert len(column.expression) <= MAX_EXPRESSION_LENGTH
            assert "\n" not in column.expression


def test_the_text_is_the_same_for_every_hash_seed() -> None:
    program = (
        "from dbt_osmosis_llm.evidence.lineage import read_query\n"
        "from tests.evidence.lineage_cases import CASES\n"
        "for c in CASES:\n"
        "    print(read_query(c.sql, c.dialect, c.schema))\n"
    )
    outputs = set()
    for seed in ("0", "1", "random"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1
    assert outputs != {b""}


def test_a_field_of_a_struct_is_made_as_its_column() -> None:
    sql = "select t.place, {'lat': t.x, 'lon': 0} as spot, t.place as site from t"
    facts = read_query(sql, "duckdb", {"t": ["place", "x"]})
    passed, renamed = facts.column("place.lat"), facts.column("SITE.lat")
    assert passed is not None
    assert renamed is not None
    assert (passed.is_plain, passed.leaves) == (True, (Leaf("t", "place.lat"),))
    assert (renamed.is_plain, renamed.leaves) == (True, (Leaf("t", "place.lat"),))
    computed = facts.column("spot.lat")
    assert computed is not None
    assert (computed.kind, computed.is_plain) == (ColumnKind.DERIVED, False)
    assert facts.column("elsewhere.lat") is None


ROWS = [f"({number}, 'name {number}', -{number}.5, null)" for number in range(10_000)]
LITERALS = [f"select {number} as a, upper('x') as b" for number in range(10_000)]


@pytest.mark.parametrize(
    "sql",
    [
        f"select a, t.b from (values {', '.join(ROWS)}) as t(a, b, c, d)",
        f"with t(a, b, c, d) as (values {', '.join(ROWS)}) select a, b from t where c < 2",
        " union all ".join(LITERALS),
        f"with t as ({' union all '.join(LITERALS)}) select * from t",
    ],
    ids=["values", "values in a CTE", "union", "union in a CTE"],
)
def test_ten_thousand_rows_are_not_parsed(sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    parse = Parser.parse

    def counted(parser: Parser, tokens: list[Token], sql: str) -> object:
        parsed.append(len(tokens))
        return parse(parser, tokens, sql)

    monkeypatch.setattr(Parser, "parse", counted)
    facts = read_query(sql, "postgres")
    assert list(facts.columns) == ["a", "b"]
    assert {column.leaves for column in facts.columns.values()} == {()}
    assert ColumnKind.UNKNOWN not in {column.kind for column in facts.columns.values()}
    assert 0 < max(parsed) < 5_000


def test_no_row_that_reads_a_table_is_left_out() -> None:
    branches = [*LITERALS[:3_000], "select id, k from t", *LITERALS[:3_000], "select 1, u.c from u"]
    facts = read_query(" union all ".join(branches), "postgres")
    assert facts.columns["a"].leaves == (Leaf("t", "id"),)
    assert facts.columns["b"].leaves == (Leaf("t", "k"), Leaf("u", "c"))
    pairs = ", ".join(f"({number}, {number})" for number in range(2_000))
    filters = read_query(f"select a from t where (a, b) in ({pairs})", "postgres").rows
    assert "(1999, 1999)" in filters


@pytest.mark.parametrize(
    "sql",
    [
        "select distinct json_object(name : value) as doc, id from books",
        "select id from books where json_object(name : value) = doc",
        "select id, b.* f(x => => 1) from books as b",
    ],
)
def test_what_does_not_parse_and_is_more_than_a_column_is_not_left_out(sql: str) -> None:
    assert read_query(sql, "trino") == EMPTY_FACTS
