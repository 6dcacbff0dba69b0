{{ config(materialized='table') }}

select
    cast(sales.sold_at as date) as sales_date,
    sales.till_code,
    products.product_name,
    sum(sales.pieces) as pieces,
    sum(sales.amount_cents) as amount_cents,
    sum(case when returned.return_id is not null then sales.amount_cents else 0 end) as returned_cents
from {{ ref('stg_sales') }} as sales
left join {{ ref('products') }} as products on products.product_code = sales.product_code
left join {{ ref('stg_returns') }} as returned on returned.sale_id = sales.sale_id
group by 1, 2, 3
