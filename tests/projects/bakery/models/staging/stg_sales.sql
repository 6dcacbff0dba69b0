select
    id as sale_id,
    product as product_code,
    pieces,
    unit_price_cents,
    pieces * unit_price_cents as amount_cents,
    till_code,
    sold_at,
    _loaded_at as loaded_at
from {{ source('till', 'sales') }}
