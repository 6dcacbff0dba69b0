with members as (

    select * from {{ ref('stg_members') }}

),

loans as (

    select * from {{ ref('stg_loans') }}

),

fines as (

    select * from {{ ref('stg_fines') }}

),

tickets as (

    select * from {{ ref('stg_tickets') }}

),

loans_per_borrower as (

    select
        borrower_id,
        count(*) as loan_count,
        max(opened_at) as last_opened_at
    from loans
    group by borrower_id

),

fines_per_person as (

    select
        loans.borrower_id as person_id,
        count(*) as fine_count,
        sum(fines.amount) as fine_total
    from fines
    inner join loans on fines.loan_id = loans.loan_id
    group by loans.borrower_id

),

open_incidents as (

    select
        person_id,
        count(*) as open_incident_count
    from tickets
    where is_incident and is_open
    group by person_id

)

select
    members.member_id,
    members.name,
    members.joined_on,
    coalesce(loans_per_borrower.loan_count, 0) as loan_count,
    loans_per_borrower.last_opened_at,
    coalesce(fines_per_person.fine_count, 0) as fine_count,
    coalesce(fines_per_person.fine_total, 0) as fine_total,
    coalesce(open_incidents.open_incident_count, 0) as open_incident_count,
    coalesce(loans_per_borrower.loan_count, 0) > 0 as is_active
from members
left join loans_per_borrower on members.member_id = loans_per_borrower.borrower_id
left join fines_per_person on members.member_id = fines_per_person.person_id
left join open_incidents on members.member_id = open_incidents.person_id
where members.deleted_at is null
