"""Alembic's entry: run the steps inside the transaction that `state.migrate` has opened."""

from __future__ import annotations

from alembic import context

from fieldstone.state.schema import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    # `--sql`: write the steps as text for a database administrator.
    context.configure(dialect_name=context.config.attributes["dialect"], literal_binds=True, as_sql=True)
else:
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
