with orders as (

    select * from {{ ref('stg_pos__orders') }}
    where order_status <> 'cancelled'

),

items as (

    select * from {{ ref('int_order_items_summed') }}

),

payments as (

    select * from {{ ref('int_order_payments') }}

),

stores as (

    select * from {{ ref('stores') }}

)

select
    orders.order_id,
    orders.customer_id,
    orders.store_id,
    stores.store_name,
    orders.ordered_at,
    orders.order_status,
    orders.channel,
    coalesce(items.item_count, 0) as item_count,
    coalesce(items.drink_count, 0) as drink_count,
    coalesce(items.net_amount, 0) as net_amount,
    coalesce(payments.payment_status, 'unpaid') as payment_status,
    coalesce(payments.paid_amount - payments.refunded_amount, 0) as revenue,
    coalesce(items.net_amount, 0) - coalesce(payments.paid_amount, 0) as amount_due
from orders
left join items on orders.order_id = items.order_id
left join payments on orders.order_id = payments.order_id
left join stores on orders.store_id = stores.store_id
