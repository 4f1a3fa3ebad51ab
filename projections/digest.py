"""A digest of each table, the same for the same rows in either database, whatever their order and accounts' ids.

digest = Σ SHA-256(row) mod 2^256        over rows; an account's id is written as the key it stands for
"""

from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Table, select

from projections.tables import METADATA, account

__all__ = ["digest_of_tables"]

_MODULUS = 2**256
# So many rows are held at once.
_ROWS = 10_000


def digest_of_tables(connection: Connection) -> dict[str, str]:
    """Return the digest of each table by its name; in one transaction that sees one moment they belong together."""
    keys = {id: tuple(key) for id, *key in connection.execute(select(account))}
    return {table.name: _digest(connection, table, keys) for table in METADATA.sorted_tables}


def _digest(connection: Connection, table: Table, keys: dict[int, Any]) -> str:
    number = next((n for n, column in enumerate(table.c) if table.name == "account" or column.name == "account_id"), -1)
    total = 0
    for row in connection.execution_options(yield_per=_ROWS).execute(select(table)):
        values = tuple(row)
        if number >= 0:
            values = (*values[:number], keys.get(values[number]), *values[number + 1 :])
        total += int.from_bytes(sha256(repr(values).encode()).digest(), "big")
    return f"{total % _MODULUS:064x}"
