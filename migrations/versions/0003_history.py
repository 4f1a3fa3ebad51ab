"""Balances, history and jobs in the order of their keys; history and jobs stand at a position of their own.

All rows are derived, so every table is emptied: without a checkpoint the projector folds the logs again from their
beginning. Locks all tables until it has run.
"""

import sqlalchemy as sa
from alembic import op

from projections.tables import BaseUnits

revision = "0003"
down_revision = "0002"

# What refers to others comes first.
FIRST_TABLES = ("account", "record", "checkpoint", "epoch", "epoch_total", "dead_letter")
NETWORK_TABLES = (
    "participant",
    "standing",
    "ticket",
    "ticket_end",
    "slash_case",
    "slash_step",
    "reward",
    "reward_epoch",
)


def upgrade() -> None:
    """Empty the tables, and make three anew."""
    for name in ("history", "balance", "job"):
        op.drop_table(name)
    for name in FIRST_TABLES + NETWORK_TABLES:
        op.execute(f"DELETE FROM {name}")
    _create_balances()
    _create_jobs()


def _create_balances() -> None:
    op.create_table(
        "balance",
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), primary_key=True),
        sa.Column("log", sa.String(40), primary_key=True),
        *_amounts("debits", "credits"),
        sqlite_with_rowid=False,
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
        *_amounts("debit", "credit", "debits", "credits"),
        sqlite_with_rowid=False,
    )


def _create_jobs() -> None:
    op.create_table(
        "job",
        sa.Column("consumer", sa.String(88), primary_key=True),
        sa.Column("id", sa.String(88), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("cause", sa.String(88), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("asset", sa.String(88), nullable=False),
        *_amounts("escrow"),
        sa.Column("gpu_seconds", sa.BigInteger, nullable=False),
        *_amounts("gross", "burn", "fee", "net", "refund", "waiting"),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )


def _amounts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BaseUnits, nullable=False) for name in names]
