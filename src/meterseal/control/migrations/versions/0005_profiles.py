"""The security profile that a session's records are sealed by; sessions from before have the one that there was."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "sessions", sa.Column("profile", sa.String(length=64), nullable=False, server_default="meterseal-1")
    )
