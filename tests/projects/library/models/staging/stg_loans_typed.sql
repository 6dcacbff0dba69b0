with source as (

    select * from {{ source('raw', 'loans') }}

),

renamed as (

    select
        id::varchar as loan_key,
        priority::boolean as has_priority,
        opened_at::date as opened_on
    from source

)

select * from renamed
