select
    returned.return_id,
    returned.sale_id,
    lower(returned.reason) as reason,
    sales.amount_cents as refunded_cents,
    date_diff('minute', sales.sold_at, returned.returned_at) as minutes_kept
from {{ ref('stg_returns') }} as returned
inner join {{ ref('stg_sales') }} as sales on sales.sale_id = returned.sale_id
