"""Random small worlds of facts, and a naive model of what they come to.

A world is made from a seed and nothing else. Its facts come in periods; within a period the facts of one *thread* (a
job, a deposit) keep their order and threads may be shuffled; each period ends with marks. `Naive` says in plain
integers what each account must hold in the end: it shares no rule with the product, so that both must be wrong alike
to agree.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from app.facts import Producer, to_line
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
    NodeRegistered,
    NodeRegisteredData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    StreamMarked,
    StreamRegistered,
    Terms,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, MICROSECONDS, parse_instant
from ledger.parameters import Parameters, parameters_hash, parameters_json

__all__ = ["ASSET", "LAUNCH", "Naive", "Period", "World", "build_world", "genesis_of", "parameter_set"]

ASSET = "OMNI"
LAUNCHED_AT = "2026-10-01T00:00:00.000000Z"
LAUNCH = parse_instant(LAUNCHED_AT)
HALF_DAY = DAY // 2
HOMES = {"treasury:ops": "treasury", "fund:ecosystem": "fund", "external": "", "vest:locked:team:x": "vesting"}
# Above all that a calm world can spend, far below what is outside.
AMPLE = 10**15


def parameter_set(burn_bps: int = 200, fee_bps: int = 500, validator_bps: int = 1000, **job: int) -> Parameters:
    """Build a small parameter set."""
    amounts = (350, 200, 150, 300)
    names = ("vest:locked:team:x", "treasury:ops", "fund:ecosystem", "external")
    return Parameters.model_validate(
        {
            "network": "testnet",
            "launched_at": LAUNCHED_AT,
            "unit": {"asset": ASSET, "decimals": 9, "cap": str(10**18)},
            "genesis": [
                {"account": name, "amount": str(amount * 10**15)} for name, amount in zip(names, amounts, strict=True)
            ],
            "job": {"burn_bps": burn_bps, "fee_bps": fee_bps, "attempts_max": 3} | job,
            "waterfall": {"validator_bps": validator_bps},
            "epoch": {"grace_seconds": 1800, "horizon_seconds": 2_678_400},
        }
    )


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

    def facts(self, order: Random | None = None) -> list[Fact]:
        """Return the facts in an order of arrival that the world allows; the same one where none is given."""
        random = order or Random(self.seed)
        arrived = list(self.opening)
        for period in self.periods:
            arrived += _merge(period.threads, random)
            arrived += period.marks
        return arrived

    def interleaved(self, order: Random) -> list[Fact]:
        """Merge whole streams, marks and all, in any order that each stream's own facts allow."""
        streams: dict[str, list[Fact]] = {}
        for fact in self.facts()[len(self.opening) :]:
            streams.setdefault(fact.stream, []).append(fact)
        return [*self.opening, *_merge(streams.values(), order)]

    def lines(self) -> list[bytes]:
        """Return the facts as lines of a file."""
        return [to_line(fact) for fact in self.facts()]


def build_world(seed: int, *, jobs: int = 12, periods: int = 6, calm: bool = False, late: bool = True) -> World:
    """Make the world of a seed. A calm one has money for all its jobs beforehand, so that order decides nothing."""
    return _Builder(seed, calm, late).build(jobs, periods)


def _merge(threads: Iterable[Iterable[Fact]], order: Random) -> list[Fact]:
    waiting = [list(reversed(list(thread))) for thread in threads]
    tickets = [number for number, thread in enumerate(waiting) for _ in thread]
    order.shuffle(tickets)
    return [waiting[number].pop() for number in tickets]


def _lowest(minimum: int, parameters: Parameters) -> int:
    kept = 10_000 - parameters.job.burn_bps - parameters.job.fee_bps
    return (minimum * 10_000 + kept - 1) // kept


Step = tuple[type[Fact], Any]


class _Builder:
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
        times = sorted(self.random.randrange(self.start, self.start + HALF_DAY) for _ in steps)
        facts: list[Fact] = []
        for number, ((kind, data), time) in enumerate(zip(steps, times, strict=True), first):
            occurred_at = time
            if self.late and self.random.random() < 0.1:
                occurred_at = max(LAUNCH, time - self.random.randrange(2 * DAY))
            facts.append(producer.fact(kind, occurred_at, subject, f"{subject}:{number}", data))
            if self.random.random() < 0.1:
                facts.append(self.random.choice(facts))
            if self.random.random() < 0.05:
                facts.append(producer.fact(NodeRegistered, occurred_at, "other", f"{subject}:{number}", _NODE))
        return tuple(facts)

    def _thread(self) -> tuple[Producer, str, list[Step]]:
        self.jobs += 1
        if not self.calm and self.random.random() < 0.25:
            amount = self.random.choice((0, 1, 10**9, 10**11))
            data = ChainFactDeclaredData(effect="deposit", asset=ASSET, amount=str(amount), vault="escrow")
            # The thread's subject is the owner; the bank's keys must differ from those of its other deposits.
            bank = Producer(f"bank-{self.jobs}", "bank")
            return bank, self.random.choice(self.consumers), [(ChainFactDeclared, data)]
        script = self.random.choice(_SCRIPTS)
        return self.random.choice(self.routers), f"j{self.jobs}", script(self, self.random.choice(self.consumers))

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
        lowest = _lowest(minimum, self.parameters)
        price = max(0, lowest + self.random.choice((0, 0, 0, 1, 1, 17, 17, 10**6, 10**6, -1)))
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
    _Builder._whole,
    _Builder._whole,
    _Builder._single,
    _Builder._single,
    _Builder._triple,
    _Builder._triple,
    _Builder._failing,
    _Builder._cancelling,
    _Builder._open,
    _Builder._stray,
)
_NODE = NodeRegisteredData(
    asset=ASSET, authority="declared", gpu_model="g", gpus=1, minimum_price="0", operator="o", supplier="s"
)


class Naive:
    """What a world comes to: `money[account, vault]` and, per closed epoch, `closed[epoch] = (pool, treasury)`."""

    def __init__(self, parameters: Parameters) -> None:
        self.rules = parameters
        self.money: Counter[tuple[str, str]] = Counter()
        self.closed: dict[int, tuple[int, int]] = {}
        self._said: dict[tuple[str, str], Any] = {}
        self._marks: dict[str, int] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._fees: Counter[int] = Counter()
        self._epoch = LAUNCH // DAY
        for line in parameters.genesis:
            self._move("supply:issued", line.account, int(line.amount), "", HOMES[line.account])

    def run(self, facts: Iterable[Fact]) -> "Naive":
        for fact in facts:
            if (fact.source, fact.key) not in self._said:
                self._said[fact.source, fact.key] = fact
                self._take(fact, fact.data, parse_instant(fact.occurred_at))  # type: ignore[attr-defined]
        return self

    def _take(self, fact: Fact, data: Any, time: int) -> None:
        job: Any = self._jobs.get(fact.subject)
        mine = job is not None and job["open"] and job["consumer"] == getattr(data, "consumer", None)
        match fact:
            case StreamRegistered():
                self._marks[fact.stream] = parse_instant(data.since)
            case StreamMarked():
                self._marks[fact.stream] = parse_instant(data.until)
                self._pass_time(min(self._marks.values()))
            case ChainFactDeclared():
                self._move("external", f"consumer:{fact.subject}", int(data.amount), "", "escrow")
            case JobSubmitted() if job is None:
                self._jobs[fact.subject] = {"open": True, "attempt": 0, "holds": None, "size": data.nodes} | {
                    "consumer": data.consumer, "max": data.gpu_seconds_max, "used": {}, "agreed": ()
                }  # fmt: skip
            case JobDispatched() if mine:
                self._dispatch(fact.subject, job, data)
            case UsageMetered() if data.terms is not None:
                self._whole(fact.subject, data, time)
            case UsageMetered() if mine and self._runs(job, data) and data.node in job["holds"]:
                job["used"].setdefault(data.node, data.gpu_seconds)
                self._settle(fact.subject, job, time)
            case QuorumClaimed() if mine and self._runs(job, data) and not job["agreed"]:
                operators = {job["holds"].get(node, (None,))[0] for node in data.agreeing}
                if None not in operators and 3 * len(operators) >= 2 * job["size"]:
                    # One payment per operator: going backwards, the first dispatched node of each is kept.
                    agreed = {job["holds"][node][0]: node for node in reversed(job["holds"]) if node in data.agreeing}
                    job["agreed"] = [node for node in job["holds"] if node in agreed.values()]
                    self._settle(fact.subject, job, time)
            case JobFailed() if mine and data.attempt == job["attempt"]:
                self._refund(fact.subject, job)
            case JobCancelled() if mine and not job["used"]:
                self._refund(fact.subject, job)

    def _runs(self, job: Any, data: Any) -> bool:
        return job["holds"] is not None and bool(data.attempt == job["attempt"])

    def _dispatch(self, name: str, job: Any, data: Any) -> None:
        if job["holds"] is not None or data.attempt != job["attempt"] + 1 or data.attempt > self.rules.job.attempts_max:
            return
        job["attempt"] = data.attempt
        if any(int(q.price) < _lowest(int(q.minimum), self.rules) for q in data.quotes):
            return
        holds = {q.node: (q.operator, int(q.price), self._ceil(int(q.price) * job["max"])) for q in data.quotes}
        total = sum(hold for _, _, hold in holds.values())
        if total <= self.money[f"consumer:{job['consumer']}", "escrow"]:
            job["holds"] = holds
            self._move(f"consumer:{job['consumer']}", f"escrow:{name}", total)

    def _whole(self, name: str, data: Any, time: int) -> None:
        terms, purse = data.terms, f"consumer:{data.consumer}"
        hold = self._ceil(int(terms.price) * terms.gpu_seconds_max)
        fair = int(terms.price) >= _lowest(int(terms.minimum), self.rules) and hold <= self.money[purse, "escrow"]
        if name not in self._jobs and terms.asset == ASSET and data.attempt == 1 and fair:
            job = {"open": True, "size": 1, "used": {data.node: data.gpu_seconds}, "consumer": data.consumer}
            self._jobs[name] = job | {"holds": {data.node: (terms.operator, int(terms.price), hold)}}
            self._move(purse, f"escrow:{name}", hold)
            self._settle(name, self._jobs[name], time)

    def _settle(self, name: str, job: Any, time: int) -> None:
        paid = list(job["holds"]) if job["size"] == 1 else list(job["agreed"])
        if not paid or any(node not in job["used"] for node in paid):
            return
        median = sorted(job["used"][node] for node in paid)[(len(paid) - 1) // 2]
        for node in paid:
            _, price, hold = job["holds"][node]
            gross = min(price * min(job["used"][node], 2 * median) // 3600, hold)
            burn, fee = gross * self.rules.job.burn_bps // 10_000, gross * self.rules.job.fee_bps // 10_000
            self._move(f"escrow:{name}", "burn:pending", burn)
            self._move(f"escrow:{name}", "fee:accrued", fee)
            self._move(f"escrow:{name}", f"payable:supplier:{node}", gross - burn - fee)
            self._fees[max(time // DAY, self._epoch)] += fee
        self._refund(name, job)

    def _refund(self, name: str, job: Any) -> None:
        self._move(f"escrow:{name}", f"consumer:{job['consumer']}", self.money[f"escrow:{name}", "escrow"])
        job["open"] = False

    def _pass_time(self, reached: int) -> None:
        while (self._epoch + 1) * DAY + self.rules.epoch.grace_seconds * MICROSECONDS <= reached:
            pool = self._fees[self._epoch] * self.rules.waterfall.validator_bps // 10_000
            rest = self._fees[self._epoch] - pool
            self._move("fee:accrued", "validator_pool:current", pool)
            self._move("fee:accrued", "treasury:ops", rest)
            self.closed[self._epoch] = pool, rest
            self._epoch += 1

    def _move(self, source: str, target: str, amount: int, out: str = "escrow", into: str = "escrow") -> None:
        self.money[source, out] -= amount
        self.money[target, into] += amount

    def _ceil(self, price_seconds: int) -> int:
        return (price_seconds + 3599) // 3600
