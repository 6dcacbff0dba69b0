from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
from hypothesis import given
from hypothesis import strategies as st

from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.evidence.promises import DataTest, promises_of_column
from dbt_osmosis_llm.synthesis.checks import Complaint, ComplaintKind, check_texts
from dbt_osmosis_llm.synthesis.offline import column_sentence, table_sentence
from tests.limits import cpu_limit
from tests.properties import examples
from tests.synthesis.check_cases import (
    BAD,
    CHANNELS,
    DAILY,
    GOOD,
    LATEST,
    LINES,
    ORDERS,
    SESSIONS,
    STAGING,
    Bad,
    Good,
)

NODES = [ORDERS, DAILY, SESSIONS, LATEST, LINES, CHANNELS, STAGING]
PROJECTS = Path(__file__).parent.parent / "projects"


def name_of(case: Good | Bad) -> str:
    return f"{case.node.name}.{case.column}: {case.text[:50]}"


@pytest.mark.parametrize("case", GOOD, ids=map(name_of, GOOD))
def test_a_good_text_raises_nothing(case: Good) -> None:
    assert check_texts(case.node, {case.column: case.text}) == []


@pytest.mark.parametrize("case", BAD, ids=map(name_of, BAD))
def test_a_bad_text_raises_exactly_its_kind(case: Bad) -> None:
    [complaint] = check_texts(case.node, {case.column: case.text})
    assert (complaint.column, complaint.kind) == (case.column, case.kind)
    assert case.named in complaint.message
    assert complaint.message.isprintable()


def test_the_tables_are_large_enough_to_tell() -> None:
    assert len(GOOD) >= 60
    assert len(BAD) >= 40
    assert {case.kind for case in BAD} == set(ComplaintKind) - {
        ComplaintKind.SAME_TEXT,  # needs two texts
        ComplaintKind.UNSAFE,  # is judged before
    }


def test_good_texts_stay_good_together() -> None:
    for node in NODES:
        texts = {case.column: case.text for case in GOOD if case.node is node}
        assert texts
        assert check_texts(node, texts) == []


def test_texts_written_without_a_model_raise_nothing() -> None:
    for node in NODES:
        columns = {column.name: column_sentence(node, column.name) for column in node.columns}
        texts = {"": table_sentence(node), **columns}
        assert check_texts(node, {name: text for name, text in texts.items() if text}) == []


def test_several_complaints_come_in_the_order_of_the_texts() -> None:
    texts = {
        "net_amount": "This column may be 12 euros.",
        "": "Orders.",
        "loyalty_id": "Loyalty id",
    }
    found = check_texts(ORDERS, texts)
    assert [(complaint.column, complaint.kind) for complaint in found] == [
        ("net_amount", ComplaintKind.NOT_IN_EVIDENCE),
        ("net_amount", ComplaintKind.WORDING),
        ("", ComplaintKind.RESTATES_NAME),
        ("loyalty_id", ComplaintKind.RESTATES_NAME),
    ]
    assert found[1].message == (
        'opens with "This column"; begin with the thing itself; '
        'hedges with "may"; state only what is known'
    )


def test_a_message_names_three_words_and_counts_the_rest() -> None:
    [complaint] = check_texts(ORDERS, {"phone": "`a_1`, `b_2`, `c_3`, `d_4` or 77 dialled."})
    assert complaint.message == 'names "a_1", "b_2", "c_3" and 2 more, which the evidence does not'


def test_a_message_is_one_short_line() -> None:
    text = f"Stands in `{'x' * 500}\n\x1b[31m{'_y' * 500}`."
    [complaint] = check_texts(ORDERS, {"phone": text})
    assert len(complaint.message) < 250
    assert complaint.message.isprintable()


def test_what_else_the_model_was_shown_is_known() -> None:
    text = "Euros as in `sap_total`, booked after 14 days as 'settled'."
    assert check_texts(ORDERS, {"net_amount": text}) != []
    glossary = ["sap_total: what is settled within 14 days"]
    assert check_texts(ORDERS, {"net_amount": text}, shown=glossary) == []


@pytest.mark.parametrize("test", ["unique", "primary key", "unique where state = 'ok'"])
def test_a_test_or_constraint_proves_uniqueness(test: str) -> None:
    text = {"loyalty_id": "Unique number on the loyalty card."}
    columns = [replace(c, tests=(test,)) if c.name == "loyalty_id" else c for c in ORDERS.columns]
    assert check_texts(replace(ORDERS, columns=tuple(columns)), text) == []


@pytest.mark.parametrize(
    ("column", "text", "is_proven"),
    [
        ("line_no", "Line on the receipt, unique within an order.", True),
        ("line_no", "Line on the receipt, unique.", False),
        ("sku", "Product sold, unique within an order.", False),
    ],
)
def test_columns_that_are_unique_together_are_so_within_each_other(
    column: str, text: str, is_proven: bool
) -> None:
    assert (check_texts(LINES, {column: text}) == []) is is_proven


@pytest.mark.parametrize(
    ("sql", "column", "is_proven"),
    [
        ("select a from t group by a", "a", True),
        ("select a, b from t group by a, b", "a", False),
        ("select md5(a || '-' || b) as k from t group by a, b", "k", True),
        ("select md5(a) as k from t group by a, b", "k", False),
        ("select distinct a from t", "a", True),
        ("select distinct a, b from t", "a", False),
        ("select t.a from t join u using (a) group by t.a", "a", True),
        ("select uuid() as k from t", "k", True),
        ("select row_number() over (order by a) as k from t", "k", True),
        ("select row_number() over (partition by b order by a) as k from t", "k", False),
        ("select g.a from (select a from t group by a) g join u using (a)", "a", False),
    ],
)
def test_the_sql_alone_can_prove_uniqueness(sql: str, column: str, is_proven: bool) -> None:
    node = NodeEvidence(
        "model.shop.m",
        "m",
        "model",
        sql=sql,
        facts=read_query(sql, "duckdb", {"t": ["a", "b"], "u": ["a"]}),
        columns=(ColumnEvidence(column),),
    )
    assert (check_texts(node, {column: "Unique number of the till."}) == []) is is_proven


# Two texts

SAME = "Euros that the shop keeps."


@pytest.mark.parametrize(
    ("one", "other", "are_told_apart"),
    [
        ("net_amount", "weight_kg", True),
        ("net_amount", "gross_amount", False),  # of the same column
        ("net_amount", "missing", False),  # nothing known of it
    ],
)
def test_the_same_text_for_other_columns(one: str, other: str, are_told_apart: bool) -> None:
    found = check_texts(ORDERS, {one: SAME, other: "euros, that the Shop keeps"})
    expected = Complaint(
        other, ComplaintKind.SAME_TEXT, f"is that of `{one}`, too, which is made of other columns"
    )
    assert found == ([expected] if are_told_apart else [])


def test_an_older_text_counts_as_well() -> None:
    columns = [
        replace(c, description=SAME if c.name == "weight_kg" else "") for c in ORDERS.columns
    ]
    node = replace(ORDERS, columns=tuple(columns))
    assert [c.column for c in check_texts(node, {"net_amount": SAME})] == ["net_amount"]
    assert check_texts(node, {"weight_kg": SAME}) == []


def test_columns_that_mean_the_same_upstream_do_so_here() -> None:
    text = "Country of the customer."
    sql = "select a.country as billed_to, b.country as sent_to from a join b using (id)"
    upstream = tuple(UpstreamTable(name, name, columns={"country": text}) for name in "ab")
    node = NodeEvidence("model.s.m", "m", "model", sql=sql, facts=read_query(sql, "duckdb"))
    texts = {"billed_to": text, "sent_to": text}
    assert [c.kind for c in check_texts(node, texts)] == [ComplaintKind.SAME_TEXT]
    assert check_texts(replace(node, upstream=upstream), texts) == []


# Whatever the text


def test_empty_texts_raise_nothing() -> None:
    assert check_texts(ORDERS, {}) == []
    assert check_texts(ORDERS, {"net_amount": "", "": " \n", "order_id": ""}) == []


WORDS = st.sampled_from(
    ["This", "column", "may", "be", "`x`", "unique", "'paid'", "1,2", "19%", "1e9", "\u201d", "„",
     "order_id", "used for", "analysis", "row per", "`", "\u0660\u0661", "½", "²", "İ", "ß", "\x00",
     "注文", "123456789012345678901234567890", "1.2.3-4/5", "https://a.b/c_d"]
)  # fmt: skip


@examples(150)
@given(st.one_of(st.text(), st.lists(WORDS, max_size=30).map(" ".join)))
def test_no_text_raises_an_error(text: str) -> None:
    for node in NODES:
        columns = [column.name for column in node.columns]
        for complaint in check_texts(node, dict.fromkeys(["", "other", *columns[:2]], text)):
            assert complaint.message.isprintable()


LONG = 100_000


@pytest.mark.parametrize(
    "part",
    ["a", "1", "1,", "`", "'", '"', "_", "may ", "the a ", "used for ", "unique ", "provides a ",
     "row per a ", "'a b' ", "`a + b` ", "12345 ", "a_b ", "likely, ", "y", "https://", "“a", "\n"],
)  # fmt: skip
def test_long_texts_take_no_more_than_their_share_of_time(part: str) -> None:
    text = (part * (LONG // len(part) + 1))[:LONG]
    evidence = replace(ORDERS, sql=f"{ORDERS.sql} -- {text}")
    # About 0.3 s each; what is quadratic takes minutes.
    with cpu_limit(10):
        check_texts(evidence, {"": text, "net_amount": text})
        check_texts(ORDERS, {"net_amount": text})


# Texts of people


def tables_of(project: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(project.rglob("_*.yml")):
        content = ruamel.yaml.YAML(typ="safe").load(path.read_bytes())
        for table in [*content.get("models", []), *content.get("seeds", [])]:
            yield table["name"], table
        for source in content.get("sources", []):
            for table in source["tables"]:
                yield f"{source.get('schema', source['name'])}.{table['name']}", table


def texts_of(table: Mapping[str, Any]) -> dict[str, str]:
    texts = {"": table.get("description", "")}
    texts |= {c["name"]: c.get("description", "") for c in table.get("columns", [])}
    return {name: text.strip() for name, text in texts.items() if "{{" not in text}


def rendered(sql: str) -> str:
    sql = re.sub(r"\{\{ ref\('(\w+)'\) \}\}", r"\1", sql)
    sql = re.sub(r"\{\{ source\('(\w+)', '(\w+)'\) \}\}", r"\1.\2", sql)
    sql = re.sub(r"\{\{ cents_to_dollars\('(\w+)'\) \}\}", r"(\1 / 100.0)", sql)
    return re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", sql, flags=re.DOTALL)


def promises(column: Mapping[str, Any]) -> tuple[str, ...]:
    tests = []
    for test in column.get("data_tests", []):
        name, arguments = (test, {}) if isinstance(test, str) else next(iter(test.items()))
        tests.append(DataTest(name, arguments, column["name"]))
    return promises_of_column(column["name"], tests, ())


def project_nodes(project: Path) -> Iterator[tuple[NodeEvidence, dict[str, str]]]:
    """Yield each documented table as evidence without its own texts, and its texts."""
    tables = dict(tables_of(project))
    sqls = {path.stem: rendered(path.read_text()) for path in project.rglob("models/**/*.sql")}
    texts = {name: texts_of(table) for name, table in tables.items()}
    for name, table in tables.items():
        sql = sqls.get(name)
        read = [one for one in tables if sql and re.search(rf"\b{re.escape(one)}\b", sql)]
        node = NodeEvidence(
            unique_id=name,
            name=name,
            resource_type="model" if sql else "source",
            sql=sql,
            facts=read_query(sql, "duckdb") if sql else EMPTY_FACTS,
            columns=tuple(
                ColumnEvidence(column["name"], tests=promises(column))
                for column in table.get("columns", [])
            ),
            upstream=tuple(
                UpstreamTable(one, one, texts[one].get("", ""), texts[one]) for one in read
            ),
        )
        yield node, texts[name]


@pytest.mark.parametrize("project", ["demo", "shapes"])
def test_texts_of_people_raise_nothing(project: str) -> None:
    nodes = list(project_nodes(PROJECTS / project))
    assert sum(bool(text) for _, texts in nodes for text in texts.values()) >= 5
    found = {(node.name, c.column): c for node, texts in nodes for c in check_texts(node, texts)}
    # Nobody tests what this text says of a source.
    claimed = found.pop(("pos.orders", "id"), None)
    assert (claimed is not None) is (project == "demo")
    assert found == {}
