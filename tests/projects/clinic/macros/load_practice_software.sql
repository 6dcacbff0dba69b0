{% macro load_practice_software() -%}
    create schema if not exists {{ var('raw_schema') }};
    create or replace table {{ var('raw_schema') }}.tbl_appointments as
    select *
    from (
        values
            (1, 11, 'T1', timestamp '2024-03-01 09:00:00', 30, 0, 'KG'),
            (2, 12, 'T1', timestamp '2024-03-01 09:30:00', 30, 20, 'MT'),
            (3, 11, 'T2', timestamp '2024-03-08 09:00:00', 60, 0, 'KG')
    ) as a (id, patient_id, therapist, starts_at, minutes, minutes_late, treatment);
    create or replace table {{ var('raw_schema') }}.tbl_patients as
    select *
    from (values (11, 1961, 'AOK', true), (12, 1999, null, false)) as p (id, born, insurer, consented);
{%- endmacro %}
