"""Writes many rows at once: SQLAlchemy says the statement, the driver takes the rows.

Row by row through SQLAlchemy's parameter handling, binding costs three times what SQLite needs to insert.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import postgresql, sqlite

from projections.rows import Row
from projections.tables import BaseUnits

__all__ = ["insert_rows", "upsert_rows"]


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that are not there yet; each has all columns of the table."""
    _execute(connection, table, insert(table), rows)


def upsert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, or replace those with the same key."""
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    _execute(connection, table, statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def _execute(connection: Connection, table: Table, statement: Any, rows: Sequence[Row]) -> None:
    if not rows:
        return
    if connection.dialect.name != "sqlite":
        connection.execute(statement, rows)
        return
    compiled = statement.compile(dialect=connection.dialect)
    # As `BaseUnits` binds them in SQLite: amounts are text.
    columns = [(name, isinstance(table.c[name].type, BaseUnits)) for name in compiled.positiontup]
    values = [tuple(str(row[name]) if is_amount else row[name] for name, is_amount in columns) for row in rows]
    connection.exec_driver_sql(str(compiled), values)
