with totals as (

    select
        order_id,
        sum(case when movement_type = 'payment' then signed_amount else 0 end) as paid_amount,
        sum(case when movement_type = 'refund' then -signed_amount else 0 end) as refunded_amount,
        max(moved_at) as last_movement_at
    from {{ ref('int_money_movements') }}
    group by order_id

)

select
    order_id,
    paid_amount,
    refunded_amount,
    case
        when refunded_amount >= paid_amount then 'refunded'
        when refunded_amount > 0 then 'partially_refunded'
        else 'paid'
    end as payment_status,
    last_movement_at
from totals
