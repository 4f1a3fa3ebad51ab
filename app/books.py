"""The embedded books: one folder, no servers.

facts/0/*.log … facts/hub/*.log                           the truth, reported: a partition per lane, and the hub's
ledger/lane-0/*.log … ledger/hub/*.log                    the truth, decided
ledger/synced                                             how far that is durable together
projections.sqlite                                        derived; delete it and `rebuild`
segments/lane-0/*.seg … segments/hub/*.seg                derived; delete them and `seal`
facts.lock  ledger.lock  projections.lock  segments.lock  one writer each; readers need none
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine

from app.clock import now
from app.locks import hold
from app.stages import PROJECT, SETTLE, Progress, Projecting, Settling, Stages, tell_cut
from app.synced import Committed, read_synced
from events.codec import decode, encode
from events.event import fact_id
from events.facts import GenesisDeclared, GenesisDeclaredData
from events.filelog import FileLog, hold_lock
from events.killpoints import reach
from events.log import LogFault
from ledger.parameters import Parameters, parameters_from_json, parameters_hash, parameters_json
from projections.database import close_to_one_file, migrate, open_sqlite
from projections.past import Past
from projections.sealing import Sealed, seal
from settlement.ingest import Partitions, Receipt, ingest, ingest_whole
from settlement.lines import Line
from settlement.routing import HUB_PARTITION, LANES_MAX, partitions_of
from settlement.verify import Finding

__all__ = ["Books", "BooksExist", "BooksMissing", "Progress"]

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
# Head and history.
_PASSES = 2


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

    def ingest(self, chunks: Iterator[Sequence[Line]], source: str) -> Iterator[Receipt]:
        """Append the facts of a source; yield a receipt per durable batch. Raises: LogBusy, LogFault."""
        with self._facts_for_ingest() as partitions:
            yield from ingest(chunks, source, partitions, now)

    def ingest_whole(self, chunks: Iterator[Sequence[Line]], source: str) -> Receipt:
        """Append all facts of a source, or none. Raises: LogBusy, LogFault."""
        with self._facts_for_ingest() as partitions:
            return ingest_whole(chunks, source, partitions, now)

    @contextmanager
    def _facts_for_ingest(self) -> Iterator[Partitions]:
        self.parameters()
        with hold_lock(self.folder / "facts.lock"):
            logs = self.partitions(writable=True)
            tell_cut(*logs)
            try:
                yield Partitions(logs, self.folder / "cache")
            finally:
                for log in logs:
                    log.close()

    @contextmanager
    def stages(self, only: str | None = None) -> Iterator[Stages]:
        """Hold the locks of both stages, or of one, while the block settles and projects.

        Raises: LogBusy, LogDamaged, LedgerInvariantBroken.
        """
        self.parameters()
        with ExitStack() as stack:
            settling = projecting = None
            duty = only or f"{SETTLE} and {PROJECT}"
            if only != PROJECT:
                stack.enter_context(hold(self.folder / "ledger.lock", duty))
            if only != SETTLE:
                stack.enter_context(hold(self.folder / "projections.lock", duty))
            if only != PROJECT:
                lanes, hub = self.lanes(writable=True), self.hub(writable=True)
                settling = Settling(self.partitions(), lanes, hub, self.synced, self.folder / "cache" / "ledger")
                stack.callback(settling.close)
            if only != SETTLE:
                projecting = self._projecting(self.engine(writable=True))
                stack.callback(projecting.close)
            yield Stages(settling, projecting)

    def settlers(self) -> AbstractContextManager[Stages]:
        """Hold both stages. Raises: LogBusy, LogDamaged, LedgerInvariantBroken."""
        return self.stages()

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
        with hold(self.folder / "projections.lock", "rebuild"):
            fresh = self.folder / "projections.rebuild.sqlite"
            _remove(fresh)
            engine = open_sqlite(fresh, writable=True, journal=False)
            migrate(engine, MIGRATIONS)
            projecting = self._projecting(engine)
            projecting.seal()
            projecting.run(on_record)
            projecting.close()
            close_to_one_file(fresh)
            reach("rebuild.1-built")
            close_to_one_file(self.database)
            os.replace(fresh, self.database)
            reach("rebuild.2-swapped")

    def _projecting(self, engine: Engine) -> Projecting:
        """Begin to follow what is committed."""
        facts = Committed([self.facts(HUB_PARTITION)])
        followed = [Committed(readers) for readers in zip(*(self.ledgers() for _ in range(_PASSES)), strict=True)]
        return Projecting(engine, facts, followed, self.synced, self.past(), self.seal)

    # --- segments ---

    @property
    def segments(self) -> Path:
        """The folder of the sealed segments."""
        return self.folder / "segments"

    def past(self) -> Past:
        """Open the sealed segments of all ledger logs."""
        return Past(self.segments, self.ledgers())

    def seal(
        self, *, unfinished: bool = False, anew: bool = False, is_over: Callable[[], bool] = lambda: False
    ) -> Iterator[Sealed]:
        """Seal the full files of all ledger logs, or all files, or all again, until `is_over`.

        Raises: LogBusy, LogDamaged.
        """
        self.parameters()
        with hold(self.folder / "segments.lock", "seal"):
            for log in self.ledgers():
                yield from seal(log, self.segments, unfinished=unfinished, anew=anew, is_over=is_over)


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


def _remove(database: Path) -> None:
    """Remove a database's files."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
