"""The projector: folds logs into rows. A batch's rows and its position are one transaction.

    1 rows written   2 committed        after a crash between them, neither is there

The projector keeps what it needs at the head in memory (account ids, running sums, open rows) and writes absolute
values; its right to do so is the checkpoint, which moves by compare-and-set: a second projector finds that it has
moved, and stops. Ledger logs are folded in any order among themselves: each has running sums of its own.
"""

from collections.abc import Callable, Iterable, Mapping

from sqlalchemy import Connection, Engine, insert, select, update

from events.codec import decode
from events.event import Decision, Event
from events.facts import RecordRefused
from events.killpoints import reach
from events.log import Log
from events.record import Record
from events.refusal import Refusal
from ledger.accounts import SUPPLY_ISSUED, Key, kind_of
from ledger.entry import Side
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from projections import tables
from projections.rows import FactRows, Row, Rows
from projections.write import insert_rows, upsert_rows

__all__ = ["RECORDS_MAX", "ProjectionMoved", "Projector"]

# So many decisions go into one transaction while catching up.
RECORDS_MAX = 20_000
_REFUSED = b'"type":"RecordRefused"'


class ProjectionMoved(Exception):
    """Another projector has moved the checkpoint; this one must stop."""


class Projector:
    """Keeps one set of tables up with the logs."""

    def __init__(self, engine: Engine, facts: Log, ledgers: Iterable[Log]) -> None:
        """Take up the head from the tables."""
        self._engine = engine
        self._facts = facts
        self._ledgers = tuple(ledgers)
        self._sums: dict[tuple[int, str], list[int]] = {}
        # Account ids count from 1 in the order in which accounts were first moved.
        self._ids: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._net: dict[int, int] = {}
        self._below: set[int] = set()
        with engine.connect() as connection:
            self._positions = self._load(connection)

    def positions(self) -> Mapping[str, int]:
        """Return how much of each log is in the tables."""
        return dict(self._positions)

    def run(self, on_record: Callable[[int], None] | None = None) -> int:
        """Fold all that is there; return the number of decisions folded. Raises: LedgerInvariantBroken.

        Between two logs a sum may stand below zero for a moment: `check_floors` comes behind the last.
        """
        folded = 0
        for log in self._ledgers:
            for batch in _batches(log, self._position(log)):
                self._commit(log, batch, self._fold(log, batch))
                count = sum(record.header.count for record in batch)
                folded += count
                if on_record is not None:
                    on_record(count)
        for batch in _batches(self._facts, self._position(self._facts)):
            self._commit(self._facts, batch, _dead_letters(self._facts, batch))
        return folded

    def _position(self, log: Log) -> int:
        return self._positions.get(log.name, 0)

    def _load(self, connection: Connection) -> dict[str, int]:
        for row in connection.execute(select(tables.account).order_by(tables.account.c.id)):
            if self._name_account(Key(row.asset, row.account, row.vault)) != row.id:
                raise LedgerInvariantBroken(f"table account: id {row.id} is out of order; rebuild the projections")
        for row in connection.execute(select(tables.balance)):
            self._sums[row.account_id, row.log] = [row.debits, row.credits]
            self._net[row.account_id] = self._net.get(row.account_id, 0) + row.credits - row.debits
        self._below = {account_id for account_id, net in self._net.items() if net < 0}
        return {row.log: row.position for row in connection.execute(select(tables.checkpoint))}

    # --- folding, in memory ---

    def _fold(self, log: Log, batch: list[Record]) -> Rows:
        with self._engine.connect() as connection:
            rows = Rows(log.name, connection)
            for record in batch:
                busy: dict[int, list[int]] = {}
                for sequence, line in record.events():
                    decision = _read(log.name, sequence, line)
                    rows.take(sequence, decision)
                    self._fold_entry(rows, sequence, decision, busy)
                self._close_record(rows, record, busy)
        return rows

    def _fold_entry(self, rows: Rows, sequence: int, decision: Decision, busy: dict[int, list[int]]) -> None:
        entry = post(decision)
        if entry is None:
            return
        moved: dict[int, list[int]] = {}
        for posting in entry.postings:
            key = Key(posting.asset, posting.account, posting.vault)
            sums = moved.setdefault(self._id(rows, key), [0, 0])
            sums[posting.side is Side.CREDIT] += posting.amount
        for account_id, (debit, credit) in moved.items():
            running = self._add(rows.log, account_id, debit, credit)
            if rows.is_busy(account_id):
                total = busy.setdefault(account_id, [0, 0])
                total[0] += debit
                total[1] += credit
            else:
                rows.add_history(account_id, sequence, decision, (debit, credit), running)

    def _close_record(self, rows: Rows, record: Record, busy: dict[int, list[int]]) -> None:
        """Give accounts that nearly every entry touches one row for the whole record."""
        for account_id, (debit, credit) in busy.items():
            running = self._sums[account_id, rows.log]
            rows.add_batch_history(account_id, record, (debit, credit), (running[0], running[1]))
        rows.add_record(record)

    def _id(self, rows: Rows, key: Key) -> int:
        account_id = self._ids.get(key)
        if account_id is None:
            account_id = self._name_account(key)
            rows.add_account(account_id, key)
        rows.note(account_id, kind_of(key.account).busy)
        return account_id

    def _name_account(self, key: Key) -> int:
        self._keys.append(key)
        self._ids[key] = len(self._keys)
        return len(self._keys)

    def _add(self, log: str, account_id: int, debit: int, credit: int) -> tuple[int, int]:
        running = self._sums.setdefault((account_id, log), [0, 0])
        running[0] += debit
        running[1] += credit
        net = self._net[account_id] = self._net.get(account_id, 0) + credit - debit
        (self._below.add if net < 0 else self._below.discard)(account_id)
        return running[0], running[1]

    def check_floors(self) -> None:
        """Assert that only `supply:issued` is below zero, once all logs are folded. Raises: LedgerInvariantBroken."""
        for account_id in sorted(self._below):
            key = self._keys[account_id - 1]
            if key.account != SUPPLY_ISSUED:
                where = key.vault or "no vault"
                raise LedgerInvariantBroken(
                    f"{key.account} in {where} stands at {self._net[account_id]} base units of {key.asset}"
                )

    # --- writing ---

    def _commit(self, log: Log, batch: list[Record], rows: Rows | FactRows) -> None:
        before, after = self._position(log), batch[-1].end
        with self._engine.begin() as connection:
            self._move_checkpoint(connection, log.name, before, after)
            for table, values in rows.inserts():
                insert_rows(connection, table, values)
            for table, values in rows.upserts():
                upsert_rows(connection, table, values)
            upsert_rows(connection, tables.balance, self._balance_rows(log.name, rows.touched()))
            reach("project.1-rows-written")
        self._positions[log.name] = after
        reach("project.2-committed")

    def _balance_rows(self, log: str, touched: set[int]) -> list[Row]:
        return [
            {"account_id": account_id, "log": log, "debits": sums[0], "credits": sums[1]}
            for account_id in sorted(touched)
            for sums in (self._sums[account_id, log],)
        ]

    def _move_checkpoint(self, connection: Connection, log: str, before: int, after: int) -> None:
        if before == 0:
            connection.execute(insert(tables.checkpoint), {"log": log, "position": after})
            return
        moved = connection.execute(
            update(tables.checkpoint)
            .where(tables.checkpoint.c.log == log, tables.checkpoint.c.position == before)
            .values(position=after)
        )
        if moved.rowcount != 1:
            raise ProjectionMoved(f"{log}: the checkpoint is no longer at {before}; another projector runs")


def _batches(log: Log, position: int) -> Iterable[list[Record]]:
    batch: list[Record] = []
    count = 0
    for record in log.read(position):
        batch.append(record)
        count += record.header.count
        if count >= RECORDS_MAX:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _read(log: str, sequence: int, line: bytes) -> Decision:
    event: Event | Refusal = decode(line)
    if not isinstance(event, Decision):
        raise LedgerInvariantBroken(f"{log}: event {sequence} is no decision: {event!r:.200}")
    return event


def _dead_letters(facts: Log, batch: list[Record]) -> FactRows:
    rows = FactRows(facts.name)
    for record in batch:
        for sequence, line in record.events():
            if _REFUSED in line:
                event = decode(line)
                if isinstance(event, RecordRefused):
                    rows.add_refused(sequence, event)
    return rows
