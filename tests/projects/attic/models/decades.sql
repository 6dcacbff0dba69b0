select bought_in // 10 * 10 as decade, count(*) as boxes from {{ ref('stg_boxes') }} group by 1
