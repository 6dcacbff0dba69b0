"""Tests and constraints in words."""

from __future__ import annotations

from typing import Any

import pytest

from dbt_osmosis_llm.evidence.promises import (
    DataTest,
    keys_of,
    promises_of_column,
    promises_of_table,
)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("unique", {"column_name": "id", "model": "{{ x }}"}, "unique"),
        ("not_null", {}, "never null"),
        ("accepted_values", {"values": ["a", "b"]}, "one of 'a', 'b'"),
        ("accepted_values", {"values": [1, 2], "quote": False}, "one of 1, 2"),
        ("accepted_values", {"arguments": {"values": ["a"]}}, "one of 'a'"),
        (
            "accepted_values",
            {"values": [*range(25)]},
            f"one of {', '.join(map(str, range(20)))} and 5 more",
        ),
        ("relationships", {"to": "ref('orders')", "field": "id"}, "found in orders.id"),
        ("relationships", {"to": 'source("a", "b")', "field": "id"}, "found in a.b.id"),
        (
            "unique_combination_of_columns",
            {"combination_of_columns": ["A", "b"]},
            "unique together: a, b",
        ),
        ("expect_compound_columns_to_be_unique", {"column_list": ["a"]}, "unique together: a"),
        ("accepted_range", {"min": 0, "max": 9}, "accepted_range(max=9, min=0)"),
        ("odd", {}, "odd"),
        ("odd", {"a": "x" * 400}, f"odd(a='{'x' * 293} …"),
    ],
)
def test_tests_in_words(name: str, arguments: dict[str, Any], words: str) -> None:
    assert DataTest(name, arguments).promise == words


def test_a_test_of_some_rows_says_so_and_makes_no_key() -> None:
    test = DataTest("unique", column="id", where="not deleted")
    assert test.promise == "unique where not deleted"
    assert keys_of([test], []) == ()


TESTS = [
    DataTest("unique", column="ID"),
    DataTest("unique", column='"id"'),
    DataTest("unique", column="a || b"),
    DataTest("unique_combination_of_columns", {"combination_of_columns": ["day", "shop"]}),
    DataTest("not_null", column="day"),
]


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ({"type": "not_null"}, "never null"),
        ({"type": "primary_key"}, "primary key"),
        ({"type": "check", "expression": "x > 0"}, "check x > 0"),
        ({"type": "custom", "expression": "mask"}, "constraint custom mask"),
        ({"type": "foreign_key", "to": "ref('a')", "to_columns": ["id"]}, "foreign key to a (id)"),
        ({"type": "foreign_key", "to": '"db"."a"'}, "foreign key to db.a"),
        ({"type": "primary_key", "columns": ["a", "b"]}, "primary key: a, b"),
    ],
)
def test_constraints_in_words(constraint: dict[str, Any], words: str) -> None:
    assert promises_of_column("x", TESTS, [constraint]) == (words,)
    assert promises_of_table(["id"], [], [constraint]) == (words,)


def test_each_promise_stands_where_it_belongs_and_once() -> None:
    assert promises_of_column("id", TESTS, [{"type": "unique"}]) == ("unique",)
    assert promises_of_column('"Day"', TESTS, []) == ("never null",)
    assert promises_of_table(["Id", "day"], TESTS, []) == (
        "a || b: unique",
        "unique together: day, shop",
    )


def test_keys_come_from_tests_and_constraints() -> None:
    constraints = [
        {"type": "primary_key", "columns": ["Day", "shop"]},
        {"type": "unique", "columns": ["no"]},
        {"type": "not_null", "columns": ["x"]},
    ]
    assert keys_of(TESTS, constraints) == (("id",), ("a || b",), ("day", "shop"), ("no",))
