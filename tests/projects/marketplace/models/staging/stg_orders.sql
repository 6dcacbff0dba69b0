select id as order_id, buyer as buyer_id, seller as seller_id, total as total_eur, state, day as ordered_on
from {{ source('shop', 'orders') }}
