-- Who opens a ticket gets the confirmation of it, too.
with tickets as (

    select * from {{ ref('stg_tickets') }}

)

select
    ticket_id,
    person_id as sender_id,
    person_id as recipient_id
from tickets
