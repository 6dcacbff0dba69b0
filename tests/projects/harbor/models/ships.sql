select ship_id, upper(name) as ship_name, tonnage * 2 as double_tonnage from {{ source('raw', 'ships') }}
