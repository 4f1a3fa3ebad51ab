"""Commands on sealed books: `run` seals by itself, and whatever becomes of segments, answers are right or refused."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from app.books import Books
from events.filelog import hold_lock
from projections.position import rows_of
from projections.read import balances_digest
from projections.tables import checkpoint
from tests.faults.process import omnisync, start
from tests.faults.scenes import digests_of, in_small_files, inspect, settled_books
from tests.networks import build_network

pytestmark = pytest.mark.slow

SECONDS_MAX = 20
LATER = ("lane-0", "hub")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """Give books in small files, projected without segments; tests work on copies."""
    books = settled_books(tmp_path_factory.mktemp("whole") / "books", build_network(31, jobs=16, periods=8))
    for log in books.ledgers():
        in_small_files(log, 4_000)
    return books


@pytest.fixture
def books(tmp_path: Path, whole: Books) -> Books:
    """Give such books, sealed by a run."""
    shutil.copytree(whole.folder, tmp_path / "books")
    books = Books(tmp_path / "books")
    done = omnisync("run", "--once", "--data", books.folder)
    assert (done.status, done.err) == (0, "")
    return books


def begins_of(books: Books) -> dict[str, int]:
    with books.engine().connect() as connection:
        found = {row.log: row.position for row in connection.execute(select(checkpoint))}
    return {log: found.get(rows_of(log), 0) for log in LATER}


def ends_of(books: Books) -> dict[str, int]:
    return {log: books.past().end(log) for log in LATER}


def questions(books: Books) -> list[list[str]]:
    """Ask for everything that is told from history."""
    lane, hub = books.lane().end(), books.hub().end()
    at = f"lane-0:{lane * 2 // 3},hub:{hub * 2 // 3}"
    return [
        ["history", "external"],
        ["history", "external", "--at", at],
        ["balance", "--at", at],
        ["balance", "fee:accrued", "--at", f"lane-0:{lane // 2},hub:{hub // 2}"],
        ["supply", "--at", at],
        ["report", "staking", "--at", at],
        ["report", "slashing", "--at", at],
        ["rewards", "v0"],
        ["statement", "v0"],
        ["statement", "v0", "--period", "2026Q4", "--at", at],
    ]


def answers(books: Books) -> list[tuple[int, str]]:
    asked = (omnisync(*question, "--json", "--data", books.folder) for question in questions(books))
    return [(answer.status, answer.out) for answer in asked]


def test_what_a_run_sealed_is_answered_as_before(books: Books, whole: Books) -> None:
    assert begins_of(books) == ends_of(books)
    assert all(begins_of(books).values())
    assert not any(begins_of(whole).values())
    assert size_of(books) < size_of(whole)

    expected = answers(whole)
    assert answers(books) == expected
    assert {status for status, _ in expected} == {0}

    told = json.loads(omnisync("verify", "--all", "--json", "--data", books.folder).out)
    assert (told["ok"], told["segments"]) == (True, len(list(books.segments.glob("*/*.seg"))))


def size_of(books: Books) -> int:
    with books.engine().connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM history").scalar_one())


@pytest.mark.parametrize("heal", [("run", "--once"), ("seal",), ("seal", "--all"), ("rebuild",)])
@pytest.mark.parametrize("harm", ["deleted", "damaged", "one deleted"])
def test_segments_lost_between_two_commands_are_named_and_nothing_is_lost(
    books: Books, whole: Books, harm: str, heal: tuple[str, ...]
) -> None:
    expected = answers(whole)
    if harm == "deleted":
        shutil.rmtree(books.segments)
    elif harm == "damaged":
        for path in books.segments.glob("*/*.seg"):
            path.write_bytes(path.read_bytes()[:-64])
    else:
        Random(harm).choice(sorted(books.segments.glob("lane-0/*.seg"))).unlink()

    refused = omnisync("history", "external", "--data", books.folder)
    assert refused.status == 1
    assert "is kept in segments up to" in refused.err
    assert "`omnisync seal --all` makes them anew from the log" in refused.err
    assert (harm == "deleted") != ("segment " in refused.err.partition("the history of")[0])
    assert omnisync("balance", "external", "--data", books.folder).status == 0
    assert omnisync("verify", "--all", "--data", books.folder).status == 1

    assert omnisync(*heal, "--data", books.folder).status == 0

    assert answers(books) == expected
    assert omnisync("verify", "--all", "--data", books.folder).status == 0


def test_rows_are_written_again_while_somebody_keeps_the_segments(books: Books, whole: Books) -> None:
    shutil.rmtree(books.segments)

    with hold_lock(books.folder / "segments.lock"):
        assert omnisync("run", "--once", "--data", books.folder).status == 0

        assert not any(begins_of(books).values())
        assert answers(books) == answers(whole)
        inspect(books)
    assert omnisync("run", "--once", "--data", books.folder).status == 0
    assert begins_of(books) == ends_of(books)
    inspect(books)


def test_rebuilt_books_begin_their_rows_where_segments_end(books: Books) -> None:
    digests, before = digests_of(books), begins_of(books)

    rebuilt = omnisync("rebuild", "--data", books.folder)

    assert "balances digest unchanged" in rebuilt.out
    assert (digests_of(books), begins_of(books)) == (digests, before)
    with books.engine().connect() as connection:
        assert balances_digest(connection) == digests.balances


@pytest.mark.parametrize("only", [[], ["--only", "project"]])
def test_a_run_seals_when_it_has_nothing_else_to_do(only: list[str], tmp_path: Path, whole: Books) -> None:
    shutil.copytree(whole.folder, tmp_path / "books")
    books = Books(tmp_path / "books")

    runs = start("run", *only, "--data", books.folder)
    give_up = time.monotonic() + SECONDS_MAX
    while books.past().is_behind() or begins_of(books) != ends_of(books):
        assert not runs.has_ended(), runs.end()
        assert time.monotonic() < give_up
        time.sleep(0.01)
    os.kill(runs.pid, signal.SIGTERM)

    assert runs.end().status == 0
    inspect(books)


def test_who_settles_alone_seals_nothing(tmp_path: Path, whole: Books) -> None:
    shutil.copytree(whole.folder, tmp_path / "books")

    assert omnisync("run", "--once", "--only", "settle", "--data", tmp_path / "books").status == 0

    assert not (tmp_path / "books" / "segments").exists()
