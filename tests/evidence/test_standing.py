"""How columns stand in their table, against what DuckDB gives and, form by form, by hand."""

from __future__ import annotations

import pytest

from dbt_osmosis_llm.evidence.facts import QueryFacts
from dbt_osmosis_llm.evidence.lineage import read_query
from tests.evidence.random_queries import TABLES, checked

QUERIES = 120


def test_nothing_is_said_of_random_queries_that_does_not_hold() -> None:
    answers = [checked(seed) for seed in range(QUERIES)]
    assert [(sql, faults) for sql, faults in answers if faults] == []
    assert sum(bool(sql) for sql, _ in answers) > QUERIES * 0.9


def facts_of(sql: str, dialect: str = "duckdb") -> QueryFacts:
    facts = read_query(sql, dialect, TABLES)
    assert facts.columns
    return facts


def optional(sql: str) -> dict[str, bool]:
    facts = facts_of(sql)
    return {p.name: p.is_optional for c in facts.columns.values() for p in c.passages}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select b.n from ta a join tb b on a.id = b.id", {"b": False}),
        ("select b.n from ta a left join tb b on a.id = b.id", {"b": True}),
        ("select a.n from ta a right join tb b on a.id = b.id", {"a": True}),
        ("select a.n, b.k from ta a full join tb b on a.id = b.id", {"a": True, "b": True}),
        ("select b.n from ta a left join tb b on a.id = b.id where b.k > 1", {"b": False}),
        ("select b.n from ta a left join tb b on a.id = b.id where b.k is null", {"b": True}),
        (
            "select b.n from ta a left join tb b on a.id = b.id where b.k in (select k from tc)",
            {"b": False},
        ),
        (  # true of an empty table
            "select b.n from ta a left join tb b on a.id = b.id"
            " where b.k not in (select k from tc)",
            {"b": True},
        ),
        (
            "select b.n from ta a left join tb b on a.id = b.id join tc c on b.k = c.k",
            {"b": False},
        ),
        (  # what joins first may lose its partner later
            "select b.n from ta a join tb b on a.id = b.id right join tc c on a.k = c.k",
            {"b": True},
        ),
        (
            "select b.n from ta a left join (tb b join tc c on b.id = c.id) on a.id = b.id",
            {"b": True},
        ),
        (  # a number for a condition
            "select b.n from ta a left join tb b on a.id = b.id where coalesce(b.n, 1) or false",
            {"b": True},
        ),
        (
            "select b.n from ta a left join tb b on a.id = b.id where coalesce(b.n, 1.0) = 1",
            {"b": True},
        ),
        (
            "with j as (select b.n from ta a left join tb b on a.id = b.id)"
            " select n from j where n is not null",
            {"b": False},
        ),
        (
            "with j as (select a.id, b.n from ta a left join tb b on a.id = b.id)"
            " select x.n, y.n as m from j x join j y on x.id = y.id where x.n > 0",
            {"y": False, "b": True},
        ),
        (  # the rows of one branch do not come through the joins of the other
            "select b.n from ta a join tb b on a.id = b.id union all select k from tc",
            {},
        ),
        (
            "select b.n from ta a join tb b on a.id = b.id"
            " union all select b.n from ta a left join tb b on a.id = b.id",
            {},
        ),
    ],
)
def test_whether_rows_without_a_partner_stay(sql: str, expected: dict[str, bool]) -> None:
    assert optional(sql) == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("b.n", {"b": "NULL"}),
        ("coalesce(b.n, 0)", {"b": "0"}),
        ("coalesce(b.n, a.n, 0)", {}),
        ("case when coalesce(b.n, 0.0) = 0 then 'none' else 'some' end", {"b": "'none'"}),
        ("case when coalesce(b.s, 'A') = 'a' then 1 else 0 end", {}),
        ("coalesce(b.s, '1') = 1", {}),
        ("case when coalesce(b.n, 1) then 'yes' else 'no' end", {}),
        ("(coalesce(b.n, 1)) is true", {}),
        ("coalesce(b.n, 1) in ([1, 2])", {}),
        ("b.k not in (select k from tc)", {}),
        ("not (b.flag and a.flag)", {}),
        ("b.n is null", {"b": "TRUE"}),
    ],
)
def test_what_a_column_is_without_a_partner(column: str, expected: dict[str, str]) -> None:
    facts = facts_of(f"select {column} as x from ta a left join tb b on a.id = b.id")
    assert {p.name: value for p, value in facts.columns["x"].absences} == expected


def test_what_aggregates_are_without_a_partner() -> None:
    facts = facts_of(
        "select a.id, sum(b.n) as s, count(b.n) as c, count(*) as r"
        " from ta a left join tb b on a.id = b.id group by 1"
    )
    values = {n: [value for _, value in c.absences] for n, c in facts.columns.items()}
    assert values == {"id": [], "s": ["NULL"], "c": ["0"], "r": []}


def test_constants_of_another_joined_relation_may_be_missing_too() -> None:
    facts = facts_of(
        "with c as (select id, false as x from tc)"
        " select coalesce(c.x, b.flag, true) as y from ta a"
        " left join c on a.id = c.id left join tb b on a.id = b.id"
    )
    assert facts.columns["y"].absences == ()


def test_a_partner_that_is_missing_on_one_of_two_ways_says_nothing() -> None:
    facts = facts_of(
        "with j as (select a.id, b.n from ta a left join tb b on a.id = b.id)"
        " select coalesce(x.n, y.n, 0) as either, coalesce(x.n, 1) as one"
        " from j x join j y on x.id = y.id"
    )
    values = {n: [(p.name, v) for p, v in c.absences] for n, c in facts.columns.items()}
    assert values == {"either": [], "one": [("b", "1")]}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select s as x from ta where s = 'a'", "'a'"),
        ("select s as x from ta where s in ('a')", "'a'"),
        ("select s as x from ta where s in ('a', 'b')", ""),
        ("select s as x from ta where s = 'a' or n = 1", ""),
        ("select flag as x from ta where not flag", "FALSE"),
        ("select s as x from ta where s is null", "NULL"),
        ("select case when s = 'a' then 1 else 0 end as x from ta where s = 'a'", "1"),
        (
            "with c as (select * from ta where s = 'a')"
            " select c.s as x from c join tb b using (id)",
            "'a'",
        ),
        (  # the same table, without the filter
            "with c as (select * from ta where s = 'a')"
            " select d.s as x from c join ta d on c.id = d.k",
            "",
        ),
        (
            "with c as (select *, 'x' as label from tb)"
            " select case when c.label = 'x' then 1 else 0 end as x"
            " from ta a left join c on a.id = c.id where a.s = 'a'",
            "",
        ),
        ("select s as x, count(*) as c from ta where s = 'a' group by rollup (s)", ""),
        (
            "with c as (select * from tb where s = 'a')"
            " select case when c.s = 'a' then 1 else 0 end as x from ta a join c on a.id = c.id"
            " union all"
            " select case when c.s = 'a' then 1 else 0 end from ta a join tb c on a.id = c.id",
            "",
        ),
    ],
)
def test_what_filters_leave_a_column(sql: str, expected: str) -> None:
    assert facts_of(sql).columns["x"].fixed == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "with c as (select * from tb where s = 'a') select a.id from ta a join c using (id)",
            ("tb.s = 'a'",),
        ),
        (
            "with c as (select * from tb where s = 'a')"
            " select a.id from ta a left join c using (id)",
            (),
        ),
        (
            "with c as (select * from ta where s = 'a') select d.s from c join ta d on c.id = d.k",
            (),
        ),
        (
            "with m as (select id, max(n) as n from ta where s = 'a' group by id)"
            " select ta.s from ta join m on ta.id = m.id",
            (),
        ),
        (
            "with c as (select * from ta where s = 'a'), o as (select id from c where n = 1)"
            " select c.k from c join o on c.id = o.id",
            ("s = 'a'",),
        ),
        ("select s from ta where s = 'a' union all select s from ta", ()),
    ],
)
def test_the_filters_that_each_row_has_passed(sql: str, expected: tuple[str, ...]) -> None:
    facts = facts_of(sql)
    assert facts.filters == expected
    assert tuple(one.text for one in facts.restrictions) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select k as key, count(*) as c from ta group by k", ("key",)),
        ("select upper(s) as s, count(*) as c from ta group by ta.s", ()),
        (
            "with g as (select k, list(n) as ns from ta group by k) select k, unnest(ns) from g",
            (),
        ),
        (
            "with g as (select k, sum(n) as n from ta group by k),"
            " h as (select k from ta group by k) select h.k from g join h on g.n = h.k",
            (),
        ),
    ],
)
def test_columns_that_tell_groups_apart(sql: str, expected: tuple[str, ...]) -> None:
    assert facts_of(sql).group_by == expected


RANKED = "with r as (select *, row_number() over (partition by k order by n) as rn from ta)"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"{RANKED} select k from r where rn = 1", ("k",)),
        (f"{RANKED} select r.k, r.rn from r join tb on r.id = tb.k where r.rn = 1", ()),
        (
            f"{RANKED}, j as (select r.k, r.rn from r join tb on r.id = tb.k)"
            " select k from j where rn = 1",
            (),
        ),
        (
            f"{RANKED}, u as (select k, rn from r union all select k, rn from r)"
            " select k, rn from u where rn = 1",
            (),
        ),
        (f"{RANKED} select k, unnest([1, 2]) as x from r where rn = 1", ()),
    ],
)
def test_columns_of_which_one_row_is_kept(sql: str, expected: tuple[str, ...]) -> None:
    assert facts_of(sql).row_number_partition == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"{RANKED} select r.s as x from tb join r on tb.k = r.k and r.rn = 1", "n"),
        (
            f"{RANKED}, f as (select * from r where rn = 1)"
            " select f.s as x from tb join f on tb.k = f.k",
            "n",
        ),
        # several rows for each partner
        (f"{RANKED} select r.s as x from tb join r on tb.id = r.id and r.rn = 1", ""),
        (
            f"{RANKED}, f as (select * from r where rn = 1)"
            " select f.s as x from tb join f on tb.id = f.id",
            "",
        ),
        (f"{RANKED} select r.s as x from tb join r on r.id = r.k and r.rn = 1", ""),
        (
            "select l.s as x from tb,"
            " lateral (select s from ta where k = tb.k order by n limit 1) l",
            "n",
        ),
    ],
)
def test_which_row_of_several_is_joined(sql: str, expected: str) -> None:
    (passage,) = facts_of(sql).columns["x"].passages
    assert passage.picks == expected


def test_casts_of_a_union_are_those_of_all_branches() -> None:
    sql = "select cast(n as {}) as x from ta union all select cast(n as text) from tb"
    assert facts_of(sql.format("text")).columns["x"].casts == ("TEXT",)
    assert facts_of(sql.format("bigint")).columns["x"].casts == ()


def test_nothing_is_said_where_a_mark_makes_joins_outer_ones() -> None:
    facts = facts_of("select b.n from ta a, tb b where a.id = b.id(+) and b.k(+) = 1", "oracle")
    assert facts.has_outer_join
    assert (facts.filters, facts.restrictions, facts.columns["n"].passages) == ((), (), ())


@pytest.mark.parametrize("dialect", ["postgres", "duckdb", "snowflake", "bigquery", None])
def test_what_is_not_null_is_no_constant_in_any_dialect(dialect: str | None) -> None:
    sql = "select a, b from t left join u on u.id = t.id where a is not null and b not like 'x%'"
    facts = read_query(sql, dialect, {"t": ["id", "a"], "u": ["id", "b"]})
    assert [column.fixed for column in facts.columns.values()] == ["", ""]
    assert not any(p.is_optional for p in facts.columns["b"].passages)
    assert facts.columns["b"].absences == ()
    sql = (
        "select a, case when u.id is not null then 1 else 0 end as c "
        "from t left join u on u.x = t.a"
    )
    (absence,) = read_query(sql, dialect, {"t": ["a"], "u": ["id", "x"]}).columns["c"].absences
    assert absence.value == "0"


def test_two_values_of_the_build_are_not_known_to_be_one() -> None:
    marked = "'(set by the build)'"
    facts = read_query(
        f"select case when coalesce(u.k, {marked}) = {marked} then 1 else 0 end as a,"
        f" case when t.k = {marked} then 1 else 0 end as b from t left join u on u.id = t.id"
        f" where t.k = {marked}",
        "duckdb",
        {"t": ["id", "k"], "u": ["id", "k"]},
    )
    assert facts.columns["a"].absences == ()
    assert facts.columns["b"].fixed == ""
