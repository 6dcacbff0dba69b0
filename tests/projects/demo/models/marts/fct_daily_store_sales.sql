{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['sales_date', 'store_id']
    )
}}

select
    ordered_at::date as sales_date,
    store_id,
    count(distinct order_id) as order_count,
    count(distinct customer_id) as known_customer_count,
    sum(revenue) as daily_revenue,
    round(sum(revenue) / count(distinct order_id), 2) as average_order_revenue
from {{ ref('fct_orders') }}
{% if is_incremental() %}
where ordered_at::date >= (select max(sales_date) from {{ this }})
{% endif %}
group by ordered_at::date, store_id
