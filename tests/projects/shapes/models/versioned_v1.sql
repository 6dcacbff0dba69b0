select id, amount from {{ ref('stg_things') }}
