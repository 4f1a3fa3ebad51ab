"""Measures our path and its peers side by side: rounds are interleaved, each measurement is a process of its own.

python -m benchmarks                                  10,000 settlements of stream (a), 5 rounds
python -m benchmarks --n 100000 --out figures.json --plot figures.svg
python -m benchmarks --stream b --only omnisync --only sqlite-fair
python -m benchmarks --stream n --n 5000              a whole network's life; our path alone
python -m benchmarks --profile                        where our time goes
python -m benchmarks --count                          what our stages execute per settlement; the same on any machine
"""

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.conditions import describe
from benchmarks.inputs import make_input
from benchmarks.lives import life_stream
from benchmarks.measure import measure
from benchmarks.network import prepare_network
from benchmarks.report import draw, stage_lines, summarise, table_lines, write_json
from benchmarks.stream import PARAMETERS, usage_stream, write_lines
from benchmarks.systems import BESIDE, OURS, PGLEDGER, SYSTEMS, System
from benchmarks.task import BATCH, NETWORK, Result, Task, prepare

__all__ = ["main", "make_task", "run_rounds"]

STREAMS = {"a": usage_stream, "b": life_stream}
TOP = 12
# Sizes of the two streams whose difference is counted: the larger one's decisions are more than are matched at once.
COUNTED = {"a": (1_000, 9_000), "b": (1_000, 4_000), NETWORK: (1_000, 4_000)}


def make_task(stream: str, n: int, folder: Path, seed: int = 1) -> Task:
    """Write a stream of `n` settlements and what the oracle says of it."""
    path = folder / f"{stream}.jsonl"
    if stream == NETWORK:
        return make_network(n, path, seed)
    facts = write_lines(STREAMS[stream](n, seed), path)
    task = Task(stream, n, facts, path, PARAMETERS, folder)
    oracle = prepare(task)
    say(
        f"stream ({stream}): {n:,} settlements, {facts:,} lines, {path.stat().st_size:,} bytes, "
        f"{oracle.duplicates:,} duplicates, {oracle.refused:,} refused, {len(oracle.totals()):,} accounts not zero, "
        f"largest balance 2^{oracle.largest().bit_length() - 1}"
    )
    return task


def make_network(n: int, path: Path, seed: int) -> Task:
    """Write a network of `n` jobs and what was planted in it."""
    task = Task(NETWORK, n, 0, path, path.with_suffix(".parameters.json"), path.parent)
    settled = prepare_network(task, seed)
    facts = path.read_bytes().count(b"\n")
    say(f"stream ({NETWORK}): {settled:,} settlements of {n:,} jobs, {facts:,} lines, {path.stat().st_size:,} bytes")
    return replace(task, settlements=settled, facts=facts)


def run_rounds(task: Task, systems: list[System], rounds: int) -> dict[str, list[Result]]:
    """Measure A B C … A B C …, so that what slows the machine down for a while slows all."""
    for system in systems:
        make_input(task, system.input)
    results: dict[str, list[Result]] = {system.name: [] for system in systems}
    for number in range(rounds):
        for system in systems:
            result = measure(system, task)
            results[system.name].append(result)
            exact = "" if result.exact else "  BALANCES DIFFER FROM THE ORACLE"
            rate = task.settlements / result.seconds
            say(f"round {number + 1}/{rounds}  {system.name:<22} {rate:>11,.0f} settlements/s{exact}")
    return results


def choose(stream: str, n: int, only: list[str]) -> list[System]:
    """Choose what can run here; say what is left out and why."""
    chosen = []
    for system in SYSTEMS:
        if (only and system.name not in only) or stream not in system.streams:
            continue
        reason = system.missing()
        if reason is None and system.n_max is not None and n > system.n_max and not only:
            reason = f"slow: left out above {system.n_max:,} settlements"
        if reason is None:
            chosen.append(system)
        else:
            say(f"{system.name} is left out: {reason}")
    return chosen


def show_profile(task: Task) -> None:
    """Print the costliest functions of each stage of our path."""
    from benchmarks.product import run_product
    from benchmarks.watch import Watch

    watch = Watch(profile=True)
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        run_product(task, Path(folder), watch)
    for stage in ("ingest", "settle", "project"):
        seconds = watch.seconds[stage]
        print(f"\n{stage}: {seconds / task.settlements * 1e6:.1f} µs per settlement under the profiler")
        print("    own µs    share   with callees µs      calls   function")
        for name, calls, own, cumulative in watch.top(stage, TOP):
            each, whole = own / task.settlements * 1e6, cumulative / task.settlements * 1e6
            print(f"  {each:8.2f}  {own / seconds:6.1%}  {whole:16.2f}  {calls:9,}   {name}")


def show_work(stream: str, seed: int) -> None:
    """Print what each stage of our path executes per settlement."""
    from benchmarks.count import count_work

    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        tasks = [make_task(stream, n, Path(at), seed) for n, at in zip(COUNTED[stream], (small, large), strict=True)]
        for stage, work in count_work(*tasks).items():
            print(f"stream ({stream})  {stage:<8} {work.instructions:8,.0f} bytecodes  {work.calls:6,.0f} calls")


def say(text: str) -> None:
    """Tell how far it is; figures go to standard output, this does not."""
    print(text, file=sys.stderr, flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000, metavar="N", help="settlements (default 10,000)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument(
        "--stream", choices=[*STREAMS, NETWORK], action="append", help="a (default), b or n, repeatable"
    )
    parser.add_argument(
        "--only", choices=[s.name for s in SYSTEMS], action="append", default=[], help="may be repeated"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all measurements as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the first stream's rates (.svg or .png)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where data is written (default: temporary files)")
    parser.add_argument(
        "--pgledger", metavar="DSN", help="measure pgledger too, in a copy of the database of this connection string"
    )
    parser.add_argument("--profile", action="store_true", help="print where our time goes instead of measuring")
    parser.add_argument("--count", action="store_true", help="print what we execute per settlement, without a clock")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure; return 1 where any balance differs from the oracle."""
    options = parse(arguments)
    if options.pgledger:
        os.environ[PGLEDGER] = options.pgledger
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    summaries: list[dict[str, Any]] = []
    for stream in options.stream or ["a"]:
        if options.count:
            show_work(stream, options.seed)
            continue
        with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.work) as folder:
            conditions = describe(Path(folder))
            task = make_task(stream, options.n, Path(folder), options.seed)
            if options.profile:
                show_profile(task)
                continue
            systems = choose(stream, options.n, options.only)
            summaries.append(summarise(task, run_rounds(task, systems, options.rounds), conditions))
            show(summaries[-1])
    if options.out and summaries:
        write_json(summaries, options.out)
    if options.plot and summaries:
        draw(summaries[0], options.plot)
    exact = all(system["exact"] for summary in summaries for system in summary["systems"].values())
    return 0 if exact else 1


def show(summary: dict[str, Any]) -> None:
    """Print tables and conditions."""
    print(f"\nstream ({summary['stream']}): {summary['settlements']:,} settlements, {summary['facts']:,} lines")
    print("\n".join(["", *table_lines(summary), ""]))
    if {OURS, BESIDE} & summary["systems"].keys():
        print("\n".join([*stage_lines(summary), ""]))
    print(f"batch of the peers: {BATCH:,} entries; " + ", ".join(f"{k} {v}" for k, v in summary["conditions"].items()))
    for name, system in summary["systems"].items():
        print(f"  {name}: {system['conditions']}")


if __name__ == "__main__":
    sys.exit(main())
