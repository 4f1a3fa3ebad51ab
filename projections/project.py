"""The projector: folds logs into rows, in two passes. A batch's rows and its position are one transaction.

    head      balances, accounts, records, refusals, what the hub decided       1 rows written   2 committed
    history   each account's history, jobs, epochs' totals, behind the head     3 rows written   4 committed

After a crash between two of these steps a batch's rows are there with its position or not at all. Each pass names its
own position: checkpoint rows `lane-0` and `lane-0/history`, the second never above the first. The projector keeps what
it needs in memory (account ids, running sums) and writes absolute values; its right to do so is the checkpoint, which
moves by compare-and-set: a second projector finds that it has moved, and stops. Ledger logs are folded in any order
among themselves: each has running sums of its own.

Where a beginning of a log is sealed, its history lies in segments, and checkpoint row `lane-0/rows` says where rows
begin. It follows the segments: rows behind a new one are dropped, and those of one that was lost are written again from
the log, each in one transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from events.codec import decode
from events.facts import RecordRefused
from events.killpoints import reach
from events.log import Log
from events.record import Record
from projections import tables
from projections.batch import Batch, read_batches, read_records
from projections.head import Head
from projections.history import History
from projections.jobs import JobRows
from projections.past import Past
from projections.position import history_of, rows_of
from projections.rows import decision_rows, record_row, refused_row
from projections.segments import SegmentUnusable
from projections.write import (
    Row,
    insert_columns,
    insert_rows,
    insert_tuples,
    upsert_columns,
    upsert_rows,
    upsert_tuples,
)

__all__ = ["ProjectionMoved", "Projector"]

_REFUSED = b'"type":"RecordRefused"'
Progress = Callable[[int], None]


class ProjectionMoved(Exception):
    """Another projector has moved the checkpoint; this one must stop."""


class Projector:
    """Keeps one set of tables up with the logs."""

    def __init__(self, engine: Engine, facts: Log, ledgers: Iterable[Log], past: Past | None = None) -> None:
        """Take up the head from the tables; `past` has what is sealed. Raises: LedgerInvariantBroken."""
        self._engine = engine
        self._facts = facts
        self._ledgers = tuple(ledgers)
        self._past = past
        self._histories: dict[str, History] = {}
        with engine.connect() as connection:
            self._head = Head(connection)
            self._positions = {row.log: row.position for row in connection.execute(select(tables.checkpoint))}

    def positions(self) -> Mapping[str, int]:
        """Return how much of each log is in the tables, and in those of its history."""
        return dict(self._positions)

    def run(self, on_record: Progress | None = None) -> int:
        """Bring the head up to all that is there; return the number of decisions folded. Raises: LedgerInvariantBroken.

        Between two logs a sum may stand below zero for a moment: `check_floors` comes behind the last.
        """
        folded = sum(_finish(batch, on_record) for log in self._ledgers for batch in self._run(log))
        self._run_facts()
        return folded

    def catch_up(self, on_record: Progress | None = None) -> int:
        """Bring history up to the head; return the number of decisions folded. Raises: LedgerInvariantBroken."""
        folded = 0
        for log in self._ledgers:
            self._fit_rows(log)
            for batch in read_batches(log, self._position(history_of(log.name)), self._position(log.name)):
                self._write_history(log, batch)
                folded += _finish(batch, on_record)
        return folded

    def run_whole(self, on_record: Progress | None = None) -> int:
        """Do both, each batch's history from what was read for the head. Raises: LedgerInvariantBroken."""
        self.catch_up()
        folded = 0
        for log in self._ledgers:
            for batch in self._run(log):
                self._write_history(log, batch)
                folded += _finish(batch, on_record)
        self._run_facts()
        return folded

    def check_floors(self) -> None:
        """Assert that only `supply:issued` is below zero, once all logs are folded. Raises: LedgerInvariantBroken."""
        self._head.check_floors()

    def _position(self, name: str) -> int:
        return int(self._positions.get(name, 0))

    # --- the head ---

    def _run(self, log: Log) -> Iterator[Batch]:
        for batch in read_batches(log, self._position(log.name)):
            self._write_head(batch)
            yield batch

    def _write_head(self, batch: Batch) -> None:
        moves = batch.moves(self._head.names)
        added: dict[str, list[Row]] = {}
        for line, decision in batch.decisions:
            for table, row in decision_rows(batch.log, int(batch.sequences[line]), decision):
                added.setdefault(table.name, []).append(row)
        balances = self._head.take(batch.log, moves)
        with self._engine.begin() as connection:
            self._move_checkpoint(connection, batch.log, batch.end)
            insert_tuples(connection, tables.account, self._head.new_accounts())
            insert_tuples(connection, tables.record, [record_row(batch.log, header) for header in batch.headers])
            for name, rows in added.items():
                insert_rows(connection, tables.METADATA.tables[name], rows)
            upsert_tuples(connection, tables.balance, balances)
            reach("project.1-rows-written")
        self._positions[batch.log] = batch.end
        reach("project.2-committed")

    def _run_facts(self) -> None:
        for records in read_records(self._facts, self._position(self._facts.name)):
            rows = list(_dead_letters(self._facts.name, records))
            with self._engine.begin() as connection:
                self._move_checkpoint(connection, self._facts.name, records[-1].end)
                insert_rows(connection, tables.dead_letter, rows)
                reach("project.1-rows-written")
            self._positions[self._facts.name] = records[-1].end
            reach("project.2-committed")

    # --- history ---

    def _write_history(self, log: Log, batch: Batch) -> None:
        name = history_of(batch.log)
        batch.moves(self._head.names)
        rows = self._take(log, batch)
        with self._engine.connect() as connection:
            jobs = JobRows(connection)
            jobs.take(batch)
        with self._engine.begin() as connection:
            self._move_checkpoint(connection, name, batch.end)
            insert_columns(connection, tables.history, rows)
            upsert_columns(connection, tables.job, jobs.jobs())
            upsert_rows(connection, tables.epoch_total, jobs.totals())
            reach("project.3-history-written")
        self._positions[name] = batch.end
        reach("project.4-history-committed")

    def _take(self, log: Log, batch: Batch) -> list[list[Any]]:
        while True:
            try:
                return self._history(log.name).take(batch)
            except SegmentUnusable:
                self._fit_rows(log)

    def _history(self, log: str) -> History:
        history = self._histories.get(log)
        if history is None:
            history = self._histories[log] = History(log, self._head.names, self._past)
            if self._position(history_of(log)) > self._position(rows_of(log)):
                with self._engine.connect() as connection:
                    history.load(connection)
        return history

    def _fit_rows(self, log: Log) -> None:
        """Let the rows of history begin where the log's segments end."""
        while self._sealed(log.name) != self._position(rows_of(log.name)):
            # Where a segment turns out to be unusable, the past has lost it and ends before it.
            with suppress(SegmentUnusable):
                self._move_rows(log, self._sealed(log.name))

    def _sealed(self, log: str) -> int:
        return 0 if self._past is None else self._past.end(log)

    def _move_rows(self, log: Log, begin: int) -> None:
        name, end = rows_of(log.name), self._position(history_of(log.name))
        before = self._position(name)
        self._histories.pop(log.name, None)
        with self._engine.begin() as connection:
            if begin:
                self._move_checkpoint(connection, name, begin)
            else:
                connection.execute(delete(tables.checkpoint).where(tables.checkpoint.c.log == name))
            if before < min(begin, end):
                row = tables.history.c
                connection.execute(delete(tables.history).where(row.log == log.name, row.sequence < begin))
            if begin < min(before, end):
                history = History(log.name, self._head.names, self._past)
                for batch in read_batches(log, begin, min(before, end)):
                    insert_columns(connection, tables.history, history.take(batch))
            reach("rows.1-moved")
        self._positions[name] = begin
        reach("rows.2-committed")

    def _move_checkpoint(self, connection: Connection, name: str, after: int) -> None:
        before = self._position(name)
        if before == 0:
            connection.execute(insert(tables.checkpoint), {"log": name, "position": after})
            return
        moved = connection.execute(
            update(tables.checkpoint)
            .where(tables.checkpoint.c.log == name, tables.checkpoint.c.position == before)
            .values(position=after)
        )
        if moved.rowcount != 1:
            raise ProjectionMoved(f"{name}: the checkpoint is no longer at {before}; another projector runs")


def _finish(batch: Batch, on_record: Progress | None) -> int:
    batch.forget()
    if on_record is not None:
        on_record(batch.size)
    return batch.size


def _dead_letters(log: str, records: list[Record]) -> Iterator[Row]:
    for record in records:
        if _REFUSED not in record.data:
            continue
        for sequence, line in record.events():
            if _REFUSED in line:
                event = decode(line)
                if isinstance(event, RecordRefused):
                    yield refused_row(log, sequence, event)
