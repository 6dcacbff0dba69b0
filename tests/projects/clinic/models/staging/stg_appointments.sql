select
    id as appointment_id,
    patient_id,
    therapist as therapist_code,
    starts_at,
    minutes,
    treatment as treatment_code,
    minutes_late >= {{ var('no_show_minutes') }} as is_no_show
from {{ source('practice', 'appointments') }}
