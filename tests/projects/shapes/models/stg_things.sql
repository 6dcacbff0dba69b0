select id, word, amount from {{ ref('raw_things') }}
