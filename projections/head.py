"""Balances as they stand at the head: the sums of each log's accounts, and which of them a batch moves.

    balance of an account = Σ over logs (credits − debits)

Account ids count from 1 in the order in which accounts were first moved; `Names` counts from 0.
"""

from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from events.columns import Integers
from ledger.accounts import SUPPLY_ISSUED, Key, kind_of
from ledger.errors import LedgerInvariantBroken
from ledger.sums import LimbSums
from ledger.vectors import Names
from projections import tables
from projections.batch import Moves

__all__ = ["Head"]


class Head:
    """What is known of all accounts without asking the tables."""

    def __init__(self, connection: Connection) -> None:
        """Take up where the tables stand. Raises: LedgerInvariantBroken."""
        self.names = Names()
        self._sums: dict[str, tuple[LimbSums, LimbSums]] = {}
        self._moved: list[Integers] = []
        self._stored = 0
        for row in connection.execute(select(tables.account).order_by(tables.account.c.id)):
            if self.names.number(Key(row.asset, row.account, row.vault)) + 1 != row.id:
                raise LedgerInvariantBroken(f"table account: id {row.id} is out of order; rebuild the projections")
        self._stored = len(self.names)
        for row in connection.execute(select(tables.balance)):
            for sums, total in zip(self._of(row.log), (row.debits, row.credits), strict=True):
                sums.set(row.account_id - 1, total)
        if self._stored:
            self._moved.append(np.arange(self._stored, dtype=np.int64))

    def take(self, log: str, moves: Moves) -> list[tuple[Any, ...]]:
        """Add a batch's postings; return the rows of the balances that moved, in the order of their key."""
        moved = np.unique(moves.accounts)
        self._moved.append(moved)
        totals = []
        for sums, amounts in zip(self._of(log), (moves.debits, moves.credits), strict=True):
            sums.add(moves.accounts, amounts)
            totals.append(map(str, sums.totals(moved)))
        return list(zip((moved + 1).tolist(), [log] * len(moved), *totals, strict=True))

    def new_accounts(self) -> list[tuple[Any, ...]]:
        """Return the rows of the accounts that were named since the last call."""
        first, self._stored = self._stored, len(self.names)
        return [
            (number + 1, key.asset, key.account, key.vault, kind_of(key.account).supply.value)
            for number, key in enumerate(self.names.keys[first:], first)
        ]

    def check_floors(self) -> None:
        """Assert that of what has moved only `supply:issued` is below zero. Raises: LedgerInvariantBroken."""
        if not self._moved:
            return
        moved = np.unique(np.concatenate(self._moved))
        nets = [0] * len(moved)
        for debits, credits in self._sums.values():
            terms = zip(nets, credits.totals(moved), debits.totals(moved), strict=True)
            nets = [net + credit - debit for net, credit, debit in terms]
        for number, net in zip(moved.tolist(), nets, strict=True):
            key = self.names.keys[number]
            if net < 0 and key.account != SUPPLY_ISSUED:
                where = key.vault or "no vault"
                raise LedgerInvariantBroken(f"{key.account} in {where} stands at {net} base units of {key.asset}")
        self._moved.clear()

    def _of(self, log: str) -> tuple[LimbSums, LimbSums]:
        if log not in self._sums:
            self._sums[log] = LimbSums(), LimbSums()
        return self._sums[log]
