with tickets as (

    select * from {{ ref('stg_tickets') }}

),

people as (

    select * from {{ ref('stg_people') }}

)

select
    tickets.ticket_id,
    reporter.person_id as reporter_id,
    reporter.name as reporter_name,
    tickets.kind,
    tickets.subject,
    tickets.is_open,
    tickets.created_at,
    tickets.closed_at
from tickets
inner join people as reporter on tickets.person_id = reporter.person_id
