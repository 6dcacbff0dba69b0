select
    patients.patient_id,
    patients.is_private,
    count(*) as appointments,
    count(*) filter (where appointments.is_no_show) as no_shows,
    sum(prices.price) as invoiced
from {{ ref('stg_patients') }} as patients
inner join {{ ref('stg_appointments') }} as appointments on appointments.patient_id = patients.patient_id
left join {{ ref('treatments') }} as prices on prices.code = appointments.treatment_code
group by 1, 2
