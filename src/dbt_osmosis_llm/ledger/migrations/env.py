"""Runs the migrations on the connection that `ledger.database` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
version_table = context.config.attributes["version_table"]
context.configure(connection=connection, version_table=version_table, transactional_ddl=True)
context.run_migrations()
