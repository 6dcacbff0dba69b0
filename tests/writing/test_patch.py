"""A YAML file changes where its data does and nowhere else."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
import yaml
from dbt_osmosis.core.schema.parser import create_yaml_instance
from hypothesis import HealthCheck, given
from ruamel.yaml import YAML

from dbt_osmosis_llm.writing import refusals, rewritten
from dbt_osmosis_llm.writing.patch import UnsafeYamlError, check, patched
from dbt_osmosis_llm.writing.tree import Node, read_tree
from tests.properties import examples
from tests.writing.patch_cases import Case, Change, drop, put
from tests.writing.structure_cases import ITEMS, KEYS
from tests.writing.text_cases import DESCRIPTIONS
from tests.writing.whole_file_cases import ANCHORS, FRAMES, PROJECTS
from tests.writing.yaml_files import File, files

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


def nodes(node: Node | None) -> list[Any]:
    """Return all that a file's nodes say, in the order of the file."""
    if node is None:
        return []
    place = (node.start, node.body, node.end, node.column)
    inner = [*node.items, *(one for pair in node.pairs for one in pair)]
    said = (node.kind, *place, node.value, node.style, node.anchor, node.tagged)
    return [said, *(one for child in inner for one in nodes(child))]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_both_parsers_see_the_same_nodes(case: Case) -> None:
    for text in (case.before, case.after):
        assert nodes(read_tree(text)) == nodes(read_tree(text, fast=False))


@examples(100, suppress_health_check=list(HealthCheck))
@given(files())
def test_both_parsers_see_the_same_nodes_of_any_file(file: File) -> None:
    assert nodes(read_tree(file.text)) == nodes(read_tree(file.text, fast=False))


DIFFERENT = [
    "a: {b:c}\n",
    "a: 'x\u2028 y'\n",
    "a: x\u0085b: y\n",
    "\ufeffa: b\n",
    "a:\tb\n",
    "a: !!str 5\n",
    "a: x\rb: y\n",
    "a: [x:y, ?z]\n",
    'a: "b\\/c"\n',
]


@pytest.mark.parametrize("text", DIFFERENT)
def test_what_yaml_versions_read_in_other_ways_is_read_by_ruamel(text: str) -> None:
    try:
        expected = nodes(read_tree(text, fast=False))
    except UnsafeYamlError as error:
        with pytest.raises(UnsafeYamlError, match=re.escape(str(error))):
            read_tree(text)
    else:
        assert nodes(read_tree(text)) == expected


def seconds(action: Callable[[], object]) -> float:
    """Return the CPU time of an action at its quickest: whatever else runs makes it only slower."""

    def once() -> float:
        started = time.process_time()
        action()
        return time.process_time() - started

    return min(once() for _ in range(3))


def test_a_large_file_takes_no_longer_than_dbt_osmosis_takes_to_print_it() -> None:
    columns = "".join(
        f"      - name: c{number}  # {number}\n        description: 'The column {number}.'\n"
        "        tests: [unique]\n"
        for number in range(12)
    )
    text = "models:\n" + "".join(f"  - name: m{n}\n    columns:\n{columns}" for n in range(135))
    assert text.count("\n") > 5_000
    handler = create_yaml_instance()
    wanted = handler.load(text)
    for number, model in enumerate(wanted["models"]):
        for column in model["columns"][::3]:
            column["description"] += f" And more of it: {number}."
        model["columns"].insert(5, {"name": "new", "description": "New."})
    # Twice as long, for machines that measure badly.
    limit_s = 2 * seconds(lambda: handler.dump(wanted, io.BytesIO()))
    assert seconds(lambda: rewritten(text, wanted)) < limit_s
    assert rewritten(text, wanted).count("\n") == text.count("\n") + 135 * 2
    entries = {
        f"m{n}": ((("models", f"m{n}"),), ["", *(f"new{c}" for c in range(3))]) for n in range(135)
    }
    assert seconds(lambda: refusals(text, entries)) < 2 * limit_s
