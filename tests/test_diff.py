"""The judge of diffs, on pairs made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import diff

BEFORE = """\
# Ask Kim before you change this.
models:
  - name: orders
    description: ""   # Kim writes this
    columns:
      - name: id
        data_tests: [unique]

      # - name: pin
      - name: state
        description: 'Said: "done" or not.'
      - {name: total, description: ''}
      - name: day
        description: |
          Not documented
  - name: empty
    columns: []
"""
MAY = {
    "nothing": [],
    "a text for an empty one, its comment kept": [
        ('description: ""   # Kim', "description: One row per order.   # Kim")
    ],
    "a quoted text": [('description: ""   # Kim', 'description: "Orders: all"   # Kim')],
    "a block": [
        ('""   # Kim writes this', ">-   # Kim writes this\n      A\n\n      b"),
    ],
    "a text where no key was": [
        ("- name: id\n", "- name: id\n        description: Number.\n"),
        ("  - name: empty\n", "  - name: empty\n    description: >\n      Long\n      text\n"),
    ],
    "a text over several lines": [
        ("- name: id\n", '- name: id\n        description: "Number\n          of it"\n'),
        ("- name: state\n", "- name: state\n        data_type: INT\n"),
    ],
    "a plain text over several lines": [
        ("- name: id\n", "- name: id\n        description: Number\n          of it\n")
    ],
    "a block placeholder": [("|\n          Not documented", "Day of the order.")],
    "the text in a block": [
        ("          Not documented", "          Day of\n\n          the order.")
    ],
    "flow style, in the middle": [("- {name: total,", "- {name: total, data_type: INT,")],
    "a column": [
        (
            "      # - name",
            "      - name: new\n        description: x\n        data_type: INT\n      # - name",
        )
    ],
    "a column like its neighbour": [
        (
            "      - {name",
            "      - name: said\n        description: 'Said: \"done\" or not.'\n      - {name",
        )
    ],
    "a column and a blank line": [("\n      # - name", "\n      - name: new\n\n      # - name")],
    "a column that begins with its text": [
        ("      # - name", "      - description: x\n        name: new\n      # - name")
    ],
    "flow style": [("total, description: ''}", "total, description: 'It''s all', data_type: INT}")],
    "a column instead of none": [
        ("columns: []", "columns:\n      - name: a\n        data_type: INT"),
    ],
    "a table": [
        ("columns: []\n", "columns: []\n  - name: more\n    columns:\n      - name: a\n"),
    ],
}
MUST_NOT = {
    "another quote": ([("'Said: \"done\" or not.'", '"Said: \\"done\\" or not."')], "went"),
    "a human text": ([("Said: ", "Says: ")], "went"),
    "a comment": ([("# Ask Kim before you change this.\n", "")], "went"),
    "a comment behind a text": ([('""   # Kim writes this', "One row.")], "a comment went"),
    "a comment between": ([("      # - name: pin\n", "")], "went"),
    "a blank line": ([("\n\n", "\n")], "went"),
    "one more blank line": ([("\n\n", "\n\n\n")], "blank"),
    "indentation": ([("        data_tests", "          data_tests")], "went"),
    "flow style": ([("[unique]", "\n          - unique")], "went"),
    "flow style and a key": ([("total, desc", "total, quote: true, desc")], "went"),
    "a block without a text": ([("          Not documented\n", "")], "no text"),
    "a human text in flow style": ([("total, description: ''", "sum, description: ''")], "went"),
    "an empty one taken away": (
        [("        description: |\n          Not documented\n", "")],
        "no text",
    ),
    "a key": ([("- name: id\n", "- name: id\n        quote: true\n")], "quote came"),
    "a list": ([("columns: []", "columns:")], "without an entry"),
    "no columns any more": ([("    columns: []\n", "")], "went"),
    "tags": ([("- name: id\n", "- name: id\n        tags: [a]\n")], "tags came"),
    "no line end": ([("columns: []\n", "columns: []")], "last line"),
    "another line end": ([("- name: id\n", "- name: id\n        description: x\r\n")], "end in"),
    "order": (
        [
            ("      - name: id\n        data_tests: [unique]\n", ""),
            (
                "      - name: day\n",
                "      - name: id\n        data_tests: [unique]\n      - name: day\n",
            ),
        ],
        "went",
    ),
}


def change(tmp_path: Path, before: str, pairs: list[tuple[str, str]]) -> diff.Change | None:
    after = before
    for old, new in pairs:
        assert after.count(old) == 1, old
        after = after.replace(old, new)
    path = tmp_path / "a.yml"
    path.write_bytes(before.encode())
    diff.commit_all(tmp_path)
    path.write_bytes(after.encode())
    return next(iter(diff.changes(tmp_path)), None)


@pytest.mark.parametrize("what", MAY)
@pytest.mark.parametrize("form", ["", "crlf", "bom", "cut"])
def test_what_a_run_may_do(tmp_path: Path, what: str, form: str) -> None:
    def shaped(text: str) -> str:
        return text.replace("\n", "\r\n") if form == "crlf" else text

    before = ("\ufeff" if form == "bom" else "") + shaped(BEFORE)
    pairs = [(shaped(old), shaped(new)) for old, new in MAY[what]]
    if form == "cut":
        before = before.removesuffix("\n")
        pairs = [(a.removesuffix("\n"), b.removesuffix("\n")) for a, b in pairs]
    found = change(tmp_path, before, pairs)
    assert (found is None) == (not pairs)
    if found:
        assert diff.complaints(found) == []
        assert diff.lost(diff.load(found.before), diff.load(found.after)) == []


@pytest.mark.parametrize("what", MUST_NOT)
def test_what_a_run_must_not_do(tmp_path: Path, what: str) -> None:
    pairs, says = MUST_NOT[what]
    found = change(tmp_path, BEFORE, pairs)
    assert found
    complaints = diff.complaints(found)
    assert complaints
    assert says in complaints[0]
    assert "a.yml" in complaints[0]


def test_some_projects_allow_more(tmp_path: Path) -> None:
    tags = "- name: id\n        config:\n          tags:\n            - a\n          meta: {b: 1}\n"
    inherited = diff.Allowed(keys=diff.INHERITED)
    found = change(tmp_path, BEFORE, [("- name: id\n", tags)])
    assert found
    assert diff.complaints(found, inherited) == []
    before, after = diff.load(found.before), diff.load(found.after)
    assert diff.lost(before, after, inherited) == []
    assert diff.lost(before, after) == ["/models/orders/columns/id: config is new"]


def test_refactor_takes_columns_out_and_sets_types(tmp_path: Path) -> None:
    before = BEFORE.replace("- name: id\n", "- name: id\n        data_type: int # yes\n")
    pairs = [
        ("data_type: int #", "data_type: BIGINT #"),
        (BEFORE[BEFORE.index("      # - name") : BEFORE.index("      - {")], ""),
    ]
    found = change(tmp_path, before, pairs)
    assert found
    may = diff.Allowed(gone=frozenset({"state"}), types=True)
    assert diff.complaints(found, may) == []
    assert diff.lost(diff.load(found.before), diff.load(found.after), may) == []
    assert len(diff.complaints(found)) == 2
    lost_comment = change(tmp_path, before, [("data_type: int # yes", "data_type: BIGINT")])
    assert lost_comment
    assert diff.complaints(lost_comment, may)
    assert len(diff.lost(diff.load(found.before), diff.load(found.after))) == 2


def test_an_alias_may_get_a_key_beside_it(tmp_path: Path) -> None:
    before = (
        "a: [&day {name: day}]\nmodels:\n  - name: b\n    columns:\n      - *day # said above\n"
    )
    for alias, expected in (("<<: *day # said above", 0), ("<<: *day", 1), ("name: day", 1)):
        found = change(
            tmp_path, before, [("- *day # said above", f"- {alias}\n        data_type: D")]
        )
        assert found
        assert len(diff.complaints(found)) == expected
        assert diff.lost(diff.load(found.before), diff.load(found.after)) == []


LOST = {
    "a key": ({"a": 1, "b": 2}, {"a": 1}, ["at: b is gone"]),
    "a value": ({"a": 1}, {"a": 2}, ["at/a: 1 became 2"]),
    "a kind of value": ({"a": "1"}, {"a": 1}, ["at/a: '1' became 1"]),
    "an item of a list": ({"a": [1, 2]}, {"a": [1]}, ["at/a: [1, 2] became [1]"]),
    "a column": (
        {"columns": [{"name": "a"}]},
        {"columns": []},
        ["at/columns: a is gone, or behind what it was in front of"],
    ),
    "the order of columns": (
        {"columns": [{"name": "a"}, {"name": "b"}]},
        {"columns": [{"name": "b"}, {"name": "a"}]},
        ["at/columns: b is gone, or behind what it was in front of"],
    ),
    "a text": (
        {"description": "mine"},
        {"description": "yours"},
        ["at/description: 'mine' became 'yours'"],
    ),
    "no text": ({"description": " "}, {"description": "yours"}, []),
    "a new key": ({}, {"tests": [1]}, ["at: tests is new"]),
    "a new column": (
        {"columns": []},
        {"columns": [{"name": "a", "tests": [1]}]},
        ["at/columns: tests is in the new entry a"],
    ),
    "a version": (
        {"versions": [{"v": 1}, {"v": 2}]},
        {"versions": [{"v": 1, "columns": [{"name": "a"}], "description": "x"}, {"v": 2}]},
        [],
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_what_parsed_yaml_has_lost(what: str) -> None:
    before, after, complaints = LOST[what]
    assert diff.lost(before, after, place="at") == complaints
