with source as (

    select * from {{ source('raw', 'loans') }}

),

renamed as (

    select
        id as loan_id,
        book_id,
        borrower_id,
        librarian_id,
        opened_at,
        returned_at,
        priority,
        renewed_from_id
    from source

)

select * from renamed
