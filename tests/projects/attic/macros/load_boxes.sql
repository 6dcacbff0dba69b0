{% macro load_boxes() -%}
    create or replace table boxes as
    select * from (values (1, 'lamp', 'ok', 1974), (2, 'chair', 'broken', 1951)) as b (id, what, state, bought_in);
{%- endmacro %}
