{% macro load_till() -%}
    create schema if not exists till;
    create or replace table till.sales as
    select *
    from (
        values
            (1, 'RYE', 2, 450, 'K1', timestamp '2024-05-02 07:31:00', timestamp '2024-05-03 02:00:00'),
            (2, 'BUN', 6, 60, 'K1', timestamp '2024-05-02 07:35:00', timestamp '2024-05-03 02:00:00'),
            (3, 'BUN', 1, 60, 'K2', timestamp '2024-05-02 08:10:00', timestamp '2024-05-03 02:00:00')
    ) as sale (id, product, pieces, unit_price_cents, till_code, sold_at, _loaded_at);
    create or replace table till.returns as
    select *
    from (values (1, 3, 'stale', timestamp '2024-05-02 09:00:00')) as r (id, sale_id, why, returned_at);
{%- endmacro %}
