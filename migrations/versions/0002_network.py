"""Participants, tickets, slash cases and validators' rewards; what waits of a job; where epochs were closed.

All rows are derived, and those of the new tables lie in decisions that were folded long ago. So every table is emptied:
without a checkpoint the projector folds the logs again from their beginning. Locks all tables until it has run.
"""

import sqlalchemy as sa
from alembic import op

from projections.tables import BaseUnits

revision = "0002"
down_revision = "0001"

# What refers to others comes first.
FIRST_TABLES = ("history", "balance", "account", "record", "checkpoint", "epoch_total", "dead_letter")


def upgrade() -> None:
    """Empty the tables, change two, and create the new ones."""
    for name in FIRST_TABLES:
        op.execute(f"DELETE FROM {name}")
    op.drop_table("job")
    op.drop_table("epoch")
    _create_jobs_and_epochs()
    _create_stakes()
    _create_slashes()
    _create_rewards()


def _create_jobs_and_epochs() -> None:
    op.create_table(
        "job",
        sa.Column("consumer", sa.String(88), primary_key=True),
        sa.Column("id", sa.String(88), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("cause", sa.String(88), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("asset", sa.String(88), nullable=False),
        sa.Column("escrow", BaseUnits, nullable=False),
        sa.Column("gpu_seconds", sa.BigInteger, nullable=False),
        *_amounts("gross", "burn", "fee", "net", "refund", "waiting"),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
    )
    op.create_table(
        "epoch",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("starts_at", sa.String(27), nullable=False),
        sa.Column("ends_at", sa.String(27), nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )


def _create_stakes() -> None:
    op.create_table(
        "participant",
        sa.Column("role", sa.String(20), primary_key=True),
        sa.Column("id", sa.String(88), primary_key=True),
        sa.Column("operator", sa.String(88), nullable=False),
        sa.Column("owner", sa.String(44), nullable=False),
        *_amounts("minimum"),
        sa.Column("registered_at", sa.String(27), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_index("participant_by_owner", "participant", ["owner"])
    op.create_table(
        "standing",
        sa.Column("role", sa.String(20), primary_key=True),
        sa.Column("id", sa.String(88), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("cause", sa.String(20), nullable=False),
        sa.Column("occurred_at", sa.String(27), nullable=False),
    )
    op.create_table(
        "ticket",
        sa.Column("id", sa.String(88), primary_key=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("participant", sa.String(88), nullable=False),
        sa.Column("asset", sa.String(88), nullable=False),
        *_amounts("amount"),
        sa.Column("ordered_at", sa.String(27), nullable=False),
        sa.Column("matures_at", sa.String(27), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ticket_end",
        sa.Column("ticket", sa.String(88), primary_key=True),
        sa.Column("outcome", sa.String(20), nullable=False),
        *_amounts("amount"),
        sa.Column("occurred_at", sa.String(27), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )


def _create_slashes() -> None:
    op.create_table(
        "slash_case",
        sa.Column("id", sa.String(88), primary_key=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("accused", sa.String(88), nullable=False),
        sa.Column("cause", sa.String(88), nullable=False),
        sa.Column("consumer", sa.String(88), nullable=False),
        sa.Column("job", sa.String(88), nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("asset", sa.String(88), nullable=False),
        *_amounts("basis"),
        sa.Column("bps", sa.Integer, nullable=False),
        *_amounts("amount", "from_bonded"),
        sa.Column("proposer", sa.String(88), nullable=False),
        *_amounts("bond"),
        sa.Column("reporter", sa.String(88), nullable=False),
        sa.Column("verifiers", sa.String, nullable=False),
        sa.Column("proposed_at", sa.String(27), nullable=False),
        sa.Column("ends_at", sa.String(27), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_index("slash_case_by_accused", "slash_case", ["accused"])
    op.create_table(
        "slash_step",
        sa.Column("slash_case", sa.String(88), primary_key=True),
        sa.Column("step", sa.String(20), primary_key=True),
        sa.Column("occurred_at", sa.String(27), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("ends_at", sa.String(27), nullable=False),
        *_amounts("paid", "burned", "shares"),
        sa.Column("shares_to", sa.String(300), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )


def _create_rewards() -> None:
    op.create_table(
        "reward",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("asset", sa.String(88), primary_key=True),
        sa.Column("validator", sa.String(88), primary_key=True),
        *_amounts("weight", "amount"),
        sa.Column("assigned", sa.BigInteger, nullable=False),
        sa.Column("answered", sa.BigInteger, nullable=False),
        sa.Column("waits_on", sa.String(88), nullable=False),
        sa.Column("reason", sa.String(88), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_index("reward_by_validator", "reward", ["validator"])
    op.create_table(
        "reward_epoch",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("asset", sa.String(88), primary_key=True),
        *_amounts("pool", "carry_in", "shared", "withheld", "carry", "weight"),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )


def _amounts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BaseUnits, nullable=False) for name in names]
