"""What the store of measurements knows of its journal's files, so that missing ones are missed."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    # Nothing is known of a journal from before; the next start notes what it finds.
    op.add_column("stores", sa.Column("journal_ended", sa.BigInteger(), nullable=True))
    op.add_column("stores", sa.Column("journal_begun", sa.BigInteger(), nullable=True))
