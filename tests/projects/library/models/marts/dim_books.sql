with books as (

    select * from {{ ref('stg_books') }}

),

open_loans as (

    select * from {{ ref('int_open_loans') }}

)

select
    books.book_id,
    books.title,
    books.category,
    books.price,
    count(open_loans.loan_id) as open_loan_count
from books
left join open_loans on books.book_id = open_loans.book_id
group by books.book_id, books.title, books.category, books.price
