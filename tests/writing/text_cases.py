"""How descriptions are written."""

from __future__ import annotations

from tests.writing.patch_cases import case, put

LONG = (
    "One row per order, with the customer who placed it, what was paid for it and "
    "when it left the warehouse for the last time."
)
WIDE = (
    "This is a text of the kind that somebody wrote without ever looking at the width of the "
    "window that others read it in."
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
            description: "Text 0"
          - name: b
            description: "Text 1"  # to do
          - name: c
            description: "Text 2"
          - name: d
            description: "Text 3"   # none
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
        "a one-line text that becomes long is folded as others are",
        """\
        models:
          - name: a
            description: Short.  # why
          - name: b
            description: >-
              This is the widest line that there is in the file, which is 86 columns wide for now
              and not wider.
        """,
        put("models/0/description", LONG),
        after="""\
        models:
          - name: a
            description: >-  # why
              One row per order, with the customer who placed it, what was paid for it and when
              it left the warehouse for the last time.
          - name: b
            description: >-
              This is the widest line that there is in the file, which is 86 columns wide for now
              and not wider.
        """,
    ),
    case(
        "a long text stays on one line where the file's long texts do",
        f"""\
        models:
          - name: a
            description: "{WIDE}"
          - name: b
        """,
        put("models/1/description", LONG),
        after=f"""\
        models:
          - name: a
            description: "{WIDE}"
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
