"""Hand-labelled SELECTs: of each output column "kind leaf, leaf = expression".

The expression part is optional. "plain" stands before any other kind than pass, rename and cast
whose values are nothing but those of the leaves. A label says what the database does, not what the
reader happens to answer. `ABSENT` are names that must not be among the output columns.
"""

from __future__ import annotations

from typing import NamedTuple

Schema = dict[str, list[str]]

ORDERS: Schema = {"raw.orders": ["id", "customer_id", "amount", "status", "created_at"]}
SHOP: Schema = {
    **ORDERS,
    "raw.customers": ["id", "name", "email"],
    "raw.payments": ["id", "order_id", "amount", "method"],
}


class Case(NamedTuple):
    name: str
    dialect: str | None
    schema: Schema | None
    sql: str
    columns: dict[str, str]
    absent: tuple[str, ...] = ()


CASES = [
    Case(
        "plain columns",
        "postgres",
        None,
        "select id, Status as STATUS, amount as total from raw.orders",
        {
            "id": "pass raw.orders.id = id",
            "STATUS": "pass raw.orders.Status",
            "total": "rename raw.orders.amount = amount",
        },
    ),
    Case(
        "casts",
        "snowflake",
        None,
        "select id::varchar as id, cast(ts as date) as d, try_cast((x::varchar) as int) as n,"
        " cast('2020-01-01' as date) as epoch, cast(a + b as int) as s from raw.t",
        {
            "id": "cast raw.t.id = CAST(id AS VARCHAR)",
            "d": "cast raw.t.ts = CAST(ts AS DATE)",
            "n": "cast raw.t.x",
            "epoch": "literal",
            "s": "derived raw.t.a, raw.t.b",
        },
    ),
    Case(
        "literals",
        "postgres",
        None,
        "select 'web' as channel, 1 + 1 as two, null as nothing, current_timestamp as loaded_at,"
        " true as flag, count(*) as n, gen_random_uuid() as key from raw.t",
        {
            "channel": "literal = 'web'",
            "two": "literal = 1 + 1",
            "nothing": "literal = NULL",
            "loaded_at": "literal",
            "flag": "literal = TRUE",
            "n": "aggregate = COUNT(*)",
            "key": "derived",
        },
    ),
    Case(
        "import, rename and final CTE without a schema",
        "duckdb",
        None,
        "with source as (select * from raw.orders), renamed as (select id as order_id,"
        " amount / 100 as amount from source) select * from renamed",
        {
            "order_id": "rename raw.orders.id = id",
            "amount": "derived raw.orders.amount = amount / 100",
        },
    ),
    Case(
        "rename back to the first name",
        None,
        None,
        "with a as (select id as order_id from raw.orders) select order_id as id from a",
        {"id": "pass raw.orders.id = id"},
    ),
    Case(
        "cast of a cast through CTEs",
        "bigquery",
        None,
        "with a as (select cast(x as string) as y from t), b as (select safe_cast(y as int64) as z"
        " from a) select z, z + 1 as n from b",
        {
            "z": "cast t.x = SAFE_CAST(CAST(x AS STRING) AS INT64)",
            "n": "derived t.x = SAFE_CAST(CAST(x AS STRING) AS INT64) + 1",
        },
    ),
    Case(
        "parentheses where an operator enters another",
        "postgres",
        None,
        "with a as (select x + y as s, x as x from t) select s * 2 as d, s as p, round(s) as r,"
        " -s as m, s || 'a' as c, (x) as x from a",
        {
            "d": "derived t.x, t.y = (x + y) * 2",
            "p": "derived t.x, t.y = x + y",
            "r": "derived t.x, t.y = ROUND(x + y)",
            "m": "derived t.x, t.y = -(x + y)",
            "c": "derived t.x, t.y = (x + y) || 'a'",
            "x": "pass t.x = x",
        },
    ),
    Case(
        "star over an unknown table invents nothing",
        "snowflake",
        None,
        "select *, a + b as c from db.s.t",
        {"c": "derived db.s.t.a, db.s.t.b"},
        ("a", "b", "*", ""),
    ),
    Case(
        "star over a known table",
        "snowflake",
        ORDERS,
        "select * from raw.orders",
        {
            "id": "pass raw.orders.id",
            "customer_id": "pass raw.orders.customer_id",
            "amount": "pass raw.orders.amount",
            "status": "pass raw.orders.status",
            "created_at": "pass raw.orders.created_at",
        },
    ),
    Case(
        "star except and replace",
        "bigquery",
        ORDERS,
        "select * except (status, created_at) replace (amount / 100 as amount) from raw.orders",
        {
            "id": "pass raw.orders.id",
            "customer_id": "pass raw.orders.customer_id",
            "amount": "derived raw.orders.amount = amount / 100",
        },
        ("status", "created_at"),
    ),
    Case(
        "star exclude and rename",
        "snowflake",
        ORDERS,
        "select o.* exclude (created_at) rename (id as order_id) from raw.orders o",
        {
            "order_id": "rename raw.orders.id",
            "customer_id": "pass raw.orders.customer_id",
            "amount": "pass raw.orders.amount",
            "status": "pass raw.orders.status",
        },
        ("id", "created_at"),
    ),
    Case(
        "star exclude and rename over an unknown table, read further down",
        "snowflake",
        None,
        "with a as (select * exclude (secret) rename (id as order_id) from raw.orders)"
        " select order_id, amount, id, secret from a",
        {
            "order_id": "rename raw.orders.id",
            "amount": "pass raw.orders.amount",
            "id": "unknown",
            "secret": "unknown",
        },
    ),
    Case(
        "star replace over an unknown table",
        "duckdb",
        None,
        "with a as (select * replace (upper(name) as name) from t) select name, id from a",
        {"name": "derived t.name = UPPER(name)", "id": "pass t.id"},
    ),
    Case(
        "redshift exclude at the end of the list",
        "redshift",
        ORDERS,
        "with a as (select * exclude (status) from raw.orders) select * from a",
        {
            "id": "pass raw.orders.id",
            "customer_id": "pass raw.orders.customer_id",
            "amount": "pass raw.orders.amount",
            "created_at": "pass raw.orders.created_at",
        },
        ("status",),
    ),
    Case(
        "duckdb column patterns are not guessed",
        "duckdb",
        ORDERS,
        "with a as (select columns('a.*') from raw.orders) select *, amount from a",
        {"amount": "unknown"},
        ("id", "status"),
    ),
    Case(
        "two unknown relations, unqualified column",
        "postgres",
        None,
        "select amount, o.id, c.name as customer from orders o join customers c on o.cid = c.id",
        {
            "amount": "unknown",
            "id": "pass orders.id = orders.id",
            "customer": "rename customers.name = customers.name",
        },
    ),
    Case(
        "unqualified columns and a schema",
        "postgres",
        SHOP,
        "select name, status, o.id, method from raw.orders o"
        " left join raw.customers c on o.customer_id = c.id"
        " left join raw.payments p on p.order_id = o.id",
        {
            "name": "pass raw.customers.name = customers.name",
            "status": "pass raw.orders.status",
            "id": "pass raw.orders.id",
            "method": "pass raw.payments.method",
        },
    ),
    Case(
        "one known and one unknown relation",
        "postgres",
        ORDERS,
        "select status, channel from raw.orders o join raw.extra e on e.id = o.id",
        {"status": "pass raw.orders.status", "channel": "pass raw.extra.channel"},
    ),
    Case(
        "stars of two unknown relations",
        "snowflake",
        None,
        "with j as (select o.*, c.* from orders o join customers c on o.cid = c.id),"
        " k as (select o.*, c.name from orders o join customers c on o.cid = c.id)"
        " select j.x, k.name, k.amount from j join k on j.id = k.id",
        {
            "x": "unknown",
            "name": "pass customers.name",
            "amount": "pass orders.amount",
        },
    ),
    Case(
        "self join",
        "postgres",
        None,
        "select e.name, m.name as manager from staff e left join staff m on e.manager_id = m.id",
        {"name": "pass staff.name = e.name", "manager": "rename staff.name = m.name"},
    ),
    Case(
        "two tables of one bare name",
        "postgres",
        None,
        "select a.id, b.id as other, a.x + b.x as s from s1.t a join s2.t b on a.id = b.id",
        {
            "id": "pass s1.t.id = s1.t.id",
            "other": "rename s2.t.id = s2.t.id",
            "s": "derived s1.t.x, s2.t.x = s1.t.x + s2.t.x",
        },
    ),
    Case(
        "columns qualified by schema and table",
        "snowflake",
        None,
        "select raw.orders.id, orders.amount from raw.orders"
        " join raw.lines on lines.oid = orders.id",
        {"id": "pass raw.orders.id", "amount": "pass raw.orders.amount"},
    ),
    Case(
        "using: inner and left take the left side, right the right, full both",
        "postgres",
        {"a": ["id", "x"], "b": ["id", "y"]},
        "with l as (select id, y from a left join b using (id)),"
        " r as (select id from a right join b using (id)),"
        " f as (select id from a full join b using (id))"
        " select l.id, l.y, r.id as rid, f.id as fid from l, r, f",
        {
            "id": "pass a.id",
            "y": "pass b.y",
            "rid": "rename b.id",
            "fid": "derived a.id, b.id = COALESCE(a.id, b.id)",
        },
    ),
    Case(
        "using without a schema",
        "snowflake",
        None,
        "select id, a.x, b.y, z from a join b using (id)",
        {"id": "pass a.id", "x": "pass a.x", "y": "pass b.y", "z": "unknown"},
    ),
    Case(
        "star over a using join",
        "postgres",
        {"a": ["x", "id"], "b": ["id", "y"]},
        "select * from a join b using (id)",
        {"id": "pass a.id", "x": "pass a.x", "y": "pass b.y"},
    ),
    Case(
        "natural join",
        "postgres",
        {"a": ["id", "x"], "b": ["id", "y"]},
        "select id, x, y from a natural join b",
        {"id": "pass a.id", "x": "pass a.x", "y": "pass b.y"},
    ),
    Case(
        "natural join of unknown relations",
        "postgres",
        {"a": ["id", "x"]},
        "select id, x from a natural full join b",
        {"id": "unknown", "x": "unknown"},
    ),
    Case(
        "semi join shows the left side only",
        "spark",
        None,
        "with j as (select * from orders o left semi join vip v on o.cid = v.cid) select id from j",
        {"id": "pass orders.id"},
    ),
    Case(
        "lateral alias with a schema",
        "snowflake",
        ORDERS,
        "select amount / 100 as usd, usd * 2 as twice, status as id, upper(id) as u"
        " from raw.orders",
        {
            "usd": "derived raw.orders.amount = amount / 100",
            "twice": "derived raw.orders.amount = (amount / 100) * 2",
            "id": "rename raw.orders.status",
            "u": "derived raw.orders.id = UPPER(id)",
        },
    ),
    Case(
        "lateral alias without a schema is a guess, unless the alias reads its own name",
        "snowflake",
        None,
        "select a / 100 as usd, usd * 2 as twice, trim(name) as name, upper(name) as u from t",
        {
            "usd": "derived t.a",
            "twice": "unknown",
            "name": "derived t.name",
            "u": "derived t.name = UPPER(name)",
        },
    ),
    Case(
        "no lateral aliases in postgres",
        "postgres",
        None,
        "select a / 100 as usd, usd * 2 as twice from t",
        {"usd": "derived t.a", "twice": "derived t.usd = usd * 2"},
    ),
    Case(
        "clickhouse prefers the alias",
        "clickhouse",
        {"t": ["a", "b"]},
        "select lower(a) as b, b as c from t",
        {"b": "derived t.a", "c": "derived t.a"},
    ),
    Case(
        "clickhouse scalar WITH",
        "clickhouse",
        {"t": ["a", "d"]},
        "with 1 as k, (select max(d) from t) as m select k, m, a from t",
        {"k": "literal", "m": "derived t.d", "a": "pass t.a"},
    ),
    Case(
        "clickhouse array join",
        "clickhouse",
        {"t": ["id", "items"]},
        "select id, item from t array join items as item",
        {"id": "pass t.id", "item": "derived t.items"},
    ),
    Case(
        "inner CTE shadows the outer one and the table",
        "postgres",
        None,
        "with a as (select x as v from t1), b as (with a as (select y as v from t2)"
        " select v from a) select b.v, a.v as w from a, b",
        {"v": "rename t2.y", "w": "rename t1.x"},
    ),
    Case(
        "CTE named like the table it reads",
        "postgres",
        None,
        "with orders as (select id, amount * 2 as amount from orders)"
        " select id, amount from orders",
        {"id": "pass orders.id", "amount": "derived orders.amount = amount * 2"},
    ),
    Case(
        "CTE named like a qualified table",
        "bigquery",
        None,
        "with orders as (select * from `p-1.raw.orders`) select id from orders",
        {"id": "pass p-1.raw.orders.id = id"},
    ),
    Case(
        "a quoted table is not the CTE of the folded name",
        "postgres",
        None,
        'with orders as (select 1 as id) select id from "Orders"',
        {"id": "pass Orders.id"},
    ),
    Case(
        "CTE column list",
        "postgres",
        None,
        "with a(k, v) as (select id, x + 1 from t) select k, v from a",
        {"k": "rename t.id", "v": "derived t.x"},
    ),
    Case(
        "CTE column list over a star",
        "postgres",
        None,
        "with a(k, v) as (select * from t) select k, v from a",
        {"k": "unknown", "v": "unknown"},
    ),
    Case(
        "subquery in FROM",
        "postgres",
        None,
        "select q.s as total, q.k from (select k, sum(x) as s from t group by k) as q",
        {"total": "aggregate t.x = SUM(x)", "k": "pass t.k"},
    ),
    Case(
        "aggregates and arithmetic on them",
        "snowflake",
        None,
        "with a as (select k, sum(x) as s, count(distinct y) as n, listagg(z, ',') as l,"
        " max(case when x > 0 then ts end) as last_ts, any_value(q) as q from t group by 1)"
        " select k, s, s / nullif(n, 0) as mean, l, last_ts, q from a",
        {
            "k": "pass t.k",
            "s": "aggregate t.x = SUM(x)",
            "mean": "aggregate t.x, t.y = SUM(x) / NULLIF(COUNT(DISTINCT y), 0)",
            "l": "aggregate t.z",
            "last_ts": "aggregate t.x, t.ts",
            "q": "aggregate t.q",
        },
    ),
    Case(
        "windows beat aggregates",
        "postgres",
        None,
        "select row_number() over (partition by k order by ts desc) as rn,"
        " sum(sum(x)) over (order by k) as running, lag(x) over w as before, x"
        " from t group by k, x window w as (partition by k order by ts)",
        {
            "rn": "window t.k, t.ts = ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC)",
            "running": "window t.x, t.k",
            "before": "window t.x, t.k, t.ts = LAG(x) OVER (PARTITION BY k ORDER BY ts)",
            "x": "pass t.x",
        },
    ),
    Case(
        "qualify",
        "snowflake",
        None,
        "select id, status, row_number() over (partition by id order by ts desc) as rn"
        " from t qualify rn = 1",
        {
            "id": "pass t.id",
            "status": "pass t.status",
            "rn": "window t.id, t.ts",
        },
    ),
    Case(
        "filter clause and within group",
        "postgres",
        None,
        "select count(*) filter (where status = 'ok') as oks,"
        " percentile_cont(0.5) within group (order by x) as med from t",
        {"oks": "aggregate t.status", "med": "aggregate t.x"},
    ),
    Case(
        "case",
        "postgres",
        None,
        "select case when status = 'a' then x when kind > 1 then y else 0 end as v from t",
        {"v": "derived t.status, t.x, t.kind, t.y"},
    ),
    Case(
        "union all of the same column and of different ones",
        "postgres",
        None,
        "select id, x as v, 'a' as src from t where k = 1 union all"
        " select id, y, 'b' from t where k = 2",
        {
            "id": "pass t.id = id",
            "v": "plain union t.x, t.y = x UNION ALL y",
            "src": "union = 'a' UNION ALL 'b'",
        },
    ),
    Case(
        "union of two tables in a CTE, used further",
        "snowflake",
        None,
        "with u as (select id, amount from web union all select oid, total from store)"
        " select id, amount, amount * 2 as twice, sum(amount) as s from u group by 1, 2, 3",
        {
            "id": "plain union web.id, store.oid = web.id UNION ALL store.oid",
            "amount": "plain union web.amount, store.total",
            "twice": "derived web.amount, store.total = amount * 2",
            "s": "aggregate web.amount, store.total = SUM(amount)",
        },
    ),
    Case(
        "union of the same expression of the same column",
        "postgres",
        None,
        "select upper(a) as a, cast(b as int) as b, sum(c) as c from t where x group by 1, 2"
        " union select upper(a), cast(b as int), sum(c) from t where not x group by 1, 2",
        {"a": "derived t.a = UPPER(a)", "b": "cast t.b", "c": "aggregate t.c"},
    ),
    Case(
        "union with an unresolved branch or another width",
        "postgres",
        None,
        "select a as a, b as b from t union all select x, t2.y from t2, t3",
        {"a": "unknown", "b": "plain union t.b, t2.y"},
    ),
    Case(
        "union of unknown stars",
        "snowflake",
        None,
        "with u as (select * from a union all select * from b),"
        " v as (select * from a where x union all select * from a where y)"
        " select u.id, v.id as vid from u, v",
        {"id": "unknown", "vid": "rename a.id"},
    ),
    Case(
        "union of known stars goes by position",
        "snowflake",
        {"a": ["id", "x"], "b": ["x", "id"]},
        "select * from a union all select * from b",
        {"id": "plain union a.id, b.x", "x": "plain union a.x, b.id"},
    ),
    Case(
        "union by name",
        "duckdb",
        {"a": ["id", "x"], "b": ["x", "id"]},
        "select * from a union all by name select * from b",
        {"id": "plain union a.id, b.id", "x": "plain union a.x, b.x"},
    ),
    Case(
        "except and intersect",
        "postgres",
        None,
        "(select id from a except select id from b) intersect select id from c",
        {"id": "plain union a.id, b.id, c.id"},
    ),
    Case(
        "recursive CTE",
        "postgres",
        None,
        "with recursive tree as (select id, parent_id, 1 as depth, name as root from nodes"
        " where parent_id is null union all select n.id, n.parent_id, t.depth + 1, t.root"
        " from nodes n join tree t on n.parent_id = t.id) select * from tree",
        {
            "id": "pass nodes.id",
            "parent_id": "pass nodes.parent_id",
            "depth": "unknown",
            "root": "rename nodes.name",
        },
    ),
    Case(
        "recursive without the keyword",
        "tsql",
        None,
        "with tree as (select id, pid as pid from nodes union all select n.id, t.pid"
        " from nodes n join tree t on n.pid = t.id) select id, pid from tree",
        {"id": "pass nodes.id", "pid": "pass nodes.pid"},
    ),
    Case(
        "correlated scalar subquery",
        "postgres",
        SHOP,
        "select o.id, (select max(p.amount) from raw.payments p where p.order_id = o.id) as paid"
        " from raw.orders o",
        {
            "id": "pass raw.orders.id",
            "paid": "derived raw.payments.amount, raw.payments.order_id, raw.orders.id"
            " = (SELECT MAX(p.amount) FROM payments AS p WHERE p.order_id = orders.id)",
        },
    ),
    Case(
        "exists and in",
        "postgres",
        SHOP,
        "select exists (select 1 from raw.payments p where p.order_id = o.id) as is_paid,"
        " o.customer_id in (select id from raw.customers where email is not null) as known"
        " from raw.orders o",
        {
            "is_paid": "derived raw.payments.order_id, raw.orders.id",
            "known": "derived raw.orders.customer_id, raw.customers.id, raw.customers.email",
        },
    ),
    Case(
        "unqualified names in a correlated subquery over unknown tables",
        "postgres",
        None,
        "select id, (select count(*) from payments where order_id = customer_order_id) as n"
        " from orders",
        {"id": "pass orders.id", "n": "unknown"},
    ),
    Case(
        "lateral subquery",
        "postgres",
        None,
        "select o.id, l.last_paid from orders o left join lateral (select max(p.ts) as last_paid"
        " from payments p where p.order_id = o.id) l on true",
        {"id": "pass orders.id", "last_paid": "aggregate payments.ts"},
    ),
    Case(
        "bigquery unnest",
        "bigquery",
        None,
        "select o.id, item.sku, item.price * 2 as p2, pos from orders o,"
        " unnest(o.items) as item with offset as pos",
        {
            "id": "pass orders.id",
            "sku": "derived orders.items = UNNEST(items).sku",
            "p2": "derived orders.items",
            "pos": "derived orders.items",
        },
    ),
    Case(
        "bigquery unnest: a bare name could be a field of the element",
        "bigquery",
        None,
        "select id, item from orders, unnest(items) as item",
        {"id": "unknown", "item": "derived orders.items"},
    ),
    Case(
        "redshift unnest",
        "redshift",
        None,
        "select o.id, item.sku from orders o, o.items as item",
        {"id": "pass orders.id", "sku": "derived orders.items"},
    ),
    Case(
        "trino unnest",
        "trino",
        None,
        "select x, n, t.id from t cross join unnest(items) with ordinality as u (x, n)",
        {"x": "derived t.items", "n": "derived t.items", "id": "pass t.id"},
    ),
    Case(
        "spark lateral view",
        "databricks",
        None,
        "select t.id, e.item, item as other from t lateral view explode(t.items) e as item",
        {
            "id": "pass t.id",
            "item": "derived t.items",
            "other": "derived t.items = EXPLODE(items)",
        },
    ),
    Case(
        "snowflake flatten and paths",
        "snowflake",
        None,
        "select t.id, f.value:sku::varchar as sku, f.index as pos,"
        " t.payload:customer.id::int as cid, t.payload['a'] as a"
        " from raw.events t, lateral flatten(input => t.payload:items) f",
        {
            "id": "pass raw.events.id",
            "sku": "derived raw.events.payload",
            "pos": "derived raw.events.payload",
            "cid": "derived raw.events.payload",
            "a": "derived raw.events.payload",
        },
    ),
    Case(
        "postgres json operators and table functions",
        "postgres",
        None,
        "select payload ->> 'a' as a, (payload -> 'b' ->> 'c')::int as c from t",
        {"a": "derived t.payload", "c": "derived t.payload"},
    ),
    Case(
        "a table function's own columns are not the table's",
        "postgres",
        None,
        "select t.id, kv.key, value from t, jsonb_each(t.payload) as kv",
        {"id": "pass t.id", "key": "derived t.payload", "value": "unknown"},
    ),
    Case(
        "bigquery structs",
        "bigquery",
        {"t": ["id", "address"]},
        "with a as (select id, address.city, t.address.zip as zip,"
        " struct(id as i, address.city as c) as s from t) select city, zip, s, s.c from a",
        {
            "city": "derived t.address = address.city",
            "zip": "derived t.address = address.zip",
            "s": "derived t.id, t.address",
            "c": "derived t.id, t.address",
        },
    ),
    Case(
        "whole rows are not columns",
        "bigquery",
        None,
        "select to_json_string(t) as j, count(t) as n from t",
        {"j": "unknown", "n": "unknown"},
    ),
    Case(
        "functions of a star",
        "snowflake",
        ORDERS,
        "select hash(*) as h, count(*) as n, count(distinct o.*) as d from raw.orders o",
        {"h": "unknown", "n": "aggregate", "d": "aggregate"},
    ),
    Case(
        "pivot",
        "snowflake",
        {"t": ["id", "k", "v"]},
        "with p as (select * from t pivot (sum(v) for k in ('a', 'b')) as p (id, a, b))"
        " select id, a, v from p",
        {"id": "pass t.id", "a": "unknown", "v": "unknown"},
    ),
    Case(
        "unpivot",
        "bigquery",
        {"t": ["id", "a", "b"]},
        "select id, v, n from t unpivot (v for n in (a, b))",
        {"id": "pass t.id", "v": "unknown", "n": "unknown"},
    ),
    Case(
        "values",
        "postgres",
        None,
        "select v.code, upper(v.label) as label, t.id from (values (1, 'a'), (2, 'b'))"
        " as v (code, label) join t on t.code = v.code",
        {"code": "literal", "label": "literal", "id": "pass t.id"},
    ),
    Case(
        "series",
        "postgres",
        None,
        "select n, n * 2 as m from generate_series(1, 10) as g (n)",
        {"n": "derived", "m": "derived"},
    ),
    Case(
        "table functions without arguments from tables",
        "duckdb",
        None,
        "select id from read_csv('x.csv')",
        {"id": "unknown"},
    ),
    Case(
        "staged files",
        "snowflake",
        None,
        "select $1 as a, t.$2 as b, metadata$filename as f from @stage/x t",
        {"a": "unknown", "b": "unknown", "f": "unknown"},
    ),
    Case(
        "quoted and mixed-case names",
        "snowflake",
        None,
        'with a as (select "Order Id" as "Oid", ID, "order" as o from "DB"."S"."T")'
        ' select "Oid" as oid, id as "Id", o from a',
        {
            "oid": 'rename DB.S.T.Order Id = "Order Id"',
            "Id": "pass DB.S.T.ID = ID",
            "o": "rename DB.S.T.order",
        },
    ),
    Case(
        "columns that differ only in case",
        "postgres",
        {"t": ["id", "Id"]},
        'select id as a, "Id" as b from t',
        {"a": "rename t.id", "b": "rename t.Id"},
    ),
    Case(
        "two columns of one name in a CTE",
        "duckdb",
        None,
        "with j as (select a.id, b.id, a.x from a join b on a.id = b.id) select id, x from j",
        {"id": "pass a.id", "x": "pass a.x"},
    ),
    Case(
        "date parts are not columns",
        "snowflake",
        None,
        "select dateadd(month, 1, d) as a, datediff(day, d, e) as b, date_trunc(week, d) as c,"
        " date_part(year, d) as y, extract(hour from d) as h, month from t",
        {
            "a": "derived t.d",
            "b": "derived t.d, t.e",
            "c": "derived t.d",
            "y": "derived t.d",
            "h": "derived t.d",
            "month": "pass t.month",
        },
    ),
    Case(
        "pseudo columns",
        "snowflake",
        None,
        "select sysdate as a, seq.nextval as b, current_date as c, sysdate() as d from t",
        {"a": "literal", "b": "unknown", "c": "literal", "d": "literal"},
    ),
    Case(
        "lambdas and list comprehensions",
        "duckdb",
        None,
        "select list_transform(xs, x -> x + y) as a, [z for z in xs if z > 1] as b from t",
        {"a": "derived t.xs, t.y", "b": "unknown"},
    ),
    Case(
        "user-defined functions",
        "snowflake",
        None,
        "select util.f.clean(name) as name, my_agg(x) as s from t",
        {"name": "derived t.name", "s": "aggregate t.x"},
    ),
    Case(
        "tsql aliases and cross apply",
        "sqlserver",
        None,
        "select total = o.a + o.b, [o].[Name], x.v from [dbo].[orders] o"
        " cross apply (select max(p.v) as v from pays p where p.oid = o.id) x",
        {
            "total": "derived dbo.orders.a, dbo.orders.b",
            "Name": "pass dbo.orders.Name",
            "v": "aggregate pays.v",
        },
    ),
    Case(
        "openjson",
        "tsql",
        None,
        "select j.a, o.id from orders o cross apply openjson(o.doc) with (a int '$.a') j",
        {"a": "derived orders.doc", "id": "pass orders.id"},
    ),
    Case(
        "from first",
        "duckdb",
        None,
        "from raw.orders select id, amount as a",
        {"id": "pass raw.orders.id", "a": "rename raw.orders.amount"},
    ),
    Case(
        "parenthesised join",
        "postgres",
        None,
        "select a.x, b.y from (a join b on a.id = b.id)",
        {"x": "pass a.x", "y": "pass b.y"},
    ),
    Case(
        "comments, hints and a semicolon",
        "snowflake",
        None,
        "/* {{ config }} */ -- model\nselect id, -- the key {{ x }}\n"
        "  '{{ y }}' as j from t; -- end",
        {"id": "pass t.id = id", "j": "literal = '{{ y }}'"},
    ),
    Case(
        "unaliased expressions have no name",
        "snowflake",
        None,
        "with a as (select id, count(*), max(x) from t group by 1) select * from a",
        {"id": "pass t.id"},
        ("count", "COUNT(*)", "max", ""),
    ),
    Case(
        "unaliased cast in postgres keeps the name",
        "postgres",
        None,
        "with a as (select id::text from t) select id from a",
        {"id": "cast t.id"},
    ),
    Case(
        "match_recognize makes its own columns",
        "snowflake",
        None,
        "select a, d from t match_recognize (partition by a order by b measures c as d"
        " pattern (x) define x as c > 1) m",
        {"a": "unknown", "d": "unknown"},
    ),
    Case(
        "a schema that lacks a new column, by elimination",
        "postgres",
        SHOP,
        "with o as (select * from raw.orders) select o.brand_new, o.id, colour from o",
        {
            "brand_new": "pass raw.orders.brand_new",
            "id": "pass raw.orders.id",
            "colour": "pass raw.orders.colour",
        },
    ),
    Case(
        "a CTE does not get columns by elimination",
        "postgres",
        None,
        "with a as (select id from t) select a.missing, a.id from a",
        {"missing": "unknown", "id": "pass t.id"},
    ),
    Case(
        "group by all, having, order by",
        "duckdb",
        None,
        "select k, upper(c) as c, sum(v) as v from t group by all having sum(v) > 1 order by 1",
        {"k": "pass t.k", "c": "derived t.c", "v": "aggregate t.v"},
    ),
    Case(
        "dbt snapshot-like surrogate key",
        "postgres",
        None,
        "select md5(cast(coalesce(cast(a as text), '_null_') || '-' ||"
        " coalesce(cast(b as text), '_null_') as text)) as key from t",
        {"key": "derived t.a, t.b"},
    ),
    Case(
        "mysql quotes",
        "mysql",
        None,
        'select `id`, "text" as t, `o`.`Total` as total from `db`.`orders` as o',
        {"id": "pass db.orders.id", "t": "literal", "total": "pass db.orders.Total"},
    ),
    Case(
        "unknown adapter",
        "acme_db",
        None,
        "select id, a.b from a",
        {"id": "pass a.id", "b": "pass a.b"},
    ),
    Case(
        "names a parenthesised join leaves visible",
        None,
        {"y": ["b"]},
        "select b, c.x from ((select a from x) q inner join y on a = b) join c on c.id = q.a",
        {"b": "pass y.b", "x": "pass c.x"},
    ),
    Case(
        "values that read the row beside them",
        "tsql",
        None,
        "select v.k, v.x, t.id from t cross apply (values ('a', t.a), ('b', t.b)) v (k, x)",
        {"k": "literal", "x": "plain union t.a, t.b", "id": "pass t.id"},
    ),
    Case(
        "a subquery's unqualified name could be an alias of the outer list",
        "snowflake",
        {"t": ["a"]},
        "select a + 1 as k, (select max(v) from u where u.id = k) as m from t",
        {"k": "derived t.a", "m": "unknown"},
    ),
    Case(
        "an exploded map's default names are not the table's",
        "spark",
        None,
        "select key, t.id from t lateral view explode(t.attributes) e",
        {"key": "unknown", "id": "pass t.id"},
    ),
    Case(
        "three-part struct path behind an alias",
        "bigquery",
        None,
        "select ifnull(a.b.c, 0) as x, a.b.c, a.b from `proj.ds.tbl` as a",
        {
            "x": "derived proj.ds.tbl.b = ifnull(b.c, 0)",
            "c": "derived proj.ds.tbl.b = b.c",
            "b": "pass proj.ds.tbl.b = b",
        },
    ),
    Case(
        "stars passed on four times, without a schema",
        "bigquery",
        None,
        "with a as (select * from raw.t), b as (select * from a where x = 1),"
        " c as (select *, y * 2 as y2 from b), d as (select * from c) select id, y2, z from d",
        {"id": "pass raw.t.id", "y2": "derived raw.t.y = y * 2", "z": "pass raw.t.z"},
    ),
    Case(
        "renamed twice by stars",
        "snowflake",
        None,
        "with a as (select * rename (x as y) from t), b as (select * rename (y as z) from a)"
        " select z, y, x, w from b",
        {"z": "rename t.x", "y": "unknown", "x": "unknown", "w": "pass t.w"},
    ),
    Case(
        "scalar subquery over a CTE",
        "postgres",
        None,
        "with latest as (select max(ts) as ts from raw.t)"
        " select o.id, o.ts > (select ts from latest) as is_new from raw.o o",
        {"id": "pass raw.o.id", "is_new": "derived raw.o.ts, raw.t.ts"},
    ),
    Case(
        "window function of a lateral alias",
        "duckdb",
        {"t": ["id", "ts"]},
        "select row_number() over (partition by id order by ts) as rn,"
        " case when rn = 1 then 'first' end as position from t",
        {"rn": "window t.id, t.ts", "position": "window t.id, t.ts"},
    ),
    Case(
        "WITH inside a subquery",
        "postgres",
        None,
        "select * from (with a as (select id, x as y from raw.t) select id, y from a) as q",
        {"id": "pass raw.t.id", "y": "rename raw.t.x"},
    ),
    Case(
        "a schema named only by the table",
        "snowflake",
        {"orders": ["ID", "AMOUNT"]},
        'select * from "PROD"."RAW"."ORDERS"',
        {"ID": "pass PROD.RAW.ORDERS.ID", "AMOUNT": "pass PROD.RAW.ORDERS.AMOUNT"},
    ),
    Case(
        "a schema that names two tables alike",
        "snowflake",
        {"a.orders": ["id"], "b.orders": ["key"]},
        "select *, id as k from orders",
        {"k": "rename orders.id"},
        ("id", "key"),
    ),
    Case(
        "the right side of a full join",
        "postgres",
        None,
        "select coalesce(a.id, b.id) as id, a.x, b.x as bx from a full outer join b on a.id = b.id",
        {
            "id": "derived a.id, b.id = COALESCE(a.id, b.id)",
            "x": "pass a.x = a.x",
            "bx": "rename b.x = b.x",
        },
    ),
    Case(
        "WITH of values",
        "postgres",
        None,
        "with k(code, label) as (values (1, 'a'), (2, 'b')) select code, label, t.x from k, t",
        {"code": "literal", "label": "literal", "x": "pass t.x"},
    ),
    Case(
        "WITH that changes data",
        "postgres",
        None,
        "with k as (delete from t where x = 1 returning id) select id from k",
        {"id": "unknown"},
    ),
    Case(
        "connect by",
        "snowflake",
        None,
        "select id, level from staff start with boss is null connect by boss = prior id",
        {"id": "pass staff.id", "level": "unknown"},
    ),
    Case(
        "columns named like date parts inside date functions",
        "postgres",
        None,
        "select date_trunc('month', month) as a, to_date(day, 'YYYY') as b, date(week) as c,"
        " sum(hour) as d from t",
        {
            "a": "derived t.month",
            "b": "derived t.day",
            "c": "derived t.week",
            "d": "aggregate t.hour",
        },
    ),
    Case(
        "date parts of functions the dialect does not know",
        None,
        None,
        "select datediff(day, a, b) as x, my_date_diff(month, a, b) as y from t",
        {"x": "unknown", "y": "derived t.a, t.b"},
    ),
    Case(
        "tables that differ only in quoted case",
        "postgres",
        None,
        'select a.id, b.id as other from "Orders" a join orders b on a.id = b.id',
        {"id": "pass Orders.id", "other": "rename orders.id"},
    ),
    Case(
        "unnest inside a subquery's WITH",
        "bigquery",
        None,
        "select t.id in (with c as (select v from u, unnest(u.vs) as v) select c.v from c) as hit"
        " from t",
        {"hit": "derived t.id, u.vs"},
    ),
    Case(
        "union of columns and casts, used further",
        "postgres",
        None,
        "with u as (select id, cast(x as text) as x, day, n from a"
        " union all select aid, y, at::date, n::int from b)"
        " select id as order_id, cast(x as int) as x, u.day, coalesce(n, 0) as n,"
        " max(day) over (partition by id) as last_day from u",
        {
            "order_id": "plain union a.id, b.aid = a.id UNION ALL b.aid",
            "x": "cast a.x, b.y = CAST(x AS INT)",
            "day": "plain union a.day, b.at = a.day UNION ALL CAST(b.at AS DATE)",
            "n": "derived a.n, b.n",
            "last_day": "window a.day, b.at, a.id, b.aid",
        },
    ),
    Case(
        "union with a branch that is no column",
        "snowflake",
        None,
        "select id, email, lower(name) as name, sum(x) as x, k,"
        " row_number() over (order by id) as r from a group by 1, 2, 3, 5"
        " union all select id, null, name, x, 'b', n from b",
        {
            "id": "plain union a.id, b.id",
            "email": "union a.email = a.email UNION ALL NULL",
            "name": "union a.name, b.name = LOWER(a.name) UNION ALL b.name",
            "x": "union a.x, b.x = SUM(a.x) UNION ALL b.x",
            "k": "union a.k = a.k UNION ALL 'b'",
            "r": "union a.id, b.n",
        },
    ),
    Case(
        "union of unions",
        "bigquery",
        None,
        "with u as (select id, x from a union all select id, x from b),"
        " v as (select id, x from u union distinct select cast(id as int64), x + 1 from c),"
        " w as (select cast(id as string) as id, x from v)"
        " select id, x from w union all select key, x from d",
        {
            "id": "plain union a.id, b.id, c.id, d.key",
            "x": "union a.x, b.x, c.x, d.x",
        },
    ),
    Case(
        "union of the same column, cast and not",
        "duckdb",
        None,
        "select id, x from t where k union all select id::varchar, x from t where not k",
        {"id": "plain union t.id = id UNION ALL CAST(id AS TEXT)", "x": "pass t.x"},
    ),
    Case(
        "columns unchanged beside aggregates, windows and conditions",
        "snowflake",
        SHOP,
        "select c.id, any_value(c.email) as email, c.name as customer, max(p.method) as method,"
        " first_value(c.name) over (order by c.id) as first_name, (c.id) as again,"
        " case when true then c.id end as maybe, coalesce(c.id) as same, to_varchar(c.id) as t"
        " from raw.customers c left join raw.payments p on p.order_id = c.id group by all",
        {
            "id": "pass raw.customers.id",
            "email": "aggregate raw.customers.email",
            "customer": "rename raw.customers.name",
            "method": "aggregate raw.payments.method",
            "first_name": "window raw.customers.name, raw.customers.id",
            "again": "rename raw.customers.id",
            "maybe": "derived raw.customers.id",
            "same": "derived raw.customers.id",
            "t": "derived raw.customers.id",
        },
    ),
    Case(
        "outer apply",
        "tsql",
        None,
        "select o.id, l.paid_at, l.n from orders o outer apply"
        " (select top 1 p.paid_at, p.n + 1 as n from payments p where p.order_id = o.id"
        " order by p.paid_at desc) l",
        {
            "id": "pass orders.id",
            "paid_at": "pass payments.paid_at",
            "n": "derived payments.n = payments.n + 1",
        },
    ),
    Case(
        "a quoted and an unquoted name that differ by case, upper",
        "snowflake",
        {"raw.visits": ["STARTED", "ENDED"]},
        'with v as (select started as "day", ended as Day from raw.visits)'
        ' select day as one, DAY as two, "day" as three, "DAY" as four from v',
        {
            "one": "rename raw.visits.ENDED",
            "two": "rename raw.visits.ENDED",
            "three": "rename raw.visits.STARTED",
            "four": "rename raw.visits.ENDED",
        },
    ),
    Case(
        "a quoted and an unquoted name that differ by case, lower",
        "postgres",
        None,
        'with v as (select p as "Code", q as code from parcels)'
        ' select Code as one, "Code" as two from v',
        {"one": "rename parcels.q", "two": "rename parcels.p"},
    ),
    Case(
        "columns of a table that differ by case",
        "postgres",
        {"raw.parcels": ["code", "CODE"]},
        'select Code as one, "CODE" as two from raw.parcels',
        {"one": "rename raw.parcels.code", "two": "rename raw.parcels.CODE"},
    ),
    Case(
        "a quoted name beside a star that has the usual one",
        "snowflake",
        {"raw.parcels": ["CODE", "OLD"]},
        'with p as (select *, old as "code" from raw.parcels)'
        ' select code as one, "code" as two from p',
        {"one": "rename raw.parcels.CODE", "two": "rename raw.parcels.OLD"},
    ),
    Case(
        "a quoted name alone keeps what it was called",
        "snowflake",
        None,
        'with p as (select "sku" as sku from parcels) select sku, "Qty" as qty from p',
        {"sku": "pass parcels.sku", "qty": "unknown"},
    ),
    Case(
        "joins in parentheses within parentheses",
        "postgres",
        None,
        "select l.due as until, m.name, b.title from"
        " (((loans as l join members as m on m.id = l.member_id))"
        " join books as b on b.id = l.book)",
        {"until": "rename loans.due", "name": "pass members.name", "title": "pass books.title"},
    ),
    Case(
        "a query in parentheses within parentheses is no join",
        "bigquery",
        None,
        "select q.n as m from ((select l.n from loans as l)) as q",
        {"m": "rename loans.n"},
    ),
    Case(
        "numbers of a sequence",
        "tsql",
        None,
        "select next value for dbo.ticket_numbers as number, next value for s + n as m"
        " from tickets",
        {"number": "derived", "m": "derived tickets.n"},
    ),
    Case(
        "the next value of a sequence that is called like a column",
        "oracle",
        {"tickets": ["id", "s"]},
        "select s.nextval as number, id from tickets",
        {"number": "unknown", "id": "pass tickets.id"},
    ),
    Case(
        "a star over an unnested struct gives its fields",
        "bigquery",
        {"shop.carts": ["id", "lines"]},
        "with l as (select c.id, line.* from shop.carts as c, unnest(c.lines) as line)"
        " select id, sku from l",
        {"id": "pass shop.carts.id", "sku": "derived shop.carts.lines"},
    ),
    Case(
        "a star over all may give the fields of an unnested struct",
        "bigquery",
        {"shop.carts": ["id", "lines"]},
        "select * from shop.carts as c, unnest(c.lines) as line with offset as at",
        {
            "id": "pass shop.carts.id",
            "lines": "pass shop.carts.lines",
            "at": "derived shop.carts.lines = OFFSET_IN(lines)",
        },
        ("line",),
    ),
    Case(
        "a star over unnested values that are no structs",
        "bigquery",
        None,
        "select * from unnest(generate_date_array('2020-01-01', '2020-12-31')) as day",
        {"day": "derived"},
    ),
    Case(
        "the place of an element",
        "bigquery",
        {"shop.carts": ["id", "lines"]},
        "select at + 1 as number, line from shop.carts, unnest(lines) as line with offset as at",
        {
            "number": "derived shop.carts.lines = OFFSET_IN(lines) + 1",
            "line": "derived shop.carts.lines = UNNEST(lines)",
        },
    ),
    Case(
        "DuckDB numbers columns that are called alike",
        "duckdb",
        {"rides": ["id", "prior"]},
        "with r as (select a.*, b.*, c.id from rides a join rides b on a.prior = b.id"
        " join rides c on b.prior = c.id) select id, id_1 as before, prior_1, id_2 from r",
        {
            "id": "pass rides.id",
            "before": "rename rides.id",
            "prior_1": "rename rides.prior",
            "id_2": "rename rides.id",
        },
    ),
    Case(
        "a numbered name that is taken",
        "duckdb",
        None,
        "with r as (select x as k, y as k, z as k_1 from t) select k, k_1, k_1_1 from r",
        {"k": "rename t.x", "k_1": "rename t.y", "k_1_1": "rename t.z"},
    ),
    Case(
        "what DuckDB may have numbered behind stars over unknown tables",
        "duckdb",
        None,
        "with r as (select a.*, b.* from rides a join rides b on a.prior = b.id),"
        " s as (select *, x as total from rides) select r.id_1, s.total_1, s.gate_1"
        " from r join s on true",
        {"id_1": "unknown", "total_1": "unknown", "gate_1": "pass rides.gate_1"},
    ),
    Case(
        "no other database numbers columns",
        "snowflake",
        {"rides": ["id", "prior"]},
        "with r as (select a.id, b.id from rides a join gates b on a.prior = b.id)"
        " select id as either from r",
        {"either": "unknown"},
    ),
    Case(
        "a struct that the schema lacks beside an unnested array",
        "bigquery",
        {"shop.carts": ["id", "lines"]},
        "select device.kind as kind, line.sku as sku, id from shop.carts, unnest(lines) as line",
        {"kind": "unknown", "sku": "derived shop.carts.lines", "id": "pass shop.carts.id"},
    ),
    *(
        Case(
            f"differs by row: {call}",
            dialect,
            None,
            f"select {call} as v, id from raw.parcels",
            {"v": "derived", "id": "pass raw.parcels.id"},
        )
        for dialect, call in (
            ("snowflake", "seq8()"),
            ("snowflake", "seq4() + 1"),
            ("snowflake", "uuid_string()"),
            ("snowflake", "uniform(1, 10, random())"),
            ("spark", "uuid()"),
            ("databricks", "monotonically_increasing_id()"),
            ("clickhouse", "rowNumberInBlock()"),
            ("clickhouse", "rand32()"),
            ("clickhouse", "generateUUIDv7()"),
            ("postgres", "uuid_generate_v4()"),
            ("postgres", "clock_timestamp()"),
            ("oracle", "sys_guid() || 'x'"),
            ("tsql", "newid()"),
            ("mysql", "uuid_short()"),
        )
    ),
    *(
        Case(
            f"aggregates of many dialects: {call}",
            dialect,
            None,
            f"select {call} as v, shelf from raw.books group by shelf",
            {"v": "aggregate raw.books.x", "shelf": "pass raw.books.shelf"},
        )
        for dialect, call in (
            ("databricks", "try_avg(x)"),
            ("spark", "1 + try_sum(x)"),
            ("spark", "histogram_numeric(x, 5)"),
            ("spark", "percentile_approx(x, 0.5)"),
            ("bigquery", "hll_count.merge(x)"),
            ("bigquery", "hll_count.extract(hll_count.merge_partial(x))"),
            ("bigquery", "kll_quantiles.init_int64(x)"),
            ("duckdb", "round(product(x), 2)"),
            ("duckdb", "geometric_mean(x)"),
            ("duckdb", "fsum(x)"),
            ("trino", "checksum(x)"),
            ("trino", "map_union(x)"),
            ("postgres", "st_collect(x)"),
            ("postgres", "st_makeline(x)"),
            ("oracle", "stats_mode(x)"),
            ("snowflake", "hll_accumulate(x)"),
        )
    ),
    *(
        Case(
            f"no aggregate: {call}",
            dialect,
            None,
            f"select {call} as v from raw.books",
            {"v": "derived raw.books.x, raw.books.y"},
        )
        for dialect, call in (
            ("postgres", "st_union(x, y)"),
            ("postgres", "st_makeline(x, y)"),
            ("bigquery", "hll_count.extract(x) + y"),
            ("postgres", "x = some(array[y])"),
        )
    ),
    Case(
        "ClickHouse reads an alias before its turn",
        "clickhouse",
        {"rides": ["at", "fare"]},
        "select net * 2 as twice, fare - 1 as net, at as at_text, toString(at) as at from rides",
        {
            "twice": "derived rides.fare = (fare - 1) * 2",
            "net": "derived rides.fare = fare - 1",
            "at_text": "derived rides.at",
            "at": "derived rides.at",
        },
    ),
    Case(
        "aliases that ClickHouse cannot tell apart",
        "clickhouse",
        {"rides": ["a", "b"]},
        "select k as n, a as k, b as k, p as p2, q as p, p as q from rides",
        {"n": "unknown", "k": "unknown", "p2": "unknown", "p": "unknown", "q": "unknown"},
    ),
    Case(
        "ClickHouse's WITH over columns of the query",
        "clickhouse",
        {"rides": ["id", "fare", "tip"]},
        "with fare + tip as paid, upper('x') as mark select id, paid / 2 as half, paid, mark"
        " from rides where paid > 3",
        {
            "id": "pass rides.id",
            "half": "derived rides.fare, rides.tip = (fare + tip) / 2",
            "paid": "derived rides.fare, rides.tip",
            "mark": "literal",
        },
    ),
    Case(
        "keys of a pivot keep their columns",
        "bigquery",
        {"shop.sales": ["shop", "day", "kind", "amount"]},
        "select * from shop.sales pivot (sum(amount) as amount for kind in ('web', 'store'))",
        {"shop": "pass shop.sales.shop", "day": "pass shop.sales.day"},
        ("kind", "amount"),
    ),
    Case(
        "keys of a pivot under other names",
        "snowflake",
        {"shop.sales": ["shop", "kind", "day", "amount"]},
        "select branch, on_day, w from (select * from shop.sales)"
        " pivot (max(amount) for kind in ('web')) as p (branch, on_day, w)",
        {
            "branch": "rename shop.sales.shop",
            "on_day": "rename shop.sales.day",
            "w": "unknown",
        },
    ),
    Case(
        "a pivot of a table that is not known, or of columns the schema lacks",
        "tsql",
        {"shop.sales": ["shop", "kind", "day"]},
        "select p.shop, q.day from shop.sales pivot (max(amount) for kind in ([web])) as p"
        " cross join other.sales pivot (max(amount) for kind in ([web])) as q",
        {"shop": "unknown", "day": "unknown"},
    ),
    Case(
        "a pivot of a whole join",
        "tsql",
        {"shop.sales": ["shop", "kind", "amount"], "shop.kinds": ["kind", "web"]},
        "select web from shop.sales as s join shop.kinds as k on k.kind = s.kind"
        " pivot (max(amount) for code in ([web], [store])) as p",
        {"web": "unknown"},
    ),
    Case(
        "columns beside those of an unpivot",
        "snowflake",
        {"shop.totals": ["shop", "jan", "feb", "note"]},
        "select shop, note as remark, month, total from shop.totals"
        " unpivot (total for month in (jan, feb))",
        {
            "shop": "pass shop.totals.shop",
            "remark": "rename shop.totals.note",
            "month": "unknown",
            "total": "unknown",
        },
    ),
    Case(
        "what recursive branches pass on",
        "snowflake",
        {"raw.parts": ["id", "whole", "label"]},
        "with recursive tree as (select id, whole, label as top, label as path, 0 as depth"
        " from raw.parts where whole is null union all select p.id, p.whole, t.top,"
        " t.path || p.label, t.depth + 1 from tree as t join raw.parts as p on p.whole = t.id)"
        " select * from tree",
        {
            "id": "pass raw.parts.id",
            "whole": "pass raw.parts.whole",
            "top": "rename raw.parts.label",
            "path": "unknown",
            "depth": "unknown",
        },
    ),
    Case(
        "recursive branches that swap what they pass on",
        "postgres",
        None,
        "with recursive p(a, b, c) as (select x, y, z from t union all select b, a, c from p"
        " union all select u.i, u.j, p.c from p join u on u.k = p.a) select a, b, c from p",
        {"a": "unknown", "b": "unknown", "c": "rename t.z"},
    ),
    Case(
        "a union within a recursive branch",
        "duckdb",
        None,
        "with recursive p(a, b) as (select x, y from t union all"
        " select q.b, q.b from (select a, b from p union all select m, n from u) as q)"
        " select a, b from p",
        {"a": "unknown", "b": "unknown"},
    ),
    Case(
        "values beside a table, of Postgres",
        "postgres",
        {"raw.trips": ["id", "pickup", "dropoff"]},
        "select t.id, v.kind, v.place, v.one from raw.trips as t cross join lateral"
        " (values ('from', t.pickup, t.id), ('to', dropoff, t.id)) as v (kind, place, one)",
        {
            "id": "pass raw.trips.id",
            "kind": "literal = VALUES('from', 'to')",
            "place": "plain union raw.trips.pickup, raw.trips.dropoff",
            "one": "rename raw.trips.id",
        },
    ),
    Case(
        "values beside a table, computed",
        "tsql",
        None,
        "select v.x, v.y from trips t outer apply (values (t.a + 1, t.b), (0, 'none')) v (x, y)",
        {"x": "union trips.a", "y": "union trips.b"},
    ),
    *(
        Case(
            f"what {dialect} calls the columns of VALUES",
            dialect,
            None,
            f"select {first} as id, {second} as label from (values (1, 'a'), (2, 'b')) as v",
            {"id": "literal = VALUES(1, 2)", "label": "literal = VALUES('a', 'b')"},
        )
        for dialect, first, second in (
            ("snowflake", "column1", "v.column2"),
            ("postgres", "column1", "column2"),
            ("duckdb", "col0", "v.col1"),
            ("spark", "col1", "col2"),
        )
    ),
    Case(
        "unnested at a place",
        "redshift",
        {"raw.carts": ["id", "lines"]},
        "select c.id, line.sku as sku, at_line from raw.carts as c, c.lines as line at at_line",
        {
            "id": "pass raw.carts.id",
            "sku": "derived raw.carts.lines",
            "at_line": "derived raw.carts.lines = OFFSET_IN(lines)",
        },
    ),
    Case(
        "an entry that does not parse costs its column",
        "trino",
        None,
        "with b as (select id, json_object(name : value) as doc, upper(title) as title from books)"
        " select id as book_id, doc, doc || 'x' as more, title from b",
        {
            "book_id": "rename books.id",
            "doc": "unknown",
            "more": "unknown",
            "title": "derived books.title",
        },
    ),
    Case(
        "several entries that do not parse, one in a subquery, one first",
        "snowflake",
        None,
        "select pack(x => => 1) as p, id, (select max(pack(y => => 2)) m from u) as q,"
        " pack(z => => 3) r, note from t where id > 1",
        {
            "p": "unknown",
            "id": "pass t.id",
            "q": "unknown",
            "r": "unknown",
            "note": "pass t.note",
        },
    ),
]
