"""Runs the migrations on the connection that `ledger.database` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
version_table = context.config.attributes["version_table"]
# Alembic does not take it for granted that SQLite rolls back tables, which it does.
context.configure(connection=connection, version_table=version_table, transactional_ddl=True)
context.run_migrations()
