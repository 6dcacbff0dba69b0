select carrier_name, count(*) as late_shipments, sum(weight_kg) as late_weight_kg
from {{ ref('shipments', v=2) }}
where is_late
group by 1
