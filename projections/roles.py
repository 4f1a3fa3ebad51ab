"""Who may do what in PostgreSQL. Processes log in as users of their own, each a member of one of two roles.

    omnisync_project    reads, adds and changes rows, and makes history's partitions; deletes nothing
    omnisync_read       reads

Tables are made by whoever owns the schema: `migrate` and `rebuild` are neither's.
"""

from sqlalchemy import Connection, Engine, text

from projections.database import SCHEMA

__all__ = ["PROJECT", "READ", "grant_roles", "has_roles"]

PROJECT, READ = "omnisync_project", "omnisync_read"


def grant_roles(engine: Engine, schema: str = SCHEMA) -> None:
    """Create the roles where they are missing, and say what they may do with the tables of a schema."""
    with engine.begin() as connection:
        for role in (PROJECT, READ):
            connection.exec_driver_sql(
                f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
        for statement in (
            f'GRANT USAGE ON SCHEMA "{schema}" TO {PROJECT}, {READ}',
            f'GRANT CREATE ON SCHEMA "{schema}" TO {PROJECT}',
            f'GRANT TEMPORARY ON DATABASE "{engine.url.database}" TO {PROJECT}',
            f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO {PROJECT}, {READ}',
            f'GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA "{schema}" TO {PROJECT}',
            f'REVOKE INSERT, UPDATE ON "{schema}".alembic_version FROM {PROJECT}',
            # Partitions are added by the table's owner alone.
            f'ALTER TABLE "{schema}".history OWNER TO {PROJECT}',
            f'GRANT SELECT ON "{schema}".history TO {READ}',
        ):
            connection.exec_driver_sql(statement)


def has_roles(connection: Connection) -> bool:
    """Tell whether the roles were created."""
    return {PROJECT, READ} <= set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
