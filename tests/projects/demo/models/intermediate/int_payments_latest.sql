-- The till writes a row each time a payment changes state; only the last one counts.
select
    payment_id,
    order_id,
    payment_method,
    amount,
    payment_state,
    updated_at
from {{ ref('stg_pos__payments') }}
qualify row_number() over (partition by payment_id order by updated_at desc) = 1
