select id from {{ ref('stg_things') }}
