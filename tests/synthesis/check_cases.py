"""Texts for the checks: good ones that must raise nothing, bad ones with what they must raise.

Each is judged against the evidence of one of the tables below, as a colleague who knows only that
evidence would judge it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dbt_osmosis_llm.evidence.facts import EMPTY_FACTS
from dbt_osmosis_llm.evidence.lineage import read_query
from dbt_osmosis_llm.evidence.node import ColumnEvidence, NodeEvidence, UpstreamTable
from dbt_osmosis_llm.synthesis.checks import ComplaintKind as Kind

Columns = dict[str, tuple[str, ...]]


def node(
    name: str,
    sql: str | None,
    columns: Columns,
    upstream: dict[str, tuple[str, dict[str, str]]] | None = None,
    **more: Any,
) -> NodeEvidence:
    """Return evidence; ``upstream`` is relation to text and column texts."""
    upstream = upstream or {}
    schema = {relation: list(texts) for relation, (_, texts) in upstream.items()}
    return NodeEvidence(
        unique_id=f"model.shop.{name}",
        name=name,
        resource_type="model" if sql else "source",
        sql=sql,
        columns=tuple(ColumnEvidence(column, tests=tests) for column, tests in columns.items()),
        upstream=tuple(
            UpstreamTable(relation.rpartition(".")[2], relation, text, texts)
            for relation, (text, texts) in upstream.items()
        ),
        facts=read_query(sql, "duckdb", schema) if sql else EMPTY_FACTS,
        **more,
    )


def untested(names: str) -> Columns:
    """Return columns without tests."""
    return dict.fromkeys(names.split(), ())


BUILT = node(
    "late_orders",
    "select id as order_id, '(set by the build)' as target, minutes >= 15 as is_late,"
    " paid_at - interval '7 days' as due_from from shop.raw_orders",
    untested("order_id target is_late due_from"),
    {"shop.raw_orders": ("Orders as the shop has them.", {"id": "", "minutes": "", "paid_at": ""})},
    build_values=("15", "7 days"),
)

ORDERS = node(
    "fct_orders",
    """
    -- gross is what the customer pays; the rate is German VAT
    select
        o.id as order_id,
        o.customer_id,
        c.loyalty_id,
        cast(o.created_at as date) as order_date,
        o.amount_cents / 100.0 as net_amount,
        o.amount_cents / 100.0 * 1.19 as gross_amount,
        o.amount_cents / 100.0 * 0.19 as vat_amount,
        case
            when o.state = 'shipped' then 'done'
            when o.state in ('new', 'in_progress') then 'open'
            else 'cancelled'
        end as order_status,
        extract(hour from o.created_at) as order_hour,
        o.created_at >= current_date - interval 30 day as is_recent,
        o.created_at,
        c.created_at as customer_created_at,
        o.valid_month,
        o.weight_g / 1000 as weight_kg,
        c.phone
    from shop.raw_orders as o
    left join shop.customers as c on o.customer_id = c.id
    where o.state <> 'test'
    """,
    {
        "order_id": ("unique", "never null"),
        "customer_id": ("found in customers.id",),
        "loyalty_id": (),
        "order_date": (),
        "net_amount": (),
        "gross_amount": (),
        "vat_amount": (),
        "order_status": ("one of 'done', 'open', 'cancelled'",),
        "order_hour": (),
        "is_recent": (),
        "created_at": (),
        "customer_created_at": (),
        "valid_month": (),
        "weight_kg": (),
        "phone": (),
    },
    {
        "shop.raw_orders": (
            "Orders of the web shop, one row per order.",
            {
                "id": "Number the shop prints on the invoice.",
                "customer_id": "Unique number of the customer who ordered; empty for guests.",
                "created_at": "When the order was placed, in UTC.",
                "amount_cents": "Price of all items in euro cents, without VAT.",
                "state": "Progress of the order in the shop system.",
                "valid_month": "",
                "weight_g": "Weight of the parcel in grams.",
            },
        ),
        "shop.customers": (
            "",
            {
                "id": "Unique number of the customer.",
                "loyalty_id": "Number on the loyalty card.",
                "created_at": "When the customer signed up.",
                "phone": "Phone number in E.164 format.",
            },
        ),
    },
)

DAILY = node(
    "fct_daily_sales",
    """
    select
        sold_on,
        count(*) as sale_count,
        count(distinct customer_id) as customer_count,
        sum(case when channel = 'app' then amount else 0 end) as app_amount,
        sum(amount) as total_amount,
        round(100.0 * sum(refunded) / sum(amount), 2) as refund_rate,
        max(sold_at) as last_sale_at,
        min(sold_at) as first_sale_at
    from shop.sales
    group by sold_on
    """,
    untested(
        "sold_on sale_count customer_count app_amount total_amount refund_rate last_sale_at "
        "first_sale_at"
    ),
    {
        "shop.sales": (
            "",
            {
                "sold_on": "",
                "sold_at": "",
                "customer_id": "",
                "channel": "Where it was sold, `app` or `store`.",
                "amount": "Price in dollars.",
                "refunded": "Dollars paid back.",
            },
        )
    },
)

SESSIONS = node(
    "int_sessions",
    """
    select
        md5(visitor_id || '-' || started_at) as session_key,
        visitor_id,
        row_number() over (partition by visitor_id order by started_at) as session_number,
        date_diff('minute', started_at, ended_at) as duration_minutes,
        lag(started_at) over (partition by visitor_id order by started_at) as previous_started_at,
        started_at,
        dayofweek(started_at) as weekday,
        coalesce(utm_source, 'direct') as utm_source,
        country
    from web.sessions
    qualify row_number() over (partition by visitor_id, started_at order by loaded_at desc) = 1
    """,
    untested(
        "session_key visitor_id session_number duration_minutes previous_started_at "
        "started_at weekday utm_source country"
    ),
    {
        "web.sessions": (
            "Visits of the web site, ended after 30 minutes without a click.",
            {
                "visitor_id": "Cookie of the visitor.",
                "started_at": "First click.",
                "ended_at": "",
                "utm_source": "",
                "country": "Two-letter country code, ISO 3166-1.",
                "loaded_at": "",
            },
        )
    },
)

LATEST = node(
    "int_payments_latest",
    """
    select payment_id, order_id, state, fee_rate from shop.payments
    qualify row_number() over (partition by payment_id order by updated_at desc) = 1
    """,
    {"payment_id": (), "order_id": (), "state": (), "fee_rate": ()},
    {
        "shop.payments": (
            "Log of payments. A fee of 2.5 % is kept since 2021-04-01.",
            {"payment_id": "", "order_id": "", "state": "", "fee_rate": ""},
        )
    },
)

LINES = node(
    "order_lines",
    None,
    {
        "order_id": ("never null",),
        "line_no": (),
        "sku": ("found in products.sku",),
        "tier": ("one of 'gold', 'silver', 'bronze', 'none'",),
        "may_sales": (),
        "allowed_seats": (),
        "orderTotal": (),
    },
    keys=(("order_id", "line_no"),),
    tests=("unique together: order_id, line_no",),
    source_description="Nightly export of the ERP, delivered at 4 a.m.",
)

CHANNELS = node(
    "all_movements",
    """
    select id, paid as amount, 'payment' as movement_type from shop.payments
    union all
    select id, -paid_back as amount, 'refund' as movement_type from shop.refunds
    """,
    {"id": (), "amount": (), "movement_type": ()},
)

STAGING = node(
    "stg_stores",
    """
    select id as store_id, name as store_name, open_days, mystery  -- this column may be useful
    from erp.stores
    """,
    {"store_id": (), "store_name": (), "open_days": (), "mystery": ()},
    {
        "erp.stores": (
            "",
            {"id": "", "name": "Name on the sign over the door.", "open_days": "", "mystery": ""},
        )
    },
    description="One row per store.",
)


class Good(NamedTuple):
    node: NodeEvidence
    column: str
    text: str


GOOD = [
    # Tables
    Good(ORDERS, "", "One row per order that is no test, with what was paid and where it stands."),
    Good(
        ORDERS, "", "Orders of the web shop with their customers; orders in state 'test' left out."
    ),
    Good(DAILY, "", "One row per day with sales, from `sales`."),
    Good(SESSIONS, "", "Visits of the web site, one row per visitor and start."),
    Good(LATEST, "", "Latest state of each payment: the row with the highest `updated_at`."),
    Good(LINES, "", "One row per line of an order, delivered by the ERP at 4 in the morning."),
    Good(CHANNELS, "", "Payments and refunds in one list, refunds with a negative `amount`."),
    Good(STAGING, "", "Stores of the ERP, renamed only."),
    # Keys and identifiers
    Good(ORDERS, "order_id", "Unique number that the shop prints on the invoice."),
    Good(ORDERS, "order_id", "Primary key; the number on the invoice."),
    Good(ORDERS, "order_id", "Identifier of the order, as printed on the invoice."),
    Good(ORDERS, "customer_id", "Id of the customer who ordered, empty for guests."),
    Good(ORDERS, "customer_id", "Foreign key to the primary key `id` of `customers`."),
    Good(ORDERS, "customer_id", "Customer who ordered; not unique, as most order more than once."),
    Good(ORDERS, "customer_id", "Unique number of the customer who ordered."),
    Good(ORDERS, "loyalty_id", "Number on the loyalty card."),
    Good(DAILY, "sold_on", "Day of the sale, unique."),
    Good(DAILY, "sold_on", "Day of the sales; one row per day."),
    Good(SESSIONS, "session_key", "Unique key of the session, a hash of visitor and start."),
    Good(SESSIONS, "visitor_id", "Cookie that identifies the visitor, unique per start time."),
    Good(LATEST, "payment_id", "Uniquely identifies a payment; only its last row is kept."),
    Good(LINES, "line_no", "Line on the receipt, unique within an order."),
    Good(LINES, "order_id", "Order that the line is part of."),
    Good(STAGING, "store_id", "Unique number of the store in the ERP."),
    # Numbers
    Good(ORDERS, "net_amount", "Price of all items in euros, without VAT (cents divided by 100)."),
    Good(ORDERS, "gross_amount", "Price in euros with 19 % VAT."),
    Good(ORDERS, "gross_amount", "`net_amount` plus 19% value added tax, in euros."),
    Good(ORDERS, "vat_amount", "German VAT of 19 percent on the net price, in euros."),
    Good(ORDERS, "order_status", "One of 3 states: `done`, `open` or `cancelled`."),
    Good(ORDERS, "order_hour", "Hour of the order in UTC, from 0 to 23."),
    Good(ORDERS, "order_hour", "Hour at which the order was placed, on the 24-hour clock."),
    Good(ORDERS, "is_recent", "1 if the order was placed within the last 30 days, else 0."),
    Good(ORDERS, "is_recent", "Whether the order is at most thirty days old."),
    Good(ORDERS, "weight_kg", "Weight of the parcel in kilograms, 1,000 grams each."),
    Good(ORDERS, "phone", "Phone number of the customer in E.164 format, e.g. with a leading +."),
    Good(DAILY, "refund_rate", "Share of the sales paid back, in percent, 0 to 100, 2 decimals."),
    Good(SESSIONS, "duration_minutes", "Minutes from first to last click, at least 0."),
    Good(SESSIONS, "weekday", "Day of the week on which the visit began, 0 is Sunday, 6 Saturday."),
    Good(SESSIONS, "country", "Country of the visitor, two letters as in ISO 3166-1 alpha-2."),
    Good(SESSIONS, "session_number", "1st, 2nd, 3rd … visit of the visitor, by start time."),
    Good(LATEST, "fee_rate", "Share of the payment kept as fee: 0.025 since 1 April 2021."),
    Good(LATEST, "fee_rate", "Fee as a share of the payment, 2.5% from 2021-04-01 on."),
    # Names and values
    Good(ORDERS, "order_status", "Progress of the order: 'done' once shipped, 'open' before that."),
    Good(
        ORDERS, "order_status", "`done` if `state` is `shipped`, `open` if `new` or `in_progress`."
    ),
    Good(ORDERS, "order_status", "Progress of the order, “in progress” counted as “open”."),
    Good(ORDERS, "net_amount", "Price of the items in euros: `amount_cents / 100`."),
    Good(ORDERS, "created_at", "When the order was placed, in UTC, as `YYYY-MM-DD HH:MM:SS`."),
    Good(ORDERS, "order_date", "Day of the order (YYYY-MM-DD), cut from `raw_orders.created_at`."),
    Good(DAILY, "app_amount", "Dollars sold through the `app`; 0 where there was none."),
    Good(DAILY, "customer_count", "Unique customers who bought something that day."),
    Good(DAILY, "customer_count", "Number of unique customers, `count(distinct customer_id)`."),
    Good(SESSIONS, "utm_source", "Campaign source of the visit, `direct` where it is `null`."),
    Good(SESSIONS, "session_number", "Position of the visit: `row_number()` per `visitor_id`."),
    Good(
        LINES, "tier", "Level of the customers' contract in the suppliers' programme: gold to none."
    ),
    Good(
        LINES,
        "orderTotal",
        "Total of the whole order, the same in each of its lines (`order_total`).",
    ),
    Good(ORDERS, "loyalty_id", "Number on the 'loyalty programme' card."),
    # Restating is no fault where there is no more to say
    Good(DAILY, "sale_count", "Sale count."),
    Good(STAGING, "open_days", "Open days."),
    Good(STAGING, "store_id", "Store id."),
    # Words that look like filler, hedges and openers
    Good(LINES, "may_sales", "Sales in May of the current year."),
    Good(LINES, "may_sales", "Pieces sold from april to may, returns taken off."),
    Good(LINES, "allowed_seats", "Seats that the contract allows, guests left out."),
    Good(STAGING, "mystery", "How likely the store is to close, as the ERP scores it."),
    Good(STAGING, "mystery", "Text on the sign, e.g. `This column may be useful`."),
    Good(STAGING, "mystery", "Table number that the waiter was assigned."),
    Good(STAGING, "mystery", "Currency used for the price list of the store."),
    # Other languages and scripts
    Good(ORDERS, "order_id", "Die Nummer, die der Shop auf die Rechnung druckt."),
    Good(ORDERS, "order_status", "Stand der Bestellung, „erledigt“ nach dem Versand."),
    Good(ORDERS, "customer_id", "Identifiant unique du client qui a passé la commande."),
    Good(ORDERS, "gross_amount", "Importe con 19 % de IVA, en euros."),
    Good(ORDERS, "vat_amount", "Umsatzsteuer von 19 % auf den Nettobetrag (0,19)."),
    Good(ORDERS, "created_at", "注文が作成された日時(UTC)。"),
    Good(ORDERS, "created_at", "Когда был создан заказ, UTC."),
    Good(ORDERS, "customer_id", "معرف العميل الذي قدم الطلب."),
    Good(DAILY, "total_amount", "Kabuuang halaga na may kasamang buwis ng mga order sa araw."),
]


class Bad(NamedTuple):
    node: NodeEvidence
    column: str
    text: str
    kind: Kind
    named: str
    """What the message must name."""


BAD = [
    Bad(ORDERS, "net_amount", "The net amount.", Kind.RESTATES_NAME, "amount_cents"),
    Bad(ORDERS, "order_status", "Status of the order.", Kind.RESTATES_NAME, "CASE WHEN"),
    Bad(ORDERS, "order_id", "Identifier for this order.", Kind.RESTATES_NAME, "invoice"),
    Bad(ORDERS, "loyalty_id", "Loyalty ID", Kind.RESTATES_NAME, "loyalty card"),
    Bad(ORDERS, "created_at", "Timestamp when it was created.", Kind.RESTATES_NAME, "placed"),
    Bad(DAILY, "app_amount", "The amount of the app.", Kind.RESTATES_NAME, "channel"),
    Bad(DAILY, "", "Daily sales facts.", Kind.RESTATES_NAME, "fct_daily_sales"),
    Bad(
        SESSIONS, "previous_started_at", "Previously started at.", Kind.RESTATES_NAME, "visitor_id"
    ),
    Bad(LINES, "tier", "The respective tier.", Kind.RESTATES_NAME, "'gold'"),
    Bad(LINES, "sku", "SKU value", Kind.RESTATES_NAME, "products.sku"),
    Bad(
        ORDERS, "loyalty_id", "Unique number on the loyalty card.", Kind.UNIQUENESS, "Unique number"
    ),
    Bad(ORDERS, "loyalty_id", "Primary key of loyalty cards.", Kind.UNIQUENESS, "Primary key"),
    Bad(ORDERS, "customer_id", "Who ordered; one row per customer.", Kind.UNIQUENESS, "customer"),
    Bad(ORDERS, "created_at", "When it was placed, is unique.", Kind.UNIQUENESS, "is unique"),
    Bad(LINES, "order_id", "Uniquely identifies what was sold.", Kind.UNIQUENESS, "Uniquely"),
    Bad(LINES, "line_no", "Unique position on the receipt, unique.", Kind.UNIQUENESS, "unique"),
    Bad(LINES, "sku", "Unique product code of the ERP.", Kind.UNIQUENESS, "Unique product code"),
    Bad(SESSIONS, "visitor_id", "Unique cookie id of the browser.", Kind.UNIQUENESS, "cookie id"),
    Bad(DAILY, "last_sale_at", "Time of the latest sale, unique.", Kind.UNIQUENESS, "unique"),
    Bad(ORDERS, "net_amount", "Euros from `price_cents`.", Kind.NOT_IN_EVIDENCE, "price_cents"),
    Bad(ORDERS, "net_amount", "Euros, see tax_rate for VAT.", Kind.NOT_IN_EVIDENCE, "tax_rate"),
    Bad(ORDERS, "gross_amount", "Price in euros with 20 % VAT.", Kind.NOT_IN_EVIDENCE, "20%"),
    Bad(BUILT, "is_late", "Whether it came 15 minutes late.", Kind.BUILD_VALUE, '"15"'),
    Bad(BUILT, "due_from", "Payment date minus 7 days.", Kind.BUILD_VALUE, "7 days"),
    Bad(BUILT, "due_from", "Payment date less a 7-day term.", Kind.BUILD_VALUE, "7 days"),
    Bad(BUILT, "target", "Always '(set by the build)'.", Kind.BUILD_VALUE, "(set by"),
    Bad(ORDERS, "is_recent", "Placed in the last 90 days.", Kind.NOT_IN_EVIDENCE, "90"),
    Bad(ORDERS, "order_status", "Progress: 'done' or 'lost'.", Kind.NOT_IN_EVIDENCE, "lost"),
    Bad(ORDERS, "order_status", "Progress, `returned` last.", Kind.NOT_IN_EVIDENCE, "returned"),
    Bad(ORDERS, "created_at", "Time in UTC, since 2019.", Kind.NOT_IN_EVIDENCE, "2019"),
    Bad(ORDERS, "order_hour", "Hour in UTC, 0 to 48.", Kind.NOT_IN_EVIDENCE, "48"),
    Bad(DAILY, "app_amount", "Dollars sold by “phone”.", Kind.NOT_IN_EVIDENCE, "phone"),
    Bad(DAILY, "app_amount", "Sold 'by courier'.", Kind.NOT_IN_EVIDENCE, "by courier"),
    Bad(DAILY, "app_amount", "Sold for over 1,500 dollars.", Kind.NOT_IN_EVIDENCE, "1,500"),
    Bad(SESSIONS, "utm_source", "Campaign, joined to `ads.id`.", Kind.NOT_IN_EVIDENCE, "ads"),
    Bad(STAGING, "", "Stores joined with erp_regions.", Kind.NOT_IN_EVIDENCE, "erp_regions"),
    Bad(
        LATEST, "state", "Last state; der Wert `bezahlt_neu`.", Kind.NOT_IN_EVIDENCE, "bezahlt_neu"
    ),
    Bad(ORDERS, "phone", f"Phone {'number and so on ' * 14}.", Kind.TOO_LONG, "57 words"),
    Bad(LINES, "", f"Lines{' of orders' * 20}.", Kind.TOO_LONG, "41 words"),
    Bad(ORDERS, "net_amount", "This column is the price in euros.", Kind.WORDING, '"This column"'),
    Bad(
        ORDERS,
        "net_amount",
        "The `net_amount` column contains euros.",
        Kind.WORDING,
        "column contains",
    ),
    Bad(ORDERS, "net_amount", "A column that holds euros.", Kind.WORDING, "A column that"),
    Bad(ORDERS, "net_amount", "Column representing euros.", Kind.WORDING, "Column representing"),
    Bad(ORDERS, "", "This table has orders and customers.", Kind.WORDING, "This table"),
    Bad(ORDERS, "created_at", "Order time, useful for trends.", Kind.WORDING, "useful for"),
    Bad(ORDERS, "created_at", "Order time, used for cohort analysis.", Kind.WORDING, "used for"),
    Bad(ORDERS, "created_at", "Order time, which allows filters.", Kind.WORDING, "which allows"),
    Bad(ORDERS, "created_at", "Order time; helps planning.", Kind.WORDING, "helps"),
    Bad(ORDERS, "", "Orders; provides insights into sales.", Kind.WORDING, "provides insights"),
    Bad(ORDERS, "", "Orders by customer, enabling reports.", Kind.WORDING, "enabling"),
    Bad(STAGING, "mystery", "Likely a flag of the ERP.", Kind.WORDING, "likely"),
    Bad(STAGING, "mystery", "Mark of the ERP that may be empty.", Kind.WORDING, "may"),
    Bad(STAGING, "mystery", "A mark of the ERP, might be old.", Kind.WORDING, "might"),
    Bad(STAGING, "mystery", "Possibly the mark of the ERP.", Kind.WORDING, "possibly"),
    Bad(STAGING, "mystery", "Presumably a mark of the ERP.", Kind.WORDING, "presumably"),
    Bad(STAGING, "mystery", "Appears to be a mark of the ERP.", Kind.WORDING, "appears to be"),
]
