"""What is known of a table and its columns without asking a model; knows nothing of dbt."""
