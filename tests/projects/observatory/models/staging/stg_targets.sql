select
    "NAME" as "TARGET_NAME",
    "KIND" <> 'star' as "IS_EXTENDED",
    "MAGNITUDE" as "APPARENT_MAGNITUDE"
from {{ source('dome', 'targets') }}
