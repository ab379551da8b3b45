"""Alembic's entry: migrate on the connection that the caller hands over."""

from alembic import context

from datasets.ledger.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
