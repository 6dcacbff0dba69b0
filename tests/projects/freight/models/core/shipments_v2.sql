select
    shipment_id,
    shipments.carrier_code,
    carriers.carrier_name,
    weight_kg,
    date_diff('hour', picked_up_at, delivered_at) as hours_on_the_road,
    date_diff('hour', picked_up_at, delivered_at) > carriers.promised_hours as is_late
from {{ ref('stg_shipments') }} as shipments
left join {{ ref('carriers') }} as carriers using (carrier_code)
