select
    "MADE_IN" // 100 + 1 as "CENTURY",
    meanings."MEANING" as "HOW_IT_CAME",
    count(*) as "OBJECTS"
from {{ source('COLLECTION', 'OBJECTS') }} as objects
left join {{ ref('ACQUISITIONS') }} as meanings on meanings."CODE" = objects."ACQUISITION"
group by 1, 2
