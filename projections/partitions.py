"""History's partitions on PostgreSQL, by position: made before a batch that needs one, and always one more.

history_n      [n × SIZE, (n + 1) × SIZE) of every log
"""

from sqlalchemy import Engine, text

__all__ = ["SIZE", "reserve_history"]

SIZE = 2**23
_UNBOUNDED = 2**63
_ALONE = text("SELECT pg_advisory_xact_lock('history'::regclass::oid::bigint)")
_THERE = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'history'::regclass")


def reserve_history(engine: Engine, end: int) -> int:
    """Make what is missing up to a position, and one more; return the position up to which there are partitions."""
    if engine.dialect.name == "sqlite":
        return _UNBOUNDED
    count = end // SIZE + 2
    with engine.begin() as connection:
        connection.execute(_ALONE)
        there = set(connection.execute(_THERE).scalars())
        for number in range(count):
            name = f"history_{number}"
            if name not in there:
                # Attached and not made as a partition: that would wait for all who read history.
                connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE history INCLUDING CONSTRAINTS)")
                connection.exec_driver_sql(
                    f"ALTER TABLE history ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ({number * SIZE}) TO ({(number + 1) * SIZE})"
                )
    return count * SIZE
