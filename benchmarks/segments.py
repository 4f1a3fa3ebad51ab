"""All balances from sealed segments, and single balances from a held reader, in a process that did not make the books.

python -m benchmarks.segments BOOKS        of books that are sealed; prints JSON
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from time import perf_counter, perf_counter_ns
from typing import Any

from sqlalchemy import Engine, select

from app.books import Books
from benchmarks.product import fill_books, size_of, sum_by_account
from benchmarks.task import Result, Task, rss_mib
from benchmarks.watch import Watch
from projections.lookup import BalanceReader
from projections.past import Past
from projections.read import AccountUnknown
from projections.replay import add_up, replay
from projections.tables import account, record

__all__ = ["main", "measure_books", "measure_lookups", "run_segments"]

LOOKUPS = 10_000


def run_segments(task: Task, folder: Path) -> Result:
    """Make books and seal all of them; then measure what each account holds, in a process of its own."""
    books = Books(folder / "books")
    fill_books(books, task, Watch())
    start = perf_counter()
    for _sealed in books.seal(unfinished=True):
        pass
    sealed_in = perf_counter() - start
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.segments", str(books.folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    found = json.loads(done.stdout)
    counted: dict[str, float] = found["counted"]
    times = "; ".join(f"{name} p50 {p50:.1f} µs, p99 {p99:.1f} µs" for name, (p50, p99) in found["lookups"].items())
    return Result(
        seconds=sum(counted.values()),
        exact=task.agrees({name: int(net) for name, net in found["totals"].items()}),
        bytes_on_disk=size_of(books.segments),
        rss_mib=found["rss_mib"],
        stages={"seal": sealed_in, **counted, "digest": found["digest"]},
        conditions=f"{found['segments']} segments, in the page cache; held reader: {times}",
    )


def measure_books(folder: Path) -> dict[str, Any]:
    """Replay sealed books, then look single balances up."""
    books = Books(folder)
    start = perf_counter()
    past = books.past()
    opened = perf_counter()
    held = add_up(past)
    added = perf_counter()
    rss = rss_mib()
    assert not past.faults
    assert not held.tail
    # Of debits and credits of each account that ever was: more than the peers are asked for.
    start_all = perf_counter()
    replay(past).digest()
    ended = perf_counter()
    return {
        "counted": {"open": opened - start, "sum": added - opened},
        "digest": ended - start_all,
        "segments": held.segments,
        "rss_mib": rss,
        "totals": {name: str(net) for name, net in sum_by_account(held.nets.items()).items()},
        "lookups": measure_lookups(books.engine(), past),
    }


def measure_lookups(engine: Engine, past: Past) -> dict[str, tuple[float, float]]:
    """Look single balances up; return the median and the 99th percentile of each kind, microseconds."""
    with engine.connect() as connection:
        names = connection.execute(select(account.c.account).distinct()).scalars().all()
        ends: dict[str, list[int]] = {}
        for log, end in connection.execute(select(record.c.log, record.c.end)):
            ends.setdefault(log, []).append(end)
    reader, order = BalanceReader(engine, past), Random(1)
    asked = [
        (order.choice(names), {log: order.choice(choices) for log, choices in ends.items()}) for _ in range(LOOKUPS)
    ]
    measured = {
        "balance now": _percentiles(lambda name, _: reader.now(name), asked),
        "at a past position": _percentiles(reader.at, asked),
    }
    reader.close()
    engine.dispose()
    return measured


def _percentiles(ask: Callable[..., object], asked: list[tuple[str, dict[str, int]]]) -> tuple[float, float]:
    """Return the median and the 99th percentile, microseconds."""
    times = sorted(_times(ask, asked))
    return times[len(times) // 2] / 1_000, times[len(times) * 99 // 100] / 1_000


def _times(ask: Callable[..., object], asked: list[tuple[str, dict[str, int]]]) -> Iterator[int]:
    for name, position in asked:
        start = perf_counter_ns()
        # Nothing may have moved it by then.
        with suppress(AccountUnknown):
            ask(name, position)
        yield perf_counter_ns() - start


def main(arguments: list[str]) -> None:
    """Measure the books of a folder."""
    print(json.dumps(measure_books(Path(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
