with events as (
    select shipment_id || '-P' as event_id, shipment_id, 'picked_up' as event_type, picked_up_at as happened_at
    from {{ ref('stg_shipments') }}
    union all
    select shipment_id || '-D', shipment_id, 'delivered', delivered_at
    from {{ ref('stg_shipments') }}
    where is_delivered
)

select *
from events
{% if is_incremental() %}
where happened_at > (select max(happened_at) from {{ this }})
{% endif %}
