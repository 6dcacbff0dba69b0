{% macro cents_to_dollars(column_name) -%}
    ({{ column_name }} / 100.0)::decimal(10, 2)
{%- endmacro %}
