"""What waits to be said to devices: requests, guarded commands and words of control, with what became of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "down_words",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.LargeBinary(length=8), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("sent_session", sa.LargeBinary(length=8), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("sealed_content", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_answer", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "kind in ('request', 'guarded', 'key', 'cert', 'rekey', 'close')", name=op.f("ck_down_words_kind")
        ),
        sa.CheckConstraint(
            "state in ('waiting', 'sent', 'done', 'refused', 'expired', 'unknown', 'withdrawn')",
            name=op.f("ck_down_words_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_down_words")),
        sa.UniqueConstraint("request_id", name=op.f("uq_down_words_request_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("down_words", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_down_words_device_id_state"), ["device_id", "state"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_down_words_state_id"), ["state", "id"], unique=False)
