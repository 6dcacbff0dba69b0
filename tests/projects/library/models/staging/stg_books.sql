with source as (

    select * from {{ source('raw', 'books') }}

),

renamed as (

    select
        id as book_id,
        title,
        price_cents / 100.0 as price,
        category,
        {{ catalog_path('category') }} as catalog_path,
        updated_at
    from source

)

select * from renamed
