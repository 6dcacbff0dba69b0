with captured as (

    select * from {{ ref('int_payments_latest') }}
    where payment_state = 'captured'

),

refunds as (

    select * from {{ ref('stg_pos__refunds') }}

)

select
    'payment-' || payment_id as movement_id,
    order_id,
    'payment' as movement_type,
    amount as signed_amount,
    updated_at as moved_at
from captured

union all

select
    'refund-' || refunds.refund_id as movement_id,
    captured.order_id,
    'refund' as movement_type,
    -refunds.amount as signed_amount,
    refunds.refunded_at as moved_at
from refunds
inner join captured on refunds.payment_id = captured.payment_id
