select orders.*, sellers.seller_country
from {{ ref('stg_orders') }} as orders
left join {{ ref('stg_sellers') }} as sellers using (seller_id)
