"""One writer at a time for each lock; readers need none."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.books import Books, BooksMissing
from app.synced import read_synced
from events.filelog import hold_lock
from projections.database import SchemaOutdated
from projections.read import balances_digest, read_position
from projections.tables import dead_letter
from tests.faults.process import Started, omnisync, start
from tests.faults.scenes import digests_of, logs_of, new_books, run_books, write_facts
from tests.settlement.desk import as_lines, settled
from tests.worlds import World, build_world

pytestmark = pytest.mark.slow

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
        ("projections.lock", ["run", "--once"]),
        ("ledger.lock", ["run", "--once", "--only", "settle"]),
        ("projections.lock", ["run", "--once", "--only", "project"]),
        ("projections.lock", ["rebuild"]),
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
    os.kill(runner.pid, signal.SIGTERM)
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


# --- settling and projecting as processes of their own ---

STAGES = ("settle", "project")
_begun: list[Started] = []


@pytest.fixture(autouse=True)
def none_outlives_its_test() -> Iterator[None]:
    """Kill what a test that failed has left running."""
    yield
    while _begun:
        left = _begun.pop()
        with suppress(ChildProcessError):
            if not left.has_ended():
                left.kill()
                left.end()


def begin(books: Books, only: str) -> Started:
    """Start one stage; it is asked nothing before it holds its lock."""
    started = start("run", "--only", only, "--data", books.folder)
    _begun.append(started)
    give_up = time.monotonic() + SECONDS_MAX
    while b"stop with" not in os.pread(started.err.fileno(), 1_000, 0):
        assert not started.has_ended(), started.end()
        assert time.monotonic() < give_up
        time.sleep(0.002)
    return started


def stop(started: Started) -> str:
    """Let a stage take what is there, and end; return what it said."""
    os.kill(started.pid, signal.SIGTERM)
    ended = started.end()
    assert ended.status == 0, ended.err
    return ended.out


def shown(books: Books) -> dict[str, int]:
    """Return how much of each ledger log is projected; nothing where there is no file yet, or no tables."""
    try:
        with books.engine().connect() as connection:
            return read_position(connection, None)
    except (BooksMissing, OperationalError, SchemaOutdated):
        return {}


def assert_shows_what_is_committed(books: Books) -> None:
    position = shown(books)
    committed = read_synced(books.synced) or {}
    assert all(size <= committed[log] for log, size in position.items()), (position, committed)


def assert_as_if_run_once(books: Books, world: World) -> None:
    """Compare digests, and the rows with those of books that one process settled and projected."""
    assert digests_of(books) == settled(world).digests()
    with books.engine().connect() as connection:
        assert balances_digest(connection) == settled(world).digests().balances
        assert read_position(connection, None) == {log.name: log.end() for log in books.ledgers()}


def test_facts_come_in_while_two_processes_settle_and_project(books: Books, facts: Path, world: World) -> None:
    stages = [begin(books, only) for only in STAGES]
    with subprocess.Popen(["cat", facts], stdout=subprocess.PIPE) as speaker:
        assert speaker.stdout is not None
        writer = start("ingest", "-", "--data", books.folder, stdin=speaker.stdout.fileno())
    while not writer.has_ended():
        assert_shows_what_is_committed(books)
    assert "durable up to" in writer.end().out

    said = [stop(stage) for stage in stages]

    assert [text.split()[0] for text in said] == ["settled", "folded"]
    assert said[0].split()[1] == said[1].split()[1] != "0"
    run_once = omnisync("run", "--once", "--only", "project", "--data", books.folder)
    assert (run_once.status, run_once.out) == (0, "folded 0 decisions\n")
    assert_as_if_run_once(books, world)


@pytest.mark.parametrize("seed", range(3))
def test_either_is_killed_and_started_again(seed: int, books: Books, world: World) -> None:
    """Batch by batch facts come in, and now and then one of the two dies by kill -9 in the middle of its work."""
    random = Random(seed)
    lines = as_lines(world.lines())
    stages = {only: begin(books, only) for only in STAGES}
    for start_at in range(0, len(lines), 60):
        list(books.ingest(iter([lines[start_at : start_at + 60]]), "world"))
        time.sleep(random.uniform(0, 0.03))
        if random.random() < 0.5:
            only = random.choice(STAGES)
            stages[only].kill()
            assert stages[only].end().status == -signal.SIGKILL
            assert_shows_what_is_committed(books)
            stages[only] = begin(books, only)

    for only in STAGES:
        stop(stages[only])

    assert_shows_what_is_committed(books)
    omnisync("run", "--once", "--only", "project", "--data", books.folder)
    assert_as_if_run_once(books, world)


@pytest.mark.parametrize("step", ["settle.2-appended", "commit.1-facts-synced", "commit.2-ledgers-synced"])
def test_what_is_not_committed_is_not_shown(step: str, books: Books, facts: Path, world: World) -> None:
    run_books(books)
    before = shown(books)
    omnisync("ingest", facts, "--data", books.folder)
    died = omnisync("run", "--once", "--only", "settle", "--data", books.folder, kill_at=step)
    assert died.status == -signal.SIGKILL
    assert {log.name: log.end() for log in books.ledgers()} != before

    for command in (["run", "--once", "--only", "project"], ["rebuild"]):
        done = omnisync(*command, "--data", books.folder)

        assert done.status == 0, done.err
        assert shown(books) == before
        with books.engine().connect() as connection:
            assert list(connection.execute(select(dead_letter))) == []
    run_books(books)
    assert_as_if_run_once(books, world)
    with books.engine().connect() as connection:
        assert list(connection.execute(select(dead_letter)))


def test_refused_lines_are_shown_where_nothing_else_came(books: Books) -> None:
    run_books(books)
    list(books.ingest(iter([as_lines([b"no fact"])]), "world"))

    run_books(books)

    with books.engine().connect() as connection:
        assert len(list(connection.execute(select(dead_letter)))) == 1


def test_projecting_waits_for_who_settles(books: Books, facts: Path, world: World) -> None:
    """It begins with books that nobody has settled, and is rebuilt beside who settles."""
    projecting = begin(books, "project")
    omnisync("ingest", facts, "--data", books.folder)
    settling = begin(books, "settle")
    refused = omnisync("rebuild", "--data", books.folder)
    assert refused.status == 1
    assert refused.err == (
        f"omnisync: projections.lock is held by another process (project, process {projecting.pid}); "
        "wait for it to end\n"
    )
    stop(settling)
    stop(projecting)

    settling = begin(books, "settle")
    rebuilt = omnisync("rebuild", "--data", books.folder)
    stop(settling)

    assert rebuilt.status == 0, rebuilt.err
    assert_as_if_run_once(books, world)


def test_history_waits_for_a_quiet_moment_and_comes(books: Books, facts: Path) -> None:
    projecting = begin(books, "project")
    omnisync("ingest", facts, "--data", books.folder)
    omnisync("run", "--once", "--only", "settle", "--data", books.folder)
    give_up = time.monotonic() + SECONDS_MAX

    def told(*, history: bool) -> dict[str, int]:
        with books.engine().connect() as connection:
            return read_position(connection, None, history=history)

    ends = {log.name: log.end() for log in books.ledgers()}
    while told(history=True) != ends:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert told(history=False) == ends
    stop(projecting)


@pytest.mark.parametrize("only", [[], ["--only", "settle"], ["--only", "project"]], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_there_is_taken_before_the_end(
    only: list[str], number: signal.Signals, books: Books, facts: Path, world: World
) -> None:
    omnisync("ingest", facts, "--data", books.folder)
    if only == ["--only", "project"]:
        omnisync("run", "--once", "--only", "settle", "--data", books.folder)
    started = start("run", *only, "--data", books.folder)
    give_up = time.monotonic() + SECONDS_MAX
    while b"stop with" not in os.pread(started.err.fileno(), 1_000, 0):
        assert time.monotonic() < give_up
    os.kill(started.pid, number)

    ended = started.end()

    assert ended.status == 0, ended
    omnisync("run", "--once", "--data", books.folder)
    assert_as_if_run_once(books, world)


def test_who_projects_closes_no_epochs(books: Books) -> None:
    refused = omnisync(
        "run", "--once", "--only", "project", "--close-until", "2027-01-01T00:00:00Z", "--data", books.folder
    )

    assert refused.status == 2
    assert "--close-until is for those who settle" in refused.err
