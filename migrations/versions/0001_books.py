"""The first schema: positions, accounts, balances, history, jobs, epochs, dead letters.

New tables only; locks nothing.
"""

import sqlalchemy as sa
from alembic import op

from projections.tables import BaseUnits

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _create_positions_and_balances()
    _create_what_is_counted()


def _create_positions_and_balances() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("log", sa.String(40), primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "record",
        sa.Column("log", sa.String(40), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("network_time", sa.String(27)),
        sa.Column("root", sa.String(64), nullable=False),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("asset", sa.String(88), nullable=False),
        sa.Column("account", sa.String(300), nullable=False),
        sa.Column("vault", sa.String(20), nullable=False),
        sa.Column("supply_class", sa.String(20), nullable=False),
        sa.UniqueConstraint("account", "asset", "vault"),
    )
    op.create_table(
        "balance",
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), primary_key=True),
        sa.Column("log", sa.String(40), primary_key=True),
        *(sa.Column(name, BaseUnits, nullable=False) for name in ("debits", "credits")),
    )
    op.create_table(
        "history",
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), primary_key=True),
        sa.Column("log", sa.String(40), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(88), nullable=False),
        sa.Column("occurred_at", sa.String(27), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        *(sa.Column(name, BaseUnits, nullable=False) for name in ("debit", "credit", "debits", "credits")),
    )


def _create_what_is_counted() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.String(88), primary_key=True),
        sa.Column("consumer", sa.String(88), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("cause", sa.String(88), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("asset", sa.String(88), nullable=False),
        sa.Column("escrow", BaseUnits, nullable=False),
        sa.Column("gpu_seconds", sa.BigInteger, nullable=False),
        *(sa.Column(name, BaseUnits, nullable=False) for name in ("gross", "burn", "fee", "net", "refund")),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
    )
    op.create_index("job_by_consumer", "job", ["consumer"])
    op.create_table(
        "epoch",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("starts_at", sa.String(27), nullable=False),
        sa.Column("ends_at", sa.String(27), nullable=False),
    )
    op.create_table(
        "epoch_total",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("asset", sa.String(88), primary_key=True),
        sa.Column("settled", sa.BigInteger, nullable=False),
        *(sa.Column(name, BaseUnits, nullable=False) for name in ("gross", "burn", "fee", "net", "pool", "treasury")),
    )
    op.create_table(
        "dead_letter",
        sa.Column("log", sa.String(40), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("source", sa.String(300), nullable=False),
        sa.Column("place", sa.String(300), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("detail", sa.String(300), nullable=False),
        sa.Column("raw", sa.String),
    )
