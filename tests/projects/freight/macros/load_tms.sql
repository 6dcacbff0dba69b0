{% macro load_tms() -%}
    create schema if not exists tms;
    create or replace table tms."SHIPMENT" as
    select *
    from (
        values
            (1001, 'HBR', 'ROT', 'DHL', 12.5, timestamp '2024-02-01 10:00:00', timestamp '2024-02-02 09:00:00', 'D'),
            (1002, 'ROT', 'LYO', 'GLS', 7.0, timestamp '2024-02-01 11:00:00', null, 'T'),
            (1003, 'HBR', 'LYO', 'DHL', 30.0, timestamp '2024-02-03 08:00:00', timestamp '2024-02-06 17:00:00', 'D')
    ) as s ("SHIPMENT_NO", "HUB_FROM", "HUB_TO", "CARRIER", "WEIGHT", "PICKED_UP", "DELIVERED", "STATE");
{%- endmacro %}
