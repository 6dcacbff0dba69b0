select
    id as patient_id,
    born as birth_year,
    insurer is null as is_private,
    consented as has_consented
from {{ source('practice', 'patients') }}
