"""Accounts by their ids in the tables, and as small numbers in memory.

    number     from 0, in the order in which this process met the account (`ledger.vectors.Names`)
    id         the table's; where several projectors write, whoever comes first has given it

What is known here may not outlive a transaction that failed: ids that it gave are void.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from events.columns import Integers
from ledger.accounts import Key
from ledger.vectors import Names
from projections import tables
from projections.write import stage

__all__ = ["Accounts"]

_ENTER = (
    "INSERT INTO account (asset, account, vault, supply_class) SELECT asset, account, vault, supply_class FROM {} "
    "ON CONFLICT (account, asset, vault) DO NOTHING"
)
# Wanted under the number that it has here.
_FIND = "SELECT wanted.id, account.id FROM {} AS wanted JOIN account USING (asset, account, vault)"


class Accounts:
    """The accounts that a projector has met."""

    def __init__(self, *, gives_ids: bool = False) -> None:
        """Begin with none; ids are the table's to give, or given here."""
        self.gives_ids = gives_ids
        self.names = Names()
        self._ids = np.zeros(1024, dtype=np.int64)
        self._entered = 0

    def load_all(self, connection: Connection) -> None:
        """Meet all accounts that the table has; in SQLite, where ids are given here, none may be missed."""
        rows = connection.execute(select(tables.account)).all()
        self.place([row.id for row in rows], [Key(row.asset, row.account, row.vault) for row in rows])

    def place(self, ids: Sequence[int], keys: Sequence[Key]) -> list[int]:
        """Meet accounts of the table; return their numbers."""
        numbers = [self.names.number(key) for key in keys]
        self._put(numbers, ids)
        self._entered = len(self.names)
        return numbers

    def ids(self, numbers: Integers) -> Integers:
        """Return the ids of accounts that are in the table."""
        return self._ids[numbers]

    def numbers(self) -> dict[int, int]:
        """Return the number of each id."""
        return dict(zip(self._ids[: self._entered].tolist(), range(self._entered), strict=True))

    def give_ids(self) -> list[Sequence[Any]]:
        """Give ids to the accounts that were named since the last call; return their rows, column by column."""
        first, next_id = self._entered, int(self._ids.max()) + 1
        columns = self._describe_new()
        # In the order of their names, so that the table's index grows page by page.
        order = sorted(range(len(columns[1])), key=columns[1].__getitem__)
        ids = range(next_id, next_id + len(order))
        self._put(np.array(order, dtype=np.int64) + first, ids)
        return [ids, *(list(map(column.__getitem__, order)) for column in columns)]

    def enter(self, connection: Connection) -> None:
        """Put the accounts into the table that were named since the last call, or find them there."""
        first = self._entered
        columns = self._describe_new()
        if first < self._entered:
            numbers = range(first, self._entered)
            self._enter_among_others(connection, list(zip(numbers, *columns, strict=True)))

    def _describe_new(self) -> list[Sequence[str]]:
        first, self._entered = self._entered, len(self.names)
        names = self.names
        return [column[first:] for column in (names.assets, names.accounts, names.vaults, names.classes)]

    def _enter_among_others(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        """Enter what nobody has entered, in order of the key, so that no two projectors wait for one another."""
        # The insertion waits until a row of somebody else's is committed; so the second statement sees it.
        wanted = stage(connection, tables.account, sorted(rows, key=itemgetter(2, 1, 3)))
        cursor: Any = connection.connection.cursor()
        cursor.execute(_ENTER.format(wanted))
        found = cursor.execute(_FIND.format(wanted)).fetchall()
        assert len(found) == len(rows), "accounts are neither entered nor found"
        self._put(*zip(*found, strict=True))

    def _put(self, numbers: Sequence[int] | Integers, ids: Sequence[int]) -> None:
        if len(self._ids) < len(self.names):
            more = np.zeros(max(len(self.names), 2 * len(self._ids)) - len(self._ids), dtype=np.int64)
            self._ids = np.concatenate((self._ids, more))
        self._ids[np.asarray(numbers, dtype=np.int64)] = ids
