{{ config(tags=[env_var('SALT')]) }}
select order_id, amount, note from {{ source('raw', 'orders') }}
