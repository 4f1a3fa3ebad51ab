"""Writes many rows at once: SQLAlchemy says the statement, the driver takes the rows, many to a statement.

Row by row through SQLAlchemy's parameter handling, binding costs three times what SQLite needs to insert; row by row
through the driver, twice.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.dialects import postgresql, sqlite

from projections.tables import BaseUnits

__all__ = ["Row", "insert_columns", "insert_rows", "insert_tuples", "upsert_columns", "upsert_rows", "upsert_tuples"]

Row = dict[str, Any]
# SQLite takes some ten thousand values in one statement; beyond some dozen rows nothing is gained.
_ROWS_MAX = 64
_SQLITE: Dialect = sqlite.dialect(paramstyle="qmark")


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that are not there yet; each has all columns of the table."""
    insert_tuples(connection, table, _tuples(table, rows))


def upsert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, or replace those with the same key."""
    upsert_tuples(connection, table, _tuples(table, rows))


def insert_tuples(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in the order of the table's columns; amounts below 2^63 unless they are text already."""
    _execute(connection, table, list(chain.from_iterable(rows)), replace=False)


def upsert_tuples(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """As `insert_tuples`, replacing those with the same key, of which `rows` has each once."""
    _execute(connection, table, list(chain.from_iterable(rows)), replace=True)


def insert_columns(connection: Connection, table: Table, columns: Sequence[Sequence[Any]]) -> None:
    """As `insert_tuples`, of rows that are given column by column."""
    _execute(connection, table, _interleave(columns), replace=False)


def upsert_columns(connection: Connection, table: Table, columns: Sequence[Sequence[Any]]) -> None:
    """As `upsert_tuples`, of rows that are given column by column."""
    _execute(connection, table, _interleave(columns), replace=True)


def _interleave(columns: Sequence[Sequence[Any]]) -> list[Any]:
    values: list[Any] = [None] * (len(columns) * len(columns[0]))
    for place, column in enumerate(columns):
        values[place :: len(columns)] = column
    return values


def _tuples(table: Table, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    columns = [(column.name, isinstance(column.type, BaseUnits)) for column in table.c]
    # As `BaseUnits` binds them in SQLite: amounts are text.
    return [tuple(str(row[name]) if is_amount else row[name] for name, is_amount in columns) for row in rows]


def _execute(connection: Connection, table: Table, values: list[Any], *, replace: bool) -> None:
    """Write rows, given value by value."""
    if not values:
        return
    width = len(table.c)
    if connection.dialect.name != "sqlite":
        rows = [
            {
                column.name: int(value) if isinstance(column.type, BaseUnits) else value
                for column, value in zip(table.c, row, strict=True)
            }
            for row in _cut(values, width)
        ]
        connection.execute(_statement(connection.dialect, table, replace), rows)
        return
    cursor: Any = connection.connection.cursor()
    whole = len(values) - len(values) % (_ROWS_MAX * width)
    # A column of text takes a bound integer as its decimal digits: SQLite's affinity, done in its own code.
    cursor.executemany(_text(table, replace, _ROWS_MAX), _cut(values[:whole], _ROWS_MAX * width))
    cursor.executemany(_text(table, replace, 1), _cut(values[whole:], width))


def _cut(values: list[Any], length: int) -> Iterator[list[Any]]:
    return (values[start : start + length] for start in range(0, len(values), length))


def _statement(dialect: Dialect, table: Table, replace: bool) -> Any:
    if not replace:
        return insert(table)
    kind: Any = sqlite if dialect.name == "sqlite" else postgresql
    statement = kind.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


@lru_cache
def _text(table: Table, replace: bool, rows: int) -> str:
    """Return the statement that takes so many rows, one value after another."""
    compiled: Any = _statement(_SQLITE, table, replace).compile(dialect=_SQLITE)
    assert compiled.positiontup == [column.name for column in table.c]
    row = f"({', '.join('?' * len(table.c))})"
    before, _, behind = str(compiled).partition(f" VALUES {row}")
    assert "?" not in before + behind
    return f"{before} VALUES {', '.join([row] * rows)}{behind}"
