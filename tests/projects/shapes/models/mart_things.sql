select id as thing_key, doubled from {{ ref('eph_things') }}
