with source as (

    select * from {{ source('raw', 'people') }}

),

renamed as (

    select
        id as member_id,
        name,
        email,
        joined_at::date as joined_on,
        city,
        deleted_at
    from source
    where joined_at is not null

)

select * from renamed
