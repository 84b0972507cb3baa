"""Alembic's entry: runs the migrations on the connection that it was handed, beside a host app's own history."""

from alembic import context

from twitor_fsm.storage.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite alters by making the table anew
)
with context.begin_transaction():
    context.run_migrations()
