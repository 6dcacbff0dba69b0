"""A YAML file changes where its data does and nowhere else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import pytest
from ruamel.yaml import YAML

from dbt_osmosis_llm.writing.patch import UnsafeYamlError, check, patched

Change = Callable[[Any], None]


def at(data: Any, path: str) -> Any:
    for step in path.split("/") if path else []:
        data = data[int(step) if step.isdigit() else step]
    return data


def put(path: str, value: Any) -> Change:
    """Set what a path such as `models/0/description` leads to."""
    parent, _, last = path.rpartition("/")

    def change(data: Any) -> None:
        at(data, parent)[int(last) if last.isdigit() else last] = value

    return change


def add(path: str, index: int, item: Any) -> Change:
    """Insert an item into the list that a path leads to."""
    return lambda data: at(data, path).insert(index, item)


def drop(path: str) -> Change:
    """Remove what a path leads to from the list or the mapping that it is in."""
    parent, _, last = path.rpartition("/")

    def change(data: Any) -> None:
        del at(data, parent)[int(last) if last.isdigit() else last]

    return change


@dataclass
class Case:
    id: str
    before: str
    changes: list[Change]
    after: str


def case(id: str, before: str, *changes: Change, after: str) -> Case:
    return Case(id, dedent(before), list(changes), dedent(after))


def loaded(text: str) -> Any:
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text) or {}))


def changed(text: str, changes: list[Change]) -> Any:
    data = loaded(text)
    for change in changes:
        change(data)
    return data


COLUMN = "models/0/columns/0"
LONG = (
    "One row per order, with the customer who placed it, what was paid for it and "
    "when it left the warehouse for the last time."
)

DESCRIPTIONS = [
    case(
        "a comment behind a text stays, and so does its quote",
        """\
        models:
          - name: orders   # one
            description:   'Old'   # two
            meta: {owner:   'x'}   # three
        """,
        put("models/0/description", "It's new"),
        after="""\
        models:
          - name: orders   # one
            description:   'It''s new'   # two
            meta: {owner:   'x'}   # three
        """,
    ),
    case(
        "a plain text stays plain where that is possible",
        """\
        models:
          - name: a
            description: Old text
          - name: b
            description: Old text
        """,
        put("models/0/description", "New text, really"),
        put("models/1/description", "New: text"),
        after="""\
        models:
          - name: a
            description: New text, really
          - name: b
            description: 'New: text'
        """,
    ),
    case(
        "an empty description gets a text",
        """\
        models:
          - name: a
            description:
          - name: b
            description:  # to do
          - name: c
            description: ""
          - name: d
            description: ~   # none
        """,
        *(put(f"models/{index}/description", f"Text {index}") for index in range(4)),
        after="""\
        models:
          - name: a
            description: Text 0
          - name: b
            description: Text 1  # to do
          - name: c
            description: "Text 2"
          - name: d
            description: Text 3   # none
        """,
    ),
    case(
        "empty quotes give way to what the other descriptions have",
        """\
        models:
          - name: a
            description: ""
          - name: b
            description: 'Text'
        """,
        put("models/0/description", "Text"),
        after="""\
        models:
          - name: a
            description: 'Text'
          - name: b
            description: 'Text'
        """,
    ),
    case(
        "a folded text keeps its width, indentation and comment",
        """\
        models:
          - name: orders
            description: >-   # folded
                  This text is folded at a width of
                  sixty columns, which is what its
                  author likes.

            # about the columns
            columns: []
        """,
        put("models/0/description", LONG),
        after="""\
        models:
          - name: orders
            description: >-   # folded
                  One row per order, with the
                  customer who placed it, what was
                  paid for it and when it left the
                  warehouse for the last time.

            # about the columns
            columns: []
        """,
    ),
    case(
        "a text that ends its line keeps the sign that says so",
        """\
        models:
          - name: a
            description: >
              Old.
          - name: b
            description: |
              Old.
        """,
        put("models/0/description", "New.\n"),
        put("models/1/description", "Two\nlines.\n"),
        after="""\
        models:
          - name: a
            description: >
              New.
          - name: b
            description: |
              Two
              lines.
        """,
    ),
    case(
        "a folded text takes paragraphs",
        """\
        models:
          - name: a
            description: >
              Old.
        """,
        put("models/0/description", "One.\nTwo.\n\nThree."),
        after="""\
        models:
          - name: a
            description: >-
              One.

              Two.


              Three.
        """,
    ),
    case(
        "a literal text that cannot be one is quoted",
        """\
        models:
          - name: a
            description: |-   # why
              Old
              text.
          - name: b
        """,
        put("models/0/description", "  New\ntext."),
        after="""\
        models:
          - name: a
            description: "  New\\ntext."   # why
          - name: b
        """,
    ),
    case(
        "a text over several lines without a sign is wrapped again",
        """\
        models:
          - name: a
            description: This text goes over several
              lines without a sign.
          - name: b
            description: "This text goes over several
              lines in quotes."
        """,
        put("models/0/description", "This one needs no sign, and it goes on and on."),
        put("models/1/description", 'It is "new", and goes on over several lines, too.'),
        after="""\
        models:
          - name: a
            description: This one needs no sign, and
              it goes on and on.
          - name: b
            description: "It is \\"new\\", and goes on
              over several lines, too."
        """,
    ),
    case(
        "a one-line text that becomes long is folded where nothing speaks against it",
        """\
        models:
          - name: a
            description: Short.  # why
        """,
        put("models/0/description", LONG),
        after="""\
        models:
          - name: a
            description: >-  # why
              One row per order, with the customer who placed it, what was paid for it and when it left the
              warehouse for the last time.
        """,
    ),
    case(
        "a long text stays on one line where the file's long texts do",
        """\
        models:
          - name: a
            description: "This is a text of the kind that somebody wrote without ever looking at the width of the window."
          - name: b
        """,
        put("models/1/description", LONG),
        after=f"""\
        models:
          - name: a
            description: "This is a text of the kind that somebody wrote without ever looking at the width of the window."
          - name: b
            description: "{LONG}"
        """,
    ),
    case(
        "texts are folded where the file folds texts of that length",
        """\
        models:
          - name: a
            description: >
               A text that is folded.
          - name: b
          - name: c
        """,
        put("models/1/description", "Another text, also folded.\n"),
        put("models/2/description", "Two\nlines."),
        after="""\
        models:
          - name: a
            description: >
               A text that is folded.
          - name: b
            description: >
               Another text, also folded.
          - name: c
            description: |-
               Two
               lines.
        """,
    ),
    case(
        "a reference to a docs block says nothing of quotes",
        """\
        models:
          - name: a
            description: "{{ doc('a') }}"
          - name: b
            description: Text
          - name: c
            description: "{{ doc('c') }}"
          - name: d
        """,
        put("models/3/description", "Text"),
        put("models/2/description", "{{ doc('d') }}"),
        after="""\
        models:
          - name: a
            description: "{{ doc('a') }}"
          - name: b
            description: Text
          - name: c
            description: "{{ doc('d') }}"
          - name: d
            description: Text
        """,
    ),
]

KEYS = [
    case(
        "a description goes behind the name, before comments and blank lines",
        """\
        models:
        - name: a  # the name
          # its tests
          tests: [unique]

        # the next
        - name: b

          columns:
          - {name: id, tests: [unique]}
          - { name: x }
        """,
        put("models/0/description", "Text"),
        put("models/1/description", "Text"),
        put("models/1/columns/0/description", "Text, too"),
        put("models/1/columns/1/data_type", "integer"),
        after="""\
        models:
        - name: a  # the name
          description: Text
          # its tests
          tests: [unique]

        # the next
        - name: b
          description: Text

          columns:
          - {name: id, description: 'Text, too', tests: [unique]}
          - { name: x, data_type: integer }
        """,
    ),
    case(
        "the order of keys is that of the file",
        """\
        models:
          - name: a
            columns:
              - name: x
                data_type: integer
                description: Text
              - name: y
                data_type: integer
              - name: z
        """,
        put("models/0/columns/1/description", "Text"),
        put("models/0/columns/2/description", "Text"),
        put("models/0/columns/2/data_type", "varchar(3)"),
        put("models/0/description", "Text"),
        after="""\
        models:
          - name: a
            description: Text
            columns:
              - name: x
                data_type: integer
                description: Text
              - name: y
                data_type: integer
                description: Text
              - name: z
                data_type: varchar(3)
                description: Text
        """,
    ),
    case(
        "versions are described behind their number, columns come last",
        """\
        models:
          - name: a
            latest_version: 2
            versions:
              - v: 1
                config:
                  alias: a
                # end of v1
              - v: 2
        """,
        put("models/0/versions/0/description", "Text"),
        put("models/0/versions/0/columns", [{"name": "id", "data_type": "int"}]),
        after="""\
        models:
          - name: a
            latest_version: 2
            versions:
              - v: 1
                description: Text
                config:
                  alias: a
                columns:
                  - name: id
                    data_type: int
                # end of v1
              - v: 2
        """,
    ),
    case(
        "a new section goes to the end, a version to the front",
        """\
        # about the file

        models:
          - name: a
        # the end
        """,
        put("version", 2),
        put("sources", [{"name": "s", "tables": [{"name": "t"}]}]),
        after="""\
        # about the file

        version: 2

        models:
          - name: a

        sources:
          - name: s
            tables:
              - name: t
        # the end
        """,
    ),
    case(
        "a section goes with its comment, the file's own comment stays",
        """\
        # about the file
        models:
          - name: a

        # about the seeds
        seeds:
          - name: b

        sources:
          - name: c
        """,
        drop("models"),
        drop("seeds"),
        after="""\
        # about the file
        sources:
          - name: c
        """,
    ),
    case(
        "the last section goes, the blank lines above it, too",
        """\
        version: 2

        models:
          - name: a
        """,
        drop("models"),
        after="""\
        version: 2
        """,
    ),
    case(
        "quoted keys in brackets are followed by quoted ones",
        """\
        models:
          - {"name": "a", "tests": ["unique"]}
        """,
        put("models/0/description", "Text"),
        after="""\
        models:
          - {"name": "a", "description": "Text", "tests": ["unique"]}
        """,
    ),
]

ITEMS = [
    case(
        "new columns have the layout of the others",
        """\
        models:
          -   name: orders
              columns:
              -   name: "id"
                  description: 'The key.'

                  # tests: none yet

              # the money
              -   name: "amount"
                  description: 'What was paid.'

              # the end
              tests: []
        """,
        add("models/0/columns", 1, {"name": "a", "description": "First."}),
        add("models/0/columns", 3, {"name": "z", "data_type": "int", "description": "Last."}),
        add("models/0/columns", 0, {"name": "0", "description": "None."}),
        after="""\
        models:
          -   name: orders
              columns:
              -   name: "0"
                  description: 'None.'

              -   name: "id"
                  description: 'The key.'

                  # tests: none yet

              -   name: "a"
                  description: 'First.'

              # the money
              -   name: "amount"
                  description: 'What was paid.'

              -   name: "z"
                  description: 'Last.'
                  data_type: int

              # the end
              tests: []
        """,
    ),
    case(
        "columns begin where there were none",
        """\
        models:
          - name: a
            columns:
          - name: b
            columns: []  # none yet
          - name: c
            columns:   # none yet
              # - name: old
            tests: []
          - name: d
            columns: ~
        """,
        *(put(f"models/{index}/columns", [{"name": "x"}, {"name": "z"}]) for index in range(4)),
        after="""\
        models:
          - name: a
            columns:
              - name: x
              - name: z
          - name: b
            columns:  # none yet
              - name: x
              - name: z
          - name: c
            columns:   # none yet
              - name: x
              - name: z
              # - name: old
            tests: []
          - name: d
            columns:
              - name: x
              - name: z
        """,
    ),
    case(
        "columns go with the comments that are theirs",
        """\
        models:
          - name: a
            columns:
              # -- keys ---
              - name: a  # first
              # the second
              - name: b
                # of b

              # - name: old
              - name: c
              - name: d

              - name: e
            tests: []
        """,
        drop("models/0/columns/4"),
        drop("models/0/columns/2"),
        drop("models/0/columns/1"),
        drop("models/0/columns/0"),
        after="""\
        models:
          - name: a
            columns:
              # -- keys ---

              # - name: old
              - name: d
            tests: []
        """,
    ),
    case(
        "a column takes the place of another",
        """\
        models:
          - name: a
            columns:
              - name: old
                description: Text
              - name: b
              - name: old2
        """,
        put("models/0/columns/0", {"name": "new"}),
        put("models/0/columns/2", {"name": "new2"}),
        after="""\
        models:
          - name: a
            columns:
              - name: new
              - name: b
              - name: new2
        """,
    ),
    case(
        "a list that loses everything is empty",
        """\
        models:
          - name: a
            columns:  # all
              - name: b
            tags: [x, y]
            tests:
            - unique
        """,
        drop("models/0/columns/0"),
        put("models/0/tags", []),
        drop("models/0/tests/0"),
        after="""\
        models:
          - name: a
            columns: []  # all
            tags: []
            tests: []
        """,
    ),
    case(
        "models come and go",
        """\
        version: 2

        models:
          # the first
          - name: a
            columns:
              - name: x

          # the second
          - name: b

        sources: []
        """,
        put("models/0", {"name": "c", "description": "Text", "columns": [{"name": "x"}]}),
        add("models", 2, {"name": "d", "config": {"tags": ["x"], "meta": {}}}),
        after="""\
        version: 2

        models:
          - name: c
            description: Text
            columns:
              - name: x

          # the second
          - name: b

          - name: d
            config:
              tags:
                - x
              meta: {}

        sources: []
        """,
    ),
    case(
        "items in brackets",
        """\
        models:
          - name: a
            tags: [a, b, c]
            tests: []
            meta: { owners: [ 'x', 'y' ] }  # who
            columns: [{name: id}]
            other: [
              a,  # first
              b  # last
            ]
            more: [
              a,
              b,
            ]
        """,
        put("models/0/tags", ["0", "a", "x, y", "c"]),
        put("models/0/tests", ["unique"]),
        put("models/0/meta/owners", ["y", "z"]),
        add("models/0/columns", 1, {"name": "x", "description": "Text"}),
        put("models/0/other", ["a", "c", "b", "z"]),
        put("models/0/more", ["a", "b", "z"]),
        after="""\
        models:
          - name: a
            tags: ['0', a, 'x, y', c]
            tests: [unique]
            meta: { owners: [ 'y', 'z' ] }  # who
            columns: [{name: id}, {name: x, description: Text}]
            other: [
              a,  # first
              c,
              b,  # last
              z
            ]
            more: [
              a,
              b,
              z,
            ]
        """,
    ),
    case(
        "brackets as items",
        """\
        models:
          - name: a
            columns:
              - { name: a, description: "Text" }
              - { name: b, description: "Text" }
        """,
        add("models/0/columns", 2, {"name": "c", "description": "Two\nlines"}),
        put("models/0/columns/0/description", 'New "text"'),
        after="""\
        models:
          - name: a
            columns:
              - { name: a, description: "New \\"text\\"" }
              - { name: b, description: "Text" }
              - { name: c, description: "Two\\nlines" }
        """,
    ),
    case(
        "lists of texts",
        """\
        models:
          - name: a
            tests:
            - unique
            - not_null:
                severity: warn
            tags:
            - "x"
        """,
        add("models/0/tests", 1, {"accepted_values": {"values": ["a", "no", 1, 1.5, True, None]}}),
        add("models/0/tags", 1, "z"),
        after="""\
        models:
          - name: a
            tests:
            - unique
            - accepted_values:
                values:
                - a
                - 'no'
                - 1
                - 1.5
                - true
                - null
            - not_null:
                severity: warn
            tags:
            - "x"
            - "z"
        """,
    ),
]

ANCHORS = [
    case(
        "an alias that gets another text than its anchor is written out",
        """\
        models:
          - name: a
            description: &todo To do  # some day
          - name: b
            description: *todo  # later
          - name: c
            description: *todo
        """,
        put("models/0/description", "A"),
        put("models/1/description", "B"),
        after="""\
        models:
          - name: a
            description: &todo A  # some day
          - name: b
            description: B  # later
          - name: c
            description: To do
        """,
    ),
    case(
        "an anchor changes for all who use it",
        """\
        models:
          - name: a
            columns: &columns
              - &id
                name: id
          - name: b
            columns: *columns
          - name: c
            columns:
              - *id
              - <<: *id
                name: x
        """,
        *(
            put(f"models/{path}/description", "The key.")
            for path in ("0/columns/0", "1/columns/0", "2/columns/0", "2/columns/1")
        ),
        after="""\
        models:
          - name: a
            columns: &columns
              - &id
                name: id
                description: The key.
          - name: b
            columns: *columns
          - name: c
            columns:
              - *id
              - <<: *id
                name: x
        """,
    ),
    case(
        "a merged key that differs is written out",
        """\
        x-id: &id
          name: id
          description: Old
        models:
          - name: a
            columns:
              - <<: *id
                tests: [unique]
              - <<: *id
                name: b
        """,
        put("models/0/columns/0/description", "New"),
        put("models/0/columns/1/data_type", "int"),
        after="""\
        x-id: &id
          name: id
          description: Old
        models:
          - name: a
            columns:
              - <<: *id
                tests: [unique]
                description: New
              - <<: *id
                name: b
                data_type: int
        """,
    ),
]

FRAMES = [
    case("an empty file", "", put("version", 2), after="version: 2\n"),
    case(
        "a file of comments",
        "# a\n",
        put("version", 2),
        put("models", [{"name": "a"}]),
        after="# a\nversion: 2\nmodels:\n  - name: a\n",
    ),
    case("a comment without a line end", "# a", put("version", 2), after="# a\nversion: 2"),
    case(
        "markers of a document",
        "---\nmodels:\n- name: a\n...\n",
        put("models/0/description", "Text"),
        add("models", 1, {"name": "b"}),
        after="---\nmodels:\n- name: a\n  description: Text\n- name: b\n...\n",
    ),
    case(
        "Windows line ends and a byte order mark",
        "\ufeffmodels:\r\n- name: a\r\n  description: |\r\n    One\r\n- name: b",
        put("models/0/description", "One\nTwo\n"),
        put("models/1/description", "Two\nlines"),
        add("models", 2, {"name": "c"}),
        after="\ufeffmodels:\r\n- name: a\r\n  description: |\r\n    One\r\n    Two\r\n- name: b\r\n"
        "  description: |-\r\n    Two\r\n    lines\r\n- name: c",
    ),
    case(
        "mixed line ends",
        "models:\r\n- name: a\r\n- name: b\n- name: c\n",
        *(put(f"models/{index}/description", "Text") for index in range(3)),
        after="models:\r\n- name: a\r\n  description: Text\r\n- name: b\n  description: Text\n"
        "- name: c\n  description: Text\n",
    ),
    case(
        "a block at the end without a line end",
        "models:\n- name: a\n  description: >\n    Text",
        add("models", 1, {"name": "b"}),
        after="models:\n- name: a\n  description: >-\n    Text\n- name: b",
    ),
    case(
        "tabs and spaces at line ends",
        "models:  \n- name: a  \n  description:   'x'\t# y\n",
        put("models/0/description", "New"),
        put("models/0/columns", [{"name": "b"}]),
        after="models:  \n- name: a  \n  description:   'New'\t# y\n  columns:\n  - name: b\n",
    ),
]

CASES = [*DESCRIPTIONS, *KEYS, *ITEMS, *ANCHORS, *FRAMES]


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
