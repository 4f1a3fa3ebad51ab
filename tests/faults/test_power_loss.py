"""A machine that dies between two commits may keep any part of what no log had synced: the books come out the same.

Records of lanes and hub rest on one another. Of what lies behind the last commit each log loses a tail of its own here,
as long as chance wants, and in the middle of a record too. Then a run cuts back what has lost its ground, decides it
again, and all digests are those of books that nobody disturbed.
"""

import shutil
import signal
from pathlib import Path
from random import Random

import pytest

from app.books import Books
from app.synced import read_synced
from events.filelog import FileLog
from settlement.commit import find_unfounded
from tests.faults.process import omnisync
from tests.faults.scenes import digests_of, new_books, run_books, write_facts
from tests.networks import build_network
from tests.settlement.desk import settled

pytestmark = pytest.mark.slow


def lose(log: FileLog, committed: int, random: Random) -> int:
    """Cut a random part of a log off, of what was not committed; return how many bytes."""
    folder = log._folder
    (path,) = folder.glob("*.log")
    ends = [0, *(after.offset for record, after in log._scan(log._segment_before(0)) if record.end <= committed)]
    size = path.stat().st_size
    kept = random.randint(ends[-1], size)
    with path.open("rb+") as file:
        file.truncate(kept)
    return size - kept


@pytest.mark.parametrize(
    ("lanes", "losses"),
    [(1, 12), (3, 12)],
)
def test_whatever_is_lost_behind_the_last_commit_the_books_come_out_the_same(
    tmp_path: Path, lanes: int, losses: int
) -> None:
    world = build_network(55, jobs=16, periods=8)
    undisturbed = settled(world, lanes=lanes).digests()
    books = new_books(tmp_path / "books", world, lanes)
    lines = world.lines()
    half = write_facts(tmp_path / "half.jsonl", lines[: len(lines) // 2])
    omnisync("ingest", half, "--data", books.folder)
    run_books(books)
    omnisync("ingest", write_facts(tmp_path / "all.jsonl", lines), "--data", books.folder)
    died = omnisync("run", "--once", "--data", books.folder, kill_at="commit.2-ledgers-synced")
    assert died.status == -signal.SIGKILL
    committed = read_synced(books.folder / "ledger" / "synced")
    assert committed is not None

    lost = unfounded = 0
    for seed in range(losses):
        random = Random(f"{lanes} {seed}")
        shutil.copytree(books.folder, tmp_path / f"{seed}")
        hurt = Books(tmp_path / f"{seed}")
        lost += sum(lose(log, committed[log.name], random) > 0 for log in hurt.ledgers())
        unfounded += bool(find_unfounded(hurt.ledgers(), hurt.partitions(), committed))

        run_books(hurt)

        assert digests_of(hurt) == undisturbed, seed
    assert lost > losses
    assert unfounded >= losses // 4, "else nothing was tried"


def test_nothing_is_cut_where_nothing_is_lost(tmp_path: Path) -> None:
    world = build_network(55, jobs=16, periods=8)
    books = new_books(tmp_path / "books", world)
    omnisync("ingest", write_facts(tmp_path / "all.jsonl", world.lines()), "--data", books.folder)
    omnisync("run", "--once", "--data", books.folder, kill_at="commit.2-ledgers-synced")
    ends = {log.name: log.end() for log in books.ledgers()}

    assert not find_unfounded(books.ledgers(), books.partitions(), {})
    run_books(books)

    assert {log.name: log.end() for log in books.ledgers()} == ends
    marked = read_synced(books.folder / "ledger" / "synced")
    assert marked is not None
    assert {name: marked[name] for name in ends} == ends
