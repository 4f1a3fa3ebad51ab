"""One writer at a time for each lock; readers need none."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from app.books import Books
from events.filelog import hold_lock
from tests.faults.process import Started, omnisync, start
from tests.faults.scenes import digests_of, logs_of, new_books, run_books, write_facts
from tests.settlement.desk import as_lines, settled
from tests.worlds import World, build_world

SECONDS_MAX = 20


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(41, jobs=60, periods=6)


@pytest.fixture
def books(tmp_path: Path, world: World) -> Books:
    return new_books(tmp_path / "books", world)


@pytest.fixture
def facts(tmp_path: Path, world: World) -> Path:
    return write_facts(tmp_path / "facts.jsonl", world.lines())


def wait_for(process: Started, text: bytes) -> None:
    give_up = time.monotonic() + SECONDS_MAX
    while text not in process.said():
        assert not process.has_ended(), process.end()
        assert time.monotonic() < give_up
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("lock", "command"),
    [
        ("facts.lock", ["ingest", "-"]),
        ("facts.lock", ["ingest", "-", "--strict"]),
        ("facts.lock", ["init"]),
        ("ledger.lock", ["run", "--once"]),
        ("ledger.lock", ["rebuild"]),
    ],
    ids=str,
)
def test_second_writer_is_told_so_and_changes_nothing(lock: str, command: list[str], books: Books) -> None:
    run_books(books)
    before = [log.root() for log in logs_of(books).values()], books.database.read_bytes()

    with hold_lock(books.folder / lock):
        refused = omnisync(*command, "--data", books.folder)

    assert refused.status == 1
    assert refused.err == f"omnisync: {lock} is held by another process; wait for it to end\n"
    assert ([log.root() for log in logs_of(books).values()], books.database.read_bytes()) == before


def test_of_two_ingests_at_once_one_succeeds(books: Books, facts: Path, world: World) -> None:
    source, sink = os.pipe()
    lines = facts.read_bytes()
    first = start("ingest", "-", "--receipts", "--data", books.folder, stdin=source, not_his=sink)
    os.close(source)
    try:
        os.write(sink, lines[:20_000])
        wait_for(first, b"position")

        second = omnisync("ingest", facts, "--data", books.folder)

        assert (second.status, "facts.lock is held" in second.err) == (1, True)
        with os.fdopen(sink, "wb", closefd=False) as speaker:
            speaker.write(lines[20_000:])
    finally:
        os.close(sink)
    ended = first.end()
    assert sum(json.loads(line)["accepted"] for line in ended.out.splitlines() if line.startswith("{")) > 0
    run_books(books)
    assert digests_of(books) == settled(world).digests()


def test_two_ingests_started_together_leave_each_fact_once(books: Books, facts: Path, world: World) -> None:
    both = [start("ingest", facts, "--data", books.folder) for _ in range(2)]
    ended = [process.end() for process in both]

    assert any("durable up to" in end.out for end in ended)
    assert all("durable up to" in end.out or "is held by another process" in end.err for end in ended)
    run_books(books)
    assert digests_of(books) == settled(world).digests()


def test_facts_come_in_while_they_are_settled_and_readers_read(books: Books, facts: Path, world: World) -> None:
    """A run that goes on, a pipe that speaks, and balances asked for beside them."""
    run_books(books)
    runner = start("run", "--data", books.folder)
    with subprocess.Popen(["cat", facts], stdout=subprocess.PIPE) as speaker:
        assert speaker.stdout is not None
        writer = start("ingest", "-", "--data", books.folder, stdin=speaker.stdout.fileno())
    positions: list[str] = []
    while not writer.has_ended() or len(positions) < 5:
        answer = omnisync("balance", "--data", books.folder, "--json")
        assert answer.status == 0, answer.err
        told = json.loads(answer.out)
        positions.append(told["position"])
        # Each log's rows are whole entries, so that at every position all accounts sum to zero.
        assert sum(int(line["credits"]) - int(line["debits"]) for line in told["balances"]) == 0

    assert "durable up to" in writer.end().out
    os.kill(runner.pid, 15)
    stopped = runner.end()
    assert (stopped.status, stopped.out.startswith("settled ")) == (0, True), stopped
    run_books(books)
    assert digests_of(books) == settled(world).digests()


def test_runs_beside_ingest_rest_on_what_is_durable_only(books: Books, world: World) -> None:
    lines = as_lines(world.lines())
    for start_at in range(0, len(lines), 40):
        list(books.ingest(iter([lines[start_at : start_at + 40]]), "world"))
        run_books(books)

    facts = {record.end: record.header.root for record in books.facts("facts/0").read()}
    for record in books.lane().read():
        assert all(facts[basis.end] == basis.root for basis in record.header.basis)
    assert digests_of(books) == settled(world).digests()


def test_lock_of_a_killed_process_is_free(books: Books, facts: Path) -> None:
    died = omnisync("ingest", facts, "--data", books.folder, kill_at="append.1-frame-written")
    assert died.status < 0

    with hold_lock(books.folder / "facts.lock"):
        pass


def test_rebuild_mends_a_database_that_has_no_tables(books: Books, facts: Path) -> None:
    """As a process leaves it that was killed while it made them."""
    omnisync("ingest", facts, "--data", books.folder)
    run_books(books)
    books.database.unlink()
    books.database.touch()

    rebuilt = omnisync("rebuild", "--data", books.folder)

    assert rebuilt.status == 0, rebuilt.err
    digests_of(books)


@pytest.mark.parametrize("command", [["balance"], ["verify", "--all"], ["report", "jobs"]], ids=" ".join)
def test_database_that_has_no_tables_is_named_in_one_line(command: list[str], books: Books) -> None:
    books.database.touch()

    refused = omnisync(*command, "--data", books.folder)

    assert refused.status == 1
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("command", [["balance"], ["verify", "--all"], ["run", "--once"]], ids=" ".join)
def test_database_that_is_none_is_named_in_one_line(command: list[str], books: Books) -> None:
    books.database.write_bytes(b"not a database at all" * 1_000)

    refused = omnisync(*command, "--data", books.folder)

    assert refused.status == 1
    assert "Traceback" not in refused.err
