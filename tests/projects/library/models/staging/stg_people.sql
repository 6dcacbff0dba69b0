with source as (

    select * from {{ source('raw', 'people') }}

),

renamed as (

    select
        id as person_id,
        name,
        email,
        joined_at::date as joined_on,
        city,
        '{{ var('branch', 'main') }}' as branch
    from source

)

select * from renamed
