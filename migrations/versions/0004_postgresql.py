"""PostgreSQL as well: ids of accounts come from the table, epochs' totals are kept per log, history lies in partitions.

All rows are derived, so every table is emptied: without a checkpoint the projector folds the logs again from their
beginning. On PostgreSQL text is ordered by its bytes from here on. Locks all tables until it has run.
"""

import sqlalchemy as sa
from alembic import op

from projections.tables import BaseUnits

revision = "0004"
down_revision = "0003"

# What refers to others comes first.
MADE_ANEW = ("history", "balance", "account", "epoch_total")
EMPTIED = (
    "checkpoint",
    "record",
    "job",
    "epoch",
    "dead_letter",
    "participant",
    "standing",
    "ticket",
    "ticket_end",
    "slash_case",
    "slash_step",
    "reward",
    "reward_epoch",
)
ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Empty the tables, and make four anew."""
    for name in MADE_ANEW:
        op.drop_table(name)
    for name in EMPTIED:
        op.execute(f"DELETE FROM {name}")
    _create_accounts_and_totals()
    _create_balances()
    if op.get_bind().dialect.name == "postgresql":
        _order_text_by_bytes()


def _create_accounts_and_totals() -> None:
    op.create_table(
        "account",
        sa.Column("id", ID, sa.Identity(), primary_key=True),
        sa.Column("asset", sa.String(88), nullable=False),
        sa.Column("account", sa.String(300), nullable=False),
        sa.Column("vault", sa.String(20), nullable=False),
        sa.Column("supply_class", sa.String(20), nullable=False),
        sa.UniqueConstraint("account", "asset", "vault"),
    )
    op.create_table(
        "epoch_total",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("asset", sa.String(88), primary_key=True),
        sa.Column("log", sa.String(40), primary_key=True),
        sa.Column("settled", sa.BigInteger, nullable=False),
        *_amounts("gross", "burn", "fee", "net", "pool", "treasury"),
    )


def _create_balances() -> None:
    op.create_table(
        "balance",
        sa.Column("account_id", ID, sa.ForeignKey("account.id"), primary_key=True),
        sa.Column("log", sa.String(40), primary_key=True),
        *_amounts("debits", "credits"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history",
        sa.Column("account_id", ID, primary_key=True),
        sa.Column("log", sa.String(40), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(88), nullable=False),
        sa.Column("occurred_at", sa.String(27), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        *_amounts("debit", "credit", "debits", "credits"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (sequence)",
    )


def _order_text_by_bytes() -> None:
    for table, column, kind in (
        op.get_bind()
        .execute(
            sa.text(
                "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
                "JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = current_schema()::regnamespace "
                "AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND a.atttypid = 'varchar'::regtype"
            )
        )
        .all()
    ):
        op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')


def _amounts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BaseUnits, nullable=False) for name in names]
