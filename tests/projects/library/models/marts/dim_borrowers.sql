with people as (

    select * from {{ ref('stg_people') }}

),

latest as (

    select * from {{ ref('int_latest_loan') }}

)

select
    people.person_id as borrower_id,
    people.name,
    latest.loan_id as last_loan_id,
    latest.opened_at as last_opened_at
from people
inner join latest on people.person_id = latest.borrower_id
