"""What of the journal cannot be read, and what somebody gave up."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.add_column("stores", sa.Column("journal_faults", sa.Text(), nullable=True))
    op.add_column("stores", sa.Column("journal_given", sa.Text(), nullable=True))
