"""The product's own path: create books, ingest a file of facts, settle, project; durable, nothing left out."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import cast

from app.books import Books
from app.memory import keep_memory
from app.stages import Progress
from benchmarks.task import Result, Task, rss_mib
from benchmarks.watch import Watch
from events.record import RECORD_BYTES_MAX
from ledger.accounts import Key
from ledger.parameters import parameters_from_json, parameters_from_toml
from projections.project import Projector
from projections.read import read_balances, read_position
from projections.replay import replay
from settlement.lines import read_chunks
from settlement.settle import BATCH_DECISIONS, BATCHES_PER_COMMIT

__all__ = [
    "create_books",
    "fill_books",
    "ingest_stream",
    "run_product",
    "run_replay",
    "size_of",
    "stored_balances",
    "sum_by_account",
]


class _Watched:
    """A projector whose time is counted to a stage of its own."""

    def __init__(self, projector: Projector, watch: Watch) -> None:
        self._projector = projector
        self._watch = watch

    def run(self, on_record: Progress | None = None) -> int:
        with self._watch.stage("project"):
            return self._projector.run(on_record)

    def catch_up(self, on_record: Progress | None = None, *, is_over: Callable[[], bool]) -> int:
        with self._watch.stage("history"):
            return self._projector.catch_up(on_record, is_over=is_over)

    def check_floors(self) -> None:
        self._projector.check_floors()


def run_product(task: Task, folder: Path, watch: Watch | None = None) -> Result:
    """Measure ingest, settlement and projection of the stream into new books; opening them is counted apart."""
    keep_memory()
    books, watch = Books(folder / "books"), watch or Watch()
    fill_books(books, task, watch)
    stages = watch.seconds
    rss = rss_mib()
    log_bytes = sum(size_of(books.folder / name) for name in ("facts", "ledger"))
    return Result(
        seconds=stages["ingest"] + stages["settle"] + stages["project"],
        exact=task.agrees(stored_balances(books)),
        bytes_on_disk=size_of(books.folder),
        rss_mib=rss,
        stages=dict(stages),
        conditions=f"fsync per record of {RECORD_BYTES_MAX:,} bytes and per "
        f"{BATCH_DECISIONS * BATCHES_PER_COMMIT:,} decisions; "
        f"logs {log_bytes // task.facts} bytes per fact, SQL projections the rest (WAL, synchronous=NORMAL: derived); "
        "one process; history follows behind the balances and is not counted",
    )


def fill_books(books: Books, task: Task, watch: Watch) -> None:
    """Create books, ingest the stream, settle and project it."""
    with watch.stage("open"):
        create_books(books, task)
    with watch.stage("ingest"):
        ingest_stream(books, task)
    with watch.stage("open"), books.settlers() as stages:
        assert stages.projecting is not None
        stages.projecting.projector = cast(Projector, _Watched(stages.projecting.projector, watch))
        with watch.stage("settle"):
            stages.run(history=False)
        stages.catch_up()


def create_books(books: Books, task: Task) -> None:
    """Create books with the task's parameters."""
    read = parameters_from_json if task.parameters.suffix == ".json" else parameters_from_toml
    books.create(read(task.parameters.read_text(encoding="utf-8")))


def ingest_stream(books: Books, task: Task) -> None:
    """Ingest the file of facts."""
    file = os.open(task.stream, os.O_RDONLY)
    lines = sum(receipt.lines for receipt in books.ingest(read_chunks(file), task.stream.name))
    os.close(file)
    assert lines == task.facts, f"ingested {lines} lines of {task.facts}"


def run_replay(task: Task, folder: Path) -> Result:
    """Measure what an auditor does with finished books: each leaf and root, what each entry adds up to, all sums."""
    books = Books(folder / "books")
    fill_books(books, task, Watch())
    start = perf_counter()
    for log in books.ledgers():
        log.root()
    checked = perf_counter()
    # Nothing is sealed: all of it is read from the logs.
    replayed = replay(books.past())
    replayed.digest()
    ended = perf_counter()
    rss = rss_mib()
    books.rebuild()
    rebuilt = perf_counter()
    for _ in books.seal(unfinished=True):
        pass
    sealed = perf_counter()
    books.rebuild()
    rebuilt_behind = perf_counter()
    totals = sum_by_account(((key, sums[1] - sums[0])) for key, sums in replayed.sums.items())
    return Result(
        seconds=ended - start,
        exact=totals == task.totals() == stored_balances(books),
        bytes_on_disk=size_of(books.folder / "ledger"),
        rss_mib=rss,
        stages={
            "check": checked - start,
            "fold": ended - checked,
            "rebuild": rebuilt - ended,
            "rebuild, sealed": rebuilt_behind - sealed,
        },
        conditions="reads the ledger logs' true bytes; RSS includes making the books",
    )


def stored_balances(books: Books) -> dict[str, int]:
    """Read all balances by account from the projections."""
    engine = books.engine()
    with engine.connect() as connection:
        balances = read_balances(connection, read_position(connection, None))
    engine.dispose()
    return sum_by_account((line.key, line.net) for line in balances)


def sum_by_account(items: Iterable[tuple[Key, int]]) -> dict[str, int]:
    """Add up what accounts hold over all vaults; those of zero are left out."""
    totals: dict[str, int] = {}
    for key, net in items:
        totals[key.account] = totals.get(key.account, 0) + net
    return {account: net for account, net in totals.items() if net}


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
