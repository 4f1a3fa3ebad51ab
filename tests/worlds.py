"""Random small worlds of facts: jobs and deposits here, the life of a whole network in `tests.networks`.

A world is made from a seed and nothing else. Its facts come in periods; within a period the facts of one *thread* (a
job, a deposit) keep their order and threads may be shuffled; each period ends with marks. What a world comes to is
said by the naive model (`tests.naive`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

from app.facts import Producer, to_line
from chain.keys import Signer
from events.event import Fact, fact_id
from events.facts import (
    ChainFactDeclared,
    ChainFactDeclaredData,
    GenesisDeclared,
    GenesisDeclaredData,
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
    Terms,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, parse_instant
from events.participants import NodeRegistered, NodeRegisteredData
from ledger.parameters import Parameters, parameters_hash, parameters_json
from tests.naive.network import Naive

__all__ = [
    "ASSET", "CLUSTER", "FOUNDATION", "LAUNCH", "Naive", "Period", "World", "build_world", "genesis_of", "naive_of",
    "parameter_set", "signer_of",
]  # fmt: skip

ASSET = "OMNI"
LAUNCHED_AT = "2026-10-01T00:00:00.000000Z"
LAUNCH = parse_instant(LAUNCHED_AT)
HALF_DAY = DAY // 2
CLUSTER = "localnet"
# Above all that a calm world can spend, far below what is outside.
AMPLE = 10**15


def signer_of(name: str) -> Signer:
    """Return the key of an owner, made of its name."""
    return Signer(sha256(name.encode()).digest())


FOUNDATION = tuple(signer_of(f"foundation {number}") for number in range(3))


def parameter_set(
    burn_bps: int = 200,
    fee_bps: int = 500,
    validator_bps: int = 1000,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    scale: int = 10**15,
    **job: int,
) -> Parameters:
    """Build a small parameter set; `settings` replaces members by section, the supply is 1,000 × `scale`."""
    amounts = (350, 200, 150, 300)
    names = ("vest:locked:team:x", "treasury:ops", "fund:ecosystem", "external")
    sections: dict[str, dict[str, Any]] = {
        "unit": {"asset": ASSET, "decimals": 9, "cap": str(1_000 * scale)},
        "job": {"burn_bps": burn_bps, "fee_bps": fee_bps, "attempts_max": 3} | job,
        "waterfall": {"validator_bps": validator_bps},
        "stake": {
            "node_minimum": "500",
            "validator_minimum": "10000",
            "vram_mib_minimum": 8192,
            "bandwidth_mbps_minimum": 100,
            "unbonding_seconds": 604_800,
        },
        "slash": {
            "bps": {"failed_challenge": 500, "false_attestation": 1000, "quorum_dissent": 0, "offline": 0},
            "reward_bps": 5000,
            "window_seconds": 86_400,
            "ruling_seconds": 604_800,
            "evidence_seconds": 172_800,
            "bond": "100",
        },
        "rewards": {"duty_bps": 9000},
        "epoch": {"grace_seconds": 1800, "horizon_seconds": 2_678_400, "cut_seconds": 60, "return_cuts": 10},
        "chain": {"cluster": CLUSTER},
        "foundation": {"keys": [signer.key for signer in FOUNDATION], "approvals": 2},
    }
    for section, members in (settings or {}).items():
        sections[section] |= members
    genesis = [{"account": name, "amount": str(amount * scale)} for name, amount in zip(names, amounts, strict=True)]
    return Parameters.model_validate({"network": "testnet", "launched_at": LAUNCHED_AT, "genesis": genesis} | sections)


def genesis_of(parameters: Parameters) -> Fact:
    """Build the fact that opens books with a parameter set."""
    text = parameters_json(parameters)
    return GenesisDeclared(
        id=fact_id("foundation", "genesis:testnet"),
        source="foundation",
        stream="foundation",
        subject=parameters.network,
        occurred_at=parameters.launched_at,
        key="genesis:testnet",
        schema_version=1,
        data=GenesisDeclaredData(parameters=text, params_hash=parameters_hash(text)),
    )


@dataclass(frozen=True, slots=True)
class Period:
    """Threads, each of which keeps its order, and the marks behind them."""

    threads: tuple[tuple[Fact, ...], ...]
    marks: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class World:
    """Facts behind a genesis: registrations and first deposits, then the periods."""

    seed: int
    parameters: Parameters
    opening: tuple[Fact, ...]
    periods: tuple[Period, ...]
    # The facts whose signatures are not those of their owners.
    forged: frozenset[str] = frozenset()

    def facts(self, order: Random | None = None) -> list[Fact]:
        """Return the facts in an order of arrival that the world allows; the same one where none is given."""
        random = order or Random(self.seed)
        arrived = list(self.opening)
        for period in self.periods:
            arrived += merge(period.threads, random)
            arrived += period.marks
        return arrived

    def interleaved(self, order: Random) -> list[Fact]:
        """Merge whole streams, marks and all, in any order that each stream's own facts allow."""
        streams: dict[str, list[Fact]] = {}
        for fact in self.facts()[len(self.opening) :]:
            streams.setdefault(fact.stream, []).append(fact)
        return [*self.opening, *merge(streams.values(), order)]

    def lines(self) -> list[bytes]:
        """Return the facts as lines of a file."""
        return [to_line(fact) for fact in self.facts()]


def build_world(seed: int, *, jobs: int = 12, periods: int = 6, calm: bool = False, late: bool = True) -> World:
    """Make the world of a seed. A calm one has money for all its jobs beforehand, so that order decides nothing."""
    return Builder(seed, calm, late).build(jobs, periods)


def naive_of(world: World, facts: Iterable[Fact] | None = None) -> Naive:
    """Run the naive model over a world, or facts of it."""
    return Naive(world.parameters, world.forged).run(world.facts() if facts is None else facts)


def merge(threads: Iterable[Iterable[Fact]], order: Random) -> list[Fact]:
    """Shuffle threads together, each in its own order."""
    waiting = [list(reversed(list(thread))) for thread in threads]
    tickets = [number for number, thread in enumerate(waiting) for _ in thread]
    order.shuffle(tickets)
    return [waiting[number].pop() for number in tickets]


def lowest(minimum: int, parameters: Parameters) -> int:
    """Return the least price at which a supplier nets its minimum."""
    kept = 10_000 - parameters.job.burn_bps - parameters.job.fee_bps
    return (minimum * 10_000 + kept - 1) // kept


# What a fact says may depend on its time, as an order's expiry does.
Step = tuple[type[Fact], Any]


class Builder:
    """Draws a world."""

    def __init__(self, seed: int, calm: bool, late: bool) -> None:
        self.seed, self.calm, self.late = seed, calm, late
        self.random = random = Random(f"world {seed}")
        self.parameters = parameter_set(
            random.choice((0, 1, 200, 200, 3_333)),
            random.choice((0, 500, 500, 2_000)),
            random.choice((0, 1_000, 9_999)),
        )
        self.bank = Producer("bank")
        self.routers = [Producer(f"router-{n}") for n in range(random.randint(1, 3))]
        self.consumers = [f"c{n}" for n in range(random.randint(1, 4))]
        self.jobs = 0
        # By job id: the consumers that use it.
        self.named: dict[str, list[str]] = {}
        self.start = LAUNCH

    def build(self, jobs: int, periods: int) -> World:
        streams = [self.bank, *self.routers]
        opening = [producer.register(LAUNCH) for producer in streams]
        for consumer in self.consumers:
            amount = AMPLE if self.calm else self.random.choice((1, 10**9, 10**12))
            opening.append(self.bank.deposit(LAUNCH, consumer, ASSET, amount, f"first:{consumer}"))
        made = []
        carried: list[tuple[Producer, str, list[Step], int]] = []
        for number in range(periods):
            threads = [self._date(*thread) for thread in carried]
            carried = []
            for _ in range(jobs // periods + 1):
                producer, job, steps = self._thread()
                cut = len(steps)
                if number < periods - 1 and len(steps) > 1 and self.random.random() < 0.3:
                    cut = self.random.randrange(1, len(steps))
                    carried.append((producer, job, steps[cut:], cut))
                threads.append(self._date(producer, job, steps[:cut], 0))
            self.start += HALF_DAY
            # A stream that skips a mark holds network time back.
            marked = [producer for producer in streams if self.random.random() < 0.85]
            self.random.shuffle(marked)
            made.append(Period(tuple(threads), tuple(producer.mark(self.start) for producer in marked)))
        return World(self.seed, self.parameters, tuple(opening), tuple(made))

    def _date(self, producer: Producer, subject: str, steps: list[Step], first: int) -> tuple[Fact, ...]:
        """Give the steps of a thread their times and keys; now and then repeat or contradict one."""
        times = sorted(self._time() for _ in steps)
        facts: list[Fact] = []
        for number, ((kind, data), time) in enumerate(zip(steps, times, strict=True), first):
            occurred_at = time
            if self.late and self.random.random() < 0.1:
                occurred_at = max(LAUNCH, time - self.random.randrange(2 * DAY))
            said = data(occurred_at) if callable(data) else data
            facts.append(producer.fact(kind, occurred_at, subject, f"{subject}:{number}", said))
            if self.random.random() < 0.1:
                facts.append(self.random.choice(facts))
            if self.random.random() < 0.05:
                facts.append(producer.fact(NodeRegistered, occurred_at, "other", f"{subject}:{number}", _NODE))
        return tuple(facts)

    def _time(self) -> int:
        return self.random.randrange(self.start, self.start + HALF_DAY)

    def _thread(self) -> tuple[Producer, str, list[Step]]:
        self.jobs += 1
        if not self.calm and self.random.random() < 0.25:
            amount = self.random.choice((0, 1, 10**9, 10**11))
            data = ChainFactDeclaredData(effect="deposit", asset=ASSET, amount=str(amount), vault="escrow")
            # The thread's subject is the owner; the bank's keys must differ from those of its other deposits.
            bank = Producer(f"bank-{self.jobs}", "bank")
            return bank, self.random.choice(self.consumers), [(ChainFactDeclared, data)]
        script, consumer = self.random.choice(_SCRIPTS), self.random.choice(self.consumers)
        return *self._name(consumer), script(self, consumer)

    def _name(self, consumer: str) -> tuple[Producer, str]:
        """Name a job and who reports it; now and then as another consumer named one not long ago."""
        router, others = self.random.choice(self.routers), list(self.named)[-5:]
        others = [name for name in others if consumer not in self.named[name]]
        if others and self.random.random() < 0.25:
            name = self.random.choice(others)
            self.named[name].append(consumer)
            # Keys are made of the job's id, so what is told of this one has a source of its own.
            return Producer(f"{router.source}-{self.jobs}", router.stream), name
        self.named[f"j{self.jobs}"] = [consumer]
        return router, f"j{self.jobs}"

    # --- scripts: what may befall a job ---

    def _whole(self, consumer: str) -> list[Step]:
        quote = self._quote(0)
        terms = Terms(
            asset="DUST" if self.random.random() < 0.1 else ASSET,
            authority="declared",
            gpu_seconds_max=self._seconds(),
            minimum=quote.minimum,
            operator=quote.operator,
            price=quote.price,
        )
        usage = UsageMeteredData(
            attempt=2 if self.random.random() < 0.1 else 1,
            consumer=consumer,
            gpu_seconds=self._seconds(),
            node=quote.node,
            terms=terms,
        )
        return [(UsageMetered, usage)] * self.random.randint(1, 2)

    def _single(self, consumer: str) -> list[Step]:
        return [*self._begin(consumer, 1), self._usage(consumer, 0), self._usage(consumer, 0)]

    def _triple(self, consumer: str) -> list[Step]:
        steps = [self._usage(consumer, node) for node in self.random.sample(range(4), 3)]
        claims = [self.random.sample(("n0", "n1", "n2", "n3"), self.random.randint(1, 3)), ["n0", "n1"], ["n0", "n2"]]
        for nodes in self.random.sample(claims, 2):
            data = QuorumClaimedData(agreeing=tuple(nodes), attempt=1, consumer=consumer)
            steps.insert(self.random.randint(0, len(steps)), (QuorumClaimed, data))
        return [*self._begin(consumer, 3), *steps, self._usage(consumer, 1)]

    def _failing(self, consumer: str) -> list[Step]:
        failed = JobFailed, JobFailedData(attempt=self.random.choice((1, 1, 2)), consumer=consumer, reason="lost")
        return [*self._begin(consumer, self.random.choice((1, 3))), failed, self._usage(consumer, 0)]

    def _cancelling(self, consumer: str) -> list[Step]:
        steps = [*self._begin(consumer, 1), self._usage(consumer, 0)]
        cancelled = JobCancelled, JobCancelledData(consumer=consumer, reason="changed")
        steps.insert(self.random.randint(0, len(steps)), cancelled)
        return steps

    def _open(self, consumer: str) -> list[Step]:
        return self._begin(consumer, self.random.choice((1, 3)))

    def _stray(self, consumer: str) -> list[Step]:
        return [self._usage(consumer, 0), *self._begin(consumer, 1), self._usage("stranger", 0)]

    def _begin(self, consumer: str, nodes: int) -> list[Step]:
        """Submit and dispatch, at times with a first attempt that is refused."""
        submitted = JobSubmittedData(
            asset=ASSET, authority="declared", consumer=consumer, gpu_seconds_max=self._seconds(), nodes=nodes
        )
        steps: list[Step] = [(JobSubmitted, submitted)]
        unusual = ((1, 1), (2, 1), (1, 2), (1, 2, 3, 4))
        for attempt in self.random.choice(unusual) if self.random.random() < 0.2 else (1,):
            quotes = tuple(self._quote(node) for node in range(nodes))
            dispatched = JobDispatchedData(attempt=attempt, consumer=consumer, quotes=quotes)
            steps.append((JobDispatched, dispatched))
        return steps

    def _quote(self, node: int) -> Quote:
        minimum = self.random.choice((0, 1, 99, 350_000_000))
        least = lowest(minimum, self.parameters)
        price = max(0, least + self.random.choice((0, 0, 0, 1, 1, 17, 17, 10**6, 10**6, -1)))
        if not self.calm and self.random.random() < 0.1:
            price = 10**14
        # Two of four nodes share an operator, so that some claims are too few votes.
        return Quote(node=f"n{node}", operator=f"o{node // 2}", price=str(price), minimum=str(minimum))

    def _usage(self, consumer: str, node: int) -> Step:
        attempt = 2 if self.random.random() < 0.07 else 1
        data = UsageMeteredData(attempt=attempt, consumer=consumer, gpu_seconds=self._seconds(), node=f"n{node}")
        return UsageMetered, data

    def _seconds(self) -> int:
        return self.random.choice((0, 1, 3_599, 3_600, 3_601, self.random.randrange(200_000)))


_SCRIPTS = (
    Builder._whole,
    Builder._whole,
    Builder._single,
    Builder._single,
    Builder._triple,
    Builder._triple,
    Builder._failing,
    Builder._cancelling,
    Builder._open,
    Builder._stray,
)
_NODE = NodeRegisteredData(
    asset=ASSET, authority="declared", gpu_model="g", gpus=1, minimum_price="0", operator="o", supplier="s"
)
