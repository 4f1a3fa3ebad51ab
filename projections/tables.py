"""The read models' tables, the same for SQLite and PostgreSQL.

Amounts are exact: NUMERIC(39) where the database has it, decimal text in SQLite, where SUM would give a float. So no
query adds amounts up in SQLite; readers do.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
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
    "record",
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
    Column("id", Integer, primary_key=True, autoincrement=False),
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
    Column("account_id", Integer, ForeignKey("account.id"), primary_key=True),
    Column("log", String(40), primary_key=True),
    Column("debits", BaseUnits, nullable=False),
    Column("credits", BaseUnits, nullable=False),
)
history = Table(
    "history",
    METADATA,
    Column("account_id", Integer, ForeignKey("account.id"), primary_key=True),
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
)
job = Table(
    "job",
    METADATA,
    Column("id", String(88), primary_key=True),
    Column("consumer", String(88), nullable=False),
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
    Column("epoch", Integer, nullable=False),
    Column("late", Boolean, nullable=False),
)
Index("job_by_consumer", job.c.consumer)
epoch = Table(
    "epoch",
    METADATA,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("starts_at", String(27), nullable=False),
    Column("ends_at", String(27), nullable=False),
)
epoch_total = Table(
    "epoch_total",
    METADATA,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("asset", String(88), primary_key=True),
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
