"""A cluster's books under load: facts come in piece by piece while one process settles and two project.

Each is a process as users start it. Whatever ends is started again, as a supervisor would; it may have been killed, or
have named a fault in one line, and nothing else.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table, select
from sqlalchemy.exc import DatabaseError

import projections.worker  # noqa: F401  (so that no process that is started has to load it)
from app.books import Books
from app.facts import to_line
from events.facts import RecordRefused
from events.log import Log, LogFault
from projections import tables
from projections.database import DatabaseUnreachable
from projections.position import history_of
from tests.cluster.deployment import Deployment
from tests.cluster.tally import Tally
from tests.faults.process import Ended, Started, omnisync, start
from tests.faults.scenes import digests_of, new_books, run_books
from tests.settlement.desk import as_lines
from tests.worlds import World

__all__ = ["PROJECTING", "Load", "count_lines", "wait_until"]

COMMANDS = {
    "ingest": ("ingest", "-", "--receipts"),
    "inbox": ("ingest", "--inbox"),
    "settle": ("run", "--only", "settle"),
    "project-0": ("run", "--only", "project"),
    "project-1": ("run", "--only", "project"),
}
PROJECTING = ("project-0", "project-1")
PIECE = 20
WAIT_S = 120
LOOK_S = 0.05
# A supervisor lets so much time pass between two starts of one process.
AGAIN_S = 0.5
REFUSED = RecordRefused.__struct_config__.tag


class Load:
    """Some books, the processes that work on them, and what was acknowledged."""

    def __init__(self, deployment: Deployment, world: World, lanes: int = 2) -> None:
        """Create the books; nothing runs yet."""
        self.deployment = deployment
        self.processes: dict[str, Started] = {}
        self.fed: list[bytes] = []
        self.ends: list[tuple[str, Ended]] = []
        self._world, self._lanes = world, lanes
        self._lines = [to_line(fact) for fact in world.facts()]
        self._began: dict[str, float] = {}
        self._started: list[Started] = []
        self._sink: int | None = None
        self._answered = 0
        self._books, self._ledgers = deployment.books(), list[Log]()
        deployment.books().create(world.parameters, lanes)

    # --- processes ---

    def begin(self, role: str, kill_at: str | None = None) -> None:
        """Start a process of the role."""
        source = None
        if role == "ingest":
            source, sink = os.pipe()
            self._close_sink()
            self._sink, self._answered = sink, 0
        self._began[role] = time.monotonic()
        self.processes[role] = self.start(*COMMANDS[role], kill_at=kill_at, stdin=source)
        if source is not None:
            os.close(source)

    def displace(self, role: str) -> tuple[Started, int | None]:
        """Start a second process of a role; return the first, which nobody starts again, and its pipe if any."""
        first, sink = self.processes.pop(role), None
        if role == "ingest":
            sink, self._sink = self._sink, None
        self.begin(role)
        return first, sink

    def start(self, *arguments: str, kill_at: str | None = None, stdin: int | None = None) -> Started:
        """Start any command; what is left of it is killed with the others."""
        config = ("--config", self.deployment.config)
        self._started.append(start(*arguments, *config, kill_at=kill_at, stdin=stdin, not_his=self._sink))
        return self._started[-1]

    def begin_all(self) -> None:
        """Start all processes; facts come from a pipe."""
        for role in ("ingest", "settle", *PROJECTING):
            self.begin(role)

    def end(self, role: str, number: signal.Signals | None = signal.SIGTERM) -> Ended:
        """Let a process end, by a signal if any, and keep what it said."""
        process = self.processes.pop(role)
        # One that reads a pipe ends with it.
        if number is not None and (role != "ingest" or number == signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
        if role == "ingest":
            self._close_sink()
        ended = process.end()
        # Of one that stopped well the clients may say at length what they gave up.
        assert ended.status == 0 or "Traceback" not in ended.err, (role, ended)
        self.ends.append((role, ended))
        return ended

    def kill(self, role: str) -> None:
        """End a process by SIGKILL, unless it has ended by itself."""
        assert self.end(role, signal.SIGKILL).status in {-signal.SIGKILL, 1}, self.ends[-1]

    def ended(self, role: str) -> Ended:
        """Return how the last process of the role ended."""
        return next(ended for name, ended in reversed(self.ends) if name == role)

    def times_said(self, text: str, *roles: str) -> int:
        """Count how often processes of the roles have said something on standard error, those that ended too."""
        talks = [os.pread(self.processes[role].err.fileno(), 10**6, 0).decode() for role in roles]
        return sum(talk.count(text) for talk in (*talks, *(ended.err for role, ended in self.ends if role in roles)))

    def mend(self) -> None:
        """Start again what has ended by itself."""
        for role, process in list(self.processes.items()):
            if process.has_ended() and time.monotonic() > self._began[role] + AGAIN_S:
                ended = self.end(role, None)
                assert ended.status in {1, -signal.SIGKILL}, (role, ended)
                self.begin(role)

    def stop(self) -> None:
        """Let all end as they are asked to."""
        for role in list(self.processes):
            ended = self.end(role)
            assert ended.status == 0 or role == "ingest", (role, ended)

    def abandon(self) -> None:
        """Kill what still runs."""
        self._close_sink()
        self._close_ledgers()
        for process in self._started:
            process.abandon()

    def _close_sink(self) -> None:
        if self._sink is not None:
            os.close(self._sink)
            self._sink = None

    # --- facts ---

    def feed(self, pieces: int = 1) -> None:
        """Tell some pieces, each until it is acknowledged."""
        for _ in range(pieces):
            self.tell(self.take())

    def take(self) -> list[bytes]:
        """Take the next piece, which is told somehow."""
        piece = self._lines[len(self.fed) : len(self.fed) + PIECE]
        assert piece, "the world is too small for this"
        self.fed += piece
        return piece

    def feed_until(self, true: Callable[[], bool]) -> None:
        """Tell pieces, one at a time, until something holds."""
        while not true():
            self.feed()
            self.wait_until(_true_or_late(true, AGAIN_S))

    def tell(self, piece: Sequence[bytes]) -> None:
        """Tell lines until all of them are acknowledged, again to each process that has the role meanwhile."""
        told: Started | None = None
        wanted = 0

        def acknowledged() -> bool:
            nonlocal told, wanted
            process = self.processes["ingest"]
            if told is not process:
                told, wanted = process, self._answered + len(piece)
                with suppress(BrokenPipeError):
                    assert self._sink is not None
                    os.write(self._sink, b"".join(piece))
            self._answered = count_lines(process.said())
            return self._answered >= wanted

        self.wait_until(acknowledged)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds, and mend meanwhile what has ended."""

        def mended() -> bool:
            self.mend()
            return true()

        wait_until(mended, lambda: f"{[(role, e.status, e.err[-300:]) for role, e in self.ends[-6:]]}")

    # --- what has come of them ---

    def committed(self) -> dict[str, int]:
        """Return where each ledger log ends. Raises: LogFault."""
        self._ledgers = self._ledgers or list(self._books.ledgers())
        try:
            return {log.name: log.end() for log in self._ledgers}
        except LogFault:
            self._close_ledgers()
            raise

    def _close_ledgers(self) -> None:
        self._books.close()
        self._ledgers = []

    def shown(self) -> Mapping[str, int]:
        """Return the checkpoints. Raises: DatabaseError, DatabaseUnreachable."""
        return {row.log: row.position for row in self.rows(tables.checkpoint)}

    def rows(self, table: Table) -> Sequence[Row[Any]]:
        """Return a table's rows. Raises: DatabaseError, DatabaseUnreachable."""
        engine = self.deployment.books().engine()
        try:
            with engine.connect() as connection:
                return connection.execute(select(table)).all()
        finally:
            engine.dispose()

    def wait_for_decisions(self, pieces: int = 2) -> None:
        """Tell more, and wait until more was decided."""
        before: dict[str, int] = {}

        def known() -> bool:
            before.update(self.committed())
            return True

        self.wait_until(_no_fault(known))
        self.feed(pieces)
        self.wait_until(_no_fault(lambda: sum(self.committed().values()) > sum(before.values())))

    def wait_until_shown(self) -> None:
        """Wait until all that was decided is in the tables, with its history."""
        ends: dict[str, int] = {}

        def known() -> bool:
            ends.update(self.committed())
            return True

        def projected() -> bool:
            shown = self.shown()
            return all(min(shown.get(log, 0), shown.get(history_of(log), 0)) >= end for log, end in ends.items())

        self.wait_until(_no_fault(known))
        self.wait_until(_no_fault(projected))

    def finish(self, embedded: Books) -> None:
        """End all, settle and project the rest, and do the same in embedded books."""
        self.stop()
        self.deployment.do("run", "--once")
        run_books(embedded)

    def embedded(self, folder: Path) -> Books:
        """Make embedded books that hold the same facts."""
        books = new_books(folder, self._world, self._lanes)
        list(books.ingest(iter([as_lines(self.fed)]), "world"))
        return books

    def tally(self, embedded: Books, runs: Mapping[str, Sequence[bytes]]) -> dict[str, Tally]:
        """Tell what became of the facts in the lines that were told during each run."""
        wanted = {log.name: facts_in(log) for log in embedded.partitions()}
        with self.deployment.books() as books:
            found = {log.name: facts_in(log) for log in books.partitions()}
        return {name: _tally(lines, wanted, found) for name, lines in runs.items()}

    def compare(self, embedded: Books) -> None:
        """Assert that everything verifies, and that digests and balances are those of the embedded books."""
        told = self.deployment.told("verify", "--all")
        assert (told["ok"], told["unsettled"], told["unprojected"]) == (True, 0, 0), told
        assert told["digests"] == digests_of(embedded)._asdict()
        for question in ("balance", "supply"):
            here = json.loads(omnisync(question, "--json", "--data", embedded.folder).out)
            there = self.deployment.told(question)
            assert {**here, "position": None} == {**there, "position": None}


def facts_in(log: Log) -> list[bytes]:
    """Return the facts of a partition in their order, without the lines that were refused."""
    refused = f'"type":"{REFUSED}"'.encode()
    return [line for record in log.read() for line in record.lines if refused not in line]


def wait_until(true: Callable[[], bool], tell: Callable[[], str] = str, seconds: float = WAIT_S) -> None:
    """Wait until something holds that no signal tells."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, f"not within {seconds} s {tell()}"
        time.sleep(LOOK_S)


def _true_or_late(true: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    late = time.monotonic() + seconds
    return lambda: true() or time.monotonic() > late


def _no_fault(true: Callable[[], bool]) -> Callable[[], bool]:
    def tried() -> bool:
        try:
            return true()
        except (LogFault, DatabaseError, DatabaseUnreachable):
            return False

    return tried


def count_lines(said: bytes) -> int:
    """Count the lines for which a process that ingests has printed receipts."""
    whole = said[: said.rfind(b"\n") + 1].splitlines()
    return sum(json.loads(line)["lines"] for line in whole if line.startswith(b"{"))


def _tally(lines: Sequence[bytes], wanted: Mapping[str, list[bytes]], found: Mapping[str, list[bytes]]) -> Tally:
    """Count, of some lines, the facts that were taken in, and what became of each in each partition that has it."""
    ids = {json.loads(line)["id"] for line in lines}
    there = Counter((log, _id(line)) for log, facts in found.items() for line in facts)
    due = {(log, _id(line)) for log, facts in wanted.items() for line in facts} & {
        (log, fact) for log in wanted for fact in ids
    }
    return Tally(
        acknowledged=len({fact for _, fact in due}),
        lost=sum(place not in there for place in due),
        doubled=sum(there[place] - 1 for place in due if place in there),
    )


def _id(line: bytes) -> str:
    return str(json.loads(line)["id"])
