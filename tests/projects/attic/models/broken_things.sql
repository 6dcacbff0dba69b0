select box_id, content, 2024 - bought_in as age_years from {{ ref('stg_boxes') }} where state = 'broken'
