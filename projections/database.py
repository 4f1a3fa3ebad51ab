"""Opens the databases that projections live in, at the schema revision that this code writes.

SQLite: one writer, which takes its lock at BEGIN, and readers beside it (WAL). `synchronous=NORMAL`, since all of
it can be derived again.
"""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

__all__ = ["REVISION", "SchemaOutdated", "close_to_one_file", "migrate", "open_sqlite"]

BUSY_TIMEOUT_MS = 10_000
# What one transaction of the projector changes stays in memory until it ends.
CACHE_KIB = 32_768
REVISION = "0003"


class SchemaOutdated(Exception):
    """A reader's database has tables of another revision than this code reads; the message names the fix."""


def open_sqlite(path: Path | None, *, writable: bool, journal: bool = True) -> Engine:
    """Open an embedded database file; None keeps it in memory. Without `journal` a crash leaves no database.

    A reader's connection raises SchemaOutdated where the tables are not those of `REVISION`.
    """
    url = "sqlite://" if path is None else f"sqlite:///{path}"
    engine = create_engine(url) if path is None else create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: object) -> None:
        # The driver's own transaction control is switched off: transactions begin where we say so.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA journal_mode={'WAL' if journal else 'OFF'}")
        cursor.execute(f"PRAGMA synchronous={'NORMAL' if journal else 'OFF'}")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        if writable:
            cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        else:
            cursor.execute("PRAGMA query_only=ON")
            _check_revision(cursor)
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

    return engine


def close_to_one_file(path: Path) -> None:
    """Bring a database whole, and durably, into its main file; what cannot be read needs no care.

    Raises: sqlalchemy.exc.OperationalError while somebody reads it.
    """
    if not path.exists():
        return
    engine = open_sqlite(path, writable=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
            connection.exec_driver_sql("BEGIN")
    except OperationalError:
        raise
    except DatabaseError:
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    finally:
        engine.dispose()
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def migrate(engine: Engine, scripts: Path) -> None:
    """Bring a database to the newest schema revision (Alembic, forward only)."""
    with engine.connect() as connection:
        if _find_revision(connection.connection.cursor()) == REVISION:
            return
    # Loaded where tables must change, and by no command besides: it takes longer than most of them.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _check_revision(cursor: Any) -> None:
    found = _find_revision(cursor)
    # Not made by `migrate`, or damaged: whoever reads finds out.
    if found not in {None, REVISION}:
        raise SchemaOutdated(
            f"the projections have tables of revision {found or 'none'}, this program reads {REVISION}; "
            "`omnisync run --once` brings them up and folds the logs again"
        )


def _find_revision(cursor: Any) -> str | None:
    """Return the revision of the tables: None where none is told, empty where a migration was broken off."""
    cursor.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
    if cursor.fetchone() is None:
        return None
    cursor.execute("SELECT version_num FROM alembic_version")
    found = cursor.fetchone()
    return "" if found is None else str(found[0])
