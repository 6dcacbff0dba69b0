select
    "Frame No" as frame_id,
    "Target" as target_name,
    "Pointing",
    "Exposure (s)" as exposure_s,
    "Filters" as filter_list,
    "startedAt",
    "Seeing" < {{ var('seeing_limit') }} as is_spectrum_night,
    "Target" || ' #' || "Frame No" as "Frame Label"
from {{ source('dome', 'exposures') }}
