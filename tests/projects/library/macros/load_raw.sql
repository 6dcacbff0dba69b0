{#- Stands in for the tool that copies the library's database; dbt itself only reads these tables. -#}
{% macro load_raw() -%}
    create schema if not exists raw;
    create or replace table raw.people as
    select *
    from (values
        (1, 'Ada Ek', 'ada@example.com', timestamp '2023-02-01 10:15:00', 'Uppsala', null::timestamp),
        (2, 'Bo Falk', 'bo@example.com', timestamp '2023-06-12 16:40:00', 'Uppsala', null),
        (3, 'Cleo Gran', 'cleo@example.com', timestamp '2023-11-30 09:05:00', 'Knivsta', null),
        (4, 'Dag Holm', 'dag@example.com', timestamp '2023-12-02 12:30:00', 'Knivsta', timestamp '2024-02-01 08:00:00'),
        (5, 'Eva Ivarsson', 'eva@example.com', null, 'Uppsala', null)
    ) as t (id, name, email, joined_at, city, deleted_at);

    create or replace table raw.books as
    select *
    from (values
        (1, 'Aniara', 1250, 'poetry', timestamp '2024-01-02 06:00:00'),
        (2, 'Kallocain', 990, 'novel', timestamp '2024-01-02 06:00:00'),
        (3, 'Doktor Glas', 875, 'novel', timestamp '2024-02-11 06:00:00'),
        (4, 'Svensk flora', 3400, 'nature', timestamp '2024-02-20 06:00:00')
    ) as t (id, title, price_cents, category, updated_at);

    create or replace table raw.loans as
    select *
    from (values
        (1, 1, 1, 5, timestamp '2024-01-08 11:00:00', timestamp '2024-01-29 15:20:00', 2, null),
        (2, 1, 1, 5, timestamp '2024-01-29 15:20:00', timestamp '2024-02-19 10:10:00', 2, 1),
        (3, 1, 1, null, timestamp '2024-02-19 10:10:00', null, 3, 2),
        (4, 2, 2, 5, timestamp '2024-01-20 13:45:00', timestamp '2024-02-03 17:00:00', 1, null),
        (5, 3, 2, null, timestamp '2024-02-24 09:30:00', null, 3, null),
        (6, 4, 4, 5, timestamp '2024-01-13 14:00:00', timestamp '2024-01-27 12:00:00', 1, null)
    ) as t (id, book_id, borrower_id, librarian_id, opened_at, returned_at, priority, renewed_from_id);

    create or replace table raw.tickets as
    select *
    from (values
        (1, 1, 'question', 'Opening hours at Easter', 'closed',
            timestamp '2024-01-09 08:12:00', timestamp '2024-01-09 14:00:00', false),
        (2, 1, 'incident', 'Pages missing', 'open', timestamp '2024-01-30 19:03:00', null, false),
        (3, 2, 'incident', 'Card does not open the door', 'waiting', timestamp '2024-02-05 07:55:00', null, false),
        (4, 3, 'question', 'Reserving a room', 'open', timestamp '2024-02-14 12:21:00', null, false),
        (5, 2, 'incident', 'Card does not open the door', 'open', timestamp '2024-02-05 07:56:00', null, true)
    ) as t (id, person_id, kind, subject, status, created_at, closed_at, is_deleted);

    create or replace table raw.fines as
    select *
    from (values
        (1, 2, 250, timestamp '2024-02-20 10:00:00'),
        (2, 4, 400, null),
        (3, 4, 150, null)
    ) as t (id, loan_id, amount_cents, paid_at);

    create or replace table raw.events as
    select *
    from (values
        (1, 1, '{"device": "phone", "page": "/search"}'),
        (2, 1, '{"device": "laptop", "page": "/loans"}'),
        (3, 3, '{"page": "/rooms"}')
    ) as t (id, person_id, properties);
{%- endmacro %}
