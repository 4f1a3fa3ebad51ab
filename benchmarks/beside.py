"""The product's path as three processes at once: this one ingests, beside it one settles and one projects.

seconds = from the first byte read until the last of the three has ended, asked to stop behind what was before it
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from app.books import Books
from app.stages import PROJECT, SETTLE
from benchmarks.product import create_books, ingest_stream, size_of, stored_balances
from benchmarks.task import Result, Task, rss_mib
from benchmarks.watch import Watch

__all__ = ["run_beside"]

_OMNISYNC = [sys.executable, "-m", "app"]
_ROOT = Path(__file__).resolve().parents[1]
_KIB_PER_MIB = 1024


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

    def stop(self) -> None:
        """Let it take what is there and end."""
        self._process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self._process.pid, 0)
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


def run_beside(task: Task, folder: Path) -> Result:
    """Measure ingest with the other stages beside it; creating the books and starting the processes is not counted."""
    books, watch = Books(folder / "books"), Watch()
    create_books(books, task)
    stages: list[_Stage] = []
    try:
        stages += [_Stage(name, books) for name in (SETTLE, PROJECT)]
        started = perf_counter()
        with watch.stage("ingest"):
            ingest_stream(books, task)
        for stage in stages:
            with watch.stage(f"{stage.name} behind it"):
                stage.stop()
        seconds = perf_counter() - started
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
        conditions=f"three processes on {cpus} CPUs; RSS MiB "
        + ", ".join(f"{name} {size:,.0f}" for name, size in sizes.items())
        + "; until the last has ended; history follows behind the balances and is not counted",
    )
