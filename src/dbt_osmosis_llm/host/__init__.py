"""Reads projects through dbt and dbt-osmosis: the one place that knows their objects."""
