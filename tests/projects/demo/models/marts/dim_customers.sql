with customer_orders as (

    select
        customer_id,
        min(ordered_at) as first_order_at,
        max(ordered_at) as last_order_at,
        count(distinct order_id) as order_count,
        count(distinct store_id) as store_count,
        sum(revenue) as lifetime_revenue
    from {{ ref('fct_orders') }}
    where customer_id is not null
    group by customer_id

)

select
    customers.customer_id,
    customers.customer_name,
    customers.email,
    customers.signed_up_at,
    customer_orders.first_order_at,
    customer_orders.last_order_at,
    coalesce(customer_orders.order_count, 0) as order_count,
    coalesce(customer_orders.store_count, 0) as store_count,
    coalesce(customer_orders.lifetime_revenue, 0) as lifetime_revenue,
    case
        when customer_orders.order_count is null then 'prospect'
        when customer_orders.order_count = 1 then 'new'
        else 'returning'
    end as customer_segment
from {{ ref('stg_pos__customers') }} as customers
left join customer_orders on customers.customer_id = customer_orders.customer_id
