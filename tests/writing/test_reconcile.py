"""What of dbt-osmosis's result gets into a file that people keep."""

from __future__ import annotations

from typing import Any

import pytest

from dbt_osmosis_llm.writing.reconcile import reconciled


def column(**more: Any) -> dict[str, Any]:
    return {"models": [{"name": "orders", "columns": [{"name": "id", **more}]}]}


@pytest.mark.parametrize(
    ("original", "wanted", "expected"),
    [
        pytest.param({}, {"description": "Key."}, {"description": "Key."}, id="a text"),
        pytest.param(
            {"description": ""}, {"description": "Key."}, {"description": "Key."}, id="an empty one"
        ),
        pytest.param(
            {"description": "Theirs."}, {}, {"description": "Theirs."}, id="nothing is taken away"
        ),
        pytest.param(
            {"description": "{{ doc('id') }}"},
            {"description": "What the block says."},
            {"description": "{{ doc('id') }}"},
            id="a reference stays",
        ),
        pytest.param(
            {"description": "Two\nlines.\n"},
            {"description": "Two\nlines."},
            {"description": "Two\nlines.\n"},
            id="the end of a block is no other text",
        ),
        pytest.param(
            {"data_type": "{{ var('t') }}"},
            {"data_type": "int"},
            {"data_type": "{{ var('t') }}"},
            id="nor is a variable replaced",
        ),
        pytest.param(
            {"data_type": "int"}, {"data_type": "bigint"}, {"data_type": "bigint"}, id="a type"
        ),
        pytest.param({"tests": []}, {}, {"tests": []}, id="empty lists stay"),
        pytest.param(
            {"tests": ["unique"], "mine": {"a": 1}},
            {"tests": ["not_null"], "mine": {"b": 2}},
            {"tests": ["unique"], "mine": {"a": 1}},
            id="what people wrote",
        ),
        pytest.param(
            {"config": {"meta": {"pii": True}}},
            {"meta": {"pii": True, "osmosis_progenitor": "source.raw.id"}},
            {"config": {"meta": {"pii": True, "osmosis_progenitor": "source.raw.id"}}},
            id="meta stays under config",
        ),
        pytest.param(
            {"meta": {"pii": True}, "tags": ["a"]},
            {"config": {"meta": {"pii": True, "unit": "cents"}, "tags": ["a", "b"]}},
            {"meta": {"pii": True, "unit": "cents"}, "tags": ["a", "b"]},
            id="meta and tags stay above it",
        ),
        pytest.param(
            {"meta": {"pii": False, "osmosis_progenitor": "old"}},
            {"meta": {"pii": True, "osmosis_progenitor": "new"}},
            {"meta": {"pii": False, "osmosis_progenitor": "new"}},
            id="only dbt-osmosis's own notes change",
        ),
        pytest.param({}, {"meta": {}, "tags": [], "quote": None}, {}, id="nothing empty is added"),
        pytest.param(
            {"quote": True, "data_tests": [{"unique": {"severity": "warn"}}]},
            {"quote": True},
            {"quote": True, "data_tests": [{"unique": {"severity": "warn"}}]},
            id="unknown keys stay",
        ),
    ],
)
def test_a_column(
    original: dict[str, Any], wanted: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert reconciled(column(**original), column(**wanted)) == column(**expected)


def names(found: dict[str, Any]) -> list[str]:
    return [one["name"] for one in found["models"][0]["columns"]]


def columns(*names: str) -> dict[str, Any]:
    return {"models": [{"name": "orders", "columns": [{"name": name} for name in names]}]}


@pytest.mark.parametrize(
    ("original", "wanted", "expected"),
    [
        ("a b c", "c b a", "a b c"),
        ("a c", "a b c", "a b c"),
        ("c a", "a b c", "c a b"),
        ("b", "a b", "a b"),
        ("a b c", "a c", "a c"),
        ("", "a b", "a b"),
        ("ID", "id name", "id name"),
        ("a a", "a", "a a"),
    ],
)
def test_columns_keep_their_order(original: str, wanted: str, expected: str) -> None:
    found = reconciled(columns(*original.split()), columns(*wanted.split()))
    assert names(found) == expected.split()


def test_entries_of_a_version_that_name_no_column_stay() -> None:
    entries = [{"include": "all", "exclude": ["b"]}, {"name": "a"}]
    original = {"models": [{"name": "m", "versions": [{"v": 1, "columns": entries}]}]}
    wanted = {
        "models": [
            {
                "name": "m",
                "latest_version": 1,
                "versions": [{"v": 1, "columns": [*entries, {"name": "c"}]}],
            }
        ]
    }
    found = reconciled(original, wanted)
    assert found["models"][0]["versions"][0]["columns"] == [*entries, {"name": "c"}]
    assert "latest_version" not in found["models"][0]


def test_sections_that_went_to_another_file_go_and_the_others_stay() -> None:
    original = {"version": 2, "models": [{"name": "a"}], "seeds": [], "exposures": [{"name": "e"}]}
    assert reconciled(original, {"version": 2, "sources": [{"name": "raw"}]}) == {
        "version": 2,
        "seeds": [],
        "exposures": [{"name": "e"}],
        "sources": [{"name": "raw"}],
    }


def test_references_to_blocks_of_ours_give_way_to_another_text() -> None:
    own = {'{{ doc("llm_id") }}': "Key."}
    original = column(description='{{ doc("llm_id") }}')
    assert reconciled(original, column(description="Key."), own) == original
    changed = reconciled(original, column(description="Key of the order."), own)
    assert changed == column(description="Key of the order.")


def test_versions_do_not_repeat_their_model() -> None:
    columns = [{"name": "id", "description": "Key."}, {"name": "bare"}]
    original = {
        "models": [
            {
                "name": "m",
                "description": "Rows.",
                "columns": columns,
                "versions": [{"v": 1}, {"v": 2, "columns": [{"name": "id"}]}],
            }
        ]
    }
    every = [
        {"name": "id", "description": "Key.", "data_type": "int"},
        {"name": "bare", "description": "New."},
        {"name": "own", "description": "Another."},
    ]
    versions = [{"v": v, "description": "Rows.", "columns": every} for v in (1, 2)]
    wanted = {"models": [{**original["models"][0], "latest_version": 2, "versions": versions}]}
    (model,) = reconciled(original, wanted)["models"]
    assert model["columns"] == columns
    assert model["versions"] == [{"v": 1, "columns": every[1:]}, {"v": 2, "columns": every}]
