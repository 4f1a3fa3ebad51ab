"""Rebuilds the tables on PostgreSQL beside those in use, and swaps them: readers and projectors go on meanwhile.

    1 fold into tables beside   2 compare at equal positions   3 with projectors held back: fold the rest, swap names

A projector that goes on behind the swap finds other tables under the names, and takes its logs up anew. The logs alone
are believed: what differed is told, and replaced.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, select, text

from events.log import Log
from projections.database import SCHEMA, migrate, open_postgres
from projections.digest import digest_of_tables
from projections.project import Projector
from projections.roles import grant_roles, has_roles
from projections.tables import checkpoint

__all__ = ["RebuildRefused", "Rebuilt", "rebuild_beside"]

Progress = Callable[[int], None]
# What was appended while this many passes ran is folded while projectors wait.
_PASSES = 3
_ALONE = text("SELECT pg_try_advisory_lock(hashtext('omnisync rebuild'))")
_NO_TIMEOUT = text("SET LOCAL idle_in_transaction_session_timeout = 0")


class RebuildRefused(Exception):
    """Another rebuild runs, or the logs end before what the tables hold; nothing was changed."""


class Rebuilt(NamedTuple):
    """Where the tables stood at the swap, and which of them had held something else."""

    positions: dict[str, int]
    differed: tuple[str, ...]


def rebuild_beside(
    url: str,
    scripts: Path,
    facts: Log,
    ledgers: Sequence[Log],
    schema: str = SCHEMA,
    on_record: Progress | None = None,
) -> Rebuilt:
    """Fold the logs as far as the tables in use have come, and take their place. `facts` is the hub's partition.

    What a rebuild that was broken off has left is removed. Raises: RebuildRefused, DatabaseUnreachable,
    LedgerInvariantBroken.
    """
    fresh = f"{schema}_rebuild"
    live, beside = (open_postgres(url, writable=True, schema=name) for name in (schema, fresh))
    try:
        with _alone(live):
            migrate(live, scripts)
            _drop(live, f"{schema}_former", fresh)
            migrate(beside, scripts)
            with live.connect() as connection:
                granted = has_roles(connection)
            if granted:
                grant_roles(beside, fresh)
            projector = Projector(beside, facts, ledgers)
            for _ in range(_PASSES):
                _follow(live, projector, on_record)
            differed = _compare(live, beside, projector)
            positions = _swap(live, projector, schema, fresh)
            _drop(live, f"{schema}_former")
            return Rebuilt(positions, differed)
    finally:
        live.dispose()
        beside.dispose()


def _follow(live: Engine, projector: Projector, on_record: Progress | None) -> None:
    with live.connect() as connection:
        positions = _positions(connection)
    _fold(projector, positions, on_record)


def _compare(live: Engine, beside: Engine, projector: Projector) -> tuple[str, ...]:
    with live.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(_NO_TIMEOUT)
        _fold(projector, _positions(connection))
        stored = digest_of_tables(connection)
    with beside.connect() as connection:
        derived = digest_of_tables(connection)
    return tuple(name for name in stored if stored[name] != derived[name])


def _swap(live: Engine, projector: Projector, schema: str, fresh: str) -> dict[str, int]:
    with live.begin() as connection:
        connection.execute(_NO_TIMEOUT)
        # Every batch begins with this table: those under way end first, others wait. Readers go on.
        connection.exec_driver_sql("LOCK TABLE checkpoint IN SHARE ROW EXCLUSIVE MODE")
        positions = _positions(connection)
        _fold(projector, positions)
        # So does every question: one that has begun is answered from the tables that it began with.
        connection.exec_driver_sql("LOCK TABLE checkpoint IN ACCESS EXCLUSIVE MODE")
        connection.exec_driver_sql(f'ALTER SCHEMA "{schema}" RENAME TO "{schema}_former"')
        connection.exec_driver_sql(f'ALTER SCHEMA "{fresh}" RENAME TO "{schema}"')
    return positions


def _fold(projector: Projector, ends: dict[str, int], on_record: Progress | None = None) -> None:
    projector.run(on_record, ends)
    projector.catch_up(ends=ends)
    if dict(projector.positions()) != ends:
        raise RebuildRefused(f"the tables stand at {ends}, and the logs lead to {dict(projector.positions())}")


def _positions(connection: Connection) -> dict[str, int]:
    return {row.log: row.position for row in connection.execute(select(checkpoint))}


@contextmanager
def _alone(live: Engine) -> Iterator[None]:
    with live.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
        if not guard.execute(_ALONE).scalar_one():
            raise RebuildRefused("another rebuild runs")
        yield


def _drop(engine: Engine, *schemas: str) -> None:
    with engine.begin() as connection:
        for name in schemas:
            connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
