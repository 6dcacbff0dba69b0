select s.*, t.word as "Source Word" from {{ ref('stg_things') }} s join {{ source('warehouse', 'things') }} t on t.id = s.id
