select *, amount * 2 as doubled from {{ source('raw', 'tickets') }}
