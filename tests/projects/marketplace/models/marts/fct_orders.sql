select
    order_id,
    buyer_id,
    seller_country,
    case when state = 'refunded' then 0 else total_eur end as revenue_eur,
    points as buyer_points
from {{ ref('int_orders_with_sellers') }}
left join {{ ref('loyalty', 'loyalty_points') }} using (buyer_id)
