{% macro load_collection() -%}
    create schema if not exists "COLLECTION";
    create or replace table "COLLECTION"."OBJECTS" as
    select *
    from (values (1, 'Vase', 'A-12', 1890, 'GIFT'), (2, 'Clock', 'B-01', 1932, 'BUY')) as o
        ("OBJECT_ID", "TITLE", "SHELF", "MADE_IN", "ACQUISITION");
    create or replace table "COLLECTION"."LOANS" as
    select *
    from (values (10, 1, 'Louvre', date '2024-01-01', null::date)) as l
        ("LOAN_ID", "OBJECT_ID", "BORROWER", "LENT_ON", "BACK_ON");
{%- endmacro %}
