"""The read models' tables, the same for SQLite and PostgreSQL.

Amounts are exact: NUMERIC(39) where the database has it, decimal text in SQLite, where SUM would give a float. So no
query adds amounts up in SQLite; readers do. Tables that grow with the jobs are kept in the order of their key, with no
row number beside it. Text is ordered by its bytes, as in Python; for PostgreSQL the migrations see to that.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = [
    "METADATA",
    "BaseUnits",
    "account",
    "balance",
    "checkpoint",
    "dead_letter",
    "epoch",
    "epoch_total",
    "history",
    "job",
    "participant",
    "record",
    "reward",
    "reward_epoch",
    "slash_case",
    "slash_step",
    "standing",
    "ticket",
    "ticket_end",
]


class BaseUnits(TypeDecorator[int]):
    """A whole amount of base units, up to 39 digits."""

    impl = Numeric(39, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Store text in SQLite."""
        return dialect.type_descriptor(String(40) if dialect.name == "sqlite" else Numeric(39, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Write."""
        return value if value is None or dialect.name != "sqlite" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Read."""
        return None if value is None else int(value)


# In SQLite only a column of this very type is the row's number.
_ID = BigInteger().with_variant(Integer, "sqlite")
METADATA = MetaData()

checkpoint = Table(
    "checkpoint",
    METADATA,
    Column("log", String(40), primary_key=True),
    Column("position", BigInteger, nullable=False),
)
record = Table(
    "record",
    METADATA,
    Column("log", String(40), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("end", BigInteger, nullable=False),
    Column("network_time", String(27)),
    Column("root", String(64), nullable=False),
)
account = Table(
    "account",
    METADATA,
    Column("id", _ID, Identity(), primary_key=True),
    Column("asset", String(88), nullable=False),
    Column("account", String(300), nullable=False),
    Column("vault", String(20), nullable=False),
    Column("supply_class", String(20), nullable=False),
    UniqueConstraint("account", "asset", "vault"),
)
# Debits and credits only grow, and each log has its own: so the balance at any position is one row of history per log.
balance = Table(
    "balance",
    METADATA,
    Column("account_id", _ID, ForeignKey("account.id"), primary_key=True),
    Column("log", String(40), primary_key=True),
    Column("debits", BaseUnits, nullable=False),
    Column("credits", BaseUnits, nullable=False),
    sqlite_with_rowid=False,
)
# It refers to accounts as balances do, but is not checked row by row: on PostgreSQL that costs more than the rows.
# There it is partitioned, as its migration says; said here, that dialect would load wherever tables are used.
history = Table(
    "history",
    METADATA,
    Column("account_id", _ID, primary_key=True),
    Column("log", String(40), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("subject", String(88), nullable=False),
    Column("occurred_at", String(27), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("debit", BaseUnits, nullable=False),
    Column("credit", BaseUnits, nullable=False),
    Column("debits", BaseUnits, nullable=False),
    Column("credits", BaseUnits, nullable=False),
    sqlite_with_rowid=False,
)
job = Table(
    "job",
    METADATA,
    Column("consumer", String(88), primary_key=True),
    Column("id", String(88), primary_key=True),
    Column("status", String(20), nullable=False),
    Column("cause", String(88), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("asset", String(88), nullable=False),
    Column("escrow", BaseUnits, nullable=False),
    Column("gpu_seconds", BigInteger, nullable=False),
    Column("gross", BaseUnits, nullable=False),
    Column("burn", BaseUnits, nullable=False),
    Column("fee", BaseUnits, nullable=False),
    Column("net", BaseUnits, nullable=False),
    Column("refund", BaseUnits, nullable=False),
    Column("waiting", BaseUnits, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("late", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
epoch = Table(
    "epoch",
    METADATA,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("starts_at", String(27), nullable=False),
    Column("ends_at", String(27), nullable=False),
    Column("snapshot", String(64), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
# Each log has its own sums, as with balances: several projectors write them.
epoch_total = Table(
    "epoch_total",
    METADATA,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("asset", String(88), primary_key=True),
    Column("log", String(40), primary_key=True),
    Column("settled", BigInteger, nullable=False),
    Column("gross", BaseUnits, nullable=False),
    Column("burn", BaseUnits, nullable=False),
    Column("fee", BaseUnits, nullable=False),
    Column("net", BaseUnits, nullable=False),
    Column("pool", BaseUnits, nullable=False),
    Column("treasury", BaseUnits, nullable=False),
)
dead_letter = Table(
    "dead_letter",
    METADATA,
    Column("log", String(40), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("source", String(300), nullable=False),
    Column("place", String(300), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("detail", String(300), nullable=False),
    Column("raw", String, nullable=True),
)

# From here on rows are added and never changed. `sequence` is where the hub's log has the decision: what was known at a
# past position lies below it.
participant = Table(
    "participant",
    METADATA,
    Column("role", String(20), primary_key=True),
    Column("id", String(88), primary_key=True),
    Column("operator", String(88), nullable=False),
    Column("owner", String(44), nullable=False),
    Column("minimum", BaseUnits, nullable=False),
    Column("registered_at", String(27), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
Index("participant_by_owner", participant.c.owner)
standing = Table(
    "standing",
    METADATA,
    Column("role", String(20), primary_key=True),
    Column("id", String(88), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("active", Boolean, nullable=False),
    Column("cause", String(20), nullable=False),
    Column("occurred_at", String(27), nullable=False),
)
ticket = Table(
    "ticket",
    METADATA,
    Column("id", String(88), primary_key=True),
    Column("role", String(20), nullable=False),
    Column("participant", String(88), nullable=False),
    Column("asset", String(88), nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("ordered_at", String(27), nullable=False),
    Column("matures_at", String(27), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
ticket_end = Table(
    "ticket_end",
    METADATA,
    Column("ticket", String(88), primary_key=True),
    Column("outcome", String(20), nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("occurred_at", String(27), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
slash_case = Table(
    "slash_case",
    METADATA,
    Column("id", String(88), primary_key=True),
    Column("role", String(20), nullable=False),
    Column("accused", String(88), nullable=False),
    Column("cause", String(88), nullable=False),
    Column("consumer", String(88), nullable=False),
    Column("job", String(88), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("asset", String(88), nullable=False),
    Column("basis", BaseUnits, nullable=False),
    Column("bps", Integer, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("from_bonded", BaseUnits, nullable=False),
    Column("proposer", String(88), nullable=False),
    Column("bond", BaseUnits, nullable=False),
    Column("reporter", String(88), nullable=False),
    Column("verifiers", String, nullable=False),
    Column("proposed_at", String(27), nullable=False),
    Column("ends_at", String(27), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
Index("slash_case_by_accused", slash_case.c.accused)
# `shares`: what of the accused's rewards had waited for the case; `shares_to`: the account that a reversal gave it to.
slash_step = Table(
    "slash_step",
    METADATA,
    Column("slash_case", String(88), primary_key=True),
    Column("step", String(20), primary_key=True),
    Column("occurred_at", String(27), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("ends_at", String(27), nullable=False),
    Column("paid", BaseUnits, nullable=False),
    Column("burned", BaseUnits, nullable=False),
    Column("shares", BaseUnits, nullable=False),
    Column("shares_to", String(300), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
# `waits_on` is the case for which the share was withheld at first, `reason` why there is none; both may be empty.
reward = Table(
    "reward",
    METADATA,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("asset", String(88), primary_key=True),
    Column("validator", String(88), primary_key=True),
    Column("weight", BaseUnits, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("assigned", BigInteger, nullable=False),
    Column("answered", BigInteger, nullable=False),
    Column("waits_on", String(88), nullable=False),
    Column("reason", String(88), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
Index("reward_by_validator", reward.c.validator)
reward_epoch = Table(
    "reward_epoch",
    METADATA,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("asset", String(88), primary_key=True),
    Column("pool", BaseUnits, nullable=False),
    Column("carry_in", BaseUnits, nullable=False),
    Column("shared", BaseUnits, nullable=False),
    Column("withheld", BaseUnits, nullable=False),
    Column("carry", BaseUnits, nullable=False),
    Column("weight", BaseUnits, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
