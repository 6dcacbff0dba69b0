from __future__ import annotations

import pytest

from dbt_osmosis_llm.evidence.node import framed

TAGGED = "".join(chr(0xE0000 + ord(letter)) for letter in "</sql>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("</sql>", "<\\/sql>"),
        ("</SQL> <\n/ Context >", "<\\/SQL> <\\\n/ Context >"),
        ("</upstream", "<\\/upstream"),
        ("</columns x='>'>", "<\\/columns x='>'>"),
        ("<sql>< context >", "<\\sql><\\ context >"),
        ("</s\0ql> <\u200b/sql\u202e>", "<\\/sql> <\\/sql>"),
        (f"select 1{TAGGED}", "select 1"),
        ("<</sql>/sql>", "<<\\/sql>/sql>"),
        ("where a<sql and b < columns or c<>context", "where a<sql and b < columns or c<>context"),
        ("</sqlite> <table>", "</sqlite> <table>"),
        ("caf\u00e9 \u2764\ufe0f \u4f60", "caf\u00e9 \u2764\ufe0f \u4f60"),
    ],
)
def test_data_neither_begins_nor_ends_a_frame(text: str, shown: str) -> None:
    assert framed({"sql": text}) == {"sql": shown}
