"""When a meter's clock was last seen to stand as was told; facts are kept of changes alone."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id, Instant

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "clock_sights",
        sa.Column("usage_point", sa.String(length=32), nullable=False),
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("usage_point", "device_id", name=op.f("pk_clock_sights")),
    )
