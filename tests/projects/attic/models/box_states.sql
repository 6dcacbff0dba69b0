select state, count(*) as boxes, state = 'ok' as is_usable from {{ ref('stg_boxes') }} group by 1
