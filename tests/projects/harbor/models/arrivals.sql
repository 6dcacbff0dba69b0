{{ config(materialized='incremental') }}
select ship_id, arrived_at, tonnage * 3 as weight from {{ source('raw','ships') }}
{% if is_incremental() %} where arrived_at > (select max(arrived_at) from {{ this }}) {% endif %}
