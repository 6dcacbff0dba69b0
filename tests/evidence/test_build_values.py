"""Literals that a build puts into compiled SQL, told from those of the project's own text."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from dbt_osmosis_llm.evidence.build_values import (
    MarkedSQL,
    build_value_in,
    joined,
    mark_build_values,
    read_source,
    without_build_values,
)
from dbt_osmosis_llm.evidence.facts import MARKER
from tests.limits import cpu_limit


class Case(NamedTuple):
    source: str
    compiled: str
    """With ``<…>`` around what is to be replaced."""
    listed: tuple[str, ...] = ()
    dialect: str = "duckdb"


LOOP = "{% set ways = ['card', \"bank_wire\"] %}{% for way in ways %}"
CASES = {
    "target": Case(
        "select '{{ target.name }}' as a, 'own' as b", "select <'prod'> as a, 'own' as b"
    ),
    "pieces": Case("'{{ target.database }}' || '.' || 'x'", "select <'db'> || '.' || 'x'"),
    "within a text": Case("select 'in {{ this.schema }} now'", "select <'in omega now'>"),
    "a default": Case('select \'{{ var("a", "shop") }}\'', "select <'shop'>"),
    "a nested default": Case("select '{{ var('a', env_var('B', 'c)d')) }}' x", "select <'c)d'> x"),
    "another default": Case("{{ config(alias='zeta') }} select '{{ this }}'", "select <'zeta'>"),
    "a condition": Case(
        "{%- if target.name == 'dev' %} select '{{ target.name }}' {% endif %}", "select <'dev'>"
    ),
    "an inline condition": Case(
        "select '{{ 'a1' if target.name in ['dev', 'ci'] else 'b1' }}', '{{ target.name }}'",
        "select 'a1', <'ci'>",
    ),
    "turned round": Case("{{ 'dev' == target.name }} '{{ target.name }}'", "select true, <'dev'>"),
    "a comment": Case(
        "{# dev #} select '{{ target.name }}' -- prod, it's\n /* ci */", "select <'prod'>, <'ci'>"
    ),
    "no part of a word": Case(
        "select device_id, '{{ target.name }}' from ref_dev",
        "select device_id, <'dev'> from ref_dev",
    ),
    "no piece of a word": Case("select brand and x, '{{ var('a') }}'", "select x, <'brandx'>"),
    "the clock": Case("select '{{ run_started_at }}'", "select <'2024-05-17 10:11:12.5+00:00'>"),
    "a day": Case(
        "{{ loop.index }} '{{ run_started_at.date() }}' > '2024-01-01'",
        "select date <'2024-05-17'> > '2024-01-01'",
    ),
    "an id": Case(
        "select '{{ invocation_id }}'", "select <'5f0a2b3c-7d1e-4a52-9c11-2f3a4b5c6d7e'>"
    ),
    "a relation": Case("select '{{ ref(\"orders\") }}'", 'select <\'"dev"."main"."orders"\'>'),
    "a loop": Case(
        LOOP + "'{{ way }}', '{{ way }}_sum', 'by {{ way|title }}', '{{ var('a') }}'",
        "select 'card', 'bank_wire', 'card_sum', 'by Card', 'Bank Wire', <'shop'>",
    ),
    "put together": Case(
        "{{ 'amount_' ~ x }}{{ '%s_total' % x }}{% set x = 'eu' %}{{ target.name }}",
        "select 'amount_eu', 'eu_total', <'amount_us'>",
    ),
    "a counter": Case(
        "{% for i in range(12) %}'tier_{{ i }}', 'Tier {{ i }}'{% endfor %}{{ target.name }}",
        "select 'tier_7', 'Tier 7', <'dev'>",
    ),
    "names of columns": Case(
        "{{ unpivot(adapter.get_columns_in_relation(this)) }}",
        "select 'january', t.january as v from dev.t",
    ),
    "no name of a schema": Case("'{{ this.schema }}'", "select <'dev'>, x from dev.orders"),
    "signs": Case("{{ var('a') }}", "select '', ' - ', '%'"),
    "a quote in it": Case("'it''s' '{{ var('a') }}'", "select 'it''s', <'o''clock'>"),
    "a number": Case(
        "x > {{ var('a', 7) }} and y < 30 limit 1", "select x > 7 and y < 30 limit 1", ("7",)
    ),
    "a list in a loop": Case(
        "{% for d in [7, 30] %}{% for e in ['own'] %}{{ var('a') }}",
        "select 7, 30, 0, 9.5, 'own'",
        ("9.5",),
    ),
    "counted numbers": Case("{{ range(20) }}{{ var('a') }}", "select 12, 365", ("365",)),
    "a number of none": Case("{{ 100 * 2 }} '{{ this.schema }}'", "select 200, <'dev'>"),
    "an interval": Case("interval '{{ var('a') }} days'", "select interval '7 days'", ("7 days",)),
    "a unit": Case("date_trunc('{{ var('a') }}', x)", "select date_trunc('month', x)", ("month",)),
    "a format": Case("strftime(x, '{{ var('a') }}')", "select strftime(x, '%Y-%b')", ("%Y-%b",)),
    "beside a format": Case(
        "strptime('{{ run_started_at }}', '%Y')", "select strptime(<'2024-05-17'>, '%Y')"
    ),
    "a path": Case("x ->> '{{ var('a') }}'", "select x ->> '$.shop'", ("$.shop",)),
    "a subscript": Case("x['{{ var('a') }}']", "select x['shop']", ("shop",)),
    "an array": Case("['{{ var('a') }}']", "select x in [<'shop'>]"),
    "a key": Case("{'{{ var('a') }}': 1}", "select {'shop': 1}", ("shop",)),
    "an alias": Case("1 as '{{ var('a') }}'", "select 1 as 'shop', 1 'till'", ("shop", "till")),
    "a file": Case(
        "'{{ var('a') }}'", "select * from 'a.csv' join read_csv('b.csv')", ("a.csv", "b.csv")
    ),
    "a pivot": Case("pivot", "select * from t pivot (sum(x) for m in ('may'))"),
    "a pivot of the build": Case(
        "{{ run_query(a) }}", "select * from t pivot (sum(x) for m in ('may'))", ("may",)
    ),
    "distinct from": Case("{{ var('a') }}", "select x is distinct from <'shop'>"),
    "in a call": Case("{{ var('a') }}", "select coalesce(x, <'shop'>), concat(<'shop'>, x)"),
    "double quotes": Case("{{ var('a') }}", 'select <"shop">, `x` from t', dialect="bigquery"),
    "a backslash": Case("{{ var('a') }}", r"select <'o\'clock'>", dialect="snowflake"),
    "raw strings": Case("{{ var('a') }}", "select r'shop'", ("shop",), "bigquery"),
    "an unknown adapter": Case("{{ var('a') }}", "select <'shop'>", dialect="teapot"),
    "what is no SQL": Case("{{ var('a') }}", "select 'shop"),
    "nothing of a build": Case("{{ pretty(['a', 'b']) }}", "select 'md5 of it', 12"),
    "dispatch": Case("{{ adapter.dispatch('x')() }}", "select 'md5 of it'"),
    "names in SQL": Case("select model, target, schema from graph", "select 'md5 of it'"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_does_not_stand_in_the_text_is_marked(case: Case) -> None:
    compiled = re.sub(r"<(['\"].*?['\"])>", r"\1", case.compiled)
    marked = re.sub(r"<(['\"]).*?(['\"])>", rf"\1{MARKER}\2", case.compiled)
    found = mark_build_values(compiled, read_source(case.source), case.dialect)
    assert found == MarkedSQL(marked, case.listed)


def test_the_text_of_macros_counts_as_well() -> None:
    sources = [
        read_source("select '{{ label(x) }}', {{ where() }}"),
        read_source("{% macro label(x) %}{{ x }} wrapped{% endmacro %}"),
        read_source("{% macro where() %}'{{ target.name }}'{% endmacro %}"),
    ]
    compiled = "select 'wrapped', 'dev'"
    assert mark_build_values(compiled, joined(sources)).sql == f"select 'wrapped', '{MARKER}'"
    assert mark_build_values(compiled, joined(sources[:2])).sql == compiled


def test_what_dbts_own_macros_ask_is_no_reason() -> None:
    own = read_source("{{ hash(x) }}")
    hosts = read_source("{% set x = run_query(target.name) %}", is_hosts=True)
    assert mark_build_values("select 'abc'", joined([own, hosts])).sql == "select 'abc'"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Always `(set by the build)`.", MARKER),
        ("x = '(set by the build)'", MARKER),
        ("Name of the schema (set by the build).", None),
        ("Later than 15 minutes.", "15"),
        ("x >= 15", "15"),
        ("From 1,500 on.", "1500"),
        ("INTERVAL '7' DAY", "7 days"),
        ("The last 7-day week.", "7 days"),
        ("Version 1.15, of 2015, in 15.5 or 115 minutes, 15th.", None),
        ("Within 17 days.", None),
    ],
)
def test_texts_that_quote_a_value(text: str, value: str | None) -> None:
    assert build_value_in(text, ("15", "1500", "7 days")) == value


def test_listed_values_are_taken_out() -> None:
    sql = without_build_values("x >= 15 AND y < 150 - INTERVAL '7' DAYS", ("15", "7 days"))
    assert sql == f"x >= {MARKER} AND y < 150 - INTERVAL '{MARKER}"


@pytest.mark.parametrize("start", ["{{ '", "{% ", "'", "/*", "{{ var(", "{#", "{{ x in [", '"'])
def test_what_is_never_closed_is_read_in_time(start: str) -> None:
    with cpu_limit(2):
        read_source(start * 20_000)


def test_many_literals_are_told_apart_in_time() -> None:
    columns = range(1_000)
    source = read_source("\n".join(f"'{{{{ var('a{i}') }}}}', '{{{{ m }}}}_x{i}'" for i in columns))
    compiled = "select " + ", ".join(f"'v{i}q'" for i in columns)
    with cpu_limit(2):
        found = mark_build_values(compiled, source)
    assert found.sql.count(MARKER) == len(columns)
