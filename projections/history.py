"""The history of accounts: what each event did to an account, and where that left it in its log.

    debits, credits of a row = those of the row before + debit, credit        per account and log

Accounts that nearly every event moves get one row per record, which stands at the record's last event. Where a log's
beginning is sealed, segments tell its history, and rows begin behind it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, select

from events.columns import Integers
from ledger.sums import LimbSums
from projections import tables
from projections.accounts import Accounts
from projections.batch import Batch, Moves
from projections.past import Past

__all__ = ["History"]

Texts = npt.NDArray[Any]


class History:
    """The running sums of a log's accounts, as far as its history is written."""

    def __init__(self, log: str, accounts: Accounts, past: Past | None = None) -> None:
        """Begin where the log is sealed; without segments with nothing moved."""
        self._log = log
        self._accounts = accounts
        self._past = past
        self._sealed = 0 if past is None else past.end(log)
        self._debits, self._credits = LimbSums(), LimbSums()
        self._busy = np.zeros(0, dtype=bool)
        # Whose sums are known; what others stand at is asked of the segments.
        self._known = np.zeros(0, dtype=bool)

    def load(self, connection: Connection) -> None:
        """Go on from each account's last row."""
        numbers = self._accounts.numbers()
        last = (
            select(func.max(tables.history.c.sequence))
            .where(tables.history.c.account_id == tables.account.c.id, tables.history.c.log == self._log)
            .scalar_subquery()
        )
        places = select(tables.account.c.id, last.label("sequence")).subquery()
        column = tables.history.c
        for row in connection.execute(
            select(column.account_id, column.debits, column.credits)
            .join(places, (places.c.id == column.account_id) & (places.c.sequence == column.sequence))
            .where(column.log == self._log)
        ):
            self._put(numbers[row.account_id], row.debits, row.credits)

    def take(self, batch: Batch) -> list[list[Any]]:
        """Return the rows that a batch adds, column by column, in the order of their key. Raises: SegmentUnusable."""
        if batch.end <= self._sealed:
            return [[]]
        moves = self._behind(batch)
        self._ask(np.unique(moves.accounts))
        lines = np.where(self._is_busy(moves.accounts), batch.last_lines[moves.lines], moves.lines)
        keys = self._accounts.ids(moves.accounts) * batch.size + lines
        order = np.argsort(keys)
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        accounts, lines = moves.accounts[order][starts], lines[order][starts]
        moved = [amounts.pick(order).sum_groups(starts) for amounts in (moves.debits, moves.credits)]
        sums = (self._debits, self._credits)
        reached = [sum.running(accounts, amounts) for sum, amounts in zip(sums, moved, strict=True)]
        busy = self._is_busy(accounts)
        kinds, subjects, instants, epochs = _describe(batch)
        records = np.array([f"{count} events" for count in batch.counts.tolist()], dtype=object)
        record_of = np.searchsorted(batch.counts.cumsum(), lines, side="right")
        return [
            self._accounts.ids(accounts).tolist(),
            [self._log] * len(accounts),
            batch.sequences[lines].tolist(),
            np.where(busy, "record", kinds[lines]).tolist(),
            np.where(busy, records[record_of], subjects[lines]).tolist(),
            instants[lines].tolist(),
            epochs[lines].tolist(),
            *(amounts.texts() for amounts in (*moved, *reached)),
        ]

    def _behind(self, batch: Batch) -> Moves:
        """Return the postings of a batch that lie behind what is sealed."""
        moves = batch.moves(self._accounts.names)
        first = int(np.searchsorted(batch.sequences, self._sealed))
        if not first:
            return moves
        kept = np.flatnonzero(moves.lines >= first)
        return Moves(moves.lines[kept], moves.accounts[kept], moves.debits.pick(kept), moves.credits.pick(kept))

    def _ask(self, accounts: Integers) -> None:
        """Learn what accounts stand at where the log is sealed, unless they have moved since."""
        if self._past is None or not self._sealed:
            return
        names = self._accounts.names
        self._know(len(names))
        new = accounts[~self._known[accounts]].tolist()
        sums = self._past.sums_of(self._log, [names.key(number) for number in new])
        for number, debits, credits in zip(new, sums[::2], sums[1::2], strict=True):
            self._put(number, debits, credits)

    def _put(self, number: int, debits: int, credits: int) -> None:
        self._know(number + 1)
        self._known[number] = True
        self._debits.set(number, debits)
        self._credits.set(number, credits)

    def _know(self, size: int) -> None:
        if size > len(self._known):
            more = max(size, 2 * len(self._known)) - len(self._known)
            self._known = np.concatenate((self._known, np.zeros(more, dtype=bool)))

    def _is_busy(self, accounts: Integers) -> npt.NDArray[np.bool_]:
        more = [kind.busy for kind in self._accounts.names.kinds[len(self._busy) :]]
        if more:
            self._busy = np.concatenate((self._busy, more))
        return self._busy[accounts]


def _describe(batch: Batch) -> tuple[Texts, Texts, Texts, Integers]:
    """Return the kind, subject, instant and epoch of each line."""
    kinds, subjects, instants = (np.full(batch.size, "", dtype=object) for _ in range(3))
    epochs = np.zeros(batch.size, dtype=np.int64)
    for part in batch.parts:
        lines, events = part.lines(), part.columns
        kinds[lines] = events.kind.__name__
        subjects[lines] = events.texts("subject")
        instants[lines] = events.texts("occurred_at")
        epochs[lines] = events.numbers("epoch")
    for line, decision in batch.decisions:
        kinds[line], subjects[line] = type(decision).__name__, decision.subject
        instants[line], epochs[line] = decision.occurred_at, decision.epoch
    return kinds, subjects, instants, epochs
