"""Books on disk for the fault tests: how they are made, compared and looked into."""

import json
from collections.abc import Sequence
from pathlib import Path

from app.books import Books
from events.filelog import FileLog
from ledger.fold import Digests
from settlement.verify import Verdict, fold_books, verify_logs, verify_rows, verify_segments
from tests.settlement.desk import as_lines
from tests.worlds import ASSET, World

__all__ = [
    "digests_of",
    "in_small_files",
    "inspect",
    "logs_of",
    "new_books",
    "positions_in",
    "roots_of",
    "run_books",
    "settled_books",
    "write_facts",
]


def new_books(folder: Path, world: World, lanes: int = 1) -> Books:
    """Create books with the world's parameters."""
    books = Books(folder)
    books.create(world.parameters, lanes)
    return books


def write_facts(path: Path, lines: Sequence[bytes]) -> Path:
    """Write lines as a file."""
    path.write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
    return path


def settled_books(folder: Path, world: World, sessions: int = 3) -> Books:
    """Create books, and take the world in, in a few sessions of ingest and run."""
    books = new_books(folder, world)
    lines = as_lines(world.lines())
    step = -(-len(lines) // sessions)
    for start in range(0, len(lines), step):
        list(books.ingest(iter([lines[start : start + step]]), "world"))
        run_books(books)
    return books


def run_books(books: Books) -> None:
    """Settle and project what is there."""
    with books.settlers() as settlers:
        settlers.run()


def inspect(books: Books) -> Verdict:
    """Do what `verify --all` does. Raises: LogDamaged, LedgerInvariantBroken."""
    verdict = verify_logs(books.partitions(), books.lanes(), books.hub())
    fold_books(books.ledgers()).digests(ASSET)
    verify_rows(books.engine(), books.facts("facts/hub"), books.ledgers())
    verify_segments(books.engine(), books.ledgers(), books.past())
    return verdict


def in_small_files(log: FileLog, file_bytes: int) -> None:
    """Write a ledger log again in files of so many bytes, so that all but the last are full."""
    records, files = list(log.read()), log.files()
    folder = files[0].parent
    for file in files:
        file.unlink()
    copy = FileLog(folder, log.name, writable=True, segment_bytes_max=file_bytes)
    for record in records:
        header = record.header
        copy.append(record.data, header.recorded_at, header.network_time, header.basis)
    copy.close()


def digests_of(books: Books) -> Digests:
    """Check everything and return the digests."""
    assert inspect(books).unsettled == 0
    return fold_books(books.ledgers()).digests(ASSET)


def logs_of(books: Books) -> dict[str, FileLog]:
    """Open all logs for reading, by name."""
    return {log.name: log for log in (*books.partitions(), *books.ledgers())}


def roots_of(books: Books) -> dict[tuple[str, int], str | None]:
    """Return the root at the end of each record of the facts, by partition and position."""
    return {(log.name, record.end): record.header.root for log in books.partitions() for record in log.read()}


def positions_in(receipt: str) -> set[tuple[str, int]]:
    """Read the positions that a printed receipt promises: of each partition, how much is durable."""
    parts = [part.rpartition(":") for part in json.loads(receipt)["position"].split(",")]
    return {(name, int(size)) for name, _, size in parts}
