select
    id as payment_id,
    order_id,
    method as payment_method,
    {{ cents_to_dollars('amount_cents') }} as amount,
    state as payment_state,
    updated_at
from {{ source('pos', 'payments') }}
