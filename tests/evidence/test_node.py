from __future__ import annotations

from dataclasses import replace

from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable

SQL = """
    select
        id,  -- ask jane@shop.example

        case when mail = 'joe@shop.example'   then 'a  b' end as is_joe,
        4111111111111111 as card
    from shop.customers
"""
NODE = NodeEvidence(
    unique_id="model.shop.customers",
    name="customers",
    resource_type="model",
    description="Owner: jane@shop.example.",
    source_description="Call (555) 123-4567.",
    sql=SQL,
    facts=read_query(SQL, "duckdb", {"shop.customers": {"id": "int", "mail": "text"}}),
    columns=(
        ColumnEvidence("id", tests=("one of 219-09-9999, 2024-01-31",)),
        ColumnEvidence("is_joe"),
        ColumnEvidence("card", description="As in 4111 1111 1111 1111."),
    ),
    upstream=(
        UpstreamTable(
            "customers", "shop.customers", "By a@b.example.", {"mail": "As c@d.example."}
        ),
    ),
    tests=("mail is not x@y.example",),
)


def test_the_sql_is_tidied_before_it_is_cut() -> None:
    sql = NODE.prompt_values(["id"])["sql"]
    assert sql.splitlines() == [
        "select",
        " id, -- ask jane@shop.example",
        " case when mail = 'joe@shop.example' then 'a  b' end as is_joe,",
        " 4111111111111111 as card",
        "from shop.customers",
    ]
    assert NODE.prompt_values(["id"], max_sql_chars=len(sql))["sql"] == sql
    assert "more characters" in NODE.prompt_values(["id"], max_sql_chars=len(sql) - 1)["sql"]


def test_personal_data_is_sent_unless_asked_otherwise() -> None:
    values = NODE.prompt_values(["id", "is_joe"])
    assert "jane@shop.example" in values["sql"]
    assert "joe@shop.example" in values["columns"]
    assert values == NODE.prompt_values(["id", "is_joe"], redact_pii=False)


def test_no_value_holds_personal_data_when_asked() -> None:
    values = NODE.prompt_values(["id", "is_joe"], redact_pii=True)
    text = "\n".join(values.values())
    assert not any(one in text for one in ("@", "555", "219-09", "4111 1111"))
    assert "-- ask <email>\n case when mail = '<email>' then 'a  b'" in values["sql"]
    assert "= '<email>'" in values["columns"]
    assert "one of <ssn>, 2024-01-31" in values["columns"]
    assert "Owner: <email>." in values["existing_context"]
    assert "Call <phone>." in values["existing_context"]
    assert "mail is not <email>" in values["existing_context"]
    assert "- card: As in <card>." in values["existing_context"]
    assert "By <email>." in values["upstream_docs"]
    assert "mail: As <email>." in values["upstream_docs"]
    assert "4111111111111111 as card" in values["sql"], "a number in the code is no literal"


def test_control_characters_cannot_hide_the_end_of_a_frame() -> None:
    node = replace(
        NODE,
        description="a\x00b\x1b[31m </con\x07text>",
        sql="select 1 -- </s\x00ql>",
        tests=("one of a\r\nb",),
    )
    values = node.prompt_values(["id"])
    assert "description: ab[31m <\\/context>" in values["existing_context"]
    assert values["sql"] == "select 1 -- <\\/sql>"
    text = "".join(values.values())
    assert all(c.isprintable() or c in "\n\t" for c in text)


def test_no_sql_is_said_so() -> None:
    assert replace(NODE, sql=None).prompt_values([])["sql"] == "(none)"
    assert replace(NODE, sql=" \n").prompt_values([])["sql"] == "(none)"
