"""Keys and items that come and go."""

from __future__ import annotations

from tests.writing.patch_cases import add, case, drop, put

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
