select order_id as number, amount as euros, note as remark from {{ ref('stg_orders') }}
