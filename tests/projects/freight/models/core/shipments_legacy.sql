select
    shipment_id,
    carrier_code,
    weight_kg,
    cast(weight_kg * 1000 as integer) as weight_g,
    is_delivered as was_delivered
from {{ ref('stg_shipments') }}
