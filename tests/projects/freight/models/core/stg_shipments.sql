select
    "SHIPMENT_NO" as shipment_id,
    "HUB_FROM" as from_hub,
    "HUB_TO" as to_hub,
    "CARRIER" as carrier_code,
    "WEIGHT" as weight_kg,
    "PICKED_UP" as picked_up_at,
    "DELIVERED" as delivered_at,
    "DELIVERED" is not null as is_delivered
from {{ source('tms', 'shipment') }}
