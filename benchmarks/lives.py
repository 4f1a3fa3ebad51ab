"""Stream (b): whole job lives over three streams, with what goes wrong in practice.

A life is three to seven facts, five in the mean, which lead to three decisions of nine postings: paid for by a deposit,
submitted, dispatched, metered once or by three nodes with a verdict, failed or cancelled. Some usage comes a day late,
some lines come twice, are damaged, say something else under a used key, or are not written canonically; some jobs ask
for more than their consumer has. Same n and seed: same bytes.
"""

import heapq
from collections.abc import Generator, Iterator

import msgspec
import numpy as np

from app.facts import Producer, to_line
from benchmarks.stream import (
    ASSET,
    CONSUMERS,
    NODES,
    QUARTER_DAYS,
    START,
    Draw,
    consumer_name,
    hold_of,
    lowest_minimum,
    node_name,
    operator_name,
    price_for,
    zipf,
)
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
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY

__all__ = ["life_stream"]

MINUTE = 60_000_000
KINDS = ("single", "quorum", "failed", "cancelled", "overdraft")
KIND_WEIGHTS = (0.45, 0.40, 0.05, 0.05, 0.05)
LATE, TWICE, BAD = 0.01, 0.01, 0.006
QUORUM = 3
CUT, OTHER_SOURCE, OTHER_CONTENT, REWRITTEN = range(4)
# What a consumer begins with, once and for each so many of its jobs: it makes up for deposits that are lost.
CUSHION, CUSHION_JOBS = 5 * 10**18, 100
# Above every deposit, below what an amount can say.
OVERDRAFT_PRICE = 10**30

# When the line comes, a running number that keeps the order total, the line.
Due = tuple[int, int, bytes]


class _Lives:
    """Draws job lives and puts their lines in the order in which they come."""

    def __init__(self, n: int, draw: Draw) -> None:
        self.draw = draw
        self.router = Producer("router")
        self.usage = Producer("nodes")
        self.verdicts = Producer("verdicts")
        self.waiting: list[Due] = []
        self._number = 0
        self.kinds = draw.choice(len(KINDS), n, p=KIND_WEIGHTS).astype(np.int8)
        self.consumers = zipf(draw, CONSUMERS, n)
        self.nodes = zipf(draw, NODES, QUORUM * n).reshape(n, QUORUM)
        self.exponents = draw.uniform(6.0, 18.0, n)
        self.seconds = draw.integers(60, 86_400, n).astype(np.int32)

    def push(self, comes_at: int, fact: Fact) -> None:
        """Let a fact wait for its turn; now and then twice, damaged or rewritten as well."""
        line = to_line(fact)
        self._put(comes_at, line)
        luck = self.draw.random()
        if luck < TWICE:
            self._put(comes_at + MINUTE, line)
        elif luck < TWICE + BAD:
            self._put(comes_at, _spoil(line, fact, int(luck * 10**6) % (REWRITTEN + 1)))

    def _put(self, comes_at: int, line: bytes) -> None:
        self._number += 1
        heapq.heappush(self.waiting, (comes_at, self._number, line))

    def begin(self, i: int, at: int) -> None:
        """Push one whole life that starts at a time."""
        kind, job, consumer = KINDS[self.kinds[i]], f"job-{i:08d}", consumer_name(int(self.consumers[i]))
        nodes = sorted({int(node) for node in self.nodes[i]}) if kind == "quorum" else [int(self.nodes[i][0])]
        time, gross = int(self.seconds[i]), int(10.0 ** self.exponents[i])
        price = OVERDRAFT_PRICE if kind == "overdraft" else price_for(gross, time)
        most = time + 600
        # An overdraft pays in what others would.
        paid = len(nodes) * hold_of(price_for(gross, time), most)
        self.push(at, self.router.deposit(at, consumer, ASSET, paid, f"deposit:{job}"))
        submitted = JobSubmittedData(
            asset=ASSET, authority="declared", consumer=consumer, gpu_seconds_max=most, nodes=len(nodes)
        )
        self.push(at, self.router.fact(JobSubmitted, at, job, f"submit:{job}", submitted))
        if kind == "cancelled" and i % 2:
            self._cancel(at + MINUTE, job, consumer)
            return
        quotes = tuple(
            Quote(
                node=node_name(node),
                operator=operator_name(node),
                price=str(price),
                minimum=str(lowest_minimum(price)),
            )
            for node in nodes
        )
        dispatched = JobDispatchedData(attempt=1, consumer=consumer, quotes=quotes)
        self.push(at + MINUTE, self.router.fact(JobDispatched, at + MINUTE, job, f"dispatch:{job}:1", dispatched))
        if kind in {"cancelled", "overdraft"}:
            self._cancel(at + 2 * MINUTE, job, consumer)
        elif kind == "failed":
            failed = JobFailedData(attempt=1, consumer=consumer, reason="node_lost")
            self.push(at + 9 * MINUTE, self.router.fact(JobFailed, at + 9 * MINUTE, job, f"fail:{job}", failed))
        else:
            self._run(at + 30 * MINUTE, job, consumer, nodes, time)

    def _cancel(self, at: int, job: str, consumer: str) -> None:
        data = JobCancelledData(consumer=consumer, reason="withdrawn")
        self.push(at, self.router.fact(JobCancelled, at, job, f"cancel:{job}", data))

    def _run(self, at: int, job: str, consumer: str, nodes: list[int], time: int) -> None:
        for place, node in enumerate(nodes):
            # The last of three reports far more than the others: what is paid is bounded by their median.
            seconds = time if place < QUORUM - 1 else time * 5
            data = UsageMeteredData(attempt=1, consumer=consumer, gpu_seconds=seconds, node=node_name(node))
            fact = self.usage.fact(UsageMetered, at + place, job, f"usage:{job}:{place}", data)
            late = DAY + 40 * MINUTE if self.draw.random() < LATE else 0
            self.push(at + place + late, fact)
        if len(nodes) > 1:
            agreeing = tuple(node_name(node) for node in nodes)
            verdict = QuorumClaimedData(agreeing=agreeing, attempt=1, consumer=consumer)
            after = at + 10 * MINUTE
            self.push(after, self.verdicts.fact(QuorumClaimed, after, job, f"quorum:{job}", verdict))


def life_stream(n: int, seed: int = 1) -> Iterator[Fact | bytes]:
    """Yield stream (b) with `n` job lives, as lines in the order in which they come."""
    draw = np.random.default_rng(seed)
    lives = _Lives(n, draw)
    producers = (lives.router, lives.usage, lives.verdicts)
    for producer in producers:
        yield producer.register(START)
    counts = np.bincount(lives.consumers, minlength=CONSUMERS)
    for number in range(CONSUMERS):
        name = consumer_name(number)
        amount = CUSHION * (1 + int(counts[number]) // CUSHION_JOBS)
        yield lives.router.deposit(START, name, ASSET, amount, f"cushion:{name}")

    marked = START
    for i in range(n):
        at = START + QUARTER_DAYS * DAY * i // n
        lives.begin(i, at)
        marked = yield from _give(lives, producers, marked, at)
    yield from _give(lives, producers, marked, START + (QUARTER_DAYS + 3) * DAY)


def _give(
    lives: _Lives, producers: tuple[Producer, ...], marked: int, until: int
) -> Generator[Fact | bytes, None, int]:
    """Yield what is due by a time, with each stream's marks between; return the time."""
    while lives.waiting and lives.waiting[0][0] <= until:
        at, _, line = heapq.heappop(lives.waiting)
        for producer in producers:
            yield from producer.marks(marked, at)
        marked = max(marked, at)
        yield line
    for producer in producers:
        yield from producer.marks(marked, until)
    return until


def _spoil(line: bytes, fact: Fact, way: int) -> bytes:
    """Damage a line in one of four ways; the last only rewrites it, which makes it a duplicate."""
    if way == CUT:
        return line[: len(line) // 2] + b"\n"
    if way == OTHER_SOURCE:
        # Another source, so that the id is no longer that of source and key.
        return line.replace(b'"source":"', b'"source":"x')
    if way == OTHER_CONTENT:
        # The same key says something else.
        return to_line(msgspec.structs.replace(fact, subject=f"{fact.subject}-other"))
    return msgspec.json.encode(dict(reversed(msgspec.json.decode(line).items()))) + b"\n"
