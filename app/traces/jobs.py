"""Jobs of any trace as facts: what each importer shares, once its rows are read.

    done                         JobSubmitted, JobDispatched, UsageMetered     settled: gross = floor(price × s / 3600)
    failed                       JobSubmitted, JobDispatched, JobFailed        refunded: escrow = ceil(price × s / 3600)
    cancelled, never_scheduled,
    cpu_only                     JobSubmitted, JobCancelled{reason}            nothing is held

Facts come in the order of time, of equal times in the order of the file; a mark at each midnight, and one day more
than the trace lasts, so that the last day's epoch closes too. Each consumer's escrows are deposited before its first
job. All of it is declared, not proven. Only the jobs that run at one time have their facts in memory.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from enum import StrEnum
from heapq import heappop, heappush
from typing import NamedTuple

from app.facts import Producer
from events.event import Data, Fact
from events.facts import (
    JobCancelled,
    JobCancelledData,
    JobDispatched,
    JobDispatchedData,
    JobFailed,
    JobFailedData,
    JobSubmitted,
    JobSubmittedData,
    Quote,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY
from events.participants import NodeRegistered, NodeRegisteredData
from ledger.metering import hold_for

__all__ = ["Job", "Node", "Outcome", "Trace", "tell"]


class Outcome(StrEnum):
    """How a job ended; of those that never ran, the value is the reason."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NEVER_SCHEDULED = "never_scheduled"
    CPU_ONLY = "cpu_only"


RAN = frozenset({Outcome.DONE, Outcome.FAILED})


class Node(NamedTuple):
    """A node with GPUs."""

    name: str
    gpus: int
    model: str


class Job(NamedTuple):
    """A job; times in microseconds of the trace's own clock. `node` counts only where it ran, `started` too."""

    name: str
    consumer: str
    node: str
    outcome: Outcome
    gpu_seconds: int
    submitted: int
    started: int
    ended: int

    @property
    def earliest(self) -> int:
        """None of its facts is earlier."""
        return min(self.submitted, self.started, self.ended)


class Trace(NamedTuple):
    """A whole trace; `origin` is the time of its own clock at which it starts."""

    source: str
    nodes: Sequence[Node]
    jobs: Sequence[Job]
    origin: int = 0
    failed_as: str = "job_failed"


def tell(trace: Trace, price: int, asset: str, start: int) -> Iterator[Fact]:
    """Yield a trace's facts in the order of time, with a mark at each midnight.

    Units: `price` in base units per GPU-hour, `start` in microseconds since 1970.
    """
    producer = Producer(trace.source)
    yield producer.register(start)
    yield from _registrations(producer, trace.nodes, asset, start)
    yield from _deposits(producer, trace.jobs, price, asset, start)
    marked = start
    for due in _in_time(trace, price, asset):
        occurred_at = start + due.time - trace.origin
        yield from producer.marks(marked, occurred_at)
        marked = max(marked, occurred_at)
        yield producer.fact(due.kind, occurred_at, due.subject, due.key, due.data)
    yield from producer.marks(marked, marked + 2 * DAY)


def _registrations(producer: Producer, nodes: Sequence[Node], asset: str, start: int) -> Iterator[Fact]:
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
        yield producer.fact(NodeRegistered, start, node.name, f"node:{node.name}", data)


def _deposits(producer: Producer, jobs: Sequence[Job], price: int, asset: str, start: int) -> Iterator[Fact]:
    escrows: defaultdict[str, int] = defaultdict(int)
    for job in jobs:
        if job.outcome in RAN:
            escrows[job.consumer] += hold_for(price, job.gpu_seconds)
    for consumer, amount in sorted(escrows.items()):
        if amount:
            yield producer.deposit(start, consumer, asset, amount, f"deposit:{consumer}")


class _Due(NamedTuple):
    """A fact that is still to be told; `order` and `step` make each one's rank its own."""

    time: int
    order: int
    step: int
    kind: type[Fact]
    subject: str
    key: str
    data: Data


def _in_time(trace: Trace, price: int, asset: str) -> Iterator[_Due]:
    """Yield the jobs' facts by time, by the file's order, by the job's own order."""
    jobs, due = trace.jobs, list[_Due]()
    for order in sorted(range(len(jobs)), key=lambda number: jobs[number].earliest):
        job = jobs[order]
        # Strictly earlier: at the same instant a job further up in the file goes first.
        while due and due[0].time < job.earliest:
            yield heappop(due)
        for step, (time, kind, key, data) in enumerate(_life(job, price, asset, trace.failed_as)):
            heappush(due, _Due(time, order, step, kind, job.name, f"{job.name}:{key}", data))
    while due:
        yield heappop(due)


def _life(job: Job, price: int, asset: str, failed_as: str) -> Iterator[tuple[int, type[Fact], str, Data]]:
    """Yield (time, type, key behind the job's name, data) of each of a job's facts."""
    consumer, node = job.consumer, job.node
    submitted = JobSubmittedData(
        asset=asset, authority="declared", consumer=consumer, gpu_seconds_max=job.gpu_seconds, nodes=1
    )
    yield job.submitted, JobSubmitted, "submitted", submitted
    if job.outcome not in RAN:
        yield job.ended, JobCancelled, "cancelled", JobCancelledData(consumer=consumer, reason=job.outcome.value)
        return
    quote = Quote(node=node, operator=node, price=str(price), minimum="0")
    yield job.started, JobDispatched, "1", JobDispatchedData(attempt=1, consumer=consumer, quotes=(quote,))
    if job.outcome is Outcome.FAILED:
        yield job.ended, JobFailed, "1:failed", JobFailedData(attempt=1, consumer=consumer, reason=failed_as)
        return
    used = UsageMeteredData(attempt=1, consumer=consumer, gpu_seconds=job.gpu_seconds, node=node)
    yield job.ended, UsageMetered, f"1:{node}", used
