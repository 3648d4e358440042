"""Runs the collector's migrations on the connection that `assent_service.migrating` has opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
