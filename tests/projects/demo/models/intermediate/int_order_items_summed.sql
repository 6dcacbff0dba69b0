{{ config(materialized='ephemeral') }}

select
    items.order_id,
    sum(items.quantity) as item_count,
    sum(case when products.category = 'drink' then items.quantity else 0 end) as drink_count,
    sum(items.quantity * items.unit_price) as gross_amount,
    sum(items.quantity * items.unit_price - items.discount) as net_amount
from {{ ref('stg_pos__order_items') }} as items
left join {{ ref('products') }} as products on items.sku = products.sku
group by items.order_id
