with loans as (

    select * from {{ ref('stg_loans') }}

)

select
    loan.loan_id,
    previous.loan_id as previous_loan_id,
    loan.renewed_from_id as parent_loan_id,
    previous.opened_at as previous_opened_at,
    datediff('day', previous.opened_at, loan.opened_at) as days_since_previous
from loans as loan
inner join loans as previous on loan.renewed_from_id = previous.loan_id
