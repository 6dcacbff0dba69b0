{% macro load_shop() -%}
    create schema if not exists shop;
    create or replace table shop.orders as
    select *
    from (
        values (1, 7, 3, 19.9, 'paid', date '2024-06-01'), (2, 8, 3, 5.0, 'refunded', date '2024-06-02')
    ) as o (id, buyer, seller, total, state, day);
    create or replace table shop.sellers as
    select * from (values (3, 'Ada Crafts', 'NL', '2019-01-01')) as s (id, shop_name, country, since);
{%- endmacro %}
