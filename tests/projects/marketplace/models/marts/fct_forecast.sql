{% if execute and not var('forecast_table', none) %}
    {{ exceptions.raise_compiler_error('fct_forecast needs the variable forecast_table') }}
{% endif %}

select day, units, units * 0.9 as units_low from {{ var('forecast_table', 'nowhere') }}
