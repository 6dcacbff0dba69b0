select
    id as refund_id,
    payment_id,
    {{ cents_to_dollars('amount_cents') }} as amount,
    reason as refund_reason,
    refunded_at
from {{ source('pos', 'refunds') }}
