select "BORROWER", count(*) as "LOANS", min("LENT_ON") as "FIRST_LENT_ON"
from {{ source('COLLECTION', 'LOANS') }}
group by 1
