"""One of the processes that project a cluster's ledger logs: which logs it has, the group says (`projections.stream`).

    head ≤ committed        history ≤ head        dead letters beside them, by whoever has the hub's log

Balances come first: history and dead letters follow while nothing new is there for the head, and where something always
is, by turns. A log whose records are damaged, or break an invariant, is projected no further by anybody, and this
process fails when it ends; the other logs go on.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import psycopg
from prometheus_client import Gauge
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

from events.kafka import Brokers, KafkaLog
from events.log import LogDamaged, LogFault
from events.record import Record, RecordMalformed, unpack
from events.topics import check_group
from ledger.errors import LedgerInvariantBroken
from projections import tables
from projections.batch import read_records
from projections.database import DatabaseUnreachable
from projections.position import history_of
from projections.project import ProjectionMoved, Projector
from projections.stream import Message, build_app

__all__ = ["HALTED", "run_worker"]

_LOG = logging.getLogger(__name__)
_FACTS = "facts/hub"
HALTED = Gauge(
    "omnisync_projection_halted", "1 where a log is damaged or breaks an invariant, and stands.", ["log"], registry=None
)
# What is new for the head waits for so many events of history at most.
HISTORY_EVENTS = 8_192
# How soon a request to stop is seen.
WATCH_S = 0.2
# Some statements go to the driver itself, and its errors come as they are.
_DATABASE = (
    DatabaseUnreachable,
    *(OperationalError, InterfaceError, InternalError),
    *(psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError),
)


class _Folding:
    """What is done with the partitions of the ledger topic: they are folded into the tables."""

    temporary: tuple[type[Exception], ...] = (ProjectionMoved, LogFault, *_DATABASE)
    broken: tuple[type[Exception], ...] = (LogDamaged, LedgerInvariantBroken)

    def __init__(self, brokers: Brokers, engine: Engine, prefix: str, lanes: int) -> None:
        self.faults: dict[str, Exception] = {}
        self.names = [*(f"lane-{number}" for number in range(lanes)), "hub"]
        self._brokers, self._prefix = brokers, prefix
        self._projector = Projector(engine)
        self._readers: dict[str, KafkaLog] = {}
        self._behind: dict[str, Iterator[list[Record]]] = {}

    def take_up(self, partition: int) -> int:
        name = self.names[partition]
        self._behind.pop(name, None)
        self._projector.take_up(name)
        if name == "hub":
            self._projector.take_up(_FACTS)
        position = self._position(name)
        offset = self.reader(name).offset(position) if position else 0
        _LOG.info("%s: taken up at %d", name, position)
        return offset

    def fold(self, partition: int, messages: Sequence[Message]) -> None:
        name = self.names[partition]
        records: list[Record] = []
        damage = None
        for message in messages:
            try:
                records.append(unpack(message.value))
            except RecordMalformed as error:
                place = f"{self._prefix}.ledger-{partition}@{message.offset}"
                sequence = records[-1].end if records else self._position(name)
                damage = LogDamaged(name, place, 0, sequence, str(error))
                break
        self._projector.fold(name, records)
        if damage is not None:
            raise damage

    def follow(self, partition: int) -> bool:
        name = self.names[partition]
        batches = self._behind.get(name)
        if batches is None:
            begin, end = self._position(history_of(name)), self._position(name)
            behind = read_records(self.reader(name), begin, end, HISTORY_EVENTS) if begin < end else iter(())
            batches = self._behind[name] = behind
        records = next(batches, None)
        if records is None:
            del self._behind[name]
        else:
            self._projector.fold_history(name, records)
        return records is not None or (name == "hub" and self._follow_facts())

    def _follow_facts(self) -> bool:
        records = next(read_records(self.reader(_FACTS), self._position(_FACTS)), None)
        if records is not None:
            self._projector.fold(_FACTS, records)
        return records is not None

    def let_go(self) -> None:
        self._behind.clear()
        for name in (*self.names, _FACTS):
            self._projector.drop(name)
        for name in self.faults:
            HALTED.labels(name).set(0)
        self.faults.clear()

    def halt(self, partition: int, fault: Exception) -> None:
        name = self.names[partition]
        self.faults[name] = fault
        self._projector.drop(name)
        HALTED.labels(name).set(1)
        _LOG.critical("%s stands still, and what rests on it: %s", name, fault)

    def reader(self, name: str) -> KafkaLog:
        """Return a reader of a log; each is kept, since it remembers where it stood."""
        if name not in self._readers:
            kind, partition = ("facts", len(self.names) - 1) if name == _FACTS else ("ledger", self.names.index(name))
            self._readers[name] = KafkaLog(self._brokers, f"{self._prefix}.{kind}", partition, name)
        return self._readers[name]

    def ends(self) -> dict[str, int]:
        """Return where each log ends; one that is damaged there is never done, but halted."""
        ends = {}
        for name in (*self.names, _FACTS):
            try:
                ends[name] = self.reader(name).end()
            except LogDamaged:
                ends[name] = sys.maxsize
        return ends

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def _position(self, name: str) -> int:
        return self._projector.positions().get(name, 0)


def run_worker(
    brokers: Brokers, engine: Engine, prefix: str, lanes: int, stopping: Callable[[], bool], *, once: bool = False
) -> None:
    """Project until asked to stop; with `once`, until all is projected that is there now, by this process or others.

    Raises: LogFault, DatabaseUnreachable where a server cannot be reached at the start; behind the end,
    the first fault for which a log was halted, LogDamaged or LedgerInvariantBroken.
    """
    # What was imported stays, and is not looked through for garbage again and again.
    gc.freeze()
    folding = _Folding(brokers, engine, prefix, lanes)
    try:
        with engine.connect() as connection:
            _read_positions(connection)
        folding.reader(_FACTS)
        check_group(brokers, f"{prefix}.project", f"{prefix}.ledger")
        ends = folding.ends() if once else None
        asyncio.run(_serve(folding, brokers, engine, prefix, stopping, ends))
    finally:
        folding.close()
    for fault in folding.faults.values():
        raise fault


async def _serve(
    folding: _Folding,
    brokers: Brokers,
    engine: Engine,
    prefix: str,
    stopping: Callable[[], bool],
    ends: Mapping[str, int] | None,
) -> None:
    """Run the application until there is a reason to stop, while it starts too. Raises: what it crashed of."""
    app = build_app(brokers, f"{prefix}.ledger", f"{prefix}.project", folding)
    starting = asyncio.create_task(app.start())
    try:
        while not (stopping() or app.crashed):
            if starting.done():
                starting.result()
            if ends is not None and await asyncio.to_thread(_has_reached, engine, ends, folding.faults):
                break
            await asyncio.sleep(WATCH_S)
        # What is cancelled as it stops is no crash.
        crashed = app.crashed
    finally:
        await app.stop()
        starting.cancel()
    if crashed:
        raise app.crash_reason


def _has_reached(engine: Engine, ends: Mapping[str, int], halted: Mapping[str, Exception]) -> bool:
    """Tell whether the tables and their history hold so much of each log that is not halted."""
    try:
        with engine.connect() as connection:
            positions = _read_positions(connection)
    except _DATABASE:
        return False
    wanted = {log: end for log, end in ends.items() if log not in halted}
    wanted |= {history_of(log): end for log, end in wanted.items() if log != _FACTS}
    return all(positions.get(log, 0) >= end for log, end in wanted.items())


def _read_positions(connection: Connection) -> dict[str, int]:
    return {row.log: row.position for row in connection.execute(select(tables.checkpoint))}
