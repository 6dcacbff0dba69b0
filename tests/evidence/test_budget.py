"""What a prompt leaves out: the least specific first, no more than it must, and it says so."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from dbt_osmosis_llm.evidence.budget import without_ctes
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.synthesis.plan import Missing, build_request
from dbt_osmosis_llm.synthesis.prompts import Prompts

FILLER = " ".join(["word"] * 40)
NAMES = [f"b{n}" for n in range(60)]
OTHER_CTE = f"select k, {', '.join(f'max({name}) as {name}' for name in NAMES)} from b group by k"
SQL = f"""with mine as (
  select k, x, y from a where z > 1
), other as (
  {OTHER_CTE}
)
select mine.k, mine.x * 2 as doubled, mine.y, {", ".join(f"other.{name}" for name in NAMES)}
from mine left join other on other.k = mine.k"""
A = {name: f"Text of a.{name}: {FILLER}." for name in ("k", "x", "y", "z")}
B = {f"b{n}": f"Text of b.b{n}: {FILLER}." for n in range(30)}
NODE = NodeEvidence(
    "model.x.t",
    "t",
    "model",
    sql=SQL,
    facts=read_query(SQL, "duckdb", {"a": ["k", "x", "y", "z"], "b": ["k", *NAMES]}),
    columns=(
        ColumnEvidence("doubled"),
        *(ColumnEvidence(f"b{n}", description=f"Own text {n}: {FILLER}.") for n in range(20)),
    ),
    upstream=(UpstreamTable("a", "a", "Table a.", A), UpstreamTable("b", "b", "Table b.", B)),
    neighbours={"n": f"Neighbour: {FILLER}."},
)
MISSING = Missing(True, ("doubled",))


def prompt(node: NodeEvidence, max_prompt_tokens: int | None) -> tuple[str, int]:
    request = build_request(node, MISSING, Prompts(), max_prompt_tokens=max_prompt_tokens)
    return request.messages[1].content, request.expected_usage.input_tokens


def test_a_prompt_that_fits_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    whole, tokens = prompt(NODE, None)
    assert prompt(NODE, tokens) == (whole, tokens)
    assert not caplog.messages


LADDER = [
    ("texts of upstream columns that make none of the columns", "Text of b.b29"),
    ("other tables of the source", "Neighbour:"),
    ("texts of the table's other columns", "Own text 19"),
    ("CTEs that make none of the columns", "max(b59)"),
    ("the end of the SQL", "mine.x <> 399"),
]


@pytest.mark.parametrize("rung", range(len(LADDER)))
def test_the_least_specific_goes_first(rung: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    node = replace(NODE, sql=f"{SQL}\nwhere {' and '.join(f'mine.x <> {n}' for n in range(400))}")
    _, tokens = prompt(node, None)
    left_out: list[str] = []
    while LADDER[rung][0] not in left_out:
        caplog.clear()
        tokens -= 30
        text, size = prompt(node, tokens)
        assert size <= tokens
        left_out = [what for what, _ in LADDER if what in caplog.text]
    assert left_out == [what for what, _ in LADDER[: rung + 1]]
    assert all(mark not in text for _, mark in LADDER[:rung])
    assert all(mark in text for _, mark in LADDER[rung + 1 :])
    # What defines the column asked for never goes.
    assert "derived: a.x * 2\n    from a.x: Text of a.x" in text
    assert "Table b." in text
    assert "select k, x, y from a where z > 1" in text


def test_no_more_than_needed_goes_the_last_first() -> None:
    _, tokens = prompt(NODE, None)
    text, size = prompt(NODE, tokens - 10)
    assert "Text of b.b28" in text
    assert "Text of b.b29" not in text
    assert tokens - 110 < size <= tokens - 10


def test_what_the_sql_does_not_name_goes_before_what_it_names() -> None:
    node = replace(NODE, columns=(*NODE.columns, ColumnEvidence("odd")))
    node = replace(
        node, upstream=(replace(NODE.upstream[0], columns={"far": f"Far {FILLER}.", **A}),)
    )
    missing = Missing(False, ("doubled", "odd"))
    tokens = build_request(node, missing, Prompts()).expected_usage.input_tokens
    text = build_request(node, missing, Prompts(), max_prompt_tokens=tokens - 1).messages[1].content
    assert "Far" not in text
    assert "Text of a.z" in text


def test_what_defines_the_columns_is_sent_even_if_it_is_too_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    text, size = prompt(NODE, 200)
    assert size > 200
    assert "derived: a.x * 2\n    from a.x: Text of a.x" in text
    assert "more than it should" in caplog.text


BODY = " ".join(["1 as one,"] * 40)


@pytest.mark.parametrize(
    ("sql", "kept", "gone"),
    [
        (f"with a as (select {BODY} 2 from x), b as (select {BODY} 3 from y) select 1", "a", "b"),
        # b goes through a, which reads x.
        (f"with a as (select {BODY} 2 from x), b as (select {BODY} 3 from a) select 1", "ab", ""),
        # The bracket in the string, the comment and the quoted name is none.
        (f"with b as (select {BODY} ')', \")\" /* ) */ from y -- )\n) select ')'", "", "b"),
        (f"with recursive b(n) as (select {BODY} 1 from b) select 1", "", "b"),
        (f"WITH b AS NOT MATERIALIZED (select {BODY} (1) from y) select 1", "", "b"),
        # Too small to be worth it, not closed, not at the top: they stay as they are.
        ("with b as (select 1 from y) select 1", "b", ""),
        (f"with b as (select {BODY} 1 from y", "b", ""),
        (f"select * from (with b as (select {BODY} 1 from y) select 1)", "b", ""),
        (f"{{% if x %}} with b as (select {BODY} 1 from y) select 1", "b", ""),
    ],
)
def test_only_ctes_that_are_nothing_to_the_columns_go(sql: str, kept: str, gone: str) -> None:
    found = without_ctes(sql, {"db.x"}, 10_000)
    assert (found != sql) is bool(gone)
    assert found.count("characters about other columns are not shown)") == len(gone)
    assert found.count(BODY) == sum(sql.count(f"{name} as (select {BODY}") for name in kept)
    if gone:
        assert found.startswith(sql[:8])
        assert found.endswith(sql[-9:])
    assert without_ctes(sql, {"db.x"}, 0) == sql


def test_the_largest_cte_goes_first() -> None:
    sql = f"with a as (select {BODY} 1 from y), b as (select {BODY} {BODY} 1 from y) select 1"
    found = without_ctes(sql, {"x"}, 10)
    assert f"a as (select {BODY} 1 from y)" in found
    assert "b as (\n-- (8" in found
