"""Kill −9 at random moments, again and again: nothing acknowledged is lost, and the end is that of a quiet run.

Ingest reads a pipe, so that it acknowledges many times. Whatever a killed process had printed as acknowledged must be
in the log, with the same root for ever after. The terminal summary says where the kills fell.
"""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from sqlalchemy.exc import OperationalError

from app.books import Books, BooksMissing
from projections.database import SchemaOutdated
from projections.read import read_position
from tests.faults.moments import AFTER, ALL_PROJECTED, WHERE
from tests.faults.process import Ended, omnisync, start
from tests.faults.scenes import digests_of, logs_of, new_books, positions_in, roots_of, write_facts
from tests.settlement.desk import Desk, settled
from tests.worlds import World, build_world

pytestmark = pytest.mark.slow

JOBS = 600
# Few, since each one gets further.
KILLS_PER_BOOKS = 8
TRIES_PER_KILL_MAX = 10
KILLS_FEW = 8
KILLS_MANY = 200
PARTS = 4


class Quiet(NamedTuple):
    """A world, its file, and what an undisturbed run of it comes to."""

    world: World
    file: Path
    desk: Desk
    seconds: dict[str, float]
    # After so many facts (the genesis is one), so many decisions of the lane.
    due: dict[int, int]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    place = tmp_path_factory.mktemp("quiet")
    world = build_world(77, jobs=JOBS, periods=8)
    file = write_facts(place / "facts.jsonl", world.lines())
    books = new_books(place / "books", world)
    seconds = {}
    for name, work in COMMANDS.items():
        begun = time.monotonic()
        work(books, file, None)
        seconds[name] = time.monotonic() - begun
    desk = settled(world, chunk=1, batch=1)
    told = json.loads(omnisync("verify", "--all", "--json", "--data", books.folder).out)
    assert (told["digests"], told["unsettled"]) == (desk.digests()._asdict(), 0)
    return Quiet(world, file, desk, seconds, _due(desk))


def _due(desk: Desk) -> dict[int, int]:
    """Count the lane's decisions after each fact, from books in which each fact is a record of its own."""
    ends = [record.end for record in desk.facts.records]
    decided: Counter[int] = Counter()
    for record in desk.lane.records:
        decided[record.header.basis[0].end] += record.header.count
    return dict(enumerate(accumulate(decided[end] for end in ends), 1))


def ingest(books: Books, file: Path, delay: float | None) -> tuple[Ended, bool]:
    with subprocess.Popen(["cat", file], stdout=subprocess.PIPE) as speaker:
        assert speaker.stdout is not None
        return _run(delay, "ingest", "-", "--receipts", "--data", books.folder, stdin=speaker.stdout.fileno())


def run(books: Books, _file: Path, delay: float | None) -> tuple[Ended, bool]:
    return _run(delay, "run", "--once", "--data", books.folder)


def rebuild(books: Books, _file: Path, delay: float | None) -> tuple[Ended, bool]:
    return _run(delay, "rebuild", "--data", books.folder)


COMMANDS: dict[str, Callable[[Books, Path, float | None], tuple[Ended, bool]]] = {
    "ingest": ingest,
    "run": run,
    "rebuild": rebuild,
}


def _run(delay: float | None, *arguments: str | Path, stdin: int | None = None) -> tuple[Ended, bool]:
    """Run a command; kill it after a delay. Tell whether the kill came before its end."""
    process = start(*arguments, stdin=stdin)
    if delay is None:
        return process.end(), False
    time.sleep(delay)
    alive = not process.has_ended()
    process.kill()  # it is not reaped yet, so that its id is still its own
    return process.end(), alive


def acknowledged(ended: Ended) -> set[tuple[str, int]]:
    whole = ended.out[: ended.out.rfind("\n") + 1]
    receipts = [positions_in(line) for line in whole.splitlines() if line.startswith("{")]
    return set[tuple[str, int]]().union(*receipts)


def moment(command: str, ended: Ended, alive: bool, books: Books, quiet: Quiet) -> str:
    """Say where a kill fell, from what is on disk."""
    if not alive:
        return AFTER
    logs = logs_of(books)
    counts = {name: sum(record.header.count for record in log.read()) for name, log in logs.items()}
    if command == "ingest":
        if not acknowledged(ended):
            return "before the first acknowledgement"
        return "between acknowledgements" if counts["facts/0"] < max(quiet.due) else "all acknowledged"
    if counts["lane-0"] < quiet.due[counts["facts/0"]]:
        return "settling"
    ends = {name: log.end() for name, log in logs.items() if not name.startswith("facts/")}
    return ALL_PROJECTED if command == "run" and position_of(books) == ends else "projecting"


def position_of(books: Books) -> dict[str, int]:
    """Return how far the rows are; nowhere where there is no file, or one whose tables were not all made yet."""
    try:
        with books.engine().connect() as connection:
            return read_position(connection, None)
    except (BooksMissing, OperationalError, SchemaOutdated):
        return {}


def is_projected(books: Books) -> bool:
    return bool(position_of(books))


def kill_and_check(place: Path, quiet: Quiet, kills: int, random: Random) -> Counter[str]:
    """Disturb one folder of books that often, let it finish, and compare."""
    books = new_books(place, quiet.world)
    fell: Counter[str] = Counter()
    promised: dict[tuple[str, int], str | None] = {}
    ingested = False
    for number in range(TRIES_PER_KILL_MAX * kills):
        landed = fell.total() - fell[AFTER]
        if landed == kills:
            break
        begins = landed < kills // 2
        if not begins and not ingested:
            ingested = ingest(books, quiet.file, None)[0].status == 1  # the world holds key conflicts
        # First mostly while facts come in, then while they are settled and projected.
        weights = (4, 1, 0) if begins else (0, 5, int(is_projected(books)))
        (command,) = random.choices(list(COMMANDS), weights)
        delay = random.uniform(0, quiet.seconds[command] * (0.7 if command == "ingest" else 0.9))
        ended, alive = COMMANDS[command](books, quiet.file, delay)
        assert alive or ended.status in (0, 1), ended
        assert "Traceback" not in ended.err, ended.err
        kept = roots_of(books)
        assert promised.items() <= kept.items(), f"lost what was acknowledged, at kill {number} of {command}"
        for position in acknowledged(ended):
            assert position in kept, f"{position} was acknowledged and is not kept, at kill {number}"
            promised[position] = kept[position]
        where = moment(command, ended, alive, books, quiet)
        fell[where] += 1
        if command != "ingest" and where in (ALL_PROJECTED, AFTER) and ingested:
            break  # books at their end have nothing to lose

    ingest(books, quiet.file, None)
    ended, _ = run(books, quiet.file, None)
    assert ended.status == 0, ended.err
    assert promised.items() <= roots_of(books).items()
    assert digests_of(books) == quiet.desk.digests()
    return fell


def kill_at_random(place: Path, quiet: Quiet, kills: int, part: int = 0) -> dict[str, int]:
    """Disturb books after books until that many kills have landed; each folder's seed is its part and its number."""
    fell: Counter[str] = Counter()
    number = 0
    while (left := kills - fell.total() + fell[AFTER]) > 0:
        number += 1
        fell += kill_and_check(place / f"books-{number}", quiet, min(left, KILLS_PER_BOOKS), Random(f"{part} {number}"))
    return dict(fell)


def test_a_few_random_kills_lose_and_double_nothing(
    tmp_path: Path, quiet: Quiet, record_property: Callable[[str, object], None]
) -> None:
    record_property(WHERE, kill_at_random(tmp_path, quiet, KILLS_FEW))


@pytest.mark.parametrize("part", range(PARTS))
def test_many_random_kills_lose_and_double_nothing(
    tmp_path: Path, quiet: Quiet, part: int, kills: int | None, record_property: Callable[[str, object], None]
) -> None:
    record_property(WHERE, kill_at_random(tmp_path, quiet, -(-(kills or KILLS_MANY) // PARTS), part))
