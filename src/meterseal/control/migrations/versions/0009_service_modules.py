"""Whom the security service enrolled and withdrew, so that a restore of its files forgets nobody."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id, Instant

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("service_heads", sa.Column("learned", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "service_modules",
        sa.Column("module_id", Id(), nullable=False),
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("withdrawn_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("module_id", name=op.f("pk_service_modules")),
    )
