select
    cast("startedAt" as date) as night,
    count(*) as frames,
    sum(exposure_s) as exposure_s,
    bool_or(is_spectrum_night) as is_spectrum_night,
    {'opened': min("startedAt"), 'shut': max("startedAt")} as dome_hours
from {{ ref('stg_exposures') }}
group by 1
