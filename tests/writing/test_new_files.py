"""Whatever the warehouse calls its columns and whatever a text says: a new file says the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from dbt_osmosis.core.schema.parser import create_yaml_instance
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dbt_osmosis_llm.host import compat
from dbt_osmosis_llm.host.minimal_writing import MinimalWriting
from dbt_osmosis_llm.writing import patched, refusals
from dbt_osmosis_llm.writing.dbt_reader import read_by_dbt
from tests.properties import examples
from tests.writing.test_patch import TEXTS
from tests.writing.yaml_files import TRICKY

ODD = [
    *TEXTS,
    *TRICKY,
    *("0b1", "0o17", "1:30", "1__0", "+.inf", "-.Inf", "2001-1-1", "2001-02-30", "2001-12-14t1:59"),
    *("Yes", "oFF", "nULL", "~ ", "? ", "?a", "-a", ":a", "a:b:", "%YAML 1.1", "&a b", "!!int 3"),
    *("\u2028", "a\u2029b", "\ufeff", "\ufffe", "\x1b[0m", "\x7f", "\x9f", "\r", "a\rb", "\r\n"),
    *("\U0001f600" * 60, "x " * 700, "x" * 2000, "name", "description", "{{ x }}", "a\n", "\n\n\n"),
]  # fmt: skip


OLD = [
    "models:\n  - name: one\n    description: 'Its text'\n    columns:\n      - name: id\n",
    "models:\n- {name: one, description: Text, meta: {a: b}}\n",
    "models:\r\n- name: one\r\n  description: |\r\n    Text\r\n  columns:\r\n  - name: 'id'\r\n",
]


def any_text(most: int = 120) -> st.SearchStrategy[str]:
    every = st.characters(exclude_categories=["Cs"])
    signs = st.sampled_from(
        "-?:,[]{}#&*!|>'\"%@`=~<.0123456789eExXoO_ \t\n\r\x85\u2028\ufeff\x00\\/"
    )
    return st.one_of(
        st.sampled_from(ODD),
        st.text(every, max_size=most),
        st.text(signs, max_size=20),
        st.text(st.one_of(signs, every), max_size=most),
    )


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Draw what dbt-osmosis writes of one table that no file describes."""
    names = st.lists(any_text(40).filter(bool), min_size=1, max_size=5, unique=True)

    def described(name: str) -> st.SearchStrategy[dict[str, Any]]:
        optional = {"description": any_text(), "data_type": any_text(20)}
        return st.fixed_dictionaries({"name": st.just(name)}, optional=optional)

    # A longer key than 1,024 characters would need a `?` before it.
    keys = any_text(20).filter(lambda key: len(key) < 200)
    columns = names.flatmap(lambda drawn: st.tuples(*map(described, drawn)).map(list))
    table = st.fixed_dictionaries(
        {"name": any_text(40).filter(bool), "columns": columns},
        optional={"description": any_text(), "meta": st.dictionaries(keys, any_text(20))},
    )
    return table.map(lambda entry: {"version": 2, "models": [entry]})


def new_file(data: Mapping[str, Any]) -> str:
    """Return what is written of a table that no file describes."""
    (hook,) = (hook for hook in compat.WRITER_HOOKS if hook.name == "_render_yaml_bytes")
    written = MinimalWriting().render_yaml_bytes(hook.find())(create_yaml_instance(), data)
    return written.decode()


@examples(300, suppress_health_check=list(HealthCheck))
@given(documents())
def test_a_new_file_says_what_it_should(data: dict[str, Any]) -> None:
    expected = copy.deepcopy(data)
    text = new_file(data)
    assert read_by_dbt(text) == (expected, 0), text
    assert yaml.load(text, Loader=yaml.SafeLoader) == expected, text
    assert YAML(typ="safe", pure=True).load(text) == expected, text


@examples(100, suppress_health_check=list(HealthCheck))
@given(documents(), st.sampled_from(OLD))
def test_a_new_table_in_a_file_says_what_it_should(data: dict[str, Any], old: str) -> None:
    expected = yaml.safe_load(old)
    expected["models"] += data["models"]
    text = patched(old, expected)
    assert text.startswith(old)
    assert read_by_dbt(text) == (expected, 0), text
    assert YAML(typ="safe", pure=True).load(text) == expected, text


@pytest.mark.parametrize("text", ODD)
def test_an_odd_name_and_text_is_written(text: str) -> None:
    entry = {"name": text, "description": text}
    data = {"version": 2, "models": [{**entry, "columns": [entry]}]}
    assert read_by_dbt(new_file(data))[0] == data


@pytest.mark.parametrize("name", ["half a character: \ud83d", "\ud83d"])
@pytest.mark.parametrize("text", ["", "models:\n  - name: t\n"])
def test_a_name_that_no_file_can_hold_is_refused_before_it_is_asked_for(
    text: str, name: str
) -> None:
    entries = {"t": ((("models", "t"),), ["", "id", name])}
    reason = "half a character (U+D83D) is nothing that a file can hold"
    assert refusals(text, entries) == {"t": {name: reason}}
    of_table = {"t": ((("models", f"t{name}"),), ["", "id"])}
    assert refusals(text, of_table) == {"t": {"": reason, "id": reason}}
