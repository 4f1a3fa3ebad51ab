"""The embedded books: one folder, no servers.

facts/0/*.log  ledger/lane-0/*.log  ledger/hub/*.log      the truth
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
from events.codec import decode, encode
from events.event import fact_id
from events.facts import GenesisDeclared, GenesisDeclaredData
from events.filelog import FileLog, hold_lock
from events.killpoints import reach
from ledger.parameters import Parameters, parameters_from_json, parameters_hash, parameters_json
from projections.database import close_to_one_file, migrate, open_sqlite
from projections.project import Projector
from settlement.ingest import Receipt, catch_up, ingest, ingest_whole
from settlement.intake import Intake
from settlement.lines import Line
from settlement.output import Output
from settlement.settle import HubSettler, LaneSettler

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

    def facts(self, *, writable: bool = False) -> FileLog:
        """Open the facts log."""
        return FileLog(self.folder / "facts" / "0", "facts/0", writable=writable)

    def lane(self, *, writable: bool = False) -> FileLog:
        """Open the lane's ledger log."""
        return FileLog(self.folder / "ledger" / "lane-0", "lane-0", writable=writable)

    def hub(self, *, writable: bool = False) -> FileLog:
        """Open the hub's ledger log."""
        return FileLog(self.folder / "ledger" / "hub", "hub", writable=writable)

    def ledgers(self) -> tuple[FileLog, FileLog]:
        """Open both ledger logs for reading, the hub's first: what it allocates is what others spend."""
        return self.hub(), self.lane()

    def parameters(self) -> Parameters:
        """Read the parameter set out of the genesis. Raises: BooksMissing."""
        for record in self.facts().read(0):
            for line in record.lines:
                event = decode(line)
                if isinstance(event, GenesisDeclared):
                    return parameters_from_json(event.data.parameters)
        raise BooksMissing(f"no books in {self.folder}; create them with `omnisync init --preset omnisync`")

    # --- writing ---

    def create(self, parameters: Parameters) -> str:
        """Create books with a genesis; return the hash of the parameters. Raises: BooksExist, LogBusy."""
        with hold_lock(self.folder / "facts.lock"):
            facts = self.facts(writable=True)
            if facts.end():
                raise BooksExist(f"{self.folder} holds books already; choose another folder")
            text = parameters_json(parameters)
            key = f"genesis:{parameters.network}"
            genesis = GenesisDeclared(
                id=fact_id("foundation", key),
                source="foundation",
                stream="foundation",
                subject=parameters.network,
                occurred_at=parameters.launched_at,
                key=key,
                schema_version=1,
                data=GenesisDeclaredData(parameters=text, params_hash=parameters_hash(text)),
            )
            facts.append([encode(genesis)], now())
            facts.close()
        return parameters_hash(text)

    def ingest(self, chunks: Iterator[list[Line]], source: str) -> Iterator[Receipt]:
        """Append the facts of a source; yield a receipt per durable batch. Raises: LogBusy, LogFault."""
        with self._facts_for_ingest() as (facts, intake):
            yield from ingest(chunks, source, intake, facts, now)

    def ingest_whole(self, chunks: Iterator[list[Line]], source: str) -> Receipt:
        """Append all facts of a source, or none. Raises: LogBusy, LogFault."""
        with self._facts_for_ingest() as (facts, intake):
            return ingest_whole(chunks, source, intake, facts, now)

    @contextmanager
    def _facts_for_ingest(self) -> Iterator[tuple[FileLog, Intake]]:
        self.parameters()
        with hold_lock(self.folder / "facts.lock"):
            facts = self.facts(writable=True)
            _tell_cut(facts)
            intake = Intake()
            catch_up(intake, facts)
            try:
                yield facts, intake
            finally:
                facts.close()

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
            projector = Projector(engine, self.facts(), self.ledgers())
            projector.run(on_record)
            projector.check_floors()
            engine.dispose()
            close_to_one_file(fresh)
            reach("rebuild.1-built")
            close_to_one_file(self.database)
            os.replace(fresh, self.database)
            reach("rebuild.2-swapped")


class Settlers:
    """Lane, hub and projections of one folder, kept open so that each run goes on where the last ended."""

    def __init__(self, books: Books) -> None:
        """Open the logs for writing; check them whole."""
        self._facts = books.facts()
        self._lane_log, self._hub_log = books.lane(writable=True), books.hub(writable=True)
        _tell_cut(self._lane_log, self._hub_log)
        self.lane = LaneSettler(0, self._facts, Output(self._lane_log, now), self._facts.sync)
        self._hub = HubSettler(self._facts, [self._lane_log], Output(self._hub_log, now), self._lane_log.sync)
        self._engine = books.engine(writable=True)
        self.projector = Projector(self._engine, self._facts, books.ledgers())

    def run(self, on_settled: Progress | None = None, on_projected: Progress | None = None) -> tuple[int, int]:
        """Settle and project all that is there; return how many decisions were taken and folded."""
        decided = self.lane.run(on_record=on_settled) + self._hub.run()
        folded = self.projector.run(on_projected)
        self.projector.check_floors()
        return decided, folded

    def close(self) -> None:
        """Give back logs and database."""
        self._lane_log.close()
        self._hub_log.close()
        self._engine.dispose()


def _tell_cut(*logs: FileLog) -> None:
    """Say where a torn tail was cut when a log was opened for writing."""
    for log in logs:
        if log.cut_bytes:
            _LOG.warning("%s: cut %d bytes of a batch that was never acknowledged", log.name, log.cut_bytes)


def _remove(database: Path) -> None:
    """Remove a database's files."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
