select code, region from {{ ref('borders', 'countries') }}
