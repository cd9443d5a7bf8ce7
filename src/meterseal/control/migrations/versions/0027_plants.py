"""Plants are stated of usage points that feed in."""

from alembic import op

revision = "0027"
down_revision = "0026"

KINDS = (
    "kind in ('class', 'size', 'main', 'group', 'zone', 'heats', 'limit', 'multiplier', 'plant', 'vacant', 'heating', "
    "'event', 'clock')"
)


def upgrade() -> None:
    # SQLite changes no constraint: the table is written anew, without the old check, which is not reflected.
    with op.batch_alter_table("point_facts", table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.create_check_constraint(op.f("ck_point_facts_kind"), KINDS)
