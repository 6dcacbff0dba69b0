{% test dbt_expectations_like(model, column_name, threshold) %}
    select 1 from {{ model }} having avg(cast({{ column_name }} as integer)) > {{ threshold }}
{% endtest %}
