with days as (

    select day_at::date as date_day
    from generate_series(date '2024-01-01', date '2024-12-31', interval 1 day) as spine (day_at)

)

select
    date_day,
    date_trunc('month', date_day)::date as month_start,
    isodow(date_day) in (6, 7) as is_weekend
from days
