"""A YAML file changes where its data does and nowhere else."""

from __future__ import annotations

import json
import time
from textwrap import dedent
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from dbt_osmosis_llm.writing.changes import Changes
from dbt_osmosis_llm.writing.layout import Layout
from dbt_osmosis_llm.writing.patch import UnsafeYamlError, check, patched
from dbt_osmosis_llm.writing.tree import read_tree
from tests.writing.patch_cases import Case, Change, drop, put
from tests.writing.structure_cases import ITEMS, KEYS
from tests.writing.text_cases import DESCRIPTIONS
from tests.writing.whole_file_cases import ANCHORS, FRAMES, PROJECTS

CASES = [*PROJECTS, *DESCRIPTIONS, *KEYS, *ITEMS, *ANCHORS, *FRAMES]


def loaded(text: str) -> Any:
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text) or {}))


def changed(text: str, changes: list[Change]) -> Any:
    data = loaded(text)
    for change in changes:
        change(data)
    return data


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_file_is_changed_where_its_data_is(case: Case) -> None:
    wanted = changed(case.before, case.changes)
    after = patched(case.before, wanted)
    assert after == case.after
    assert patched(after, wanted) == after
    assert patched(case.before, loaded(case.before)) == case.before


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_data_may_be_what_ruamel_loads(case: Case) -> None:
    data = YAML().load(case.before)
    assert patched(case.before, data or {}) == case.before
    if case not in ANCHORS and data:  # a change of shared data is another change
        for change in case.changes:
            change(data)
        assert patched(case.before, data) == case.after


UNSAFE_FILES = [
    ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "line 5 has the key 'c' twice"),
    ("a: 1\n'a': 1\n", "line 2 has the key 'a' twice"),
    ("models: [{a: 1, a: 2}]\n", "line 1 has the key 'a' twice"),
    ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "line 4 has the key '<<' twice"),
    ("a: 1\n---\nb: 2\n", "line 2 begins a second document"),
    ("models:\n{% if x %}\n- name: a\n{% endif %}\n", "line 2 is not valid YAML: "),
    ("models:\n  - name: a\n   description: b\n", "line 3 is not valid YAML: "),
    ("models:\n\t- name: a\n", "line 2 is not valid YAML: "),
    ('a: "b\n', "line 2 is not valid YAML: "),
    ("a: *b\n", "line 1 refers to *b, which is nowhere"),
    ("a: &a\n  b: *a\n", "line 2 refers to what it stands in: *a"),
    ("a: b\n<<: c\n", "line 2 merges what is no mapping"),
    ("%YAML 1.1\n---\na: on\n", "it has a YAML directive"),
    ("- a\n", "it has no keys at its top level"),
    ("just a text\n", "it has no keys at its top level"),
    ("a: \x00\n", "it is not valid YAML: "),
    ("a: " + "[" * 600 + "]" * 600, "its values are nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), UNSAFE_FILES, ids=[m for _, m in UNSAFE_FILES])
def test_an_unsafe_file_is_named_before_anything_is_paid_for(text: str, message: str) -> None:
    for use in (check, lambda text: patched(text, {"version": 2})):
        with pytest.raises(UnsafeYamlError) as caught:
            use(text)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_ordinary_files_are_safe(case: Case) -> None:
    check(case.before)
    check(case.after)


UNSAFE_CHANGES = [
    (
        "models:\n- name: a\n  meta: {x: 1}\n",
        drop("models/0/meta"),
        "line 3 has the key 'meta', which would go",
    ),
    (
        "models:\n- name: a\n- name: b\n",
        put("models", [{"name": "b"}, {"name": "a"}]),
        "line 2 begins a list whose items change places",
    ),
    (
        "a:\n- &x\n  name: a\nb: [*x]\n",
        put("b/0/description", "Text"),
        "line 4 refers by * to what should change here only",
    ),
    (
        "a:\n- &x\n  name: a\nb:\n- *x\n",
        put("a/0/description", "Text"),
        "line 5 refers by * to what should change here only",
    ),
    (
        "a: &x\n  name: a\nb: *x\n",
        put("b/description", "Text"),
        "line 3 refers by * to what should change here only",
    ),
    (
        "a: &x\n  name: a\nb:\n  <<: *x\n  c: 1\n",
        put("a/description", "Text"),
        "line 4 would get the key 'description' from an anchor",
    ),
    ("a: text\n", put("a", ["x"]), "line 1 has a value that cannot be replaced by this one"),
    ("a: [x]\n", put("a", "text"), "line 1 has keys or items where a text is wanted"),
    ("a:\n- - x\n  - z\n", drop("a/0/0"), "line 2 has two lists in one line"),
    ("a:\n- &x\n  name: a\nb:\n- *x\n", drop("a/0"), "no way was found"),
    ("a: !x text\n", put("a", "other"), "no way was found"),
    ("a: text\n", put("a", "half one: \ud83d"), "half a character (U+D83D) is nothing"),
]


@pytest.mark.parametrize(("text", "change", "message"), UNSAFE_CHANGES)
def test_an_unsafe_change_is_refused(text: str, change: Change, message: str) -> None:
    data = YAML().load(text) if "!" in text else loaded(text)
    change(data)
    with pytest.raises(UnsafeYamlError) as caught:
        patched(text, data)
    assert str(caught.value).startswith(message)


def test_a_list_that_refers_to_itself_is_refused() -> None:
    wanted: dict[str, Any] = {"a": []}
    wanted["a"].append(wanted)
    with pytest.raises(UnsafeYamlError, match="refers to itself"):
        patched("a: []\n", wanted)


# Texts that one of the readers takes for something else unless they are quoted.
NOT_TEXTS = """
    yes no on off y n true False NULL null ~ = << 1 1.5 1_000 0x1f 0o17 017 1e3 .5 .inf .NaN 12:30
    190:20:30 2001-12-14 - ? : | > --- ... [] {} *a &a !a %a @a ` #a a: -a
"""
TEXTS = [*NOT_TEXTS.split(), "2001-12-14 21:59:43", "a: b", "a #b", " a", "a ", "a\tb", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_every_reader_takes_a_new_text_for_a_text(text: str) -> None:
    before = "models:\n  - name: a\n    description: Old\n    tags: [x, z]\n  - name: b\n"
    wanted = changed(
        before,
        [
            put("models/0/description", text),
            put("models/0/tags", ["x", text, "z"]),
            put("models/1/description", text),
            put("models/1/columns", [{"name": text, "meta": {text: text, "z": [text]}}]),
        ],
    )
    after = patched(before, wanted)
    assert loaded(after) == wanted
    assert yaml.safe_load(after) == wanted


def test_values_that_are_no_texts_are_written() -> None:
    numbers = {"i": 1, "f": 1e30, "g": 0.1}
    empty: dict[str, Any] = {"n": None, "l": [], "m": {}}
    meta = {**numbers, **empty, "b": False, "d": [{"x": 1}]}
    wanted: dict[str, Any] = {"models": [{"name": "a", "meta": meta}]}
    after = patched("models:\n  - name: a\n", wanted)
    assert loaded(after) == wanted
    assert yaml.safe_load(after) == wanted


def test_values_of_all_kinds_stay() -> None:
    text = dedent("""\
        a: !x text
        b: !!int '3'
        c: !!set {a, b}
        d: !y {a: 1}
        e: =
        j: [--- 5, ..., -, +]
        f: [2001-12-14, 2001-12-14T21:59:43.10-05:00, 0x1F, 1_000, 1.50, .nan, !!binary aGk=]
        g: &yes true
        h: *yes
        i: !!str 5
        ? [x, z]
        : 1
        5: z
    """)
    data = YAML().load(text)
    assert patched(text, data) == text
    data["i"], data["g"], data[5] = "6", False, "new"
    after = text.replace("!!str 5", "!!str '6'").replace("&yes true", "&yes false")
    after = after.replace("h: *yes", "h: true").replace("5: z", "5: new")
    assert patched(text, data) == after


def test_types_are_told_apart() -> None:
    assert patched("a: 1\n", {"a": True}) == "a: true\n"
    assert patched("a: 1\n", {"a": "1"}) == "a: '1'\n"
    assert patched("a: 1\n", {"a": 1.0}) == "a: 1.0\n"


def test_a_large_file_takes_little_longer_than_reading_it() -> None:
    columns = "".join(
        f"      - name: c{number}  # {number}\n        description: 'The column {number}.'\n"
        "        tests: [unique]\n"
        for number in range(12)
    )
    text = "models:\n" + "".join(f"  - name: m{n}\n    columns:\n{columns}" for n in range(135))
    assert text.count("\n") > 5_000
    started = time.process_time()
    root = read_tree(text)
    reading_s = time.process_time() - started
    assert root is not None
    goal = root.value
    for model in goal["models"]:
        for column in model["columns"]:
            column["description"] += " And more of it."
        model["columns"].insert(5, {"name": "new", "description": "New."})
    root = read_tree(text)
    started = time.process_time()
    after = Changes(text, root, Layout(text, root), cautious=False).make(goal)
    assert time.process_time() - started < reading_s
    assert after.count("\n") == text.count("\n") + 135 * 2
