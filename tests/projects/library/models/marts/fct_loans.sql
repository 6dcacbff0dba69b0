with loans as (

    select * from {{ ref('stg_loans') }}

),

people as (

    select * from {{ ref('stg_people') }}

),

books as (

    select * from {{ ref('stg_books') }}

)

select
    loans.*,
    borrower.name as borrower_name,
    librarian.name as librarian_name,
    borrower.city as borrower_city,
    books.title,
    books.updated_at as book_updated_at,
    case
        when loans.priority = 1 then 'urgent'
        when loans.priority = 2 then 'normal'
        else 'low'
    end as urgency
from loans
inner join people as borrower on loans.borrower_id = borrower.person_id
left join people as librarian on loans.librarian_id = librarian.person_id
left join books on loans.book_id = books.book_id
