with source as (

    select * from {{ source('raw', 'fines') }}

),

renamed as (

    select
        id as fine_id,
        loan_id,
        amount_cents / 100.0 as amount,
        paid_at
    from source

)

select * from renamed
