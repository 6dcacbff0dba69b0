select
    loans."LOAN_ID",
    loans."OBJECT_ID",
    objects."TITLE",
    loans."BACK_ON" is not null as "IS_BACK",
    loans."BACK_ON" - loans."LENT_ON" as "DAYS_LENT"
from {{ source('COLLECTION', 'LOANS') }} as loans
inner join {{ source('COLLECTION', 'OBJECTS') }} as objects on objects."OBJECT_ID" = loans."OBJECT_ID"
