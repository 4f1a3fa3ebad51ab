"""Balances as they stand at the head: the sums of one log's accounts, and which of them a batch moves.

    balance of an account = Σ over logs (credits − debits) ≥ 0        but for `supply:issued`

`consumer:*` and `escrow:*` are moved by their lane alone, so the lane's own sums tell. Any other account may have been
debited in one log what another one had credited: where a log's own sums stand below zero, all logs' are asked for.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, literal, select, union_all

from events.columns import Integers
from events.decisions import DecisionRefused
from ledger.accounts import EXTERNAL, SUPPLY_ISSUED, Key, consumer, escrow
from ledger.errors import LedgerInvariantBroken
from ledger.sums import LimbSums
from projections import tables
from projections.accounts import Accounts
from projections.batch import Batch, Moves
from projections.rows import decision_rows, record_row, refused_rows
from projections.write import Row, insert_columns

__all__ = ["Change", "Head"]

_OF_LANES = (consumer(""), escrow("", "").removesuffix(":"))
# So many accounts are asked for at once; databases bound the parameters of a statement.
_IDS_MAX = 5_000


class Head:
    """What is known of a log's accounts without asking the tables."""

    def __init__(self, log: str, accounts: Accounts) -> None:
        """Begin with nothing moved."""
        self.log, self.accounts = log, accounts
        self._sums = LimbSums(), LimbSums()
        # Of each other log, how much the last record rests on; None where that is not known.
        self.basis: dict[str, int] | None = None
        # Accounts that this log alone leaves below zero.
        self._below = set[int]()

    def load(self, connection: Connection) -> None:
        """Take up where the tables stand. Raises: LedgerInvariantBroken."""
        account, balance = tables.account.c, tables.balance.c
        rows = connection.execute(
            select(account.id, account.asset, account.account, account.vault, balance.debits, balance.credits)
            .join(tables.balance)
            .where(balance.log == self.log)
        ).all()
        numbers = self.accounts.place([row.id for row in rows], [Key(*row[1:4]) for row in rows])
        for number, row in zip(numbers, rows, strict=True):
            for sums, total in zip(self._sums, (row.debits, row.credits), strict=True):
                sums.set(number, total)
        self._find_below((number, row.debits, row.credits) for number, row in zip(numbers, rows, strict=True))

    def take(self, moves: Moves) -> None:
        """Add a batch's postings. Raises: LedgerInvariantBroken."""
        for sums, amounts in zip(self._sums, (moves.debits, moves.credits), strict=True):
            sums.add(moves.accounts, amounts)

    def columns(self, moved: Integers) -> list[list[Any]]:
        """Return the balances of accounts that have ids, column by column, in the order of their key.

        Raises: LedgerInvariantBroken.
        """
        ids = self.accounts.ids(moved)
        order = np.argsort(ids)
        moved, ids = moved[order], ids[order]
        debits, credits = (sums.limbs(moved) for sums in self._sums)
        below = np.flatnonzero(credits.are_below(debits))
        self._find_below(zip(moved[below].tolist(), debits.pick(below).ints(), credits.pick(below).ints(), strict=True))
        return [ids.tolist(), [self.log] * len(ids), debits.texts(), credits.texts()]

    def check_floors(self, connection: Connection) -> None:
        """Assert that no account is below zero, once all logs are folded. Raises: LedgerInvariantBroken."""
        self._check(connection, sorted(self._below), {})

    def check_covered(self, connection: Connection) -> None:
        """As `check_floors`, while other logs may lag: if the tables hold all that the log's last record rests on.

        `external` is left out: lanes debit it without resting on what the hub has credited.
        """
        if self.basis is not None and self._below:
            below = [number for number in sorted(self._below) if self._key(number).account != EXTERNAL]
            self._check(connection, below, self.basis)

    def _check(self, connection: Connection, below: list[int], basis: dict[str, int]) -> None:
        for start in range(0, len(below), _IDS_MAX):
            some = below[start : start + _IDS_MAX]
            ids = self.accounts.ids(np.array(some)).tolist()
            ends, nets = _read_nets(connection, ids)
            if any(ends.get(log, 0) < end for log, end in basis.items()):
                return
            for number, id in zip(some, ids, strict=True):
                self._must_cover(number, nets[id])
            self._below.difference_update(some)

    def _find_below(self, sums: Iterable[tuple[int, int, int]]) -> None:
        for number, debits, credits in sums:
            if credits >= debits:
                continue
            account = self._key(number).account
            if account.startswith(_OF_LANES):
                self._must_cover(number, credits - debits)
            elif account != SUPPLY_ISSUED:
                self._below.add(number)

    def _key(self, number: int) -> Key:
        return self.accounts.names.key(number)

    def _must_cover(self, number: int, net: int) -> None:
        if net < 0:
            key = self._key(number)
            where = key.vault or "no vault"
            raise LedgerInvariantBroken(f"{key.account} in {where} stands at {net} base units of {key.asset}")


class Change:
    """What records of one log change at its head, to be written at once; the records themselves need not be kept."""

    def __init__(self, head: Head) -> None:
        """Begin with nothing."""
        self.log, self.end, self.size = head.log, 0, 0
        self.records: list[tuple[Any, ...]] = []
        self.rows: dict[str, list[Row]] = {}
        self.letters: list[tuple[Any, ...]] = []
        self._head = head
        self._moved: list[Integers] = []
        # What is known before there is a transaction: where ids are given here.
        self._accounts: list[Sequence[Any]] = []
        self._balances: list[list[Any]] | None = None

    def take(self, batch: Batch) -> None:
        """Add the records that follow. Raises: LedgerInvariantBroken."""
        moves = batch.moves(self._head.accounts.names)
        self._head.take(moves)
        self._moved.append(moves.accounts)
        for part in batch.parts:
            if part.columns.kind is DecisionRefused:
                self.letters += refused_rows(self.log, batch.sequences[part.lines()], part.columns)
        for line, decision in batch.decisions:
            for table, row in decision_rows(self.log, int(batch.sequences[line]), decision):
                self.rows.setdefault(table.name, []).append(row)
        self.records += [record_row(self.log, header) for header in batch.headers]
        self.end = batch.end
        self.size += batch.size

    def work_out(self) -> None:
        """Make it independent of what the log brings next, where ids are given here. Raises: LedgerInvariantBroken."""
        if self._head.accounts.gives_ids:
            self._accounts = self._head.accounts.give_ids()
            self._balances = self._find_balances()

    @property
    def is_worked_out(self) -> bool:
        """Tell whether it is; where the tables give ids, it must be written before the log's history is looked at."""
        return self._balances is not None

    def enter(self, connection: Connection) -> None:
        """Enter the accounts that are new."""
        if self._head.accounts.gives_ids:
            insert_columns(connection, tables.account, self._accounts)
        else:
            self._head.accounts.enter(connection)

    def balances(self) -> list[list[Any]]:
        """Return the balances that moved, of accounts that are entered, as `Head.columns`.

        Raises: LedgerInvariantBroken.
        """
        return self._find_balances() if self._balances is None else self._balances

    def _find_balances(self) -> list[list[Any]]:
        moved = np.zeros(len(self._head.accounts.names), dtype=bool)
        moved[np.concatenate(self._moved)] = True
        return self._head.columns(np.flatnonzero(moved))


def _read_nets(connection: Connection, ids: list[int]) -> tuple[dict[str, int], dict[int, int]]:
    """Return how far logs are in the tables, and what accounts hold over all logs: one statement, so of one moment."""
    checkpoint, balance = tables.checkpoint.c, tables.balance.c
    sums = select(balance.account_id, balance.log, balance.debits, balance.credits).where(balance.account_id.in_(ids))
    ends = select(literal(0), checkpoint.log, checkpoint.position, literal(0))
    nets: dict[int, int] = {}
    positions: dict[str, int] = {}
    for id, log, debits, credits in connection.execute(union_all(sums, ends)):
        if id:
            nets[id] = nets.get(id, 0) + credits - debits
        else:
            positions[log] = debits
    return positions, nets
