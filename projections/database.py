"""Opens the databases that projections live in, at the schema revision that this code writes.

SQLite: one writer, which takes its lock at BEGIN, and readers beside it (WAL). `synchronous=NORMAL`, since all of
it can be derived again.

PostgreSQL: several writers and readers, in a schema of its own. A reader's transaction sees one moment. Timeouts end
whoever waits for a lock, or holds a transaction open, for longer than a batch or a rebuild's swap may take.
"""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

__all__ = [
    "REVISION",
    "SCHEMA",
    "DatabaseUnreachable",
    "SchemaOutdated",
    "close_to_one_file",
    "migrate",
    "open_postgres",
    "open_sqlite",
]

BUSY_TIMEOUT_MS = 10_000
# What one transaction of the projector changes stays in memory until it ends.
CACHE_KIB = 32_768
# Pages that many transactions change are written into the file once for all of them: up to 32 MB wait beside it.
CHECKPOINT_PAGES = 8_192
REVISION = "0004"
SCHEMA = "omnisync"
# Of PostgreSQL, in milliseconds but for the first.
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 60_000
IDLE_TIMEOUT_MS = 60_000
READ_TIMEOUT_MS = 300_000
_HAS_REVISION = {
    "sqlite": "SELECT name FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": "SELECT to_regclass('alembic_version')",
}
_MEND = {
    "sqlite": "`omnisync run --once` brings them up and folds the logs again",
    "postgresql": "`omnisync run --only project` brings them up and folds the logs again",
}
# By a part of what the client library says.
_MEND_TLS = {
    "certificate verify failed": "; sslrootcert of the address must be the authority behind the server's certificate",
    "does not match host name": "; give the address a name that the certificate has, or the server one for this name",
    "no encryption": "; the server takes TLS alone: end the address with ?sslmode=verify-full&sslrootcert=FILE",
}
_ALONE = text("SELECT pg_advisory_xact_lock(hashtext('omnisync migrate'))")


class DatabaseUnreachable(Exception):
    """No connection to PostgreSQL: not there, not yet, or not for us; the message says which, without the password.

    Where it is about TLS, it names the fix.
    """


class SchemaOutdated(Exception):
    """A reader's database has tables of another revision than this code reads; the message names the fix."""


def open_sqlite(path: Path | None, *, writable: bool, journal: bool = True) -> Engine:
    """Open an embedded database file; None keeps it in memory. Without `journal` a crash leaves no database.

    A reader's connection raises SchemaOutdated where the tables are not those of `REVISION`.
    """
    url = "sqlite://" if path is None else f"sqlite:///{path}"
    # Whoever writes stays connected until the engine is disposed of; behind a last connection SQLite tidies up.
    settings: dict[str, Any] = {} if writable else {"poolclass": NullPool}
    if path is None:
        # The one connection that there is, whatever thread asks for it.
        settings = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = create_engine(url, **settings)

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
            cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        else:
            cursor.execute("PRAGMA query_only=ON")
            _check_revision(cursor, "sqlite")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

    return engine


def open_postgres(url: str, *, writable: bool, schema: str = SCHEMA) -> Engine:
    """Open a database, given as SQLAlchemy takes it (`postgresql+psycopg://…`), in one of its schemas.

    Connecting raises DatabaseUnreachable, and for a reader SchemaOutdated where the tables are not those of `REVISION`.
    """
    settings = {
        "search_path": schema,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_MS,
        "timezone": "UTC",
    }
    if not writable:
        settings |= {
            "default_transaction_read_only": "on",
            "default_transaction_isolation": "repeatable\\ read",
            "statement_timeout": READ_TIMEOUT_MS,
        }
    given = make_url(url)
    options = given.query.get("options", "")
    assert isinstance(options, str)
    engine = create_engine(
        given,
        pool_pre_ping=True,
        connect_args={
            "application_name": "omnisync",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": " ".join([options, *(f"-c {name}={value}" for name, value in settings.items())]),
        },
    )

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _: object, arguments: Any, named: Any) -> Any:
        try:
            return dialect.connect(*arguments, **named)
        except dialect.loaded_dbapi.OperationalError as fault:
            where = engine.url.render_as_string(hide_password=True)
            said = " ".join(str(fault).split())
            mend = next((mend for part, mend in _MEND_TLS.items() if part in said), "")
            raise DatabaseUnreachable(f"{where}: {said}{mend}") from None

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: object) -> None:
        if not writable:
            try:
                _check_revision(connection.cursor(), "postgresql")
                connection.rollback()
            except SchemaOutdated:
                connection.close()
                raise

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
    """Bring a database to the newest schema revision (Alembic, forward only); on PostgreSQL make its schema too.

    Raises: SchemaOutdated where its tables are of a newer revision than this code knows.
    """
    dialect = engine.dialect.name
    with engine.connect() as connection:
        found = _find_revision(connection.connection.cursor(), dialect)
    if found == REVISION:
        return
    if found is not None and found > REVISION:
        raise _outdated(found, dialect)
    # Loaded where tables must change, and by no command besides: it takes longer than most of them.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts))
    with engine.connect() as connection:
        if dialect == "postgresql":
            connection.execute(_ALONE)
            schema = connection.execute(text("SHOW search_path")).scalar_one()
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _check_revision(cursor: Any, dialect: str) -> None:
    found = _find_revision(cursor, dialect)
    # Not made by `migrate`, or damaged: whoever reads finds out.
    if found != REVISION and (found is not None or dialect == "postgresql"):
        raise _outdated(found, dialect)


def _outdated(found: str | None, dialect: str) -> SchemaOutdated:
    fix = "a newer program made them: use that one" if found is not None and found > REVISION else _MEND[dialect]
    return SchemaOutdated(
        f"the projections have tables of revision {found or 'none'}, this program reads {REVISION}; {fix}"
    )


def _find_revision(cursor: Any, dialect: str) -> str | None:
    """Return the revision of the tables: None where none is told, empty where a migration was broken off."""
    cursor.execute(_HAS_REVISION[dialect])
    if cursor.fetchone() in {None, (None,)}:
        return None
    cursor.execute("SELECT version_num FROM alembic_version")
    found = cursor.fetchone()
    return "" if found is None else str(found[0])
