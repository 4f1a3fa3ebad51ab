"""Commands that turn real cluster traces into facts."""

import sys
from pathlib import Path

import click

from app.commands.write import load_preset
from app.facts import to_line
from app.options import instant, price
from app.render import print_json, progress, say
from app.traces.alibaba import read_nodes, read_pods, trace_alibaba
from events.instant import format_instant

__all__ = ["trace"]


@click.group()
def trace() -> None:
    """Turn a real cluster trace into facts that need nothing else.

    \b
    $ omnisync trace alibaba pods.csv.gz --nodes nodes.csv --price-per-gpu-hour 0.35 > facts.jsonl
    """


@trace.command()
@click.argument("pods", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--nodes", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="CSV of the nodes."
)
@click.option("--price-per-gpu-hour", required=True, metavar="OMNI", help="What the consumer pays, as decimal text.")
@click.option("--start", default="2026-10-01T00:00:00Z", show_default=True, callback=instant, help="When second 0 is.")
@click.option("--preset", default="omnisync", show_default=True, help="The parameter set that names the asset.")
@click.option("--json", "as_json", is_flag=True, help="Say what was read as JSON on standard error.")
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
    with progress("trace") as advance:
        for fact in trace_alibaba(read, gpu_nodes, base_units, unit.asset, start):
            sys.stdout.buffer.write(to_line(fact))
            advance(1)
    sys.stdout.buffer.flush()
