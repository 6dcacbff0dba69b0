select id as seller_id, shop_name, country as seller_country, cast(since as date) as selling_since
from {{ source('shop', 'sellers') }}
