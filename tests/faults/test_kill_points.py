"""Kill −9 at every named step of every order of effects: nothing acknowledged is lost, nothing is doubled.

A step is armed by the environment, the command dies there by SIGKILL, everything is started again without it, and the
books are compared with those of a run that nobody disturbed.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select

from app.books import Books
from events.filelog import hold_lock
from events.killpoints import KILLPOINTS
from ledger.fold import Digests
from projections.position import rows_of
from projections.tables import checkpoint
from settlement import settle as settle_module
from tests.faults.process import omnisync, start
from tests.faults.scenes import (
    digests_of,
    in_small_files,
    new_books,
    positions_in,
    roots_of,
    run_books,
    write_facts,
)
from tests.settlement.desk import settled
from tests.worlds import World, build_world

pytestmark = pytest.mark.slow

INGEST = ["append.1-frame-written", "append.2-record-written", "append.3-synced"] + [
    name for name in KILLPOINTS if name.startswith("ingest.")
]
RUN = ["append.1-frame-written", "append.2-record-written"] + [
    name for name in KILLPOINTS if name.startswith(("settle.", "commit.", "snapshot.", "project."))
]
ROWS = [name for name in KILLPOINTS if name.startswith("rows.")]
REBUILD = [name for name in KILLPOINTS if name.startswith(("project.", "rebuild."))]
BACKUP = [name for name in KILLPOINTS if name.startswith("backup.")]
RESTORE = [name for name in KILLPOINTS if name.startswith("restore.")]
# Reached by the tests of the log on Kafka (tests/events/test_kafka.py).
KAFKA = {name for name in KILLPOINTS if name.startswith("kafka.")}


@pytest.fixture(scope="module", autouse=True)
def often() -> Iterator[None]:
    """Let each run end with a snapshot, and each start begin with one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settle_module, "WHILE_RUNNING", 1)
        yield


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(21, jobs=30, periods=8)


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Digests:
    return settled(world).digests()


@pytest.fixture
def books(tmp_path: Path, world: World) -> Books:
    return new_books(tmp_path / "books", world)


@pytest.fixture
def facts(tmp_path: Path, world: World) -> Path:
    return write_facts(tmp_path / "facts.jsonl", world.lines())


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory, world: World) -> Books:
    """Give books that hold the facts; tests work on copies."""
    place = tmp_path_factory.mktemp("taken in")
    books = new_books(place / "books", world)
    omnisync("ingest", write_facts(place / "facts.jsonl", world.lines()), "--data", books.folder)
    return books


@pytest.fixture
def unsettled(tmp_path: Path, taken_in: Books) -> Books:
    shutil.copytree(taken_in.folder, tmp_path / "books")
    return Books(tmp_path / "books")


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory, taken_in: Books) -> Books:
    """Give books that are settled and projected; tests work on copies."""
    folder = tmp_path_factory.mktemp("run once") / "books"
    shutil.copytree(taken_in.folder, folder)
    done = omnisync("run", "--once", "--data", folder)
    assert done.status == 0, done.err
    return Books(folder)


@pytest.fixture
def settled_once(tmp_path: Path, run_once: Books) -> Books:
    shutil.copytree(run_once.folder, tmp_path / "books")
    return Books(tmp_path / "books")


def finish(books: Books, facts: Path) -> None:
    """Start again, as an operator would: the same file, then a run."""
    again = omnisync("ingest", facts, "--data", books.folder, "--json")
    assert again.status == 1, again.err  # the world holds key conflicts
    done = omnisync("run", "--once", "--data", books.folder)
    assert done.status == 0, done.err


def test_every_named_step_is_reached_by_a_command() -> None:
    assert {*INGEST, *RUN, *REBUILD, *ROWS, *BACKUP, *RESTORE, *KAFKA} == set(KILLPOINTS)


@pytest.mark.parametrize("step", INGEST)
def test_ingest_killed_at_a_step_loses_and_doubles_nothing(
    step: str, books: Books, facts: Path, undisturbed: Digests
) -> None:
    died = omnisync("ingest", facts, "--data", books.folder, "--receipts", kill_at=step)

    assert died.status == -signal.SIGKILL, died
    acknowledged = [positions_in(line) for line in died.out.splitlines()]
    assert len(acknowledged) == (step == "ingest.3-acknowledged")
    kept = roots_of(books)
    for positions in acknowledged:
        assert positions <= kept.keys()
    finish(books, facts)
    assert kept.items() <= roots_of(books).items()
    assert digests_of(books) == undisturbed


@pytest.mark.parametrize(
    ("step", "times"),
    [
        *((step, 1) for step in RUN),
        # A run of so few decisions commits once, is written down once, and writes history once for each of two logs.
        *(
            (step, times)
            for step in RUN
            for times in (2, 3)
            if not step.startswith(("commit.", "snapshot.")) and (times < 3 or "history" not in step)
        ),
    ],
)
def test_run_killed_at_a_step_settles_all_and_doubles_nothing(
    step: str, times: int, unsettled: Books, facts: Path, undisturbed: Digests
) -> None:
    died = omnisync("run", "--once", "--data", unsettled.folder, kill_at=f"{step}:{times}")

    assert died.status == -signal.SIGKILL, died
    finish(unsettled, facts)
    assert digests_of(unsettled) == undisturbed


@pytest.mark.parametrize(
    ("step", "times"),
    [
        *(("project.2-committed", times) for times in (1, 2, 3)),
        *((step, times) for step in ("project.3-history-written", "project.4-history-committed") for times in (1, 2)),
    ],
)
def test_rows_that_lag_after_a_crash_are_not_taken_for_wrong(step: str, times: int, unsettled: Books) -> None:
    """Each pass over each log commits by itself: between two commits one log's rows, or its head, are ahead."""
    omnisync("run", "--once", "--data", unsettled.folder, kill_at=f"{step}:{times}")

    verified = omnisync("verify", "--all", "--data", unsettled.folder)

    assert verified.status == 0, verified.out


@pytest.mark.parametrize("step", INGEST)
def test_ingest_of_a_pipe_killed_at_a_later_step_keeps_what_it_acknowledged(step: str, tmp_path: Path) -> None:
    world = build_world(22, jobs=400, periods=6)
    books = new_books(tmp_path / "books", world)
    facts = write_facts(tmp_path / "facts.jsonl", world.lines())

    with subprocess.Popen(["cat", facts], stdout=subprocess.PIPE) as speaker:
        assert speaker.stdout is not None
        died = start(
            "ingest", "-", "--data", books.folder, "--receipts", kill_at=f"{step}:3", stdin=speaker.stdout.fileno()
        ).end()

    assert died.status == -signal.SIGKILL, died
    acknowledged = [positions_in(line) for line in died.out.splitlines()]
    # Each batch is appended to both partitions.
    assert len(acknowledged) == (3 if step == "ingest.3-acknowledged" else 1 if step.startswith("append.") else 2)
    kept = roots_of(books)
    assert all(positions <= kept.keys() for positions in acknowledged)
    finish(books, facts)
    assert kept.items() <= roots_of(books).items()
    assert digests_of(books) == settled(world).digests()


@pytest.mark.parametrize("step", REBUILD)
def test_rebuild_killed_at_a_step_leaves_rows_that_verify(step: str, settled_once: Books, undisturbed: Digests) -> None:
    books = settled_once

    died = omnisync("rebuild", "--data", books.folder, kill_at=step)

    assert died.status == -signal.SIGKILL, died
    assert digests_of(books) == undisturbed
    again = omnisync("rebuild", "--data", books.folder, "--json")
    assert again.status == 0, again.err
    told = json.loads(again.out)
    assert told["before"] == told["after"] == undisturbed.balances
    assert digests_of(books) == undisturbed
    assert not (books.folder / "projections.rebuild.sqlite").exists()


@pytest.mark.parametrize("step", BACKUP)
def test_backup_killed_at_a_step_was_made_whole_or_not_at_all(step: str, settled_once: Books, tmp_path: Path) -> None:
    folder = tmp_path / "kept"

    died = omnisync("backup", folder, "--data", settled_once.folder, kill_at=step)

    assert died.status == -signal.SIGKILL, died
    verified = omnisync("verify-backup", folder)
    assert verified.status == (1 if step == "backup.1-copied" else 0), verified
    again = omnisync("backup", folder, "--data", settled_once.folder, "--json")
    assert (json.loads(again.out)["copied"] == 0) == (step == "backup.2-manifest-written")
    assert omnisync("verify-backup", folder).status == 0


@pytest.mark.parametrize("step", BACKUP)
def test_a_further_backup_killed_at_a_step_leaves_the_one_before_it_whole(
    step: str, unsettled: Books, tmp_path: Path, undisturbed: Digests
) -> None:
    folder = tmp_path / "kept"
    before = json.loads(omnisync("backup", folder, "--data", unsettled.folder, "--json").out)
    run_books(unsettled)

    died = omnisync("backup", folder, "--data", unsettled.folder, kill_at=step)

    assert died.status == -signal.SIGKILL, died
    verified = json.loads(omnisync("verify-backup", folder, "--json").out)
    assert (verified["position"] == before["position"]) == (step == "backup.1-copied")
    omnisync("restore", folder, "--data", tmp_path / "between")
    run_books(Books(tmp_path / "between"))
    assert digests_of(Books(tmp_path / "between")) == undisturbed
    again = json.loads(omnisync("backup", folder, "--data", unsettled.folder, "--json").out)
    assert again["balances"] == undisturbed.balances
    assert json.loads(omnisync("verify-backup", folder, "--json").out)["balances"] == undisturbed.balances


@pytest.mark.parametrize("step", RESTORE)
def test_restore_killed_at_a_step_leaves_whole_books_or_none(
    step: str, settled_once: Books, tmp_path: Path, undisturbed: Digests
) -> None:
    folder, new = tmp_path / "kept", tmp_path / "new"
    omnisync("backup", folder, "--data", settled_once.folder)

    died = omnisync("restore", folder, "--data", new, kill_at=step)

    assert died.status == -signal.SIGKILL, died
    assert new.exists() == (step == "restore.2-put-in-place")
    again = omnisync("restore", folder, "--data", new)
    assert again.status == (1 if step == "restore.2-put-in-place" else 0), again
    run_books(Books(new))
    assert digests_of(Books(new)) == undisturbed


@pytest.mark.parametrize(("step", "times"), [(step, times) for step in ROWS for times in (1, 2)])
@pytest.mark.parametrize("lost", [False, True])
def test_killed_while_segments_take_the_place_of_rows_or_rows_that_of_segments(
    step: str, times: int, lost: bool, settled_once: Books, undisturbed: Digests
) -> None:
    """Rows give way to the segments of two logs; and where these are lost while a lock keeps them from being sealed."""
    books = settled_once
    for log in books.ledgers():
        in_small_files(log, 4_000)
    with ExitStack() as stack:
        if lost:
            assert omnisync("run", "--once", "--data", books.folder).status == 0
            shutil.rmtree(books.segments)
            stack.enter_context(hold_lock(books.folder / "segments.lock"))

        died = omnisync("run", "--once", "--data", books.folder, kill_at=f"{step}:{times}")

        assert died.status == -signal.SIGKILL, died
        if lost:
            assert omnisync("run", "--once", "--data", books.folder).status == 0
            assert digests_of(books) == undisturbed
    assert omnisync("run", "--once", "--data", books.folder).status == 0
    assert digests_of(books) == undisturbed
    assert omnisync("verify", "--all", "--data", books.folder).status == 0
    with books.engine().connect() as connection:
        begins = {row.log: row.position for row in connection.execute(select(checkpoint)) if row.log.endswith("/rows")}
    assert begins == {rows_of(log.name): books.past().end(log.name) for log in books.ledgers()}


@pytest.mark.parametrize("partition", [1, 2, 3])
@pytest.mark.parametrize("step", ["append.1-frame-written", "append.2-record-written", "append.3-synced"])
def test_init_killed_at_a_step_can_be_done_again_or_was_done(step: str, partition: int, tmp_path: Path) -> None:
    """The genesis of the hub's partition is the last of three: with it the books are made."""
    folder = tmp_path / "new"

    died = omnisync("init", "--lanes", "2", "--data", folder, kill_at=f"{step}:{partition}")
    assert died.status == -signal.SIGKILL
    again = omnisync("init", "--lanes", "2", "--data", folder)

    torn = step == "append.1-frame-written" or partition < 3
    assert again.status == (0 if torn else 1)
    assert torn or "holds books already" in again.err
    assert omnisync("run", "--once", "--data", folder).status == 0


def test_run_killed_again_and_again_comes_to_its_end(unsettled: Books, facts: Path, undisturbed: Digests) -> None:
    for step in RUN * 2:
        omnisync("run", "--once", "--data", unsettled.folder, kill_at=f"{step}:2")

    finish(unsettled, facts)
    assert digests_of(unsettled) == undisturbed


def test_strict_ingest_killed_before_its_sync_is_all_or_nothing_in_each_partition(tmp_path: Path) -> None:
    world = build_world(5, calm=True, late=False)
    clean = [line for line in dict.fromkeys(world.lines()) if b'"NodeRegistered"' not in line]
    file = write_facts(tmp_path / "clean.jsonl", clean)
    for step in ("append.1-frame-written", "append.2-record-written", "append.3-synced"):
        books = new_books(tmp_path / step, world)
        died = omnisync("ingest", file, "--strict", "--data", books.folder, kill_at=step)
        assert died.status == -signal.SIGKILL
        # Each partition takes all that is for it or nothing; the file as a whole is completed by sending it again.
        held = [[line for record in log.read(1) for line in record.lines][1:] for log in books.partitions()]
        everywhere = [line for line in clean if b'"StreamMarked"' in line or b'"StreamRegistered"' in line]
        assert [len(lines) for lines in held] in ([0, 0], [len(clean), 0])
        again = omnisync("ingest", file, "--strict", "--data", books.folder, "--json")
        assert again.status == 0
        told = json.loads(again.out)
        new = len(everywhere) if held[0] else len(clean)
        assert (told["accepted"], told["duplicates"]) == (new, len(clean) - new)


def test_unknown_step_refuses_to_start(tmp_path: Path) -> None:
    refused = omnisync("init", "--data", tmp_path / "books", kill_at="append.9-nowhere")

    assert refused.status != 0
    assert "kill point 'append.9-nowhere': known are append.1-frame-written" in refused.err
