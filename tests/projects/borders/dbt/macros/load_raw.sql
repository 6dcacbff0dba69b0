{% macro load_raw() %}
create schema if not exists raw;
create or replace table raw.orders as select 1 as order_id, 2 as amount, 'x' as note
{% endmacro %}
