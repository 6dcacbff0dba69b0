with tickets as (

    select * from {{ ref('stg_tickets') }}

)

select
    ticket_id,
    person_id,
    kind,
    is_incident,
    subject,
    status,
    created_at
from tickets
where kind = 'incident'
