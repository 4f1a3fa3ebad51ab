"""The projector: folds logs into rows, in two passes. A batch's rows and its position are one transaction.

    head      balances, accounts, records, refusals, what the hub decided       1 rows written   2 committed
    history   each account's history, jobs, epochs' totals, behind the head     3 rows written   4 committed

After a crash between two of these steps a batch's rows are there with its position or not at all. Each pass names its
own position: checkpoint rows `lane-0` and `lane-0/history`, the second never above the first. The projector keeps what
it needs in memory (account ids, running sums) and writes absolute values; its right to do so is the checkpoint, which
moves by compare-and-set before anything else is written: a projector that finds that it has moved writes nothing, and
forgets what it knew. Ledger logs are folded in any order among themselves: each has running sums of its own.

In SQLite one projector follows all logs. Where a beginning of a log is sealed, its history lies in segments, and
checkpoint row `lane-0/rows` says where rows begin. It follows the segments: rows behind a new one are dropped, and
those of one that was lost are written again from the log, each in one transaction.

On PostgreSQL nothing is sealed. There may be several projectors, each with some of the logs, and the tables may be
swapped for others meanwhile (`projections.rebuild`): all that is known of a log, ids included, is forgotten with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, literal_column, select, update

from events.codec import decode
from events.facts import RecordRefused
from events.killpoints import reach
from events.log import Log
from events.record import Record
from ledger.errors import LedgerInvariantBroken
from projections import tables
from projections.accounts import Accounts
from projections.batch import Batch, cut_parts, cut_records, follow_records, read_batches, read_records
from projections.behind import open_behind
from projections.head import Change, Head
from projections.history import History
from projections.jobs import JobRows
from projections.partitions import reserve_history
from projections.past import Past
from projections.position import history_of, rows_of
from projections.rows import refused_fact, refused_facts
from projections.segments import SegmentUnusable
from projections.write import (
    insert_columns,
    insert_rows,
    insert_tuples,
    upsert_columns,
    upsert_rows,
)

__all__ = ["ProjectionMoved", "Projector"]

_REFUSED = b'"type":"RecordRefused"'
_FACTS = "facts/"
Progress = Callable[[int], None]


class ProjectionMoved(Exception):
    """Another projector has moved the checkpoint, or the tables were swapped: take the log up anew, or stop."""


class _PastRows(NamedTuple):
    """What a batch adds behind the head."""

    log: str
    end: int
    history: list[list[Any]]
    jobs: JobRows


class Projector:
    """Keeps one set of tables up with the logs."""

    def __init__(
        self, engine: Engine, facts: Log | None = None, ledgers: Iterable[Log] = (), past: Past | None = None
    ) -> None:
        """Take up the logs that are read here, of which `past` has what is sealed; others are taken up by name.

        Raises: LedgerInvariantBroken.
        """
        self._engine = engine
        self._facts = facts
        self._ledgers = {log.name: log for log in ledgers}
        self._past = past
        self._shared: Accounts | None = None
        self._heads: dict[str, Head] = {}
        self._histories: dict[str, History] = {}
        self._positions: dict[str, int] = {}
        # Which tables the names stood for when a log was taken up.
        self._tables: dict[str, int] = {}
        # Up to which position there are partitions for history.
        self._reserved: dict[str, int] = {}
        for name in (*self._ledgers, *(() if facts is None else (facts.name,))):
            self.take_up(name)

    def positions(self) -> Mapping[str, int]:
        """Return the checkpoints of the logs that were taken up, where they are not 0."""
        return {name: position for name, position in self._positions.items() if position}

    # --- ownership ---

    def take_up(self, log: str) -> int:
        """Learn where a log stands; return the position behind which its records are wanted.

        Raises: LedgerInvariantBroken.
        """
        self.drop(log)
        # Head, history, and where the rows of history begin.
        names = [log] if log.startswith(_FACTS) else [log, history_of(log), rows_of(log)]
        with self._engine.begin() as connection:
            checkpoint = tables.checkpoint.c
            # Locked, so that whoever had the log before ends its batch first, or does not begin it.
            held = select(tables.checkpoint).where(checkpoint.log.in_(names)).with_for_update()
            positions = dict.fromkeys(names, 0)
            positions |= {row.log: int(row.position) for row in connection.execute(held)}
            self._tables[log] = _tables_now(connection)
            if len(names) > 1:
                head = Head(log, self._accounts(connection))
                head.load(connection)
                self._heads[log] = head
        self._positions |= positions
        return int(min(positions[name] for name in names[:2]))

    def drop(self, log: str) -> None:
        """Forget a log: it is somebody else's, or is to be taken up anew."""
        for known in (self._heads, self._histories, self._tables, self._reserved):
            known.pop(log, None)
        for name in (log, history_of(log), rows_of(log)):
            self._positions.pop(name, None)

    def _accounts(self, connection: Connection) -> Accounts:
        """Return what a log's accounts are known by: in SQLite all logs share it."""
        if connection.dialect.name != "sqlite":
            return Accounts()
        if self._shared is None:
            self._shared = Accounts(gives_ids=True)
            self._shared.load_all(connection)
        return self._shared

    # --- folding what is handed over ---

    def fold(self, log: str, records: Sequence[Record]) -> int:
        """Fold records of one log, in order, into the head, or dead letters; return how many events were new.

        What the tables have is dropped. Once the tables hold what the hub's last record rests on, its accounts'
        floors are asserted. After any exception the log must be taken up anew.

        Raises: ProjectionMoved, LedgerInvariantBroken.
        """
        rest = self._follow(log, records)
        if log.startswith(_FACTS):
            for part in cut_records(rest):
                self._write_facts(log, part)
            return sum(record.header.count for record in rest)
        return sum(self._fold_head(log, rest, rests=True))

    def fold_history(self, log: str, records: Sequence[Record]) -> int:
        """As `fold`, into the history of a ledger log, which is never ahead of its head."""
        rest = self._follow(history_of(log), records)
        assert not rest or rest[-1].end <= self._position(log), f"{log}: history would be ahead of the head"
        for part in cut_records(rest):
            batch = Batch(log, part)
            self._write_history(batch)
            batch.forget()
        return sum(record.header.count for record in rest)

    def _follow(self, name: str, records: Sequence[Record]) -> list[Record]:
        """Return the records that are behind a checkpoint. Raises: LedgerInvariantBroken."""
        position = self._position(name)
        rest = [record for record in records if record.end > position]
        for record in rest:
            if record.sequence != position:
                raise LedgerInvariantBroken(f"{name}: a record at {record.sequence} does not follow {position}")
            position = record.end
        return rest

    # --- following logs that are read here ---

    def run(self, on_record: Progress | None = None, ends: Mapping[str, int] | None = None) -> int:
        """Bring the head up to all that is there; return the number of decisions folded. Raises: LedgerInvariantBroken.

        `ends` says where to stop, by log. Between two logs a sum may stand below zero for a moment: `check_floors`
        comes behind the last.
        """
        folded = 0
        for log in self._ledgers.values():
            end = None if ends is None else ends.get(log.name, 0)
            for size in self._fold_head(log.name, follow_records(log, self._position(log.name), end)):
                folded += size
                if on_record is not None:
                    on_record(size)
        self._run_facts(ends)
        return folded

    def catch_up(
        self,
        on_record: Progress | None = None,
        ends: Mapping[str, int] | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> int:
        """Bring history up to the head, or on until `is_over`; return the number of decisions folded.

        Raises: LedgerInvariantBroken.
        """
        folded = 0
        for log in self._ledgers.values():
            self._fit_rows(log.name)
            name, head = history_of(log.name), self._position(log.name)
            end = head if ends is None else min(head, ends.get(name, 0))
            for batch in read_batches(log, self._position(name), end):
                if is_over():
                    return folded
                self._write_history(batch)
                folded += _finish(batch, on_record)
        return folded

    def run_whole(self, on_record: Progress | None = None) -> int:
        """Do both, each batch's history from what was read for the head. Raises: LedgerInvariantBroken.

        What comes next is worked out while a thread writes; the transactions are those of `run` and `catch_up`.
        """
        self.catch_up()
        folded = 0
        for log in self._ledgers.values():
            with self._forgetting(log.name), open_behind() as behind:
                for batch in read_batches(log, self._position(log.name)):
                    change = Change(self._heads[log.name])
                    change.take(batch)
                    change.work_out()
                    behind.put(partial(self._put_head, change))
                    if not change.is_worked_out:
                        behind.wait()
                    behind.put(partial(self._put_history, self._take_history(batch, behind.wait)))
                    folded += _finish(batch, on_record)
        self._run_facts()
        return folded

    def check_floors(self) -> None:
        """Assert that only `supply:issued` is below zero, once all logs are folded. Raises: LedgerInvariantBroken."""
        with self._engine.connect() as connection:
            for head in self._heads.values():
                head.check_floors(connection)

    def _position(self, name: str) -> int:
        if name not in self._positions:
            raise ProjectionMoved(f"{name} is not taken up")
        return self._positions[name]

    # --- the head ---

    def _fold_head(self, log: str, records: Iterable[Record], *, rests: bool = False) -> Iterator[int]:
        """Fold records, part by part; yield how many events each transaction held.

        With `rests` it is known what the log's last record rests on.
        """
        change = None
        for part, full in cut_parts(records):
            batch = Batch(log, part)
            change = self._take_head(batch, change)
            batch.forget()
            if rests:
                basis = part[-1].header.basis
                self._heads[log].basis = {other.log: other.end for other in basis if "/" not in other.log}
            if full:
                yield self._write_head(change)
                change = None
        if change is not None:
            yield self._write_head(change)

    def _take_head(self, batch: Batch, change: Change | None = None) -> Change:
        with self._forgetting(batch.log):
            change = change or Change(self._heads[batch.log])
            change.take(batch)
        return change

    def _write_head(self, change: Change) -> int:
        with self._forgetting(change.log):
            change.work_out()
            self._put_head(change)
        return change.size

    def _put_head(self, change: Change) -> None:
        with self._engine.begin() as connection:
            self._move_checkpoint(connection, change.log, change.log, change.end)
            change.enter(connection)
            insert_tuples(connection, tables.record, change.records)
            insert_tuples(connection, tables.dead_letter, change.letters)
            for name, rows in change.rows.items():
                insert_rows(connection, tables.METADATA.tables[name], rows)
            upsert_columns(connection, tables.balance, change.balances())
            for other in self._heads.values():
                other.check_covered(connection)
            reach("project.1-rows-written")
        self._positions[change.log] = change.end
        reach("project.2-committed")

    def _run_facts(self, ends: Mapping[str, int] | None = None) -> None:
        if self._facts is not None:
            log = self._facts.name
            end = None if ends is None else ends.get(log, 0)
            for records in read_records(self._facts, self._position(log), end):
                self._write_facts(log, records)

    def _write_facts(self, log: str, records: list[Record]) -> None:
        rows = list(_dead_letters(log, records))
        with self._forgetting(log), self._engine.begin() as connection:
            self._move_checkpoint(connection, log, log, records[-1].end)
            insert_tuples(connection, tables.dead_letter, rows)
            reach("project.1-rows-written")
        self._positions[log] = records[-1].end
        reach("project.2-committed")

    # --- history ---

    def _write_history(self, batch: Batch) -> None:
        with self._forgetting(batch.log):
            self._put_history(self._take_history(batch))

    def _take_history(self, batch: Batch, settle: Callable[[], None] = lambda: None) -> _PastRows:
        """Work out what a batch adds; `settle` waits for what is being written."""
        batch.moves(self._heads[batch.log].accounts.names)
        while True:
            if batch.log not in self._histories:
                settle()
            try:
                rows = self._history(batch.log).take(batch)
                return _PastRows(batch.log, batch.end, rows, JobRows(batch))
            except SegmentUnusable:
                settle()
                self._fit_rows(batch.log)

    def _put_history(self, past: _PastRows) -> None:
        log, end, rows, jobs = past
        name = history_of(log)
        if end > self._reserved.get(log, 0):
            self._reserved[log] = reserve_history(self._engine, end)
        with self._engine.begin() as connection:
            self._move_checkpoint(connection, log, name, end)
            jobs.join(connection)
            insert_columns(connection, tables.history, rows)
            upsert_columns(connection, tables.job, jobs.jobs())
            upsert_rows(connection, tables.epoch_total, jobs.totals())
            reach("project.3-history-written")
        self._positions[name] = end
        reach("project.4-history-committed")

    def _history(self, log: str) -> History:
        history = self._histories.get(log)
        if history is None:
            accounts = self._heads[log].accounts
            history = self._histories[log] = History(log, accounts, self._past)
            if self._position(history_of(log)) > self._position(rows_of(log)):
                with self._engine.connect() as connection:
                    history.load(connection)
        return history

    def _fit_rows(self, log: str) -> None:
        """Let the rows of history begin where the log's segments end."""
        while self._sealed(log) != self._position(rows_of(log)):
            # Where a segment turns out to be unusable, the past has lost it and ends before it.
            with self._forgetting(log), suppress(SegmentUnusable):
                self._move_rows(log, self._sealed(log))

    def _sealed(self, log: str) -> int:
        return 0 if self._past is None else self._past.end(log)

    def _move_rows(self, log: str, begin: int) -> None:
        name, end = rows_of(log), self._position(history_of(log))
        before = self._position(name)
        self._histories.pop(log, None)
        with self._engine.begin() as connection:
            if begin:
                self._move_checkpoint(connection, log, name, begin)
            else:
                connection.execute(delete(tables.checkpoint).where(tables.checkpoint.c.log == name))
            if before < min(begin, end):
                row = tables.history.c
                connection.execute(delete(tables.history).where(row.log == log, row.sequence < begin))
            if begin < min(before, end):
                history = History(log, self._heads[log].accounts, self._past)
                for batch in read_batches(self._ledgers[log], begin, min(before, end)):
                    insert_columns(connection, tables.history, history.take(batch))
            reach("rows.1-moved")
        self._positions[name] = begin
        reach("rows.2-committed")

    # --- the right to write ---

    @contextmanager
    def _forgetting(self, log: str) -> Iterator[None]:
        """Drop a log behind a failure, and with it those who share its accounts."""
        try:
            yield
        except BaseException:
            for name in [log] if self._shared is None else list(self._tables):
                self.drop(name)
            self._shared = None
            raise

    def _move_checkpoint(self, connection: Connection, log: str, name: str, after: int) -> None:
        before, checkpoint = self._position(name), tables.checkpoint
        if before:
            statement: Any = (
                update(checkpoint)
                .where(checkpoint.c.log == name, checkpoint.c.position == before)
                .values(position=after)
            )
        else:
            dialect: Any = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
            statement = dialect.insert(checkpoint).values(log=name, position=after).on_conflict_do_nothing()
        if connection.execute(statement.returning(checkpoint.c.log)).first() is None:
            raise ProjectionMoved(f"{name}: the checkpoint is no longer at {before}; another projector runs")
        if _tables_now(connection) != self._tables[log]:
            raise ProjectionMoved(f"{name}: the tables were rebuilt")


def _tables_now(connection: Connection) -> int:
    """Tell which tables the names stand for; once `checkpoint` was written to, that stays so in the transaction."""
    if connection.dialect.name == "sqlite":
        return 0
    return int(connection.execute(select(literal_column("'checkpoint'::regclass::oid"))).scalar_one())


def _finish(batch: Batch, on_record: Progress | None) -> int:
    batch.forget()
    if on_record is not None:
        on_record(batch.size)
    return batch.size


def _dead_letters(log: str, records: list[Record]) -> Iterator[tuple[Any, ...]]:
    for record in records:
        if _REFUSED not in record.data:
            continue
        first, batch = record.sequence + 1, record.batch
        if RecordRefused in batch.columns:
            refused = batch.columns[RecordRefused]
            yield from refused_facts(log, refused.rows + first, refused)
        for row in batch.rest.tolist():
            event = decode(record.line(row))
            if isinstance(event, RecordRefused):
                yield refused_fact(log, first + row, event)
