"""Runs the migrations inside the connection that `control.engine` hands over; nothing else starts them."""

from alembic import context

from meterseal.control.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
