"""The Alibaba GPU cluster trace of 2023 (pods and nodes as CSV) as facts.

    GPU-seconds = floor(num_gpu × gpu_milli × (end − scheduled) / 1000)     end = deletion, or the trace's last time
    gross       = floor(price × GPU-seconds / 3600)                         price: what the consumer pays per GPU-hour
    escrow      = ceil(price × GPU-seconds / 3600)                          so a settled job gets back 0 or 1 base unit

A pod with GPUs that ran (Running, Succeeded) is settled; one that Failed is refunded in full; one that was never
scheduled is cancelled; one without GPUs is cancelled as `cpu_only`. Consumers are `alibaba-{qos}`; node of the n-th
GPU pod is the n-th GPU node, around and around, at minimum price 0. What becomes of the jobs: `app.traces.jobs`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from app.traces.jobs import Job, Node, Outcome, Trace, tell
from app.traces.rows import TraceMalformed, malformed, read_rows
from events.event import Fact
from events.instant import MICROSECONDS

__all__ = ["Node", "Pod", "TraceMalformed", "read_nodes", "read_pods", "trace_alibaba"]

SOURCE = "trace-alibaba"
# More digits than any time in seconds; Python refuses to read some thousands of them.
DIGITS_MAX = 15


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
        for line, row in read_rows(path, ("sn", "gpu", "model"))
    ]
    with_gpus = [node for node in nodes if node.gpus > 0]
    if not with_gpus:
        raise TraceMalformed(f"{path.name}: column gpu: no node has GPUs")
    return with_gpus


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
        for line, row in read_rows(path, columns)
    ]


def trace_alibaba(pods: list[Pod], nodes: list[Node], price: int, asset: str, start: int) -> Iterator[Fact]:
    """Yield the trace's facts in the order of time, with a mark at each midnight.

    Units: `price` in base units per GPU-hour, `start` in microseconds since 1970.
    """
    last = max(time for pod in pods for time in (pod.created, pod.deleted, pod.scheduled) if time is not None)
    jobs, gpu_pods = [], 0
    for pod in pods:
        jobs.append(_job(pod, nodes[gpu_pods % len(nodes)].name, last))
        gpu_pods += pod.gpus > 0
    return tell(Trace(SOURCE, nodes, jobs, failed_as="pod_failed"), price, asset, start)


def _job(pod: Pod, node: str, last: int) -> Job:
    outcome = _outcome(pod)
    end = pod.deleted if pod.deleted is not None else last
    return Job(
        name=pod.name,
        consumer=pod.consumer,
        node=node,
        outcome=outcome,
        gpu_seconds=pod.gpu_seconds(last),
        submitted=pod.created * MICROSECONDS,
        started=(pod.created if pod.scheduled is None else pod.scheduled) * MICROSECONDS,
        ended=(pod.created if outcome is Outcome.CPU_ONLY else end) * MICROSECONDS,
    )


def _outcome(pod: Pod) -> Outcome:
    if not pod.gpus:
        return Outcome.CPU_ONLY
    if pod.scheduled is None:
        return Outcome.NEVER_SCHEDULED
    return Outcome.FAILED if pod.phase == "Failed" else Outcome.DONE


def _integer(path: Path, line: int, row: dict[str, str], column: str) -> int:
    text = row[column]
    if not text.isascii() or not text.isdecimal() or len(text) > DIGITS_MAX:
        raise malformed(path, line, column, text, "is no whole number")
    return int(text)
