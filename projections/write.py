"""Writes many rows at once: SQLAlchemy says the statement, the driver takes the rows, many to a statement.

Row by row through SQLAlchemy's parameter handling, binding costs three times what SQLite needs to insert; row by row
through the driver, twice. PostgreSQL copies rows: those that are only added into their table, others into a temporary
one, from which a statement takes them. As an array per column they would take it twice as long.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Table, insert
from sqlalchemy.dialects import sqlite

from projections.tables import BaseUnits

__all__ = [
    "Row",
    "insert_columns",
    "insert_rows",
    "insert_tuples",
    "stage",
    "upsert_columns",
    "upsert_rows",
    "upsert_tuples",
]

Row = dict[str, Any]
Rows = Sequence[tuple[Any, ...]]
# SQLite takes some ten thousand values in one statement; beyond some dozen rows nothing is gained.
_ROWS_MAX = 64
_SQLITE: Dialect = sqlite.dialect(paramstyle="qmark")


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that are not there yet; each has all columns of the table."""
    insert_tuples(connection, table, _tuples(table, rows))


def upsert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, or replace those with the same key."""
    upsert_tuples(connection, table, _tuples(table, rows))


def insert_tuples(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows in the order of the table's columns; amounts below 2^63 unless they are text already."""
    if connection.dialect.name == "sqlite":
        _execute(connection, table, list(chain.from_iterable(rows)), replace=False)
    else:
        _copy(connection, table, rows)


def upsert_tuples(connection: Connection, table: Table, rows: Rows) -> None:
    """As `insert_tuples`, replacing those with the same key, of which `rows` has each once."""
    if connection.dialect.name == "sqlite":
        _execute(connection, table, list(chain.from_iterable(rows)), replace=True)
    elif rows:
        _cursor(connection).execute(_upsert_text(table, stage(connection, table, rows)))


def stage(connection: Connection, table: Table, rows: Rows) -> str:
    """Put rows into a temporary table on PostgreSQL, which is empty again behind the transaction; return its name."""
    name = f"staged_{table.name}"
    _cursor(connection).execute(
        f'CREATE TEMPORARY TABLE IF NOT EXISTS "{name}" (LIKE "{table.name}") ON COMMIT DELETE ROWS'
    )
    _copy(connection, table, rows, name)
    return name


def insert_columns(connection: Connection, table: Table, columns: Sequence[Sequence[Any]]) -> None:
    """As `insert_tuples`, of rows that are given column by column."""
    if connection.dialect.name == "sqlite":
        _execute(connection, table, _interleave(columns), replace=False)
    else:
        _copy(connection, table, zip(*columns, strict=True))


def upsert_columns(connection: Connection, table: Table, columns: Sequence[Sequence[Any]]) -> None:
    """As `upsert_tuples`, of rows that are given column by column."""
    if connection.dialect.name == "sqlite":
        _execute(connection, table, _interleave(columns), replace=True)
    else:
        upsert_tuples(connection, table, list(zip(*columns, strict=True)))


def _interleave(columns: Sequence[Sequence[Any]]) -> list[Any]:
    values: list[Any] = [None] * (len(columns) * len(columns[0]))
    for place, column in enumerate(columns):
        values[place :: len(columns)] = column
    return values


def _tuples(table: Table, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    columns = [(column.name, isinstance(column.type, BaseUnits)) for column in table.c]
    # As `BaseUnits` binds them in SQLite: amounts are text.
    return [tuple(str(row[name]) if is_amount else row[name] for name, is_amount in columns) for row in rows]


def _cursor(connection: Connection) -> Any:
    return connection.connection.cursor()


# --- PostgreSQL ---


def _copy(connection: Connection, table: Table, rows: Iterable[tuple[Any, ...]], into: str | None = None) -> None:
    with _cursor(connection).copy(f'COPY "{into or table.name}" ({_names(table.c)}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(row)


def _upsert_text(table: Table, staged: str) -> str:
    keys = {column.name for column in table.primary_key}
    changed = ", ".join(f'"{column.name}" = excluded."{column.name}"' for column in table.c if column.name not in keys)
    names, keyed = _names(table.c), _names(table.primary_key)
    return (
        f'INSERT INTO "{table.name}" ({names}) SELECT {names} FROM "{staged}" '
        f"ON CONFLICT ({keyed}) DO UPDATE SET {changed}"
    )


def _names(columns: Iterable[Column[Any]]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


# --- SQLite ---


def _execute(connection: Connection, table: Table, values: list[Any], *, replace: bool) -> None:
    """Write rows, given value by value."""
    if not values:
        return
    width = len(table.c)
    cursor = _cursor(connection)
    whole = len(values) - len(values) % (_ROWS_MAX * width)
    # A column of text takes a bound integer as its decimal digits: SQLite's affinity, done in its own code.
    cursor.executemany(_text(table, replace, _ROWS_MAX), _cut(values[:whole], _ROWS_MAX * width))
    cursor.executemany(_text(table, replace, 1), _cut(values[whole:], width))


def _cut(values: list[Any], length: int) -> Iterator[list[Any]]:
    return (values[start : start + length] for start in range(0, len(values), length))


def _statement(table: Table, replace: bool) -> Any:
    if not replace:
        return insert(table)
    statement = sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


@lru_cache
def _text(table: Table, replace: bool, rows: int) -> str:
    """Return the statement that takes so many rows, one value after another."""
    compiled: Any = _statement(table, replace).compile(dialect=_SQLITE)
    assert compiled.positiontup == [column.name for column in table.c]
    row = f"({', '.join('?' * len(table.c))})"
    before, _, behind = str(compiled).partition(f" VALUES {row}")
    assert "?" not in before + behind
    return f"{before} VALUES {', '.join([row] * rows)}{behind}"
