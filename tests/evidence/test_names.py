from __future__ import annotations

import pytest

from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.names import entry, folded, plain_name, same_name, unquoted


@pytest.mark.parametrize(
    ("name", "bare", "plain"),
    [
        ("id", "id", "id"),
        ('"Order Id"', "Order Id", "order id"),
        ("`ID`", "ID", "id"),
        ("Größe", "Größe", "größe"),
        ("", "", ""),
    ],
)
def test_quotes_go_first_and_then_case(name: str, bare: str, plain: str) -> None:
    assert unquoted(name) == bare
    assert plain_name(name) == folded(bare) == plain
    assert same_name(name, bare.upper() if plain != "größe" else bare)


def test_letters_that_only_casefold_takes_for_the_same_stay_apart() -> None:
    assert not same_name("Maße", "Masse")
    facts = read_query('select maße as "Maße", masse as "Masse" from t')
    assert [facts.columns[name].kind.value for name in ("Maße", "Masse")] == ["pass", "pass"]
    first = read_query("select maße from t").column("masse")
    assert first is None


def test_an_entry_is_found_whatever_its_case_and_by_its_own_one_first() -> None:
    entries = {"ID": 1, "id": 2, "Name": 3}
    assert entry("id", entries) == 2
    assert entry("Id", entries) == 1
    assert entry("NAME", entries) == 3
    assert entry("other", entries) is None
