with loans as (

    select * from {{ ref('stg_loans') }}

),

dates as (

    select * from {{ ref('dim_dates') }}

)

select
    loans.loan_id,
    opened.date_day as opened_on,
    returned.date_day as returned_on
from loans
inner join dates as opened on loans.opened_at::date = opened.date_day
left join dates as returned on loans.returned_at::date = returned.date_day
