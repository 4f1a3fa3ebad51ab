"""Books in memory for tests: their logs, and sessions of ingest and settlement that start anew each time."""

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from sqlalchemy import Engine

from app.facts import to_line
from events import hashing
from events.codec import decode, encode
from events.event import Decision, Event, Fact
from events.instant import DAY
from events.merkle import Tree
from events.record import Basis, Record, build_header
from ledger.fold import Books as Folded
from ledger.fold import Digests
from ledger.parameters import Parameters
from projections.database import open_sqlite
from projections.project import Projector
from projections.tables import METADATA
from settlement.ingest import Partitions, Receipt, ingest
from settlement.lines import Line
from settlement.output import Output
from settlement.routing import partitions_of
from settlement.settle import BATCH_DECISIONS, HubSettler, LaneSettler, Settlement
from settlement.verify import Verdict, fold_books, verify_logs
from tests.worlds import ASSET, LAUNCH, Naive, World, genesis_of

__all__ = ["Desk", "MemoryLog", "as_lines", "day", "money_of", "no_clock", "settled", "tables_of"]

EVIDENCE = "2026-11-01T00:00:00.000000Z"


class MemoryLog:
    """The `Log` protocol without a disk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: list[Record] = []
        self._tree = Tree()

    def append(
        self,
        lines: Sequence[bytes] | bytes,
        recorded_at: str,
        network_time: str | None = None,
        basis: tuple[Basis, ...] = (),
        hashes: hashing.Digests | None = None,
    ) -> Record:
        header = build_header(self._tree.size, lines, recorded_at, network_time, basis)
        assert hashes is None or hashes.tobytes() == Record(header, lines).leaves()[1:].tobytes()
        self._tree.extend(Record(header, lines, hashes).leaves())
        record = Record(msgspec.structs.replace(header, root=self._tree.root().hex()), lines)
        self.records.append(record)
        return record

    def read(self, position: int = 0) -> Iterator[Record]:
        # By index, so that a reader goes on with what is appended while it reads, as with a file.
        number = 0
        while number < len(self.records):
            if self.records[number].end > position:
                yield self.records[number]
            number += 1

    def end(self) -> int:
        return self._tree.size

    def root(self) -> bytes:
        return self._tree.root()

    def close(self) -> None:
        """Nothing is open."""


class Desk:
    """Partitions of facts, a ledger log per lane, and the hub's; `facts` and `lane` are those of the first lane."""

    def __init__(self, parameters: Parameters, lanes: int = 1, *, opened: bool = True) -> None:
        """Begin with the genesis."""
        self.parameters = parameters
        self.partitions = [MemoryLog(name) for name in partitions_of(lanes)]
        self.lanes, self.hub = [MemoryLog(f"lane-{number}") for number in range(lanes)], MemoryLog("hub")
        self.facts, self.lane = self.partitions[0], self.lanes[0]
        if opened:
            for facts in self.partitions:
                facts.append([encode(genesis_of(parameters))], EVIDENCE)

    @property
    def ledgers(self) -> list[MemoryLog]:
        """All ledger logs, the hub's first."""
        return [self.hub, *self.lanes]

    def ingest(self, facts: Sequence[Fact] | Sequence[bytes], chunk: int = 50) -> list[Receipt]:
        """Take facts or lines in, in one session, a chunk at a time."""
        return list(ingest(_chunks(as_lines(facts), chunk), "test", Partitions(self.partitions), no_clock))

    def settle(self, batch: int = BATCH_DECISIONS) -> int:
        """Settle all that is there, as a process that has just started."""
        return self.settlement().run(batch)

    def settlement(self) -> Settlement:
        """Start the settlers."""
        lanes = [
            LaneSettler(number, len(self.lanes), facts, self.hub, Output(lane, no_clock))
            for number, (facts, lane) in enumerate(zip(self.partitions[:-1], self.lanes, strict=True))
        ]
        return Settlement(lanes, HubSettler(self.partitions[-1], self.lanes, Output(self.hub, no_clock)), _nothing)

    def verify(self) -> Verdict:
        """Derive the logs again."""
        return verify_logs(self.partitions, self.lanes, self.hub)

    def books(self) -> Folded:
        """Fold all ledgers by the scalar model."""
        return fold_books(self.ledgers)

    def digests(self) -> Digests:
        """Return the digests of the scalar fold."""
        return self.books().digests(ASSET)

    def money(self) -> dict[tuple[str, str], int]:
        """Return credits − debits by account and vault, without zeros."""
        nets = {(key.account, key.vault): credit - debit for key, (debit, credit) in self.books().balances.items()}
        return {place: net for place, net in nets.items() if net}

    def decisions(self) -> list[Decision]:
        """Return the lanes' decisions, then the hub's."""
        read = [decode(line) for log in (*self.lanes, self.hub) for record in log.read() for line in record.lines]
        return [event for event in read if isinstance(event, Decision)]

    def kept(self) -> list[Event]:
        """Return the events of all partitions; what goes to each of them, as often."""
        read = [decode(line) for facts in self.partitions for record in facts.read() for line in record.lines]
        return [event for event in read if isinstance(event, Event)]

    def project(self, engine: Engine) -> None:
        """Fold into rows, as a process that has just started."""
        Projector(engine, self.partitions[-1], self.ledgers).run_whole()


def settled(
    world: World, facts: Sequence[Fact] | None = None, chunk: int = 50, batch: int = 2_000, lanes: int = 1
) -> Desk:
    """Run a world, or facts of it, in one go."""
    desk = Desk(world.parameters, lanes)
    desk.ingest(world.facts() if facts is None else facts, chunk)
    desk.settle(batch)
    return desk


def tables_of(desk: Desk) -> Engine:
    """Open empty tables in memory and project into them."""
    engine = open_sqlite(None, writable=True)
    METADATA.create_all(engine)
    desk.project(engine)
    return engine


def money_of(naive: Naive) -> dict[tuple[str, str], int]:
    """Return what the naive model holds, without zeros."""
    return {place: amount for place, amount in naive.money.items() if amount}


def day(number: int, hour: int = 0) -> int:
    """Return an hour of the n-th day from the launch on, in microseconds."""
    return LAUNCH + number * DAY + hour * (DAY // 24)


def as_lines(facts: Sequence[Fact] | Sequence[bytes]) -> list[Line]:
    """Number facts, or raw lines, as the lines of a file."""
    raw = [(to_line(fact) if isinstance(fact, Fact) else fact).rstrip(b"\n") for fact in facts]
    return [Line(number, data, len(data)) for number, data in enumerate(raw, 1)]


def no_clock() -> str:
    """Say always the same: what is recorded is evidence and decides nothing."""
    return EVIDENCE


def _chunks(lines: list[Line], size: int) -> Iterator[list[Line]]:
    rest = iter(lines)
    while chunk := list(islice(rest, size)):
        yield chunk


def _nothing() -> None:
    """What is in memory cannot be made durable."""
