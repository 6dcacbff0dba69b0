"""Files of well-known kinds, with anchors, with unusual ends."""

from __future__ import annotations

from tests.writing.patch_cases import add, case, put

PROJECTS = [
    case(
        "what dbt-codegen writes",
        """\
        version: 2

        models:
          - name: stg_orders
            description: ""
            columns:
              - name: id
                data_type: bigint
                description: ""

              - name: old
                data_type: varchar
                description: ""

        """,
        put("models/0/description", "Orders."),
        put("models/0/columns/0/description", 'The "key".'),
        put("models/0/columns/1", {"name": "state", "description": "It's", "data_type": "text"}),
        add("models/0/columns", 2, {"name": "x", "description": ""}),
        after="""\
        version: 2

        models:
          - name: stg_orders
            description: "Orders."
            columns:
              - name: id
                data_type: bigint
                description: "The \\"key\\"."

              - name: state
                data_type: text
                description: "It's"

              - name: x
                description: ""

        """,
    ),
    case(
        "the classic jaffle shop",
        """\
        version: 2

        models:
          - name: customers
            description: This table has basic information about a customer

            columns:
              - name: customer_id
                description: This is a unique identifier for a customer
                tests:
                  - unique

              - name: first_name
                description: Customer's first name. PII.

          - name: orders

            columns:
              - name: status
                description: '{{ doc("orders_status") }}'
                tests:
                  - accepted_values:
                      values: ['placed', 'returned']
        """,
        put("models/1/description", "Orders of the shop"),
        add("models/0/columns", 1, {"name": "age", "description": "Years: whole ones"}),
        add("models/1/columns", 1, {"name": "total"}),
        add("models", 2, {"name": "payments", "columns": [{"name": "id"}, {"name": "at"}]}),
        after="""\
        version: 2

        models:
          - name: customers
            description: This table has basic information about a customer

            columns:
              - name: customer_id
                description: This is a unique identifier for a customer
                tests:
                  - unique

              - name: age
                description: 'Years: whole ones'

              - name: first_name
                description: Customer's first name. PII.

          - name: orders
            description: Orders of the shop

            columns:
              - name: status
                description: '{{ doc("orders_status") }}'
                tests:
                  - accepted_values:
                      values: ['placed', 'returned']

              - name: total

          - name: payments
            columns:
              - name: id

              - name: at
        """,
    ),
    case(
        "sources without indentation",
        """\
        version: 2
        sources:
        - name: raw
          schema: "{{ var('schema') }}"
          freshness:
            warn_after: {count: 12, period: hour}
          tables:
          - name: a
          - name: b
            identifier: B
            # when it was loaded
            loaded_at_field: at
            columns:
            - name: id
              tests: [unique]
        """,
        put("sources/0/description", "Raw data."),
        put("sources/0/tables/0/columns", [{"name": "z", "data_type": "int"}]),
        put("sources/0/tables/1/columns/0/description", "Two\nlines"),
        add("sources/0/tables", 2, {"name": "c", "description": "C"}),
        after="""\
        version: 2
        sources:
        - name: raw
          description: Raw data.
          schema: "{{ var('schema') }}"
          freshness:
            warn_after: {count: 12, period: hour}
          tables:
          - name: a
            columns:
            - name: z
              data_type: int
          - name: b
            identifier: B
            # when it was loaded
            loaded_at_field: at
            columns:
            - name: id
              description: |-
                Two
                lines
              tests: [unique]
          - name: c
            description: C
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
        "an alias of a column gets keys of its own",
        """\
        models:
          - name: a
            columns:
              - &id
                name: id
                description: The key.
          - name: b
            columns:
              - *id  # as there
              - name: x
          - name: c
            columns:
              - *id
        """,
        put("models/1/columns/0/description", "The key of b."),
        put("models/1/columns/0/data_type", "int"),
        after="""\
        models:
          - name: a
            columns:
              - &id
                name: id
                description: The key.
          - name: b
            columns:
              - <<: *id  # as there
                description: The key of b.
                data_type: int
              - name: x
          - name: c
            columns:
              - *id
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
                description: New
                tests: [unique]
              - <<: *id
                name: b
                data_type: int
        """,
    ),
    case(
        "a merge key goes to the front where dbt would find a key there twice",
        """\
        x-todo: &todo {description: To do}
        x-type: &type {data_type: int, description: ''}
        models:
          - name: a  # the name
            <<: *todo
            columns:
              - name: x
                <<: [*todo, *type]  # as all

                tests: [unique]
              - {name: y, <<: *type, tests: [unique]}
              - name: z
                <<: *type
          - name: b
            <<: *type
        """,
        put("models/0/description", "A"),
        put("models/0/columns/0/description", "X"),
        put("models/0/columns/1/description", "Yes, it is"),
        put("models/0/columns/2/tests", ["unique"]),
        put("models/1/data_type", "date"),
        after="""\
        x-todo: &todo {description: To do}
        x-type: &type {data_type: int, description: ''}
        models:
          - <<: *todo
            name: a  # the name
            description: A
            columns:
              - <<: [*todo, *type]  # as all
                name: x
                description: X

                tests: [unique]
              - {<<: *type, name: y, description: 'Yes, it is', tests: [unique]}
              - name: z
                tests: [unique]
                <<: *type
          - <<: *type
            name: b
            data_type: date
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
        after="\ufeffmodels:\r\n- name: a\r\n  description: |\r\n    One\r\n    Two\r\n"
        "- name: b\r\n  description: |-\r\n    Two\r\n    lines\r\n- name: c",
    ),
    case(
        "a file of brackets",
        """\
        {
          "models": [
            {
              "name": "a",
              "columns": [
                {"name": "x"}
              ]
            }
          ]
        }
        """,
        put("models/0/description", "Text"),
        put("models/0/columns/0/data_type", "int"),
        add("models", 1, {"name": "b", "tests": [{"unique": {"n": 1}}]}),
        after="""\
        {
          "models": [
            {
              "name": "a",
              "description": "Text",
              "columns": [
                {"name": "x", "data_type": "int"}
              ]
            },
            {"name": "b", "tests": [{"unique": {"n": 1}}]}
          ]
        }
        """,
    ),
    case(
        "spaces at the end of a text",
        "models:\n- name: a\n  description: |\n    Old  \n- name: b\n  description: |  \n    Old ",
        put("models/0/description", "New"),
        put("models/1/data_type", "int"),
        after="models:\n- name: a\n  description: |-\n    New\n"
        "- name: b\n  description: |-  \n    Old \n  data_type: int",
    ),
    case(
        "a block without a line",
        "models:\n- name: a\n  description: |",
        add("models", 1, {"name": "b"}),
        after="models:\n- name: a\n  description: |\n- name: b",
    ),
    case(
        "a text with a last line end in a file without one",
        "models:\n- name: a\n  description: |\n    Old",
        put("models/0/description", "New\n"),
        after='models:\n- name: a\n  description: "New\\n"',
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
        "models:  \n- name: a  \n  description:   'x' # \ty\t\n\t\n  # z \n",
        put("models/0/description", "New"),
        put("models/0/columns", [{"name": "b"}]),
        after="models:  \n- name: a  \n  description:   'New' # \ty\t\n"
        "  columns:\n  - name: b\n\t\n  # z \n",
    ),
]
