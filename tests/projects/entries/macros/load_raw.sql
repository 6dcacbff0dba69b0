{% macro load_raw() %}
create schema if not exists raw;
create or replace table raw.tickets as select 1 as ticket_id, 2 as amount, 'x' as note
{% endmacro %}
