with tickets as (

    select * from {{ ref('stg_tickets') }}

)

select
    person_id,
    {%- for kind in ['question', 'incident'] %}
    count(case when kind = '{{ kind }}' then ticket_id end) as {{ kind }}_count{{ ',' if not loop.last }}
    {%- endfor %}
from tickets
group by person_id
