select
    therapist_code,
    cast(date_trunc('month', starts_at) as date) as month_start,
    sum(minutes) / 60.0 as hours
from {{ ref('stg_appointments') }}
where not is_no_show
group by 1, 2
