select id as return_id, sale_id, why as reason, returned_at
from {{ source('till', 'returns') }}
