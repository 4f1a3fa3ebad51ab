"""The Alibaba GPU cluster trace of 2023 (pods and nodes as CSV) as facts.

    GPU-seconds = floor(num_gpu × gpu_milli × (end − scheduled) / 1000)     end = deletion, or the trace's last time
    gross       = floor(price × GPU-seconds / 3600)                         price: what the consumer pays per GPU-hour
    escrow      = ceil(price × GPU-seconds / 3600)                          so a settled job gets back 0 or 1 base unit

A pod with GPUs that ran (Running, Succeeded) is settled; one that Failed is refunded in full; one that was never
scheduled is cancelled; one without GPUs is cancelled as `cpu_only`. Consumers are `alibaba-{qos}`; node of the n-th
GPU pod is the n-th GPU node, around and around, at minimum price 0. Each consumer's escrows are deposited, by
declaration, before its first job. All of it is declared, not proven.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from app.facts import Producer
from events.event import Fact
from events.facts import (
    JobCancelled,
    JobCancelledData,
    JobDispatched,
    JobDispatchedData,
    JobFailed,
    JobFailedData,
    JobSubmitted,
    JobSubmittedData,
    NodeRegistered,
    NodeRegisteredData,
    Quote,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, MICROSECONDS
from ledger.metering import hold_for

__all__ = ["Node", "Pod", "TraceMalformed", "read_nodes", "read_pods", "trace_alibaba"]

SOURCE = "trace-alibaba"


class TraceMalformed(ValueError):
    """A row of the trace cannot be read; the message names file, line and column."""


class Node(NamedTuple):
    """A node with GPUs."""

    name: str
    gpus: int
    model: str


class Pod(NamedTuple):
    """A pod; times in seconds from the trace's start, None where the trace has none."""

    name: str
    gpus: int
    gpu_milli: int
    consumer: str
    phase: str
    created: int
    deleted: int | None
    scheduled: int | None

    def gpu_seconds(self, last: int) -> int:
        """What it used, where it was scheduled; whole GPU-seconds, floored."""
        if self.scheduled is None:
            return 0
        end = self.deleted if self.deleted is not None else last
        return self.gpus * self.gpu_milli * (end - self.scheduled) // 1000


def read_nodes(path: Path) -> list[Node]:
    """Read the nodes that have GPUs, in the file's order. Raises: TraceMalformed."""
    nodes = [
        Node(row["sn"], _integer(path, line, row, "gpu"), row["model"])
        for line, row in _rows(path, ("sn", "gpu", "model"))
    ]
    return [node for node in nodes if node.gpus > 0]


def read_pods(path: Path) -> list[Pod]:
    """Read all pods, in the file's order. Raises: TraceMalformed."""
    columns = (
        "name", "num_gpu", "gpu_milli", "qos", "pod_phase", "creation_time", "deletion_time", "scheduled_time",
    )  # fmt: skip
    return [
        Pod(
            name=row["name"],
            gpus=_integer(path, line, row, "num_gpu"),
            gpu_milli=_integer(path, line, row, "gpu_milli"),
            consumer=f"alibaba-{row['qos']}",
            phase=row["pod_phase"],
            created=_integer(path, line, row, "creation_time"),
            deleted=_integer(path, line, row, "deletion_time") if row["deletion_time"] else None,
            scheduled=_integer(path, line, row, "scheduled_time") if row["scheduled_time"] else None,
        )
        for line, row in _rows(path, columns)
    ]


def trace_alibaba(pods: list[Pod], nodes: list[Node], price: int, asset: str, start: int) -> Iterator[Fact]:
    """Yield the trace's facts in the order of time, with a mark at each midnight.

    Units: `price` in base units per GPU-hour, `start` in microseconds since 1970.
    """
    trace = Producer(SOURCE)
    last = max(time for pod in pods for time in (pod.created, pod.deleted, pod.scheduled) if time is not None)
    yield trace.register(start)
    yield from _registrations(trace, nodes, asset, start)
    yield from _deposits(trace, pods, price, asset, start, last)
    timed = sorted(_jobs(trace, pods, nodes, price, asset, last), key=lambda item: item[:2])
    marked = start
    for seconds, _, fact in timed:
        occurred_at = start + seconds * MICROSECONDS
        yield from trace.marks(marked, occurred_at)
        marked = max(marked, occurred_at)
        yield fact(occurred_at)
    # One day more, so that the last day's epoch closes too.
    yield from trace.marks(marked, marked + 2 * DAY)


def _registrations(trace: Producer, nodes: list[Node], asset: str, start: int) -> Iterator[Fact]:
    for node in nodes:
        data = NodeRegisteredData(
            asset=asset,
            authority="declared",
            gpu_model=node.model,
            gpus=node.gpus,
            minimum_price="0",
            operator=node.name,
            supplier=node.name,
        )
        yield trace.fact(NodeRegistered, start, node.name, f"node:{node.name}", data)


def _deposits(trace: Producer, pods: list[Pod], price: int, asset: str, start: int, last: int) -> Iterator[Fact]:
    escrows: defaultdict[str, int] = defaultdict(int)
    for pod in pods:
        if pod.gpus:
            escrows[pod.consumer] += hold_for(price, pod.gpu_seconds(last))
    for consumer, amount in sorted(escrows.items()):
        if amount:
            yield trace.deposit(start, consumer, asset, amount, f"deposit:{consumer}")


class _Timed(NamedTuple):
    """A fact that is still to be dated."""

    trace: Producer
    kind: type[Fact]
    pod: Pod
    key: str
    data: object

    def __call__(self, occurred_at: int) -> Fact:
        return self.trace.fact(self.kind, occurred_at, self.pod.name, self.key, self.data)  # type: ignore[arg-type]


def _jobs(
    trace: Producer, pods: list[Pod], nodes: list[Node], price: int, asset: str, last: int
) -> Iterator[tuple[int, int, _Timed]]:
    """Yield (second, order, fact): a job's own facts in their order."""
    order = gpu_pods = 0
    for pod in pods:
        node = None
        if pod.gpus:
            node = nodes[gpu_pods % len(nodes)].name
            gpu_pods += 1
        for second, kind, key, data in _life(pod, node, price, asset, last):
            yield second, order, _Timed(trace, kind, pod, key, data)
            order += 1


def _life(
    pod: Pod, node: str | None, price: int, asset: str, last: int
) -> Iterable[tuple[int, type[Fact], str, object]]:
    job, seconds = pod.name, pod.gpu_seconds(last)
    end = pod.deleted if pod.deleted is not None else last
    submitted = JobSubmittedData(
        asset=asset, authority="declared", consumer=pod.consumer, gpu_seconds_max=seconds, nodes=1
    )
    yield pod.created, JobSubmitted, f"{job}:submitted", submitted
    if node is None:
        yield pod.created, JobCancelled, f"{job}:cancelled", JobCancelledData(consumer=pod.consumer, reason="cpu_only")
        return
    if pod.scheduled is None:
        data = JobCancelledData(consumer=pod.consumer, reason="never_scheduled")
        yield end, JobCancelled, f"{job}:cancelled", data
        return
    quote = Quote(node=node, operator=node, price=str(price), minimum="0")
    dispatched = JobDispatchedData(attempt=1, consumer=pod.consumer, quotes=(quote,))
    yield pod.scheduled, JobDispatched, f"{job}:1", dispatched
    if pod.phase == "Failed":
        yield end, JobFailed, f"{job}:1:failed", JobFailedData(attempt=1, consumer=pod.consumer, reason="pod_failed")
        return
    used = UsageMeteredData(attempt=1, consumer=pod.consumer, gpu_seconds=seconds, node=node)
    yield end, UsageMetered, f"{job}:1:{node}", used


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file, gzipped or not."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file, TextIOWrapper(file, "utf-8") as text:
        reader = csv.DictReader(text)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise TraceMalformed(f"{path.name}: line 1: expected columns {', '.join(missing)}")
        for row in reader:
            if None in row or None in row.values():
                raise TraceMalformed(
                    f"{path.name}: line {reader.line_num}: expected {len(reader.fieldnames or ())} cells"
                )
            yield reader.line_num, row


def _integer(path: Path, line: int, row: dict[str, str], column: str) -> int:
    text = row[column]
    if not text.isascii() or not text.isdecimal():
        raise TraceMalformed(f"{path.name}: line {line}: column {column}: {text!r:.40} is no whole number")
    return int(text)
