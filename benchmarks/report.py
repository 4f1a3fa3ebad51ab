"""Figures from measurements: medians, ratios within the same round, a table, a plot, JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.systems import BESIDE, OURS, System, named
from benchmarks.task import Result, Task

__all__ = ["draw", "stage_lines", "summarise", "table_lines", "write_json"]

REPLAY = "omnisync-replay"
SEGMENTS = "omnisync-segments"
Rounds = dict[str, list[Result]]


def rival_of(system: System) -> str:
    """Name which of our paths a peer is held against: reading journals is held against reading logs."""
    return REPLAY if system.replays else OURS


def ratios(rounds: Rounds, name: str, ours: str) -> list[float]:
    """Return the rate of one of our paths over the peer's, round by round."""
    pairs = zip(rounds.get(ours, []), rounds[name], strict=False)
    return [theirs.seconds / us.seconds for us, theirs in pairs]


def spread(values: list[float]) -> dict[str, float] | None:
    """Return median and range of what was measured in each round."""
    return {"median": median(values), "min": min(values), "max": max(values)} if values else None


def summarise(task: Task, rounds: Rounds, conditions: dict[str, Any]) -> dict[str, Any]:
    """Return everything as JSON values: the raw rounds and what is derived from them."""
    systems = {}
    for name, results in rounds.items():
        rates = [task.settlements / result.seconds for result in results]
        rival = rival_of(named(name))
        systems[name] = {
            "settlements_per_second": spread(rates),
            "ours_over_this": spread(ratios(rounds, name, rival)),
            "beside_over_this": spread(ratios(rounds, name, BESIDE)) if rival == OURS else None,
            "held_against": rival,
            "bytes_per_fact": results[0].bytes_on_disk / task.facts,
            "rss_mib": max(result.rss_mib for result in results),
            "exact": all(result.exact for result in results),
            "guarantees": named(name).guarantees,
            "conditions": results[0].conditions,
            "rounds": [asdict(result) for result in results],
        }
    return {
        "stream": task.name,
        "settlements": task.settlements,
        "facts": task.facts,
        "conditions": conditions,
        "systems": systems,
    }


def table_lines(summary: dict[str, Any]) -> list[str]:
    """Write the table in Markdown."""
    lines = [
        "| system | settlements/s: median [min–max] | rounds | ours ÷ this | beside ÷ this "
        "| bytes/fact | RSS MiB | exact | guarantees |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, system in summary["systems"].items():
        rate = system["settlements_per_second"]
        ours = "1" if name == system["held_against"] else ratio_text(system["ours_over_this"])
        beside = "1" if name == BESIDE else ratio_text(system["beside_over_this"])
        lines.append(
            f"| {name} | {rate['median']:,.0f} [{rate['min']:,.0f}–{rate['max']:,.0f}] | {len(system['rounds'])} "
            f"| {ours} | {beside} | {system['bytes_per_fact']:,.0f} | {system['rss_mib']:,.0f} "
            f"| {'yes' if system['exact'] else 'NO'} | {system['guarantees']} |"
        )
    return lines


def ratio_text(ratio: dict[str, float] | None) -> str:
    """Write a ratio with its range."""
    return f"{ratio['median']:.2f} [{ratio['min']:.2f}–{ratio['max']:.2f}]" if ratio else "–"


def stage_lines(summary: dict[str, Any]) -> list[str]:
    """Write what our stages cost, median microseconds per settlement."""
    lines = ["| path | stage | µs per settlement | settlements/s |", "|---|---|---|---|"]
    for name in (OURS, BESIDE, REPLAY, SEGMENTS):
        rounds = summary["systems"].get(name, {}).get("rounds", [])
        for stage in rounds[0]["stages"] if rounds else ():
            seconds = median(result["stages"][stage] for result in rounds)
            each = seconds / summary["settlements"]
            lines.append(f"| {name} | {stage} | {each * 1e6:,.1f} | {1 / each:,.0f} |")
    return lines


def draw(summary: dict[str, Any], path: Path) -> None:
    """Draw the rates with their ranges; the format follows the file's name."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "omnisync"
    from matplotlib import pyplot

    names = list(summary["systems"])[::-1]
    rates = [summary["systems"][name]["settlements_per_second"] for name in names]
    middles = [rate["median"] for rate in rates]
    reach = [[rate["median"] - rate["min"] for rate in rates], [rate["max"] - rate["median"] for rate in rates]]
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(names) + 1.4))
    colours = ["#1f5a99" if name in {OURS, BESIDE, REPLAY, SEGMENTS} else "#8a97a5" for name in names]
    # Points, not bars: a logarithmic axis has no zero for a bar to stand on.
    axes.errorbar(middles, names, xerr=reach, fmt="none", ecolor="#444444", elinewidth=1, capsize=3)
    axes.scatter(middles, names, color=colours, s=60, zorder=3)
    axes.grid(axis="x", color="#e4e8ec")
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    axes.set_xlabel("settlements per second (log scale; point: median, line: min to max)")
    axes.set_title(f"stream ({summary['stream']}), {summary['settlements']:,} settlements", fontsize=11)
    for name, middle in zip(names, middles, strict=True):
        axes.annotate(f"{middle:,.0f}", (middle, name), xytext=(0, 8), textcoords="offset points", ha="center")
    axes.margins(x=0.15)
    axes.set_ylim(-0.5, len(names) - 0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def write_json(summaries: list[dict[str, Any]], path: Path) -> None:
    """Write summaries to a file."""
    path.write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")
