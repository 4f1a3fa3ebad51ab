"""Commands that turn real cluster traces into facts."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from app.commands.write import load_preset
from app.facts import to_line
from app.options import instant, price
from app.render import print_json, progress, say
from app.traces.alibaba import read_nodes, read_pods, trace_alibaba
from app.traces.jobs import Outcome, Trace, tell
from app.traces.mapping import read_map
from app.traces.table import TRACE_DAYS_MAX, read_table
from events.event import Fact
from events.instant import DAY, format_instant, parse_instant

__all__ = ["trace"]

MAPS = Path(__file__).resolve().parents[1] / "traces" / "maps"
# A trace that starts later could end behind the last instant that can be written.
START_MAX = parse_instant("9999-12-31T00:00:00.000000Z") - (TRACE_DAYS_MAX + 2) * DAY

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def trace() -> None:
    """Turn a real cluster trace into facts that need nothing else.

    \b
    $ omnisync trace alibaba pods.csv.gz --nodes nodes.csv --price-per-gpu-hour 0.35 > facts.jsonl
    """


def _priced(command: Any) -> Any:
    """Give a command what every trace needs beside its files."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Say what was read as JSON on standard error."),
        click.option("--preset", default="omnisync", show_default=True, help="The parameter set that names the asset."),
        click.option(
            "--start",
            default="2026-10-01T00:00:00Z",
            show_default=True,
            callback=_start,
            help="When the trace's clock starts.",
        ),
        click.option(
            "--price-per-gpu-hour", required=True, metavar="OMNI", help="What the consumer pays, as decimal text."
        ),
    ):
        command = option(command)
    return command


def _start(context: click.Context, parameter: click.Parameter, value: str) -> int:
    start = instant(context, parameter, value)
    assert start is not None
    if start > START_MAX:
        raise click.BadParameter(f"the latest is {format_instant(START_MAX)}")
    return start


@trace.command()
@click.argument("pods", type=_file)
@click.option("--nodes", required=True, type=_file, help="CSV of the nodes.")
@_priced
def alibaba(pods: Path, nodes: Path, price_per_gpu_hour: str, start: int, preset: str, as_json: bool) -> None:
    """Print the Alibaba GPU trace of 2023 as facts, one CloudEvent per line.

    Registrations, declared deposits, jobs and daily marks. Pods that ran are settled, failed ones refunded,
    unscheduled and CPU-only ones cancelled.

    \b
    $ omnisync trace alibaba openb_pod_list_default.csv.gz --nodes openb_node_list_all_node.csv \\
        --price-per-gpu-hour 0.35 > facts.jsonl
    8152 pods, 1213 GPU nodes, from 2026-10-01T00:00:00.000000Z on
    """
    unit = load_preset(preset).unit
    base_units = price(price_per_gpu_hour, unit.decimals)
    read, gpu_nodes = read_pods(pods), read_nodes(nodes)
    if as_json:
        said = {
            "pods": len(read),
            "gpu_nodes": len(gpu_nodes),
            "start": format_instant(start),
            "price": str(base_units),
        }
        print_json(said, error=True)
    else:
        say(f"{len(read)} pods, {len(gpu_nodes)} GPU nodes, from {format_instant(start)} on")
    _print_facts(trace_alibaba(read, gpu_nodes, base_units, unit.asset, start))


@trace.command()
@click.argument("file", type=_file)
@click.option("--map", "map_file", required=True, type=_file, help="TOML that says which column is what.")
@_priced
def csv(file: Path, map_file: Path, price_per_gpu_hour: str, start: int, preset: str, as_json: bool) -> None:
    """Print any trace with one row per job as facts, one CloudEvent per line.

    The map says which columns are job, consumer, times and GPUs, and what a status means; docs/traces.md has each
    key. Jobs that are done are settled, failed ones refunded; cancelled, unscheduled and CPU-only ones cancelled.

    \b
    $ cat jobs.csv
    id,user,gpus,submitted,ended,state
    a/1,ann,2,100,3700.5,OK
    a/2,bob,1,160,220,KILLED
    $ omnisync trace csv jobs.csv --map jobs.toml --price-per-gpu-hour 0.35 > facts.jsonl
    2 jobs of 2 consumers: 1 done, 1 cancelled; 4 nodes, from 2026-10-01T00:00:00.000000Z on
    """
    _print_table(file, map_file, price_per_gpu_hour, start, preset, as_json)


@trace.command()
@click.argument("file", type=_file)
@_priced
def philly(file: Path, price_per_gpu_hour: str, start: int, preset: str, as_json: bool) -> None:
    """Print the Philly-derived trace of the Chronus artifact as facts, one CloudEvent per line.

    The same as `omnisync trace csv` with the map app/traces/maps/philly.toml. The trace has no start and no status:
    a job starts when it is submitted, and each is done.

    \b
    $ omnisync trace philly trace_job_Philly_SLO.csv.gz --price-per-gpu-hour 0.35 > facts.jsonl
    15470 jobs of 11 consumers: 15368 done, 102 cpu_only; 64 nodes, from 2026-10-01T00:00:00.000000Z on
    """
    _print_table(file, MAPS / "philly.toml", price_per_gpu_hour, start, preset, as_json)


def _print_table(file: Path, map_file: Path, price_text: str, start: int, preset: str, as_json: bool) -> None:
    unit = load_preset(preset).unit
    base_units = price(price_text, unit.decimals)
    read = read_table(file, read_map(map_file))
    _say_what_was_read(read, base_units, start, as_json)
    _print_facts(tell(read, base_units, unit.asset, start))


def _say_what_was_read(read: Trace, base_units: int, start: int, as_json: bool) -> None:
    ended = Counter(job.outcome for job in read.jobs)
    consumers = len({job.consumer for job in read.jobs})
    if as_json:
        said = {
            "source": read.source,
            "jobs": len(read.jobs),
            **{outcome.value: ended[outcome] for outcome in Outcome},
            "consumers": consumers,
            "nodes": len(read.nodes),
            "start": format_instant(start),
            "price": str(base_units),
        }
        print_json(said, error=True)
        return
    outcomes = ", ".join(f"{ended[outcome]} {outcome.value}" for outcome in Outcome if ended[outcome])
    say(
        f"{len(read.jobs)} jobs of {consumers} consumers: {outcomes}; {len(read.nodes)} nodes, "
        f"from {format_instant(start)} on"
    )


def _print_facts(facts: Iterable[Fact]) -> None:
    with progress("trace") as advance:
        for fact in facts:
            sys.stdout.buffer.write(to_line(fact))
            advance(1)
    sys.stdout.buffer.flush()
