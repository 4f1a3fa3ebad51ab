"""The embedded books: one folder, no servers.

facts/0/*.log … facts/hub/*.log                           the truth, reported: a partition per lane, and the hub's
ledger/lane-0/*.log … ledger/hub/*.log                    the truth, decided
ledger/synced                                             how far that is durable together
projections.sqlite                                        derived; delete it and `rebuild`
segments/lane-0/*.seg … segments/hub/*.seg                derived; delete them and `seal`
cache                                                     derived; delete it: keys, frontiers of logs, snapshots
facts.lock  ledger.lock  projections.lock  segments.lock  one writer each; readers need none
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine

from app.anybooks import AnyBooks, BooksExist, BooksMissing, declare_genesis
from app.clock import now
from app.commits import Commits, tell_cut
from app.locks import hold
from app.stages import PROJECT, SETTLE, Progress, Projecting, Settling, Stages
from app.synced import Committed, read_synced
from events.codec import encode
from events.filelog import FileLog
from events.killpoints import reach
from events.log import Log, LogFault
from ledger.parameters import Parameters, parameters_hash, parameters_json
from projections.database import close_to_one_file, migrate, open_sqlite
from projections.past import Past
from projections.sealing import Sealed, seal
from settlement.ingest import Partitions
from settlement.routing import HUB_PARTITION, LANES_MAX, partitions_of
from settlement.verify import Finding

__all__ = ["Books", "BooksExist", "BooksMissing", "Progress"]

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
# Head and history.
_PASSES = 2


class Books(AnyBooks):
    """A folder of embedded books."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is opened yet."""
        self.folder = folder
        self.place = str(folder)

    def close(self) -> None:
        """Close nothing: a file is open while it is read."""

    # --- logs ---

    def count_lanes(self) -> int:
        """Count the lanes: as many as there are partitions of facts beside the hub's. Raises: LogFault."""
        numbers = sorted(int(path.name) for path in (self.folder / "facts").glob("[0-9]*") if path.name.isdecimal())
        if numbers != list(range(len(numbers))):
            raise LogFault(f"{self.folder / 'facts'}: partitions are numbered from 0 on, found {numbers}")
        return len(numbers)

    def facts(self, name: str, *, writable: bool = False) -> FileLog:
        """Open a partition of the facts, such as `facts/0` or `facts/hub`."""
        return FileLog(self.folder / name, name, writable=writable, frontier=self._frontier(name))

    def partitions(self, *, writable: bool = False) -> list[FileLog]:
        """Open all partitions of the facts, the hub's last."""
        return [self.facts(name, writable=writable) for name in partitions_of(self.count_lanes())]

    def lane(self, number: int = 0, *, writable: bool = False) -> FileLog:
        """Open a lane's ledger log."""
        return self._ledger(f"lane-{number}", writable)

    def lanes(self, *, writable: bool = False) -> list[FileLog]:
        """Open all lanes' ledger logs, in order."""
        return [self.lane(number, writable=writable) for number in range(self.count_lanes())]

    def hub(self, *, writable: bool = False) -> FileLog:
        """Open the hub's ledger log."""
        return self._ledger("hub", writable)

    def _ledger(self, name: str, writable: bool) -> FileLog:
        folder, frontier = self.folder / "ledger" / name, self._frontier(name)
        return FileLog(folder, name, writable=writable, sync_each=False, frontier=frontier)

    def _frontier(self, name: str) -> Path:
        """The file in which a log's writer keeps how far it was checked."""
        return self.folder / "cache" / "frontiers" / name

    def ledgers(self, *, writable: bool = False) -> list[FileLog]:
        """Open all ledger logs, the hub's first: what it allocates is what others spend."""
        return [self.hub(writable=writable), *self.lanes(writable=writable)]

    @property
    def synced(self) -> Path:
        """The file that says how far the logs were durable at the last commit."""
        return self.folder / "ledger" / "synced"

    def committed(self, ledgers: Sequence[Log]) -> Mapping[str, int]:
        """Read the mark of the last commit, which says it of the facts too."""
        return read_synced(self.synced) or {}

    def is_projected(self) -> bool:
        """Tell whether there is a file of projections."""
        return self.database.exists()

    def check_ends(self) -> None:
        """Assert that every log still holds what was committed. Raises: Finding."""
        committed = read_synced(self.synced) or {}
        for log in (*self.partitions(), *self.ledgers()):
            if log.end() < committed.get(log.name, 0):
                raise Finding(f"{log.name}: ends at {log.end()}, and was durable up to {committed[log.name]}")

    def free_bytes(self) -> int:
        """Return how much space is left where the folder is."""
        return shutil.disk_usage(self.folder).free

    @contextmanager
    def holding_still(self) -> Iterator[None]:
        """Keep everybody from appending while the block runs. Raises: LogBusy."""
        with hold(self.folder / "facts.lock", "copy"), hold(self.folder / "ledger.lock", "copy"):
            yield

    # --- writing ---

    def create(self, parameters: Parameters, lanes: int = 1) -> str:
        """Create books with a genesis in each partition; return the parameters' hash. Raises: BooksExist, LogBusy.

        The hub's genesis comes last: until then there are no books, and creating them again completes them.
        """
        assert 1 <= lanes <= LANES_MAX
        line = encode(declare_genesis(parameters))
        with hold(self.folder / "facts.lock", "init"):
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

    @contextmanager
    def open_facts(self) -> Iterator[Partitions]:
        """Hold the facts' lock, and all partitions open, while the block runs. Raises: LogBusy, LogDamaged."""
        self.parameters()
        with hold(self.folder / "facts.lock", "ingest"):
            logs = self.partitions(writable=True)
            tell_cut(*logs)
            try:
                yield Partitions(logs, self.folder / "cache")
            finally:
                for log in logs:
                    log.close()

    @contextmanager
    def stages(self, only: str | None = None, *, from_start: bool = False) -> Iterator[Stages]:
        """Hold the locks of both stages, or of one, while the block settles and projects.

        With `from_start` everything is decided again, from no snapshot.
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
                facts, lanes, hub = self.partitions(), self.lanes(writable=True), self.hub(writable=True)
                commits = Commits(facts, [*lanes, hub], self.synced)
                cache = self.folder / "cache" / "ledger"
                # The lock on facts is held by `ingest`, and by nobody else who writes.
                settling = Settling(facts, lanes, hub, commits.commit, cache, from_start=from_start, judged=True)
                stack.callback(settling.close)
            if only != SETTLE:
                projecting = self._projecting(self.engine(writable=True))
                stack.callback(projecting.close)
            yield Stages(settling, projecting)
            if settling is not None:
                settling.rest()

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


def _remove(database: Path) -> None:
    """Remove a database's files."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
