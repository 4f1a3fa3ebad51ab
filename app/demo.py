"""A seeded quarter of a small network, told through the product's own path.

Three streams report: the desk (deposits), two routers (jobs). Most jobs run on one node, some on three of which two
must agree; some fail, some are cancelled, a consumer overdraws, facts come late, facts come twice. Everything is
declared; nothing here is random but by the seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from random import Random

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
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, MICROSECONDS, parse_instant
from ledger.metering import hold_for
from ledger.parameters import Parameters
from ledger.price import quote_price

__all__ = ["Quarter", "tell_quarter"]

DAYS = 92
HOUR = 3_600 * MICROSECONDS
NODES = 24
CONSUMERS = ("atlas-lab", "birch-ai", "cobalt", "dunes", "ember-studio", "fjord", "garnet", "helix")
# One job in so many goes wrong in that way.
FAILS, CANCELLED, QUORUM, LATE, TWICE = 25, 33, 8, 40, 50


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    operator: str
    minimum: int
    price: int


@dataclass(frozen=True, slots=True)
class Quarter:
    """The quarter's facts in the order in which they are reported, and what was planted among them."""

    facts: tuple[Fact, ...]
    late: int
    twice: int


def tell_quarter(parameters: Parameters, jobs: int, seed: int) -> Quarter:
    """Make up a quarter from the launch on; the same for the same arguments."""
    random = Random(seed)
    start = parse_instant(parameters.launched_at)
    desk, routers = Producer("desk"), (Producer("router-eu"), Producer("router-us"))
    nodes = [_make_node(random, number, parameters) for number in range(NODES)]
    opening = [producer.register(start) for producer in (desk, *routers)]
    opening += [_register(routers[0], node, parameters, start) for node in nodes]
    lives = [_Life(random, parameters, routers[number % 2], nodes, number, start) for number in range(jobs)]
    needs: dict[str, int] = {}
    for life in lives:
        needs[life.consumer] = needs.get(life.consumer, 0) + life.escrow
    asset = parameters.unit.asset
    # The last consumer deposits less than it will need, so that some of its jobs are refused.
    opening += [
        desk.deposit(
            start, consumer, asset, amount * 6 // 10 if consumer == CONSUMERS[-1] else amount, f"deposit:{consumer}"
        )
        for consumer, amount in sorted(needs.items())
        if amount
    ]
    timed = sorted(
        chain.from_iterable(life.facts(order) for order, life in enumerate(lives)), key=lambda item: item[:2]
    )
    marks = [(midnight, producer.mark(midnight)) for producer in (desk, *routers) for midnight in _midnights(start)]
    told = [*((arrives, 1, fact) for arrives, _, fact in timed), *((midnight, 0, mark) for midnight, mark in marks)]
    facts = [*opening, *(fact for _, _, fact in sorted(told, key=lambda item: item[:2]))]
    twice = [fact for number, fact in enumerate(facts) if number % TWICE == TWICE - 1]
    return Quarter((*facts, *twice), sum(life.late for life in lives), len(twice))


def _midnights(start: int) -> range:
    """Return the marks: each midnight of the quarter and one more, which closes its last epoch."""
    return range(start + DAY, start + (DAYS + 2) * DAY, DAY)


def _make_node(random: Random, number: int, parameters: Parameters) -> _Node:
    minimum = random.randrange(50, 4_000) * 10 ** (parameters.unit.decimals - 4) + random.randrange(10_000)
    price = quote_price(minimum, parameters.job.burn_bps, parameters.job.fee_bps)
    return _Node(f"node-{number:02d}", f"operator-{number // 2:02d}", minimum, price)


def _register(router: Producer, node: _Node, parameters: Parameters, start: int) -> Fact:
    data = NodeRegisteredData(
        asset=parameters.unit.asset,
        authority="declared",
        gpu_model="A100",
        gpus=8,
        minimum_price=str(node.minimum),
        operator=node.operator,
        supplier=node.operator,
    )
    return router.fact(NodeRegistered, start, node.name, f"node:{node.name}", data)


class _Life:
    """One job from submission to its end."""

    def __init__(
        self, random: Random, parameters: Parameters, router: Producer, nodes: list[_Node], number: int, start: int
    ) -> None:
        self._router = router
        self._asset = parameters.unit.asset
        self._job = f"job-{number:06d}"
        self.consumer = random.choice(CONSUMERS)
        self._begins = start + random.randrange(DAYS * 24 - 30) * HOUR + random.randrange(HOUR)
        self._hours = random.randrange(1, 24)
        self._seconds_max = self._hours * 3_600
        self._nodes = random.sample(nodes[::2], 3) if number % QUORUM == QUORUM - 1 else [random.choice(nodes)]
        self._cancelled = number % CANCELLED == CANCELLED - 1
        self._fails = number % FAILS == FAILS - 1
        self._usage = [random.randrange(self._seconds_max // 2, self._seconds_max + 1) for _ in self._nodes]
        self.late = number % LATE == LATE - 1 and not self._cancelled
        self.escrow = 0 if self._cancelled else sum(hold_for(node.price, self._seconds_max) for node in self._nodes)

    def facts(self, order: int) -> Iterator[tuple[int, int, Fact]]:
        """Yield (when it arrives, order, fact)."""
        for arrives, fact in self._facts():
            yield arrives, order, fact

    def _facts(self) -> Iterator[tuple[int, Fact]]:
        begins, ends = self._begins, self._begins + self._hours * HOUR
        consumer = self.consumer
        submitted = JobSubmittedData(
            asset=self._asset,
            authority="declared",
            consumer=consumer,
            gpu_seconds_max=self._seconds_max,
            nodes=len(self._nodes),
        )
        yield begins, self._fact(JobSubmitted, begins, "submitted", submitted)
        if self._cancelled:
            reason = JobCancelledData(consumer=consumer, reason="consumer_withdrew")
            yield begins + 1, self._fact(JobCancelled, begins + 1, "cancelled", reason)
            return
        quotes = tuple(
            Quote(node=node.name, operator=node.operator, price=str(node.price), minimum=str(node.minimum))
            for node in self._nodes
        )
        yield (
            begins + 2,
            self._fact(JobDispatched, begins + 2, "1", JobDispatchedData(attempt=1, consumer=consumer, quotes=quotes)),
        )
        if self._fails:
            failed = JobFailedData(attempt=1, consumer=consumer, reason="node_lost")
            yield ends, self._fact(JobFailed, ends, "1:failed", failed)
            return
        # A late report arrives two days after it occurred, behind its stream's marks.
        arrives = ends + 2 * DAY if self.late else ends
        for node, seconds in zip(self._nodes, self._usage, strict=True):
            used = UsageMeteredData(attempt=1, consumer=consumer, gpu_seconds=seconds, node=node.name)
            yield arrives, self._fact(UsageMetered, ends, f"1:{node.name}", used)
        if len(self._nodes) > 1:
            agreeing = tuple(node.name for node in self._nodes[:2])
            claimed = QuorumClaimedData(agreeing=agreeing, attempt=1, consumer=consumer)
            yield arrives + 1, self._fact(QuorumClaimed, ends + 1, "1:quorum", claimed)

    def _fact(self, kind: type[Fact], occurred_at: int, key: str, data: object) -> Fact:
        return self._router.fact(kind, occurred_at, self._job, f"{self._job}:{key}", data)  # type: ignore[arg-type]
