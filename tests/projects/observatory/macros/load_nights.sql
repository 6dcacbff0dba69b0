{% macro load_nights() -%}
    create schema if not exists dome;
    create or replace table dome.exposures as
    select *
    from (
        values
            (
                1, 'M31', {'ra': 10.68, 'decl': 41.27, 'epoch': {'catalogue': 'J2000', 'since': 2000.0}},
                120.0, 1.1, ['Ha', 'OIII'], timestamp '2024-01-10 22:00:00'
            ),
            (
                2, 'M42', {'ra': 83.82, 'decl': -5.39, 'epoch': {'catalogue': 'J2000', 'since': 2000.0}},
                60.0, 1.6, ['L'], timestamp '2024-01-10 23:10:00'
            )
    ) as e ("Frame No", "Target", "Pointing", "Exposure (s)", "Seeing", "Filters", "startedAt");
    create or replace table dome.targets as
    select * from (values ('M31', 'galaxy', 3.4), ('M42', 'nebula', 4.0)) as t ("NAME", "KIND", "MAGNITUDE");
{%- endmacro %}
