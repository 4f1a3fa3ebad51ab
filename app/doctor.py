"""Doctor: looks at what can be wrong with books and where they run, and says what to do. It repairs nothing.

Quick, so that it can be asked often: of each log only the last file is read. `omnisync verify --all` believes nothing.
A check is a function that yields what it found; those in `CHECKS` are made one after the other.
"""

import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from app.books import Books, BooksMissing
from app.clock import now
from app.locks import find_holder
from app.settings import Settings
from app.standing import Survey, Surveyor
from app.synced import read_synced
from events.filelog import FileLog
from events.log import LogDamaged, LogFault
from events.native import load
from projections.database import REVISION, SchemaOutdated
from projections.position import rows_of
from projections.tables import checkpoint

__all__ = ["CHECKS", "FAULT", "FREE_BYTES_MIN", "NOTE", "OK", "Site", "Told", "check_space", "examine", "tell_lags"]

OK, NOTE, FAULT = "ok", "note", "fault"
# Below this a day of a busy network may not fit.
FREE_BYTES_MIN = 1024**3
_MIB = 1024**2
_LOCKS = ("facts", "ledger", "projections", "segments")
_RESTORE = (
    "restore a backup into a new folder: `omnisync restore`; `omnisync verify --all` says how far these books hold"
)


class Told(NamedTuple):
    """What a check found: `level` is OK, NOTE (nothing is lost) or FAULT; `do` says what to do, if anything."""

    check: str
    level: str
    found: str
    do: str = ""


class _Tail(NamedTuple):
    """A log's end as its last file shows it; `torn` counts the bytes of a record that was begun there."""

    end: int
    torn: int
    recorded_at: str


class Site:
    """What is looked at: settings, and books where there are embedded ones."""

    def __init__(self, settings: Settings, books: Books | None) -> None:
        """Take both; nothing is read yet."""
        self.settings, self.books = settings, books

    @cached_property
    def tails(self) -> dict[str, _Tail | LogDamaged]:
        """The end of each log of the books, or what is damaged there. Raises: LogFault."""
        assert self.books is not None
        return {log.name: _read_tail(log) for log in (*self.books.partitions(), *self.books.ledgers())}


Check = Callable[[Site], Iterator[Told]]


def examine(site: Site) -> Iterator[Told]:
    """Make all checks; without books, or with books that are none, those that need books are left out."""
    if site.books is None and site.settings.has_cluster():
        # Its drivers load when they are needed.
        from app.cluster import ClusterBooks
        from app.cluster_checks import check_cluster

        with ClusterBooks(site.settings) as books:
            yield from check_cluster(books)
    found = list(_check_books(site))
    yield from found
    if any(told.level == FAULT for told in found):
        site = Site(site.settings, None)
    for check in CHECKS:
        yield from check(site)


def _check_books(site: Site) -> Iterator[Told]:
    if site.books is None:
        return
    try:
        parameters, lanes = site.books.parameters(), site.books.count_lanes()
        read_synced(site.books.synced)
    except (BooksMissing, LogFault, OSError) as error:
        do = "" if isinstance(error, BooksMissing) else _RESTORE
        yield Told("books", FAULT, str(error), do)
        return
    yield Told("books", OK, f"{parameters.network} in {site.books.folder}, lanes: {lanes}")


def _check_locks(site: Site) -> Iterator[Told]:
    for name in _LOCKS if site.books else ():
        assert site.books is not None
        holder = find_holder(site.books.folder / f"{name}.lock")
        if holder is not None:
            yield Told("locks", OK, f"{name}.lock is held: {holder}")


def _check_logs(site: Site) -> Iterator[Told]:
    """Hold each log's end against the last commit."""
    if site.books is None:
        return
    committed = read_synced(site.books.synced) or {}
    for name in sorted(committed.keys() - site.tails.keys()):
        yield Told("logs", FAULT, f"{name} is not there, and was durable up to {committed[name]}", _RESTORE)
    for name, tail in site.tails.items():
        position = committed.get(name, 0)
        if isinstance(tail, LogDamaged):
            yield Told("logs", FAULT, str(tail), _RESTORE)
            continue
        if tail.end < position:
            yield Told("logs", FAULT, f"{name} ends at {tail.end}, and was durable up to {position}", _RESTORE)
            continue
        yield Told("logs", OK, f"{name} ends at {tail.end}")
        lock = "facts.lock" if name.startswith("facts/") else "ledger.lock"
        if find_holder(site.books.folder / lock) is not None:
            # What its writer does just now is not to be judged.
            continue
        if tail.torn:
            told = f"{name}: {tail.torn} bytes of a batch that was never acknowledged"
            yield Told("logs", NOTE, told, "nothing; whoever writes next cuts them")
        if tail.end > position and lock == "ledger.lock":
            told = f"{name}: {tail.end - position} leaves lie behind the last commit"
            yield Told("logs", NOTE, told, "`omnisync run --once` takes them up, or decides them again")


def _check_projections(site: Site) -> Iterator[Told]:
    if site.books is None:
        return
    if not site.books.database.exists():
        yield Told("projections", NOTE, "there are none yet", "`omnisync run --once`")
        return
    try:
        survey = Surveyor(site.books).look()
    except LogDamaged:
        # Told of the logs.
        return
    except SchemaOutdated as error:
        yield Told("projections", FAULT, str(error), "`omnisync run --once`")
        return
    except DatabaseError as error:
        yield Told("projections", FAULT, f"they cannot be read: {error.orig}", "`omnisync rebuild`")
        return
    yield Told("projections", OK, f"revision {REVISION}, network time {survey.network_time or 'none yet'}")
    yield from tell_lags(survey, lambda _stage: "`omnisync run`, unless it runs")


def tell_lags(survey: Survey, follow: Callable[[str], str]) -> Iterator[Told]:
    """Tell of each stage that lacks something, or holds too much; `follow` says what brings a stage on."""
    for standing in survey.logs:
        for stage, lag in standing.lags():
            if lag < 0 and stage != "settled":
                told = f"{standing.log}: {stage} stands {-lag} leaves before what it is made from"
                yield Told("projections", FAULT, told, "`omnisync rebuild`")
            elif lag > 0:
                yield Told("lag", NOTE, f"{standing.log}: {stage} lacks {lag} leaves", follow(stage))


def _check_segments(site: Site) -> Iterator[Told]:
    if site.books is None:
        return
    # Rows give way to segments that are there already: read first, they begin no later than those end.
    begins = _read_positions(site.books)
    past = site.books.past()
    for fault in past.faults:
        yield Told("segments", NOTE, fault, "`omnisync seal --all` makes it anew; till then the past may be refused")
    for log in past.logs():
        begin, end = begins.get(rows_of(log.name), 0), past.end(log.name)
        if begin > end:
            told = f"{log.name}: history has rows from {begin} on, and segments up to {end}: between them it is missing"
            yield Told("segments", FAULT, told, "`omnisync seal --all` makes them anew; till then history is refused")
        unsealed = len(log.files()) - 1 - len(past.segments(log.name))
        if unsealed > 0:
            yield Told("segments", NOTE, f"{log.name}: {unsealed} full files are not sealed", "`omnisync seal`")


def _read_positions(books: Books) -> dict[str, int]:
    """Return the checkpoints, or none where they cannot be read, which is told of the projections."""
    if not books.is_projected():
        return {}
    try:
        with books.engine().connect() as connection:
            return {row.log: row.position for row in connection.execute(select(checkpoint))}
    except (SchemaOutdated, DatabaseError):
        return {}


def _check_space(site: Site) -> Iterator[Told]:
    if site.books is not None:
        yield check_space(site.books.folder)


def check_space(folder: Path, free_bytes_min: int = FREE_BYTES_MIN) -> Told:
    """Look how much space is left where a folder is."""
    free = shutil.disk_usage(folder).free
    if free < free_bytes_min:
        told = f"{free // _MIB} MiB are free in {folder}, wanted are {free_bytes_min // _MIB}"
        return Told("space", FAULT, told, "free some; a batch that does not fit is refused whole, and the stages stop")
    return Told("space", OK, f"{free // _MIB} MiB are free")


def _check_clock(site: Site) -> Iterator[Told]:
    present = now()
    ahead = {
        name: tail.recorded_at
        for name, tail in (site.tails if site.books else {}).items()
        if isinstance(tail, _Tail) and tail.recorded_at > present
    }
    for name, recorded_at in ahead.items():
        told = f"it is {present}, and {name} was written at {recorded_at}"
        yield Told(
            "clock", FAULT, told, "set the clock; no decision rests on it, but what is written now is dated wrongly"
        )
    if not ahead:
        yield Told("clock", OK, f"it is {present}")


def _check_library(_site: Site) -> Iterator[Told]:
    if load() is None:
        yield Told("library", NOTE, "the native library is not compiled", "`make setup` where there is a C compiler")
    else:
        yield Told("library", OK, "the native library is there")


CHECKS: tuple[Check, ...] = (
    _check_locks,
    _check_logs,
    _check_projections,
    _check_segments,
    _check_space,
    _check_clock,
    _check_library,
)


def _read_tail(log: FileLog) -> _Tail | LogDamaged:
    """Read the last file of a log."""
    files = log.files()
    if not files:
        return _Tail(0, 0, "")
    tail = _Tail(int(files[-1].stem), files[-1].stat().st_size, "")
    size = tail.torn
    try:
        for record, behind in log.read_file(files[-1]):
            tail = _Tail(record.end, size - behind, record.header.recorded_at)
    except LogDamaged as damage:
        return damage
    return tail
