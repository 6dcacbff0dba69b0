with source as (

    select * from {{ source('raw', 'tickets') }}

),

renamed as (

    select
        id as ticket_id,
        person_id,
        kind,
        kind = 'incident' as is_incident,
        subject,
        status,
        case when status in ('open', 'waiting') then true else false end as is_open,
        created_at,
        closed_at
    from source
    where not is_deleted

)

select * from renamed
