select
    id as order_id,
    customer_id,
    store_id,
    status as order_status,
    channel,
    ordered_at::timestamp as ordered_at
from {{ source('pos', 'orders') }}
