with source as (

    select * from {{ source('raw', 'events') }}

),

renamed as (

    select
        id as event_id,
        person_id,
        properties ->> '$.device' as device,
        '{{ run_started_at }}' as staged_at
    from source

)

select * from renamed
