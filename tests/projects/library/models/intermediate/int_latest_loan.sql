with loans as (

    select * from {{ ref('stg_loans') }}

)

select
    loan_id,
    borrower_id,
    book_id,
    opened_at
from loans
qualify row_number() over (partition by borrower_id order by opened_at desc) = 1
