select
    id as order_item_id,
    order_id,
    product_sku as sku,
    quantity::integer as quantity,
    {{ cents_to_dollars('unit_price_cents') }} as unit_price,
    {{ cents_to_dollars('discount_cents') }} as discount
from {{ source('pos', 'order_items') }}
