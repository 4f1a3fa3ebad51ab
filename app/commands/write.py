"""Commands that create books and take facts in: init, ingest, run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from app.anybooks import AnyBooks
from app.books import Books
from app.clock import elapsed
from app.facts import Producer, to_line
from app.options import books_option, instant, log_option, settings_of
from app.precedence import give_way
from app.render import print_json, progress, say
from app.stages import PROJECT, SETTLE, Progress, Stages, Watch
from app.stopping import Stopping, heed_signals
from ledger.parameters import Parameters, parameters_from_toml
from projections.position import format_position
from settlement.ingest import Partitions, Receipt
from settlement.lines import Chunk, Line, read_chunks
from settlement.routing import LANES_MAX

__all__ = ["ingest", "init", "load_preset", "run"]

PRESETS = Path(__file__).resolve().parents[2] / "ledger" / "presets"
# How long `run` waits before it looks again: a part of the time for which there was nothing, or as long as it has just
# worked up to so many seconds, since many at once cost less each; within these bounds.
QUIET_PART = 8
WORKED_SECONDS = 0.05
BUSY_SECONDS, IDLE_SECONDS = 0.02, 0.2
# In a cluster others wait for what is decided, over the network.
CLUSTER_SECONDS = 0.01
# History and jobs follow the balances when there was nothing for so long. Where one process has both stages they are
# never behind by more decisions than these; where projecting is a process of its own, they wait.
QUIET_SECONDS = 0.4
BEHIND_MAX = 50_000
REFUSED_SHOWN_MAX = 20


@click.command()
@books_option
@click.option("--preset", default="omnisync", show_default=True, help="A preset's name, or a TOML file.")
@click.option(
    "--lanes",
    default=1,
    show_default=True,
    type=click.IntRange(1, LANES_MAX),
    help="How many lanes share the consumers; it stays so.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def init(books: AnyBooks, preset: str, lanes: int, as_json: bool) -> None:
    """Create books with a parameter set and its genesis.

    The same facts lead to the same balances, whatever the number of lanes.

    \b
    $ omnisync init --preset omnisync --data B
    created books of omnisync in B, parameters 4c54ddb11526
    """
    parameters = load_preset(preset)
    params_hash = books.create(parameters, lanes)
    if as_json:
        told = {"network": parameters.network, "params_hash": params_hash, "lanes": lanes, "data": books.place}
        print_json(told)
    else:
        click.echo(f"created books of {parameters.network} in {books.place}, parameters {params_hash[:12]}")


def load_preset(name: str) -> Parameters:
    """Read a parameter set by preset name or file. Raises: ParametersInvalid, click.BadParameter."""
    path = PRESETS / f"{name}.toml" if "/" not in name and not name.endswith(".toml") else Path(name)
    if not path.exists():
        known = ", ".join(sorted(preset.stem for preset in PRESETS.glob("*.toml")))
        raise click.BadParameter(f"{name!r} is neither a file nor a preset; presets are {known}")
    return parameters_from_toml(path.read_text(encoding="utf-8"))


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@books_option
@click.option("--inbox", is_flag=True, help="Take what outside producers put into a cluster's inbox, until stopped.")
@click.option("--once", is_flag=True, help="With --inbox: stop when all that is there is taken.")
@log_option
@click.option("--strict", is_flag=True, help="Refuse the whole file where one line is refused.")
@click.option("--receipts", is_flag=True, help="Print a JSON line as each batch becomes durable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ingest(
    file: str | None, books: AnyBooks, inbox: bool, once: bool, strict: bool, receipts: bool, as_json: bool
) -> None:
    """Append the facts of a file of CloudEvents, or of a cluster's inbox.

    The file holds one JSON object per line; `-` is standard input. Good lines are kept beside bad ones; each bad line
    is named with its number and reason, and is itself kept in the facts log. A file that was ingested before changes
    nothing. Who reads a file gives way to settling where processors are short. Exit status 1 where a line was refused.

    \b
    $ omnisync ingest facts.jsonl --data B
    23876 lines: 23876 accepted, 0 duplicates, 0 refused; durable up to facts/0:22675,facts/hub:1371
    """
    if inbox == (file is not None) or (once and not inbox):
        raise click.UsageError("name one FILE, or --inbox, which may stop --once it is empty")
    if file is None:
        source, received = "inbox", _receive(books, once)
    else:
        source, received = "stdin" if file == "-" else Path(file).name, _read(file, books, strict)
    total = Receipt(0, 0, 0, (), ())
    for receipt in received:
        total = _add(total, receipt)
        if receipts:
            print_json(_receipt_data(receipt), line=True)
    if total.lines == 0:
        total = total._replace(positions=tuple((log.name, log.end()) for log in books.partitions()))
    _report(total, source, as_json, strict)


def _read(file: str, books: AnyBooks, strict: bool) -> Iterator[Receipt]:
    size = None if file == "-" else Path(file).stat().st_size
    descriptor = sys.stdin.fileno() if file == "-" else os.open(file, os.O_RDONLY)
    if file != "-":
        give_way()
    source = "stdin" if file == "-" else Path(file).name
    with progress("ingest", size) as advance:
        chunks = _counted(read_chunks(descriptor), advance)
        yield from [books.ingest_whole(chunks, source)] if strict else books.ingest(chunks, source)


def _receive(books: AnyBooks, once: bool) -> Iterator[Receipt]:
    from app.cluster import ClusterBooks

    if not isinstance(books, ClusterBooks):
        raise click.UsageError("--inbox is a cluster's: name it with --config FILE")
    with heed_signals() as stopping:
        yield from books.ingest_inbox(stopping, once=once)


def _counted(chunks: Iterator[Chunk], advance: Progress) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        advance(chunk.size)


def _add(total: Receipt, receipt: Receipt) -> Receipt:
    return Receipt(
        total.lines + receipt.lines,
        total.accepted + receipt.accepted,
        total.duplicates + receipt.duplicates,
        total.refused + receipt.refused,
        receipt.positions,
    )


def _receipt_data(receipt: Receipt) -> dict[str, object]:
    return {
        "lines": receipt.lines,
        "accepted": receipt.accepted,
        "duplicates": receipt.duplicates,
        "refused": [
            {"line": line.number, "reason": line.refusal.reason.value, "detail": line.refusal.detail}
            for line in receipt.refused
        ],
        "position": receipt.position,
    }


def _report(total: Receipt, source: str, as_json: bool, strict: bool) -> None:
    for line in total.refused[:REFUSED_SHOWN_MAX]:
        say(f"{source}:{line.number}: {line.refusal.reason.value}: {line.refusal.detail}")
    if len(total.refused) > REFUSED_SHOWN_MAX:
        say(f"and {len(total.refused) - REFUSED_SHOWN_MAX} more; `omnisync report refused` lists them")
    if as_json:
        print_json(_receipt_data(total))
    else:
        kept = "the file was refused whole, nothing was kept" if strict and total.refused else ""
        click.echo(
            kept
            or f"{total.lines} lines: {total.accepted} accepted, {total.duplicates} duplicates, "
            f"{len(total.refused)} refused; durable up to {total.position}"
        )
    if total.refused:
        raise SystemExit(1)


@click.command()
@books_option
@log_option
@click.option("--once", is_flag=True, help="Stop when everything that is there is settled and projected.")
@click.option(
    "--only",
    type=click.Choice([SETTLE, PROJECT]),
    help="Do one of the two, beside a process that does the other.",
)
@click.option(
    "--close-until",
    metavar="TIME",
    callback=instant,
    help="Mark all streams up to TIME first: closes the epochs before it.",
)
@click.option("--from-start", is_flag=True, help="Decide everything again, from no snapshot.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def run(
    books: AnyBooks, once: bool, only: str | None, close_until: int | None, from_start: bool, as_json: bool
) -> None:
    """Settle what was reported, and project it; go on until stopped.

    Asked to stop (SIGINT, SIGTERM), it first takes what is there. What is projected is what was committed: balances at
    once, histories and jobs' totals behind them while there is nothing else to do. With `--only project` stopping
    leaves those for the next time. Who projects also seals files that have become full, as `omnisync seal` does. Where
    OMNISYNC_METRICS_PORT is set, it serves metrics for Prometheus.

    It starts from the last snapshot of its own, where that is sound, and decides again only what lies behind it. Those
    lie in the folder `cache`, which may be deleted; `--from-start` throws them away.

    \b
    $ omnisync run --once --data B
    settled 14730 decisions, folded 14730
    """
    if close_until is not None:
        if only == PROJECT:
            raise click.UsageError("--close-until is for those who settle")
        _mark_all(books, close_until)
    if from_start and only == PROJECT:
        raise click.UsageError("--from-start is for those who settle")
    if not isinstance(books, Books):
        _run_cluster(books, once, only, from_start, as_json)
        return
    decided, folded = _run_folder(books, once, only, from_start)
    if as_json:
        print_json({"decided": decided, "folded": folded})
    else:
        done = {SETTLE: f"settled {decided} decisions", PROJECT: f"folded {folded} decisions"}
        click.echo(done[only] if only else f"{done[SETTLE]}, folded {folded}")


def _run_folder(books: Books, once: bool, only: str | None, from_start: bool) -> tuple[int, int]:
    if only == PROJECT:
        give_way()
    if once:
        with _watched(books, only, from_start) as stages:
            return _run_shown(stages, history=True)
    with heed_signals() as stopping, _watched(books, only, from_start) as stages:
        say(f"{'projecting' if only == PROJECT else 'settling'}; stop with Ctrl-C")
        first = _run_shown(stages, history=False)
        then = _follow(stages, stopping, behind=first[1])
    return first[0] + then[0], first[1] + then[1]


def _run_cluster(books: AnyBooks, once: bool, only: str | None, from_start: bool, as_json: bool) -> None:
    """Run one stage of a cluster; with `once` both can be had, one after the other."""
    from app.cluster import ClusterBooks

    assert isinstance(books, ClusterBooks)
    if only is None and not once:
        raise click.UsageError("in a cluster each stage is a process of its own: --only settle, or --only project")
    told: dict[str, object] = {}
    with heed_signals() as stopping:
        if only != PROJECT:
            with _watched(books, SETTLE, from_start) as stages:
                decided, _ = _run_shown(stages, history=False)
                if not once:
                    say("settling; stop with Ctrl-C")
                    decided += _follow(stages, stopping, 0, CLUSTER_SECONDS)[0]
            told["decided"] = decided
        if only != SETTLE:
            if not once:
                say("projecting; stop with Ctrl-C")
            from projections.worker import HALTED

            with _serving(books, HALTED):
                told["position"] = format_position(books.project(stopping, once=once))
    if as_json:
        print_json(told)
    else:
        done = {"decided": "settled {} decisions", "position": "projected up to {}"}
        click.echo(", ".join(done[name].format(value) for name, value in told.items()))


@contextmanager
def _watched(books: AnyBooks, only: str | None, from_start: bool) -> Iterator[Stages]:
    """Hold the stages, and serve their metrics where a port is set."""
    with books.stages(only, from_start=from_start) as stages, _serving(books) as metrics:
        if metrics is not None:
            stages.tell(metrics)
        yield stages


@contextmanager
def _serving(books: AnyBooks, *more: Any) -> Iterator[Watch | None]:
    """Serve metrics where a port is set, and yield what stages tell them."""
    told = settings_of(click.get_current_context()).metrics
    if told.port is None:
        yield None
        return
    from app.metrics import serve_metrics
    from app.standing import Surveyor

    with serve_metrics(Surveyor(books), told.address, told.port, *more) as (metrics, port):
        say(f"metrics on http://{told.address}:{port}/metrics")
        yield metrics


def _run_shown(stages: Stages, *, history: bool) -> tuple[int, int]:
    with progress("settle") as settled, progress("project") as projected:
        return stages.run(settled, projected, history=history)


def _follow(stages: Stages, stopping: Stopping, behind: int, idle_seconds: float = IDLE_SECONDS) -> tuple[int, int]:
    """Settle and project until asked to stop, and once more then; return how many decisions were taken and folded."""
    decided = folded = 0
    alone = stages.settling is None
    found_at = elapsed()

    def is_over() -> bool:
        nonlocal found_at
        # What another settles is not yet committed, and will be: history would keep the head waiting.
        if has_more := stages.has_more_coming():
            found_at = elapsed()
        return has_more or stopping.has_asked()

    while True:
        last, began = stopping.asked, elapsed()
        did = stages.run(history=False)
        worked = elapsed() - began
        decided, folded, behind = decided + did[0], folded + did[1], behind + did[1]
        if last:
            break
        if any(did) or stages.has_more_coming():
            found_at = elapsed()
        quiet = elapsed() - found_at
        # One file at a time, so that what comes in meanwhile does not wait for all.
        sealed = quiet >= QUIET_SECONDS and stages.seal_one(is_over)
        if quiet >= QUIET_SECONDS and alone:
            stages.catch_up(is_over)
        elif not alone and (quiet >= QUIET_SECONDS or behind >= BEHIND_MAX):
            stages.catch_up()
            behind = 0
        quiet = 0 if sealed else elapsed() - found_at
        stopping.wait(min(max(BUSY_SECONDS, min(worked, WORKED_SECONDS), quiet / QUIET_PART), idle_seconds))
    if not alone:
        stages.catch_up()
    return decided, folded


def _mark_all(books: AnyBooks, until: int) -> None:
    """Mark each registered stream at each midnight up to a time, and there: by order of the operator."""
    for stream, mark in sorted(Partitions(books.partitions()).marks().items()):
        operator = Producer("operator", stream)
        facts = [*operator.marks(mark, until), operator.mark(until)] if until > mark else []
        lines = [Line(number, to_line(fact).rstrip(b"\n"), 1) for number, fact in enumerate(facts, 1)]
        for receipt in books.ingest(iter([lines]), "operator"):
            assert not receipt.refused, receipt.refused[0]
