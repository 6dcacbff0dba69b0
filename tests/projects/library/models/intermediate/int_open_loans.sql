{{ config(materialized='ephemeral') }}

with loans as (

    select * from {{ ref('stg_loans') }}

)

select
    loan_id,
    book_id,
    borrower_id,
    opened_at
from loans
where returned_at is null
