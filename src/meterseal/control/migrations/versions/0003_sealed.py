"""Every name, parameter, state and sum under seal, each row with its key version; a chained trail of acts."""

import sqlalchemy as sa
from alembic import op

from meterseal.errors import LocalError

revision = "0003"
down_revision = "0002"

_HOLDING = ("stores", "customers", "concentrators", "meters", "agreements", "bills")


def upgrade() -> None:
    connection = op.get_bind()
    for table in _HOLDING:
        if connection.execute(sa.text(f"select 1 from {table} limit 1")).first() is not None:  # noqa: S608  # names above, no input
            raise LocalError(
                "control.older",
                "This data directory was written by a development version from before the first release, whose "
                "seals this one does not open. Start with a new data directory; nothing was changed.",
            )
    with op.batch_alter_table("concentrators") as batch:
        batch.drop_column("name")
        batch.add_column(sa.Column("sealed_name", sa.LargeBinary(), nullable=False))
        batch.add_column(sa.Column("key_version", sa.Integer(), nullable=False))
    with op.batch_alter_table("meters") as batch:
        batch.drop_column("profile")
        batch.drop_column("riser")
        batch.add_column(sa.Column("sealed_parameters", sa.LargeBinary(), nullable=True))
        batch.add_column(sa.Column("key_version", sa.Integer(), nullable=True))
    with op.batch_alter_table("meter_status") as batch:
        batch.drop_column("valve")
        batch.drop_column("battery_low")
        batch.drop_column("raw")
        batch.add_column(sa.Column("sealed_state", sa.LargeBinary(), nullable=False))
        batch.add_column(sa.Column("key_version", sa.Integer(), nullable=False))
    with op.batch_alter_table("agreements") as batch:
        batch.drop_column("opening_accumulation")
        batch.drop_column("opening_exponent")
        batch.add_column(sa.Column("sealed_opening", sa.LargeBinary(), nullable=True))
        batch.add_column(sa.Column("key_version", sa.Integer(), nullable=True))
    with op.batch_alter_table("bills") as batch:
        batch.drop_column("total_fen")
        batch.drop_column("document")
        batch.add_column(sa.Column("sealed_document", sa.LargeBinary(), nullable=False))
        batch.add_column(sa.Column("key_version", sa.Integer(), nullable=False))
    with op.batch_alter_table("stores") as batch:
        batch.add_column(sa.Column("sealed_mark", sa.LargeBinary(), nullable=False))
        batch.add_column(sa.Column("key_version", sa.Integer(), nullable=False))
    op.create_table(
        "acts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("act", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acts")),
    )
