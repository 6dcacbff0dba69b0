{#- Where a shelf stands in the catalog, which each target has one of. -#}
{% macro catalog_path(column) -%}
    '{{ target.name }}' || '.' || {{ column }}
{%- endmacro %}
