"""Books on disk for the fault tests: how they are made, compared and looked into."""

from collections.abc import Sequence
from pathlib import Path

from app.books import Books
from events.filelog import FileLog
from ledger.fold import Digests
from settlement.verify import Verdict, fold_books, verify_logs, verify_rows
from tests.settlement.desk import as_lines
from tests.worlds import ASSET, World

__all__ = ["digests_of", "inspect", "logs_of", "new_books", "roots_of", "run_books", "settled_books", "write_facts"]


def new_books(folder: Path, world: World) -> Books:
    """Create books with the world's parameters."""
    books = Books(folder)
    books.create(world.parameters)
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
    verdict = verify_logs(books.facts(), [books.lane()], books.hub())
    fold_books(books.ledgers()).digests(ASSET)
    verify_rows(books.engine(), books.facts(), books.ledgers())
    return verdict


def digests_of(books: Books) -> Digests:
    """Check everything and return the digests."""
    assert inspect(books).unsettled == 0
    return fold_books(books.ledgers()).digests(ASSET)


def logs_of(books: Books) -> dict[str, FileLog]:
    """Open all logs for reading, by name."""
    return {log.name: log for log in (books.facts(), books.lane(), books.hub())}


def roots_of(books: Books) -> dict[int, str | None]:
    """Return the root at the end of each record of the facts log."""
    return {record.end: record.header.root for record in books.facts().read()}
