"""The product's path as three processes at once: this one ingests, beside it one settles and one projects.

seconds = from the first byte read until the last balance is there, as another process sees it

Each is asked to stop behind what was before it. That a process ends is not counted, as it is not with the peers.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep

from sqlalchemy import Engine

from app.books import Books
from app.memory import keep_memory
from app.precedence import GIVES_WAY, give_way
from app.stages import PROJECT, SETTLE
from benchmarks.product import create_books, ingest_stream, size_of, stored_balances
from benchmarks.task import Result, Task, rss_mib
from benchmarks.watch import Watch
from projections.read import read_position

__all__ = ["run_beside"]

_OMNISYNC = [sys.executable, "-m", "app"]
_ROOT = Path(__file__).resolve().parents[1]
_KIB_PER_MIB = 1024
_LOOK_SECONDS = 0.005


class _Stage:
    """One stage, `omnisync run --only` of it, as a process."""

    def __init__(self, name: str, books: Books) -> None:
        """Start it, and wait until it says that it has opened the books."""
        self.name = name
        self.rss_mib = 0.0
        command = [*_OMNISYNC, "run", "--only", name, "--data", str(books.folder)]
        self._process = subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        self._said = self._process.stderr.readline()
        assert "stop with" in self._said, self._said + self._process.stderr.read()

    def stop(self, meanwhile: Callable[[], None]) -> None:
        """Let it take what is there and end; `meanwhile` is done again and again until then."""
        self._process.send_signal(signal.SIGTERM)
        ended = 0
        while not ended:
            meanwhile()
            sleep(_LOOK_SECONDS)
            ended, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.rss_mib = usage.ru_maxrss / _KIB_PER_MIB
        assert self._process.stderr is not None
        with self._process.stderr as said:
            assert self._process.returncode == 0, said.read()

    def end(self) -> None:
        """Kill it where it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()


class _Balances:
    """When the balances moved last, by the positions that a reader of the tables is told."""

    def __init__(self, engine: Engine) -> None:
        """Begin with tables that are there."""
        self._engine = engine
        self._position: dict[str, int] = {}
        self.moved_at = 0.0

    def look(self) -> None:
        """See whether they have moved."""
        with self._engine.connect() as connection:
            position = read_position(connection, None)
        if position != self._position:
            self._position, self.moved_at = position, perf_counter()


def run_beside(task: Task, folder: Path) -> Result:
    """Measure ingest with the other stages beside it; creating the books and starting the processes is not counted.

    As the command that reads a file, this process keeps its memory and gives way to the one that settles.
    """
    keep_memory()
    books, watch = Books(folder / "books"), Watch()
    create_books(books, task)
    stages: list[_Stage] = []
    try:
        stages += [_Stage(name, books) for name in (SETTLE, PROJECT)]
        give_way()
        started = perf_counter()
        with watch.stage("ingest"):
            ingest_stream(books, task)
        balances = _Balances(engine := books.engine())
        for stage in stages:
            with watch.stage(f"{stage.name} behind it"):
                stage.stop(balances.look)
        balances.look()
        engine.dispose()
        seconds = balances.moved_at - started
    finally:
        for stage in stages:
            stage.end()
    sizes = {"ingest": rss_mib(), **{stage.name: stage.rss_mib for stage in stages}}
    exact = task.agrees(stored_balances(books))
    with watch.stage("history"), books.stages(PROJECT) as left:
        left.run()
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Result(
        seconds=seconds,
        exact=exact,
        bytes_on_disk=size_of(books.folder),
        rss_mib=max(sizes.values()),
        stages=dict(watch.seconds),
        conditions=f"three processes on {cpus} CPUs, all but the one that settles nicer by {GIVES_WAY}; RSS MiB "
        + ", ".join(f"{name} {size:,.0f}" for name, size in sizes.items())
        + "; until the last balance is there; history follows behind the balances and is not counted",
    )
