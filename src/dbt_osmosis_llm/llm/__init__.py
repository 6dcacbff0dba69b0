"""Talks to language models; knows nothing of dbt."""
