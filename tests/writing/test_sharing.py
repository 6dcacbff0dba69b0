"""What several tables share is written once where all of them want it, and stays otherwise."""

from __future__ import annotations

import copy
import json
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dbt_osmosis_llm.writing import EntryPath, patched, refusals, rewritten, shared
from dbt_osmosis_llm.writing.dbt_reader import read_by_dbt
from tests.properties import examples
from tests.writing.patch_cases import Change, add, at, put

LIST = """\
anchors:
  - &order_columns
    - name: id
      data_tests: [not_null]
    - name: amount

models:
  - name: orders_eu
    columns: *order_columns
  - name: orders_us
    columns: *order_columns
  - name: customers
    columns:
      - name: id
"""
INLINE = """\
models:
  - name: orders_eu
    columns: &cols
      - name: id
      - name: amount
  - name: orders_us
    columns: *cols
"""
ITEMS = """\
anchors:
  - &id
    name: id
models:
  - name: a
    columns:
      - *id
      - name: x
  - name: b
    columns:
      - *id
"""
OWN_ITEM = """\
models:
  - name: a
    columns:
      - &id
        name: id
  - name: b
    columns:
      - *id
"""
NESTED = """\
x-id: &id {name: id}
x-list: &list
  - *id
  - name: amount
models:
  - name: a
    columns: *list
  - name: b
    columns: *list
  - name: c
    columns:
      - *id
"""
MERGED = """\
anchors:
  - &base
    data_type: int
models:
  - name: a
    columns:
      - <<: *base
        name: x
      - name: y
        <<: *base
"""
MERGED_MODEL = """\
models:
  - &model
    name: a
    columns:
      - name: id
  - <<: *model
    name: b
"""


def doubled_for_dbt(text: str) -> int:
    """Return how many keys dbt warns of as being there twice."""
    checked_load = pytest.importorskip("dbt.clients.checked_load").checked_load
    return len(checked_load(text)[1])


def loaded(text: str) -> Any:
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text)))


def wanted(text: str, *changes: Change) -> Any:
    data = loaded(text)
    for change in changes:
        change(data)
    return data


def describe(*places: str, text: str = "The key.") -> list[Change]:
    """Give the same text to several columns, such as `0/0` for the first one of the first model."""
    return [
        put(f"models/{model}/columns/{column}/description", text)
        for model, column in (place.split("/") for place in places)
    ]


@pytest.mark.parametrize(
    ("before", "changes", "lines"),
    [
        pytest.param(
            LIST,
            [
                *describe("0/0", "1/0"),
                *describe("0/1", "1/1", text="What is paid."),
                *describe("2/0", text="Of a customer."),
                put("models/0/description", "Orders."),
            ],
            {
                "    - name: id": "      description: The key.",
                "    - name: amount": "      description: What is paid.",
                "      - name: id": "        description: Of a customer.",
                "  - name: orders_eu": "    description: Orders.",
            },
            id="a list that all want alike",
        ),
        pytest.param(
            LIST,
            [
                *describe("0/0", text="Of the EU."),
                *describe("1/0", text="Of the US."),
                *describe("0/1", "1/1", text="What is paid."),
                put("models/0/columns/0/data_type", "int"),
                put("models/1/columns/0/data_type", "bigint"),
                put("models/1/description", "Orders."),
            ],
            {
                "    - name: amount": "      description: What is paid.",
                "  - name: orders_us": "    description: Orders.",
            },
            id="what they do not agree on stays as it is",
        ),
        pytest.param(
            LIST,
            [
                add("models/0/columns", 1, {"name": "new"}),
                add("models/1/columns", 1, {"name": "new"}),
                add("models/1/columns", 3, {"name": "other"}),
            ],
            {"      data_tests: [not_null]": "    - name: new"},
            id="columns that all get",
        ),
        pytest.param(
            INLINE,
            describe("0/1", "1/1", text="What is paid."),
            {"      - name: amount": "        description: What is paid."},
            id="a list that stands at its first user",
        ),
        pytest.param(INLINE, describe("0/1"), {}, id="its first user alone wants it"),
        pytest.param(INLINE, describe("1/1"), {}, id="its second user alone wants it"),
        pytest.param(
            ITEMS,
            describe("0/0", "1/0"),
            {"    name: id": "    description: The key."},
            id="a column that all want alike",
        ),
        pytest.param(
            OWN_ITEM,
            describe("0/0", "1/0"),
            {"        name: id": "        description: The key."},
            id="a column that stands at its first user",
        ),
        pytest.param(
            NESTED,
            describe("0/0", "1/0", "2/0"),
            {"x-id: &id {name: id}": "x-id: &id {name: id, description: The key.}"},
            id="a column of a list, and beside it",
        ),
        pytest.param(
            MERGED_MODEL,
            [*describe("0/0", "1/0"), put("models/1/description", "Other.")],
            {
                "      - name: id": "        description: The key.",
                "    name: b": "    description: Other.",
            },
            id="a model that is merged",
        ),
    ],
)
def test_it_is_written_once(before: str, changes: list[Change], lines: dict[str, str]) -> None:
    after = before
    for line, new in lines.items():
        below = new if line.split(":")[0] == new.split(":")[0] else f"{line}\n{new}"
        after = after.replace(f"{line}\n", f"{below}\n", 1)
    assert rewritten(before, wanted(before, *changes)) == after


def test_columns_of_one_entry_each_get_keys_of_their_own() -> None:
    changes = [*describe("0/0", text="Of a."), *describe("1/0", text="Of b.")]
    after = rewritten(ITEMS, wanted(ITEMS, *changes))
    assert [m["columns"][0] for m in loaded(after)["models"]] == [
        {"name": "id", "description": "Of a."},
        {"name": "id", "description": "Of b."},
    ]
    assert after.count("- <<: *id") == 2
    after = rewritten(OWN_ITEM, wanted(OWN_ITEM, *changes))
    assert loaded(after) == wanted(OWN_ITEM, *changes)
    assert after.count("- <<: *id") == 1
    assert rewritten(NESTED, wanted(NESTED, *describe("2/0"))) == NESTED.replace(
        "      - *id\n", "      - <<: *id\n        description: The key.\n"
    )


LATE = """\
models:
  - name: a
    columns:
      - &id
        name: id
      - name: x
        meta: &meta {a: 1}
  - name: b
    meta:
      b: 1
      <<: *meta
"""


def test_a_merge_key_goes_to_the_front_where_its_anchor_gets_a_key_that_is_there() -> None:
    put_key = put("models/0/columns/1/meta/b", 2)
    first = LATE.replace("      b: 1\n      <<: *meta\n", "      <<: *meta\n      b: 1\n")
    after = first.replace("a: 1}", "a: 1, b: 2}")
    assert rewritten(first, wanted(first, put_key)) == after
    assert rewritten(LATE, wanted(LATE, put_key)) == after
    assert doubled_for_dbt(after) == 0


def test_a_merge_key_over_several_lines_stays_behind_other_keys() -> None:
    text = "x: &x {description: To do}\na:\n  name: a\n  <<:\n    *x\n"
    with pytest.raises(ValueError, match="line 4 merges keys of which one would be overridden"):
        patched(text, wanted(text, put("a/description", "A")))


def test_a_merged_text_does_not_get_to_a_column_that_does_not_want_it() -> None:
    text = OWN_ITEM + "      - <<: *id\n        name: other\n"
    changes = describe("0/0", "1/0")
    assert rewritten(text, wanted(text, *changes)) == text.replace(
        "      - *id\n", "      - <<: *id\n        description: The key.\n"
    )


def path(*steps: str) -> EntryPath:
    """Return a path from `models.a`, `columns.id`."""
    pairs = (step.split(".") for step in steps)
    return tuple((key, name) for key, name in pairs)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("models:\n- name: a\n  columns: [{name: id}]\n", []),
        ("", []),
        (
            LIST,
            [
                [path("models.orders_eu", "columns.id"), path("models.orders_us", "columns.id")],
                [
                    path("models.orders_eu", "columns.amount"),
                    path("models.orders_us", "columns.amount"),
                ],
            ],
        ),
        (ITEMS, [[path("models.a", "columns.id"), path("models.b", "columns.id")]]),
        (MERGED, []),
        (MERGED_MODEL, [[path("models.a", "columns.id"), path("models.b", "columns.id")]]),
        (
            NESTED,
            [
                [path(f"models.{name}", "columns.id") for name in "abc"],
                [path(f"models.{name}", "columns.amount") for name in "ab"],
            ],
        ),
    ],
)
def test_shared_entries_are_told(text: str, groups: list[list[EntryPath]]) -> None:
    assert shared(text) == groups


def asked(text: str) -> dict[str, tuple[EntryPath, list[str]]]:
    """Return a trial of all texts of a file."""
    return {
        model["name"]: (
            (("models", model["name"]),),
            ["", *(column["name"] for column in model.get("columns", []))],
        )
        for model in loaded(text)["models"]
    }


@pytest.mark.parametrize(
    ("text", "alike", "refused"),
    [
        (
            LIST,
            False,
            {
                "orders_eu": dict.fromkeys(["id", "amount"], "line 9 is shared with orders_us"),
                "orders_us": dict.fromkeys(["id", "amount"], "line 11 is shared with orders_eu"),
            },
        ),
        (LIST, True, {}),
        (INLINE, True, {}),
        (
            INLINE,
            False,
            {
                "orders_eu": {
                    "id": "line 4 is shared with orders_us",
                    "amount": "line 5 is shared with orders_us",
                },
                "orders_us": dict.fromkeys(["id", "amount"], "line 7 is shared with orders_eu"),
            },
        ),
        (ITEMS, False, {}),
        (OWN_ITEM, False, {}),
        (NESTED, True, {}),
        (MERGED, False, {}),
        (MERGED_MODEL, False, {}),
        (MERGED_MODEL, True, {}),
    ],
)
def test_only_what_cannot_be_written_is_refused(
    text: str, alike: bool, refused: dict[str, dict[str, str]]
) -> None:
    assert refusals(text, asked(text), alike=alike) == refused


def test_a_user_of_a_list_that_asks_for_nothing_is_heard() -> None:
    entries = asked(LIST)
    del entries["orders_us"]
    reason = "line 9 is shared with orders_us"
    assert refusals(LIST, entries, alike=True) == {"orders_eu": {"id": reason, "amount": reason}}


def test_a_column_that_would_be_new_in_a_shared_list_is_refused() -> None:
    entries = {"orders_us": (path("models.orders_us"), ["", "new"])}
    expected = {"orders_us": {"new": "line 11 is shared with orders_eu"}}
    assert refusals(LIST, entries) == expected


def test_single_refusals_leave_the_rest() -> None:
    text = dedent("""\
        models:
          - name: a
            columns:
              - {name: id}
              - name: x
                description: {of: x}
          - name: b
            columns: text
          - name: c
    """)
    entries = {"a": (path("models.a"), ["", "id", "x"]), "c": (path("models.c"), ["", "id"])}
    found = refusals(text, {**entries, "b": (path("models.b"), ["", "id"])})
    assert {key: set(names) for key, names in found.items()} == {"a": {"x"}, "b": {"id"}}


def test_a_file_that_cannot_be_read_takes_nothing() -> None:
    found = refusals("models: [\n", {"a": (path("models.a"), ["", "id"])})
    assert set(found["a"]) == {"", "id"}


# Files that share at random.


@st.composite
def sharing_files(draw: st.DrawFn) -> str:
    """Draw a file whose tables take lists and columns from anchors at the top or of others."""
    lines, lists, items = ["version: 2"], [], []
    for number in range(draw(st.integers(0, 2))):
        lines.append(f"x-item{number}: &i{number}")
        lines.append(f"  name: i{number}")
        if draw(st.booleans()):
            lines.append("  data_type: int")
        items.append(f"i{number}")
    if draw(st.booleans()):
        lines.append("anchors:")
        for number in range(draw(st.integers(1, 2))):
            lines.append(f"  - &l{number}")
            lines += _items(draw, "    ", items, number)
            lists.append(f"l{number}")
    lines.append("models:")
    for number in range(draw(st.integers(1, 4))):
        lines.append(f"  - name: m{number}")
        kind = draw(st.sampled_from(["own", "own", "anchor", "alias", "alias", "none"]))
        if kind == "alias" and lists:
            lines.append(f"    columns: *{draw(st.sampled_from(lists))}")
        elif kind != "none":
            name = f"m{number}"
            lines.append(f"    columns:{f' &{name}' if kind == 'anchor' else ''}")
            lines += _items(draw, "      ", items, 10 + number)
            if kind == "anchor":
                lists.append(name)
    return "\n".join(lines) + "\n"


def _items(draw: st.DrawFn, margin: str, items: list[str], place: int) -> list[str]:
    lines: list[str] = []
    unused = list(items)
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["own", "own", "anchor", "alias", "merge"]))
        name = f"c{place}_{number}"
        if kind == "alias" and unused:
            lines.append(f"{margin}- *{unused.pop()}")
        elif kind == "merge" and items:
            keys = [f"<<: *{draw(st.sampled_from(items))}", f"name: {name}"]
            if draw(st.booleans()):
                keys.append("description: By a person.")
            first, *others = draw(st.permutations(keys))
            lines += [f"{margin}- {first}", *(f"{margin}  {key}" for key in others)]
        elif kind == "anchor":
            lines += [f"{margin}- &{name}", f"{margin}  name: {name}"]
            items.append(name)
        else:
            lines.append(f"{margin}- name: {name}")
            if draw(st.booleans()):
                lines.append(f"{margin}  description: By a person.")
    return lines


def columns(data: Any) -> dict[tuple[str, str], Any]:
    return {
        (model["name"], column["name"]): column
        for model in data["models"]
        for column in model.get("columns") or []
    }


@examples(200, suppress_health_check=list(HealthCheck))
@given(sharing_files(), st.data())
def test_each_place_gets_what_it_wants_or_keeps_what_it_has(text: str, data: st.DataObject) -> None:
    before = loaded(text)
    goal = copy.deepcopy(before)
    words = ("One.", "Two.", None)[: data.draw(st.integers(1, 3))]
    for model in goal["models"]:
        model["description"] = "Table."
        for column in model.get("columns") or []:
            text_of = data.draw(st.sampled_from(words))
            if "description" not in column and text_of:
                column["description"] = text_of
            if "data_type" not in column and data.draw(st.booleans()):
                column["data_type"] = data.draw(st.sampled_from(["int", "bigint"]))
    after = rewritten(text, goal)
    held = loaded(after)
    assert yaml.safe_load(after) == held
    assert doubled_for_dbt(after) <= doubled_for_dbt(text)
    assert read_by_dbt(after) == (held, doubled_for_dbt(after))
    assert [model["description"] for model in held["models"]] == ["Table."] * len(held["models"])
    old, want, new = columns(before), columns(goal), columns(held)
    assert list(new) == list(old)
    for place, column in new.items():
        for key in ("name", "description", "data_type"):
            assert column.get(key) in (want[place].get(key), old[place].get(key)), (place, after)
    groups = [[place for place in group if len(place) > 1] for group in shared(text)]
    alone = {*new} - {(p[0][1], p[1][1]) for group in groups for p in group}
    anchors = {line.partition("&")[2] for line in text.splitlines() if "&" in line}
    for place in alone:
        if place[1] not in anchors and "<<: *" not in text:
            event("alone")
            assert new[place] == want[place], after
    if len(words) == 1 and not any(column.get("data_type") for column in want.values()):
        event("all agree")
        assert all(column.get("description") for column in new.values()), after
    assert rewritten(after, held) == after


@examples(100, suppress_health_check=list(HealthCheck))
@given(sharing_files(), st.booleans())
def test_what_is_not_refused_is_written(text: str, alike: bool) -> None:
    entries = asked(text)
    refused = refusals(text, entries, alike=alike)
    goal = loaded(text)
    numbers = iter(range(1000))
    expected: dict[tuple[str, str], str] = {}
    for model in goal["models"]:
        for entry in [model, *(model.get("columns") or [])]:
            name = "" if entry is model else entry["name"]
            if name not in refused.get(model["name"], {}):
                entry["description"] = "Text." if alike else f"Text {next(numbers)}."
                expected[model["name"], name] = entry["description"]
    held = loaded(rewritten(text, goal))
    for (model_name, name), text_of in expected.items():
        (model,) = (m for m in held["models"] if m["name"] == model_name)
        (entry,) = (c for c in model["columns"] if c["name"] == name) if name else (model,)
        assert entry["description"] == text_of, name
    if alike:
        assert refused == {}


def test_the_strict_change_still_refuses() -> None:
    data = wanted(LIST, *describe("0/0"))
    assert at(data, "models/0/columns/0/description") == "The key."
    with pytest.raises(ValueError, match="refers by"):
        patched(LIST, data)
