with open_loans as (

    select * from {{ ref('int_open_loans') }}

),

books as (

    select * from {{ ref('stg_books') }}

)

select
    open_loans.loan_id,
    open_loans.borrower_id,
    open_loans.opened_at,
    books.title as book_title
from open_loans
inner join books on open_loans.book_id = books.book_id
