"""Changes of the ledger's tables, in Alembic's form."""
