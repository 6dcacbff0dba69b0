"""What a prompt says of a node: all that is known, each text once, no secrets when asked."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import (
    ColumnEvidence,
    ColumnUse,
    NodeEvidence,
    UpstreamTable,
)
from dbt_osmosis_llm.evidence.wording import worded

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
        ColumnEvidence("is_joe", meta={"owner": "ann@shop.example"}),
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
    sql = worded(NODE, ["id"]).values()["sql"]
    assert sql.splitlines() == [
        "select",
        " id, -- ask jane@shop.example",
        " case when mail = 'joe@shop.example' then 'a  b' end as is_joe,",
        " 4111111111111111 as card",
        "from shop.customers",
    ]
    assert worded(NODE, ["id"], max_sql_chars=len(sql)).values()["sql"] == sql
    assert "more characters" in worded(NODE, ["id"], max_sql_chars=len(sql) - 1).values()["sql"]


def test_personal_data_is_sent_unless_asked_otherwise() -> None:
    values = worded(NODE, ["id", "is_joe"]).values()
    assert "jane@shop.example" in values["sql"]
    assert "joe@shop.example" in values["columns"]
    assert values == worded(NODE, ["id", "is_joe"], redact_pii=False).values()


def test_no_value_holds_personal_data_when_asked() -> None:
    values = worded(NODE, ["id", "is_joe"], redact_pii=True).values()
    text = "\n".join(values.values())
    assert not any(one in text for one in ("@", "555", "219-09", "4111 1111"))
    assert "-- ask <email>\n case when mail = '<email>' then 'a  b'" in values["sql"]
    assert "= '<email>'" in values["columns"]
    assert "one of <ssn>, 2024-01-31" in values["columns"]
    assert "meta: owner=<email>" in values["columns"]
    assert "Owner: <email>." in values["existing_context"]
    assert "Call <phone>." in values["existing_context"]
    assert "mail is not <email>" in values["existing_context"]
    assert "- card: As in <card>." in values["existing_context"]
    assert "By <email>." in values["upstream_docs"]
    assert "mail: As <email>." in values["columns"]
    assert "4111111111111111 as card" in values["sql"], "a number in the code is no literal"


def test_control_characters_cannot_hide_the_end_of_a_frame() -> None:
    node = replace(
        NODE,
        description="a\x00b\x1b[31m </con\x07text>",
        sql="select 1 -- </s\x00ql>",
        tests=("one of a\r\nb",),
    )
    values = worded(node, ["id"]).values()
    assert "description: ab[31m <\\/context>" in values["existing_context"]
    assert values["sql"] == "select 1 -- <\\/sql>"
    text = "".join(values.values())
    assert all(c.isprintable() or c in "\n\t" for c in text)


def test_no_sql_is_said_so() -> None:
    assert worded(replace(NODE, sql=None), []).values()["sql"] == "(none)"
    assert worded(replace(NODE, sql=" \n"), []).values()["sql"] == "(none)"


def test_personal_data_of_sources_and_conditions_is_masked_too() -> None:
    sql = "select a.id from a left join b on b.mail = 'x@y.example' where phone = '+49 30 1234567'"
    column = ColumnEvidence(
        "id",
        uses=(ColumnUse("stg", "id", "Ask c@d.example."),),
        values=("e@f.example", "local"),
    )
    node = NodeEvidence(
        "model.x.y",
        "y",
        "model",
        sql=sql,
        facts=read_query(sql, "duckdb", {"a": ["id", "phone"], "b": ["mail"]}),
        columns=(column,),
        neighbours={"z": "Of g@h.example."},
    )
    for redact_pii, shown in ((False, True), (True, False)):
        text = "\n".join(worded(node, ["id"], redact_pii=redact_pii).values().values())
        assert all((each in text) is shown for each in ("@y", "1234567", "@d", "@f", "@h"))
    assert "values in the file: '<email>', 'local'" in text
    assert "- z: Of <email>." in text


ORDERS_SQL = """with paid as (
    select order_id, sum(amount) as paid from shop.payments where state = 'ok' group by order_id
)
select o.id, o.who as customer, cast(o.day as date) as day, p.paid, p.paid * 2 as twice,
    o.amount - p.paid as due
from shop.orders as o left join paid as p on p.order_id = o.id
where o.kind <> 'void'"""
ORDERS_SCHEMA = {
    "shop.orders": ["id", "who", "day", "amount", "kind", "note"],
    "shop.payments": ["order_id", "amount", "state", "fee"],
}
ORDERS = NodeEvidence(
    "model.shop.fct",
    "fct",
    "model",
    "All orders.",
    materialization="table",
    tags=("daily",),
    sql=ORDERS_SQL,
    facts=read_query(ORDERS_SQL, "duckdb", ORDERS_SCHEMA),
    columns=(
        ColumnEvidence("id", "INT", "Number on the receipt."),
        ColumnEvidence("customer", "TEXT"),
        ColumnEvidence("day", "DATE", tags=("time",), meta={"unit": "day", "zone": "UTC"}),
        ColumnEvidence("paid", "INT", tests=("never null", "found in t.c")),
        ColumnEvidence("twice", "INT"),
        ColumnEvidence("due", "INT"),
    ),
    upstream=(
        UpstreamTable(
            "orders",
            "shop.orders",
            "One row per order.",
            {
                "id": "Number on the receipt.",
                "who": "Loyalty card.",
                "amount": "Total in cents.",
                "kind": "Sale, or void.",
                "note": "What the customer said.",
            },
        ),
        UpstreamTable("payments", "shop.payments", "", {"amount": "Paid in cents.", "fee": "Fee."}),
    ),
    tests=("unique together: customer, day",),
    keys=(("id",), ("customer", "day")),
    has_contract=True,
)


def test_a_column_says_all_that_defines_it_and_each_text_once() -> None:
    values = worded(ORDERS, ["customer", "day", "paid", "twice", "due"]).values()
    assert values["columns"].splitlines() == [
        "- `customer` (TEXT)",
        "    rename from orders.who: Loyalty card.",
        "- `day` (DATE)",
        "    cast from orders.day",
        "    tags: time",
        "    meta: unit=day, zone=UTC",
        "- `paid` (INT)",
        "    aggregate over paid: SUM(payments.amount)",
        "    from payments.amount: Paid in cents.",
        "    empty where paid has no row",
        "    tested: never null, found in t.c",
        "- `twice` (INT)",
        "    aggregate over paid: SUM(payments.amount) * 2",
        "    from payments.amount",
        "    empty where paid has no row",
        "- `due` (INT)",
        "    aggregate over paid: orders.amount - SUM(payments.amount)",
        "    from orders.amount: Total in cents.",
        "    from payments.amount",
        "    empty where paid has no row",
    ]
    # `note` and `fee` are nothing to the SQL; `id` stands among the table's own texts.
    assert values["upstream_docs"].splitlines() == [
        "orders: One row per order.",
        "- kind: Sale, or void.",
        "payments",
    ]


def test_the_table_says_what_its_rows_are() -> None:
    assert worded(ORDERS, ["due"]).values()["existing_context"].splitlines() == [
        "description: All orders.",
        "materialized as: table, under a contract",
        "tags: daily",
        "tested: unique together: customer, day",
        "one row per id (unique); per customer, day (unique)",
        "only rows where orders.kind <> 'void'",
        "made in steps:",
        "- paid: payments; where state = 'ok'; one row per order_id",
        "- orders as o; left join paid as p on p.order_id = o.id",
        "columns that have a text already:",
        "- id: Number on the receipt.",
    ]


def test_the_same_grain_is_said_once_and_many_conditions_are_cut() -> None:
    conditions = " and ".join(f"x{n} > '{'a' * 190 if n else 'a' * 300}'" for n in range(12))
    sql = f"select k, count(*) as n from t where {conditions} group by k"
    node = NodeEvidence(
        "m.x.y",
        "y",
        "model",
        sql=sql,
        facts=read_query(sql, "duckdb", {"t": ["k", *(f"x{n}" for n in range(12))]}),
        keys=(("k",),),
    )
    grain, filters = worded(node, []).values()["existing_context"].splitlines()
    assert grain == "one row per k (unique, GROUP BY)"
    assert filters.count("; ") == 8
    assert " …; x1 > " in filters
    assert filters.endswith("; 4 more")


def test_all_texts_upstream_go_along_where_a_column_is_not_understood() -> None:
    node = replace(ORDERS, columns=(*ORDERS.columns, ColumnEvidence("odd")))
    lines = worded(node, ["due", "odd"]).values()["upstream_docs"].splitlines()
    assert lines == [
        "orders: One row per order.",
        "- who: Loyalty card.",
        "- kind: Sale, or void.",
        "- note: What the customer said.",
        "payments",
        "- fee: Fee.",
    ]


SOURCE = NodeEvidence(
    "source.shop.pos.refunds",
    "pos.refunds",
    "source",
    source_description="Nightly export.",
    columns=(
        ColumnEvidence("id", "INT", uses=(ColumnUse("stg_refunds", "refund_id"),)),
        ColumnEvidence(
            "kind",
            "TEXT",
            tests=("one of 'a', 'b'",),
            uses=(ColumnUse("stg_refunds", "kind", "Why it was paid back."),),
            values=("a", "b c"),
        ),
    ),
    neighbours={"orders": "One row per order.", "payments": "", "staff": ""},
    header=("id", "kind"),
)


def test_a_table_without_sql_says_what_others_make_of_it() -> None:
    values = worded(SOURCE, ["id", "kind"]).values()
    assert values["sql"] == "(none)"
    assert values["columns"].splitlines() == [
        "- `id` (INT)",
        "    also in: stg_refunds.refund_id",
        "- `kind` (TEXT)",
        "    tested: one of 'a', 'b'",
        "    said of it as stg_refunds.kind: Why it was paid back.",
        "    values in the file: 'a', 'b c'",
    ]
    assert values["existing_context"].splitlines() == [
        "description of its source: Nightly export.",
        "header of the file: id, kind",
        "other tables of this source:",
        "- orders: One row per order.",
        "- payments, staff",
    ]


_PRINT = """
from tests.evidence.test_wording import ORDERS, SOURCE, worded
from dbt_osmosis_llm.synthesis.prompts import Prompts
from dbt_osmosis_llm.synthesis.plan import Missing, build_request
for node in (ORDERS, SOURCE):
    names = tuple(column.name for column in node.columns)
    for tokens in (None, 700):
        print(build_request(node, Missing(True, names), Prompts(), max_prompt_tokens=tokens))
"""


def test_prompts_do_not_depend_on_hashes() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-c", _PRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    ]
    assert len(printed[0]) > 5000
    assert printed[0] == printed[1]


def test_values_of_the_build_are_named_where_there_are_some() -> None:
    before = worded(NODE, ["id"]).values()["existing_context"]
    assert "this build" not in before
    built = replace(NODE, sql="select '(set by the build)'", build_values=("15", "a@b.example"))
    context = worded(built, ["id"], redact_pii=True).values()["existing_context"]
    assert "'(set by the build)' stands for a value of this build\n" in context
    assert "values of this build alone: 15; <email>\n" in context


def test_no_fact_of_the_rows_holds_personal_data_when_asked() -> None:
    sql = (
        "with k as (select distinct on (case when x = 'a@b.example' then 1 end) * from t), "
        "m as (select id, y, row_number() over (partition by id order by case when y = "
        "'c@d.example' then 1 end) as n from u) "
        "select k.id, m.y as last_y from k left join m on m.id = k.id and m.n = 1"
    )
    node = NodeEvidence(
        "m.x.y",
        "y",
        "model",
        sql=sql,
        facts=read_query(sql, "duckdb", {"t": ["id", "x"], "u": ["id", "y"]}),
        columns=(ColumnEvidence("last_y"),),
        upstream=(UpstreamTable("u", "u", "", {"y": "What it is."}, "u"),),
    )
    shown = worded(node, ["last_y"]).values()
    assert all(each in "".join(shown.values()) for each in ("a@b.example", "c@d.example"))
    masked = "\n".join(worded(node, ["last_y"], redact_pii=True).values().values())
    assert ".example" not in masked
    assert "here: of one row of u for each" in masked


def test_fields_of_a_struct_that_is_passed_on_are_not_left_out() -> None:
    sql = "select id, addr from t"
    node = NodeEvidence(
        "m.x.y",
        "y",
        "model",
        sql=sql,
        facts=read_query(sql, "duckdb", {"t": ["id", "addr", "a"]}),
        upstream=(UpstreamTable("t", "t", "", {"id": "", "addr": "", "addr.zip": "", "a": ""}),),
    )
    assert "left out of t: a\n" in worded(node, []).values()["existing_context"] + "\n"
