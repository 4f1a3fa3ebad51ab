"""The embedded books: one folder, no servers.

facts/0/*.log … facts/hub/*.log                           the truth, reported: a partition per lane, and the hub's
ledger/lane-0/*.log … ledger/hub/*.log                    the truth, decided
ledger/synced                                             how far that is durable together
projections.sqlite                                        derived; delete it and `rebuild`
facts.lock  ledger.lock                                   one writer each; readers need none
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from app.clock import now
from app.synced import read_synced, write_synced
from events.codec import decode, encode
from events.event import fact_id
from events.facts import GenesisDeclared, GenesisDeclaredData
from events.filelog import FileLog, hold_lock
from events.killpoints import reach
from events.log import LogFault
from ledger.parameters import Parameters, parameters_from_json, parameters_hash, parameters_json
from projections.database import close_to_one_file, migrate, open_sqlite
from projections.project import Projector
from settlement.commit import find_unfounded
from settlement.ingest import Partitions, Receipt, ingest, ingest_whole
from settlement.lines import Line
from settlement.output import Output
from settlement.routing import HUB_PARTITION, LANES_MAX, partitions_of
from settlement.settle import HubSettler, LaneSettler, Settlement
from settlement.verify import Finding

__all__ = ["Books", "BooksExist", "BooksMissing", "Progress"]

_LOG = logging.getLogger(__name__)
MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
Progress = Callable[[int], None]


class BooksMissing(Exception):
    """There are no books in the folder."""


class BooksExist(Exception):
    """There are books in the folder already."""


class Books:
    """A folder of embedded books."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is opened yet."""
        self.folder = folder

    # --- logs ---

    def count_lanes(self) -> int:
        """Count the lanes: as many as there are partitions of facts beside the hub's. Raises: LogFault."""
        numbers = sorted(int(path.name) for path in (self.folder / "facts").glob("[0-9]*") if path.name.isdecimal())
        if numbers != list(range(len(numbers))):
            raise LogFault(f"{self.folder / 'facts'}: partitions are numbered from 0 on, found {numbers}")
        return len(numbers)

    def facts(self, name: str, *, writable: bool = False) -> FileLog:
        """Open a partition of the facts, such as `facts/0` or `facts/hub`."""
        return FileLog(self.folder / name, name, writable=writable)

    def partitions(self, *, writable: bool = False) -> list[FileLog]:
        """Open all partitions of the facts, the hub's last."""
        return [self.facts(name, writable=writable) for name in partitions_of(self.count_lanes())]

    def lane(self, number: int = 0, *, writable: bool = False) -> FileLog:
        """Open a lane's ledger log."""
        return FileLog(self.folder / "ledger" / f"lane-{number}", f"lane-{number}", writable=writable, sync_each=False)

    def lanes(self, *, writable: bool = False) -> list[FileLog]:
        """Open all lanes' ledger logs, in order."""
        return [self.lane(number, writable=writable) for number in range(self.count_lanes())]

    def hub(self, *, writable: bool = False) -> FileLog:
        """Open the hub's ledger log."""
        return FileLog(self.folder / "ledger" / "hub", "hub", writable=writable, sync_each=False)

    def ledgers(self, *, writable: bool = False) -> list[FileLog]:
        """Open all ledger logs, the hub's first: what it allocates is what others spend."""
        return [self.hub(writable=writable), *self.lanes(writable=writable)]

    def parameters(self) -> Parameters:
        """Read the parameter set out of the genesis. Raises: BooksMissing."""
        for record in self.facts(HUB_PARTITION).read(0):
            for line in record.lines:
                event = decode(line)
                if isinstance(event, GenesisDeclared):
                    return parameters_from_json(event.data.parameters)
        raise BooksMissing(f"no books in {self.folder}; create them with `omnisync init --preset omnisync`")

    @property
    def synced(self) -> Path:
        """The file that says how far the logs were durable at the last commit."""
        return self.folder / "ledger" / "synced"

    def check_ends(self) -> None:
        """Assert that every log still holds what was committed. Raises: Finding."""
        committed = read_synced(self.synced) or {}
        for log in (*self.partitions(), *self.ledgers()):
            if log.end() < committed.get(log.name, 0):
                raise Finding(f"{log.name}: ends at {log.end()}, and was durable up to {committed[log.name]}")

    # --- writing ---

    def create(self, parameters: Parameters, lanes: int = 1) -> str:
        """Create books with a genesis in each partition; return the parameters' hash. Raises: BooksExist, LogBusy.

        The hub's genesis comes last: until then there are no books, and creating them again completes them.
        """
        assert 1 <= lanes <= LANES_MAX
        line = encode(_genesis(parameters))
        with hold_lock(self.folder / "facts.lock"):
            if self.facts(HUB_PARTITION).end() or self.count_lanes() > lanes:
                raise BooksExist(f"{self.folder} holds books already; choose another folder")
            for name in partitions_of(lanes):
                facts = self.facts(name, writable=True)
                if [line] != [held for record in facts.read(0) for held in record.lines]:
                    if facts.end():
                        raise BooksExist(f"{self.folder} holds the beginning of other books; choose another folder")
                    facts.append([line], now())
                facts.close()
        return parameters_hash(parameters_json(parameters))

    def ingest(self, chunks: Iterator[list[Line]], source: str) -> Iterator[Receipt]:
        """Append the facts of a source; yield a receipt per durable batch. Raises: LogBusy, LogFault."""
        with self._facts_for_ingest() as partitions:
            yield from ingest(chunks, source, partitions, now)

    def ingest_whole(self, chunks: Iterator[list[Line]], source: str) -> Receipt:
        """Append all facts of a source, or none. Raises: LogBusy, LogFault."""
        with self._facts_for_ingest() as partitions:
            return ingest_whole(chunks, source, partitions, now)

    @contextmanager
    def _facts_for_ingest(self) -> Iterator[Partitions]:
        self.parameters()
        with hold_lock(self.folder / "facts.lock"):
            logs = self.partitions(writable=True)
            _tell_cut(*logs)
            try:
                yield Partitions(logs)
            finally:
                for log in logs:
                    log.close()

    @contextmanager
    def settlers(self) -> Iterator["Settlers"]:
        """Hold the ledger lock and settle. Raises: LogBusy, LogDamaged."""
        self.parameters()
        with hold_lock(self.folder / "ledger.lock"):
            settlers = Settlers(self)
            try:
                yield settlers
            finally:
                settlers.close()

    # --- projections ---

    @property
    def database(self) -> Path:
        """The projections' file."""
        return self.folder / "projections.sqlite"

    def engine(self, *, writable: bool = False) -> Engine:
        """Open the projections. Raises: BooksMissing."""
        if not writable and not self.database.exists():
            self.parameters()
            raise BooksMissing(f"the books in {self.folder} have not been run; use `omnisync run --once`")
        engine = open_sqlite(self.database, writable=writable)
        if writable:
            migrate(engine, MIGRATIONS)
        return engine

    def rebuild(self, on_record: Progress | None = None) -> None:
        """Project everything again into a new file, then take its place: 1 built 2 swapped. Raises: LogBusy."""
        with hold_lock(self.folder / "ledger.lock"):
            fresh = self.folder / "projections.rebuild.sqlite"
            _remove(fresh)
            engine = open_sqlite(fresh, writable=True)
            migrate(engine, MIGRATIONS)
            projector = Projector(engine, self.facts(HUB_PARTITION), self.ledgers())
            projector.run(on_record)
            projector.check_floors()
            engine.dispose()
            close_to_one_file(fresh)
            reach("rebuild.1-built")
            close_to_one_file(self.database)
            os.replace(fresh, self.database)
            reach("rebuild.2-swapped")


class Settlers:
    """Lanes, hub and projections of one folder, kept open so that each run goes on where the last ended."""

    def __init__(self, books: Books) -> None:
        """Open the logs for writing; check them whole."""
        facts, hub, lanes = books.partitions(), books.hub(writable=True), books.lanes(writable=True)
        self._facts, self._ledgers = facts, [*lanes, hub]
        self._synced = books.synced
        _tell_cut(*self._ledgers)
        self._recover()
        self._settlement = Settlement(
            [
                LaneSettler(number, len(lanes), partition, hub, Output(lane, now))
                for number, (partition, lane) in enumerate(zip(facts[:-1], lanes, strict=True))
            ],
            HubSettler(facts[-1], lanes, Output(hub, now)),
            self._commit,
        )
        self._engine = books.engine(writable=True)
        self.projector = Projector(self._engine, facts[-1], books.ledgers())

    def run(self, on_settled: Progress | None = None, on_projected: Progress | None = None) -> tuple[int, int]:
        """Settle and project all that is there; return how many decisions were taken and folded."""
        decided = self._settlement.run(on_record=on_settled)
        folded = self.projector.run(on_projected)
        self.projector.check_floors()
        return decided, folded

    def _recover(self) -> None:
        """Cut back what a crash between two commits left without its ground."""
        committed = read_synced(self._synced)
        if committed is None:
            # New books; or such as were made before there were commits, when each record was synced by itself.
            committed = {log.name: log.end() for log in (*self._ledgers, *self._facts)}
            write_synced(self._synced, committed)
        cuts = find_unfounded(self._ledgers, self._facts, committed)
        for log in self._ledgers:
            if log.name in cuts:
                _LOG.warning("%s: cut back to %d: what lay behind was never committed", log.name, cuts[log.name])
                log.cut_back(cuts[log.name])
        self._committed = {log.name: committed.get(log.name, 0) for log in self._ledgers}

    def _commit(self) -> None:
        """Make all decisions durable: 1 the facts they rest on, 2 the ledger logs, 3 the mark that says how far."""
        ends = {log.name: log.end() for log in self._ledgers}
        if ends == self._committed:
            return
        grounds = {log.name: log.end() for log in self._facts}
        for log in self._facts:
            log.sync()
        reach("commit.1-facts-synced")
        for log in self._ledgers:
            log.sync()
        reach("commit.2-ledgers-synced")
        write_synced(self._synced, grounds | ends)
        reach("commit.3-marked")
        self._committed = ends

    def close(self) -> None:
        """Give back logs and database."""
        for log in self._ledgers:
            log.close()
        self._engine.dispose()


def _genesis(parameters: Parameters) -> GenesisDeclared:
    text = parameters_json(parameters)
    key = f"genesis:{parameters.network}"
    return GenesisDeclared(
        id=fact_id("foundation", key),
        source="foundation",
        stream="foundation",
        subject=parameters.network,
        occurred_at=parameters.launched_at,
        key=key,
        schema_version=1,
        data=GenesisDeclaredData(parameters=text, params_hash=parameters_hash(text)),
    )


def _tell_cut(*logs: FileLog) -> None:
    """Say where a torn tail was cut when a log was opened for writing."""
    for log in logs:
        if log.cut_bytes:
            _LOG.warning("%s: cut %d bytes of a batch that was never acknowledged", log.name, log.cut_bytes)


def _remove(database: Path) -> None:
    """Remove a database's files."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
