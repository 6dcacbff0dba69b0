{% set kinds = run_query("select distinct kind from " ~ source('raw', 'ships')) %}
select ship_id {% if execute %}{% for k in kinds.columns[0].values() %}, max(tonnage) as {{ k }}{% endfor %}{% endif %} from {{ source('raw','ships') }} group by 1
