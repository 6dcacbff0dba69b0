"""Which texts a column takes over from the one that it is unchanged: each rule, both ways."""

from __future__ import annotations

import pytest

from dbt_osmosis_llm.evidence.fitting import PLACEHOLDER, difference, misfit
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.synthesis.copying import copies, misfits

SCHEMA = {
    "raw.stg_pets": ("id", "owner_id", "keeper_id", "name", "kind", "wild", "born", "note"),
    "raw.stg_people": ("id", "town", "mail", "pet_id"),
    "raw.stg_visits": ("id", "pet_id", "at", "room", "is_over"),
}
KIN = {"raw.stg_pets": {"kind": ("wild",)}}


def table(
    sql: str, text: str, *, name: str = "pets", keys: tuple[tuple[str, ...], ...] = ()
) -> NodeEvidence:
    """Return a table over ours, all of whose columns have the same text."""
    facts = read_query(sql, "duckdb", SCHEMA)
    assert facts.columns
    return NodeEvidence(
        f"model.zoo.{name}",
        name,
        "model",
        sql=sql,
        facts=facts,
        columns=tuple(map(ColumnEvidence, facts.columns)),
        keys=keys,
        upstream=tuple(
            UpstreamTable(
                relation.removeprefix("raw."),
                relation,
                columns=dict.fromkeys(columns, text),
                unique_id=relation,
                kin=KIN.get(relation, {}),
            )
            for relation, columns in SCHEMA.items()
        ),
    )


def reason(
    sql: str,
    column: str,
    text: str = "Given by hand.",
    *,
    name: str = "pets",
    keys: tuple[tuple[str, ...], ...] = (),
) -> str:
    """Return why a column does not take a text over, empty where it does."""
    node = table(sql, text, name=name, keys=keys)
    found = misfits(node, [column]).get(column, "")
    assert found or [copy.column for copy in copies(node, [column])] == [column]
    return found


PETS = "select {} from raw.stg_pets as pets"
JOINED = (
    "select {} from raw.stg_pets as pets left join raw.stg_people as people"
    " on people.id = pets.owner_id"
)


@pytest.mark.parametrize(
    "column",
    ["wild as is_wild", "name as call_name", "id as pet_id", "born as zoo_born"],
)
def test_a_new_name_says_nothing_where_nothing_is_joined(column: str) -> None:
    assert not reason(PETS.format(column), column.rpartition(" ")[2])


@pytest.mark.parametrize("name", ["first_name", "last_name", "previous_name", "current_name"])
def test_which_one_in_an_order_is_said_by_the_name_alone(name: str) -> None:
    assert "its name adds" in reason(PETS.format(f"name as {name}"), name)


def test_a_text_may_say_what_the_name_adds() -> None:
    sql = PETS.format("name as first_name")
    assert not reason(sql, "first_name", "The first name that it was given.")
    assert "its name adds" in reason(sql, "first_name", "The name that it was given.")


def test_a_text_that_is_to_come_says_nothing_yet() -> None:
    node = table(PETS.format("name as first_name"), "")
    lineage = node.facts.columns["first_name"]
    text = PLACEHOLDER.format("asked for first")
    assert "its name adds" in misfit(node, "first_name", lineage, node.upstream[0], text)


def test_a_prefix_of_a_joined_table_is_a_role_unless_it_is_that_table() -> None:
    assert "its name adds 'winter'" in reason(
        JOINED.format("people.town as winter_town"), "winter_town"
    )
    assert not reason(JOINED.format("people.town as people_town"), "people_town")
    assert not reason(JOINED.format("people.town as peo_town"), "peo_town")
    assert not reason(JOINED.format("people.town as has_town"), "has_town")
    assert not reason(
        JOINED.format("people.town as winter_town"), "winter_town", "Where they are in winters."
    )


def test_the_beginning_of_a_word_is_no_ending() -> None:
    sql = "select p.town as tor_town from raw.stg_pets join raw.stg_visitors as p on p.id = 1"
    facts = read_query(sql, "duckdb", {"raw.stg_visitors": ("id", "town")})
    node = NodeEvidence("m", "m", "model", facts=facts)
    assert "adds 'tor'" in difference(node, "tor_town", facts.columns["tor_town"])


TWO = (
    "select {} from raw.stg_pets as pets join raw.stg_people {} on {}.id = pets.owner_id"
    " join raw.stg_people as keepers on keepers.id = pets.keeper_id"
)


def test_of_a_table_joined_twice_the_one_by_its_own_name_has_no_role() -> None:
    assert not reason(TWO.format("stg_people.town", "", "stg_people"), "town")
    assert "joined as keepers" in reason(
        TWO.format("keepers.town as home", "", "stg_people"), "home"
    )
    assert "joined as p" in reason(TWO.format("p.town", "as p", "p"), "town")


def test_a_cte_named_for_its_role_has_that() -> None:
    sql = (
        "with keepers as (select * from raw.stg_people), owners as (select * from raw.stg_people)"
        " select owners.town from raw.stg_pets as pets"
        " join owners on owners.id = pets.owner_id join keepers on keepers.id = pets.keeper_id"
    )
    assert "joined as owners" in reason(sql, "town")


@pytest.mark.parametrize(
    "text",
    [
        "Primary key.",
        "Unique.",
        "Number of the person, unique.",
        "Unique per town.",
        "Must be unique.",
        "One row per person.",
        "Identifies a row.",
        "Where the record came from.",
        "When this row was loaded.",
        "Key of this table.",
    ],
)
def test_what_a_text_says_of_its_own_rows_does_not_fit_others(text: str) -> None:
    assert "these are other rows" in reason(JOINED.format("people.town"), "town", text)
    assert not reason(PETS.format("name"), "name", text)


@pytest.mark.parametrize(
    "text",
    [
        "Unique id of the person.",
        "The unique identifier of the person who came.",
        "Uniquely identifies a person.",
        "Number of unique towns.",
        "Not the unique, official name.",
        "Says what the record's source is.",
        "When a record was last loaded.",
        "Price at the model's launch.",
    ],
)
def test_the_unique_id_of_something_is_that_anywhere(text: str) -> None:
    assert not reason(JOINED.format("people.town"), "town", text)


def test_a_joined_table_leaves_the_rows_of_the_first_what_they_are() -> None:
    assert not reason(JOINED.format("pets.name"), "name", "When this record was loaded.")
    assert reason(JOINED.format("pets.name"), "name", "Must be set when asking this model.")
    assert reason(JOINED.format("pets.id"), "id", "Primary key.")
    assert not reason(JOINED.format("pets.id"), "id", "Primary key.", keys=(("id",),))
    grouped = "select name, count(*) as n from raw.stg_pets group by name"
    assert reason(grouped, "name", "When this record was loaded.")


@pytest.mark.parametrize("text", ["As in `BIG_CAT` or `small_cat`.", "See `zoo_pets`, `var_x`."])
def test_what_was_no_column_there_is_none_less_here(text: str) -> None:
    assert not reason(PETS.format("kind"), "kind", text)


def test_a_text_names_no_column_that_is_not_here() -> None:
    assert reason(PETS.format("kind"), "kind", "Made of `note`.")
    assert not reason(PETS.format("kind, note"), "kind", "Made of `note`.")


def test_a_text_may_name_its_own_column_as_before_but_not_by_a_new_name() -> None:
    assert not reason(PETS.format("kind"), "kind", "One `kind` for each pet.")
    assert "itself" in reason(PETS.format("kind as sort"), "sort", "Like `sort` of the keepers.")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("Address of the source that it came from.", True),
        ("When it was deleted in the source system.", True),
        ("See the raw data.", True),
        ("Only used downstream.", False),
        ("Called otherwise in the source table.", False),
        ("As in the raw column.", False),
    ],
)
def test_a_source_is_the_same_from_anywhere_and_its_table_is_not(text: str, *, fits: bool) -> None:
    assert (not reason(PETS.format("kind"), "kind", text)) is fits


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("Never null.", False),
        ("Cannot be empty.", False),
        ("Town, not null.", False),
        ("Mandatory.", False),
        ("The town if it is not null, else a guess.", True),
        ("Town of the first visit with a non-empty room.", True),
        ("This is mandatory in the form of 1998 alone.", True),
    ],
)
def test_what_an_outer_join_may_leave_empty(text: str, *, fits: bool) -> None:
    assert (not reason(JOINED.format("people.town"), "town", text)) is fits


def test_an_outer_join_leaves_nothing_of_the_table_empty_that_it_is_joined_to() -> None:
    assert not reason(JOINED.format("pets.name"), "name", "Never null.")
    right = JOINED.format("pets.name").replace("left", "right")
    assert "an outer join" in reason(right, "name", "Never null.")


def test_values_that_filters_leave_out() -> None:
    sql = PETS.format("kind, name, born") + " where kind in ('cat', 'dog')"
    assert "only rows" in reason(sql, "kind", "A cat, a dog or a bird.")
    assert "only rows" in reason(sql, "name", "Of a 'cat' in capitals.")
    # The word is one of the language there.
    assert not reason(sql, "name", "How the cat is called.")
    assert not reason(PETS.format("name") + " where split(note, ' ')[1] = '3'", "name")


def test_a_column_may_be_named_for_the_value_that_a_filter_picks() -> None:
    sql = PETS.format("note as coat_color, note, born") + " where kind = 'color'"
    assert "which its name says" in reason(sql, "coat_color", "What was noted.")
    assert not reason(sql, "coat_color", "The color that was noted.")
    assert not reason(sql, "note", "What was noted.")
    assert not reason(sql, "born", "What was noted.")


def test_what_is_made_of_a_column_that_filters_pick_values_of() -> None:
    sql = PETS.format("wild, name")
    assert "of which it is made" in reason(f"{sql} where kind = 'cat'", "wild")
    for condition in (
        "kind is not null",
        "kind > 'm'",
        "kind not in ('x', 'y')",
        "row_number() over (partition by kind order by born) = 1",
    ):
        assert not reason(f"{sql} where {condition}", "wild")


def test_a_number_as_text_is_the_same_code() -> None:
    assert not reason(
        PETS.format("cast(kind as varchar) as kind"), "kind", "Numeric value: 1 = cat."
    )
    assert reason(PETS.format("cast(kind as varchar) as kind"), "kind", "An integer.")


def test_a_name_that_is_another_column_here_is_none_of_those_that_a_text_means() -> None:
    text = "Called so in the `town` of its owner."
    sql = "select pets.name, {} from raw.stg_pets as pets join raw.stg_people as people on true"
    assert "`town`" not in reason(sql.format("pets.note as town"), "name", text)  # no column there
    text = "What the `note` tells."
    assert reason(sql.format("pets.note"), "name", text) == ""
    assert reason(sql.format("people.town as note"), "name", text) == (
        "it names `note`, which is another column here"
    )


def test_joins_that_keep_the_rows_make_no_other_rows_of_them() -> None:
    sql = (
        "select pets.id, v.n from raw.stg_pets as pets left join"
        " (select pet_id, count(*) as n from raw.stg_visits group by pet_id) as v"
        " on v.pet_id = pets.id"
    )
    assert reason(sql, "id", "Primary key.") == ""
    assert reason(JOINED.format("pets.id"), "id", "Primary key.") != ""


def test_totals_leave_the_columns_empty_that_rows_are_grouped_by() -> None:
    sql = "select kind, count(*) as n from raw.stg_pets group by {}"
    assert reason(sql.format("kind"), "kind", "Kind of animal, never null.") == ""
    assert "totals" in reason(sql.format("rollup (kind)"), "kind", "Kind of animal, never null.")


def test_names_are_words_in_any_script() -> None:
    sql = "select name as имя_первое, name as имя_второе from raw.stg_pets"
    assert "comes from the same column" in reason(sql, "имя_первое")
