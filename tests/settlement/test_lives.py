"""Regular lives and deposits are decided alike one by one and many at once: the same bytes, the same state.

Worlds are drawn around what parts a regular life from others: money for some of the holds only, or paid in for each,
jobs that are known or asked for twice, nodes that differ, share an operator or disagree, facts that are late, missing,
doubled or of other days; deposits that are refused.
"""

from collections import Counter
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.facts import Producer
from events.codec import encode
from events.columns import read_columns, split_lines
from events.event import Fact
from events.facts import (
    ChainFactDeclared,
    ChainFactDeclaredData,
    DeclaredLine,
    JobCancelled,
    JobCancelledData,
    JobDispatched,
    JobDispatchedData,
    JobFailed,
    JobFailedData,
    JobRedistributed,
    JobRedistributedData,
    JobSubmitted,
    JobSubmittedData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    Terms,
    UsageMetered,
    UsageMeteredData,
)
from events.hashing import hash_leaves
from events.instant import DAY, parse_instant
from ledger.metering import hold_for
from settlement import life_run
from settlement.intake import Accepted, Run
from settlement.lane import Lane
from settlement.lane_run import LaneRuns
from settlement.life_run import BatchLives, Found
from settlement.output import Decided
from tests.settlement.test_whole_jobs import HASH, PARAMETERS

START = parse_instant("2026-10-01T00:00:00.000000Z")
CONSUMERS = ("c-0", "c-1", "c-2")
PRICES = (0, 1, 17, 3_600, 10**6, 10**12, 2**55, 2**63, 10**30)
USUAL = (3_600, 7_200, 10**6, 10**9)
SECONDS = (0, 1, 3_599, 3_600, 90_000, 2**48)
Said = tuple[Fact, bool]


class Lives:
    """Draws facts of jobs: mostly regular ones, each of them a thread of its own."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.odd = self.random.choice((0.0, 0.02, 0.1, 0.4))
        # Of eight nodes.
        self.operators = 6
        self.count = 0
        self.producer = Producer("p")
        self.pays = self.random.random() < 0.5

    def facts(self, jobs: int) -> list[Said]:
        """Return all facts, threads woven into one another."""
        threads = [self.thread() for _ in range(jobs)]
        order = [number for number, thread in enumerate(threads) for _ in thread]
        if self.random.random() < 0.5:
            # Threads that overlap with their neighbours only, as in life.
            order.sort(key=lambda number: number + self.random.random() * 4)
        else:
            self.random.shuffle(order)
        turns = [iter(thread) for thread in threads]
        return [next(turns[number]) for number in order]

    def _is_odd(self) -> bool:
        return self.random.random() < self.odd

    def thread(self) -> list[Said]:
        self.job = f"j{self.random.randrange(60)}" if self._is_odd() else f"j{1_000 + self.count}"
        self.consumer = self.random.choice(CONSUMERS)
        self.time = START + self.random.randrange(2 * DAY)
        self.nodes = 1 if self.random.random() < 0.5 else self.random.randint(1, 5)
        kinds = [self._single, self._single, self._fail, self._cancel, self._withdraw, self._whole]
        if self.odd:
            kinds.append(self._overreach)
        shared = (self.nodes > 1 or self._is_odd()) and self.random.random() < 0.7
        facts = self._shared() if shared else self.random.choice(kinds)()
        if self.pays:
            facts.insert(self.random.randint(0, 1), self._pay(facts))
        if self._is_odd():
            facts.insert(self.random.randint(0, len(facts)), self._stray())
        if len(facts) > 1 and self._is_odd():
            del facts[self.random.randrange(len(facts))]
        if self._is_odd():
            self.random.shuffle(facts)
        return facts

    def _say(self, kind: type[Any], data: Any, subject: str | None = None) -> Said:
        self.count += 1
        self.time += self.random.choice((0, 1, 60_000_000))
        time = self.time + (DAY if self._is_odd() else 0)
        return self.producer.fact(kind, time, subject or self.job, f"k{self.count}", data), self._is_odd()

    def _pay(self, facts: list[Said]) -> Said:
        """Pay in what a job will hold, or less."""
        first = facts[0][0]
        if isinstance(first, UsageMetered):
            assert first.data.terms is not None
            held = hold_for(int(first.data.terms.price), first.data.terms.gpu_seconds_max)
        else:
            second = facts[1][0]
            quotes = second.data.quotes if isinstance(second, JobDispatched) else ()
            assert isinstance(first, JobSubmitted)
            held = sum(hold_for(int(quote.price), first.data.gpu_seconds_max) for quote in quotes)
        # No fact can say more.
        amount = min(held or 1, 10**39 - 1)
        data = ChainFactDeclaredData(effect="deposit", asset="OMNI", amount=str(amount), vault="escrow")
        if self._is_odd():
            line = DeclaredLine(account="burn:pending", amount="1")
            odd: dict[str, Any] = self.random.choice(
                [
                    {"amount": self.random.choice(("0", str(amount - 1), str(2**63), str(10**38)))},
                    {"asset": "SOL"},
                    {"vault": "treasury"},
                    {"role": "node"},
                    {"to": "treasury"},
                    {"lines": (line,)},
                ]
            )
            data = msgspec.structs.replace(data, **odd)
        return self._say(ChainFactDeclared, data, self.consumer)

    def _attempt(self) -> int:
        return 2 if self._is_odd() else 1

    def _begin(self) -> list[Said]:
        self.random.shuffle(names := [f"n{number}" for number in range(8)])
        quotes = []
        for name in names[: self.nodes]:
            price = self.random.choice(PRICES if self._is_odd() else USUAL)
            minimum = price if self._is_odd() else self.random.choice((0, price // 2))
            operator = "o" if self._is_odd() else f"o{int(name[1:]) % self.operators}"
            quotes.append(Quote(node=name, operator=operator, price=str(price), minimum=str(minimum)))
        if self._is_odd():
            quotes.append(quotes[0])
        self.names = [quote.node for quote in quotes]
        return [self.submit(), self.dispatch(quotes)]

    def submit(self) -> Said:
        data = JobSubmittedData(
            asset="SOL" if self._is_odd() else "OMNI",
            authority="owner" if self._is_odd() else "declared",
            consumer=self.consumer,
            gpu_seconds_max=self._seconds(),
            nodes=self.nodes + self._is_odd(),
        )
        return self._say(JobSubmitted, data)

    def dispatch(self, quotes: list[Quote]) -> Said:
        hash_of = self.random.choice((HASH, "cd" * 32)) if self._is_odd() else self.random.choice((None, HASH))
        data = JobDispatchedData(
            attempt=self._attempt(), consumer=self.consumer, quotes=tuple(quotes), params_hash=hash_of
        )
        return self._say(JobDispatched, data)

    def _seconds(self) -> int:
        return self.random.choice(SECONDS) if self._is_odd() else self.random.randrange(1, 100_000)

    def _usage(self, node: str) -> Said:
        data = UsageMeteredData(attempt=self._attempt(), consumer=self.consumer, gpu_seconds=self._seconds(), node=node)
        return self._say(UsageMetered, data)

    def _single(self) -> list[Said]:
        return [*self._begin(), self._usage("stranger" if self._is_odd() else self.names[0])]

    def _whole(self) -> list[Said]:
        """Arrive whole: what it holds for a moment is more than what it costs, mostly."""
        terms = Terms(
            asset="SOL" if self._is_odd() else "OMNI",
            authority="declared",
            gpu_seconds_max=self._seconds(),
            minimum="0",
            operator="o",
            price=str(self.random.choice(PRICES if self._is_odd() else USUAL)),
        )
        data = UsageMeteredData(
            attempt=self._attempt(), consumer=self.consumer, gpu_seconds=self._seconds(), node="n", terms=terms
        )
        return [self._say(UsageMetered, data)]

    def _shared(self) -> list[Said]:
        facts = self._begin()
        self.random.shuffle(metered := list(self.names))
        facts += [self._usage(node) for node in metered]
        self.random.shuffle(agreeing := list(self.names))
        if self._is_odd():
            agreeing[0] = self.random.choice(("stranger", agreeing[-1]))
        if len(agreeing) > 1 and self._is_odd():
            agreeing = agreeing[1:]
        data = QuorumClaimedData(agreeing=tuple(agreeing), attempt=self._attempt(), consumer=self.consumer)
        # Of another stream, it may come before what it is about.
        place = self.random.randint(2, len(facts)) if self.nodes > 1 and self.random.random() < 0.3 else len(facts)
        facts.insert(place, self._say(QuorumClaimed, data))
        return facts

    def _fail(self) -> list[Said]:
        data = JobFailedData(attempt=self._attempt(), consumer=self.consumer, reason="lost")
        return [*self._begin(), self._say(JobFailed, data)]

    def _cancel(self) -> list[Said]:
        return [*self._begin(), self._say(JobCancelled, JobCancelledData(consumer=self.consumer, reason="changed"))]

    def _withdraw(self) -> list[Said]:
        return [self.submit(), self._say(JobCancelled, JobCancelledData(consumer=self.consumer, reason="early"))]

    def _overreach(self) -> list[Said]:
        """Ask for what no column holds, and perhaps nobody has."""
        price = self.random.choice((2**61, 10**30, 10**30, 10**30))
        quotes = [
            Quote(node=f"n{number}", operator="o", price=str(price >> number), minimum=str(self._is_odd() * price))
            for number in range(self.nodes)
        ]
        cancelled = JobCancelledData(consumer=self.consumer, reason="changed")
        return [self.submit(), self.dispatch(quotes), self._say(JobCancelled, cancelled)]

    def _stray(self) -> Said:
        """Say something that no regular life holds."""
        owner = self.random.choice(CONSUMERS)
        again = JobRedistributedData(attempt=1, consumer=self.consumer, reason="lost")
        return self.random.choice(
            [
                (self._deposit(owner), False),
                *self._whole(),
                self._say(JobRedistributed, again),
                self._usage("n0"),
                self.submit(),
            ]
        )

    def _deposit(self, owner: str) -> Fact:
        amount = self.random.choice((10**9, 10**15))
        return self.producer.deposit(self.time, owner, "OMNI", amount, f"d{self.count}")


def new_lane(money: list[int], oldest_open: int) -> Lane:
    lane = Lane(0, PARAMETERS, HASH)
    for consumer, amount in zip(CONSUMERS, money, strict=True):
        lane.state.credit(consumer, amount)
    lane.state.oldest_open = oldest_open
    return lane


def decide_alone(lane: Lane, said: list[Said]) -> bytes:
    return b"".join(lane.take(Accepted(fact, parse_instant(fact.occurred_at), late), START).data for fact, late in said)


def decide_in_runs(lane: Lane, said: list[Said], ends: list[int]) -> Decided:
    """Decide on batches, the ends of which are given; each is one or two runs, as where a mark stands between."""
    runs, decided = LaneRuns(lane, PARAMETERS, HASH), list[Decided]()
    for start, end in zip([0, *ends], [*ends, len(said)], strict=True):
        part = said[start:end]
        data = b"".join(encode(fact) + b"\n" for fact, _ in part)
        batch, middle = read_columns(data, *split_lines(data)), len(part) * 2 // 3
        for first, last in ((0, middle), (middle, len(part))):
            late = np.array([late for _, late in part[first:last]], dtype=np.bool_)
            if first < last:
                decided.append(runs.take(batch, Run(first, last, late), START))
    return Decided.join(decided)


def state_of(lane: Lane, said: list[Said]) -> dict[str, Any]:
    """Return all that a lane remembers; which jobs it knows, among those that were named."""
    state, names = lane.state, {fact.subject for fact, _ in said}
    return {
        "available": {consumer: amount for consumer, amount in state.available.items() if amount},
        "jobs": {place: state.open_job(*place) for place in list(state.jobs)},
        "known": {(c, j) for c in CONSUMERS for j in names if state.knows_job(c, j)},
        "closed": len(state.closed),
        "ended": state.ended,
        "spends": state.spends,
        "waiting": state.waiting,
        "epochs": {epoch: (total.fee, total.burn, total.digest()) for epoch, total in state.epochs.items()},
    }


class Checked(NamedTuple):
    """How many facts were taken at once, how many lives went on so from another run, and what was decided."""

    taken: int
    went_on: int
    decided: Counter[str]


def check(said: list[Said], money: list[int], closed_days: int, cuts: list[int]) -> Checked:
    """Decide both ways."""
    ends = sorted(cut % len(said) for cut in cuts)
    one, other = (new_lane(money, START // DAY + closed_days) for _ in range(2))
    taken = went_on = 0
    take = BatchLives.take

    def count(lives: BatchLives, found: Found, late: Any) -> Any:
        nonlocal taken, went_on
        taken += int(found.here.sum())
        went_on += int((found.before > 0).sum())
        return take(lives, found, late)

    expected = decide_alone(one, said)
    with patch.object(life_run, "LIVES_MIN", 0), patch.object(BatchLives, "take", count):
        found = decide_in_runs(other, said, ends)
    assert found.data.split(b"\n") == expected.split(b"\n")
    assert found.hashes is not None
    assert found.hashes.tobytes() == hash_leaves(expected, *split_lines(expected)).tobytes()
    assert state_of(one, said) == state_of(other, said)
    decided = Counter(line.rpartition(b'"')[0].rpartition(b'"')[2].decode() for line in expected.splitlines())
    return Checked(taken, went_on, decided)


MONEY = st.lists(st.sampled_from([0, 10**6, 10**11, 2**63, 10**24, 10**40]), min_size=3, max_size=3)


@given(st.integers(0, 2**32), st.integers(1, 40), MONEY, st.integers(0, 2), st.lists(st.integers(0, 500), max_size=3))
@settings(max_examples=150, deadline=None)
def test_many_at_once_are_as_one_by_one(
    seed: int, jobs: int, money: list[int], closed_days: int, cuts: list[int]
) -> None:
    check(Lives(seed).facts(jobs), money, closed_days, cuts)


def test_the_worlds_are_neither_all_regular_nor_all_odd() -> None:
    """Lives are taken at once beside facts that are refused, or the test above would say little."""
    both = taken = went_on = 0
    decided: Counter[str] = Counter()
    for seed in range(50):
        mine = check(Lives(seed).facts(25), [10**24, 10**24, 10**11], 0, [seed * 7])
        taken, went_on = taken + mine.taken, went_on + mine.went_on
        decided += mine.decided
        both += mine.taken > 0 and mine.decided["DecisionRefused"] > 0
    assert both >= 12
    assert taken >= 50 * 12
    assert went_on >= 50 * 2
    kinds = ("DepositCredited", "EscrowFunded", "JobSettled", "JobRefunded", "DecisionRefused")
    assert min(decided[kind] for kind in kinds) >= 50


@pytest.mark.parametrize(("money", "brought", "at_once"), [(10**20, 0, 31), (10**40, 0, 30), (10**30, 10**15, 30)])
def test_who_asks_for_more_than_he_can_have_goes_with_the_others(money: int, brought: int, at_once: int) -> None:
    """He is refused with the balance of his turn; where he may come to have it, all that is his goes one by one."""
    lives = Lives(0)
    lives.odd, lives.operators = 0.0, 8
    said = []
    for number in range(30):
        lives.job, lives.consumer, lives.time, lives.nodes = f"j{number}", f"c-{1 + number % 2}", START, 1
        said += lives._single()
    lives.job, lives.consumer = "huge", "c-0"
    huge = [lives.submit(), lives.dispatch([Quote(node="n", operator="o", price=str(10**30 * 3_600), minimum="0")])]
    seconds = huge[0][0].data.gpu_seconds_max  # type: ignore[attr-defined]
    huge.append(lives._say(JobCancelled, JobCancelledData(consumer="c-0", reason="changed")))
    for place, fact in zip((10, 20, 30), huge, strict=True):
        said.insert(place, fact)
    if brought:
        said.insert(15, (lives.producer.deposit(START, "c-0", "OMNI", brought, "d"), False))
        money = seconds * 10**30 - brought

    taken, went_on, decided = check(said, [money, 10**20, 10**20], 0, [])

    assert (taken, went_on) == (3 * at_once, 1)
    assert decided["DecisionRefused"] == (at_once == 31)
    assert decided["EscrowFunded"] == 30 + (at_once == 30)


def test_what_one_node_metered_is_settled_before_any_verdict() -> None:
    lives = Lives(0)
    lives.odd = 0.0
    said = []
    for number in range(10):
        lives.job, lives.consumer, lives.time, lives.nodes = f"one-{number}", "c-0", START, 1
        said += lives._shared()

    decided = check(said, [10**20] * 3, 0, []).decided

    assert decided == {"EscrowFunded": 10, "JobSettled": 10, "DecisionRefused": 10}


def test_what_may_never_be_granted_holds_up_nobody() -> None:
    """One job that asks for more than all money: it is refused with the balance of its turn, the others are taken."""
    lives = Lives(0)
    lives.odd, lives.operators = 0.0, 8
    said = [fact for _ in range(20) for fact in lives.thread()]
    lives.consumer, lives.job, lives.nodes = "c-0", "huge", 1
    quote = Quote(node="n", operator="o", price=str(10**30), minimum="0")
    said += [lives.submit(), lives.dispatch([quote]), *(fact for _ in range(20) for fact in lives.thread())]

    checked = check(said, [10**20] * 3, 0, [])

    assert checked.decided["DecisionRefused"] == 1
    assert checked.taken == len(said) - 2


@pytest.mark.parametrize("lacking", [0, 1])
def test_what_is_paid_in_for_each_job_covers_it(lacking: int) -> None:
    """Nobody has anything before: each deposit is there for the job behind it. Who lacks one unit goes one by one."""
    lives = Lives(0)
    lives.odd, lives.operators, lives.pays = 0.0, 8, True
    said = []
    for number in range(30):
        lives.consumer = CONSUMERS[number % 2]
        lives.job, lives.time, lives.nodes = f"j{number}", START, 1 + number % 3
        life = lives._shared() if number % 3 else lives._single()
        said += [lives._pay(life), *life]
    paid = said[0][0]
    assert isinstance(paid, ChainFactDeclared)
    less = msgspec.structs.replace(paid.data, amount=str(int(paid.data.amount) - lacking))
    said[0] = lives._say(ChainFactDeclared, less, paid.subject)

    checked = check(said, [0, 0, 0], 0, [])

    # Each batch is two runs (see `decide_in_runs`): what lacks in the first is made up for by what jobs give back.
    mine = [paid.subject in (fact.subject, getattr(fact.data, "consumer", "")) for fact, _ in said]  # type: ignore[attr-defined]
    alone = len(said) - checked.taken
    assert sum(mine[: len(said) * 2 // 3]) <= alone < sum(mine) if lacking else alone == 0
    assert (checked.decided["DecisionRefused"] > 0) == bool(lacking)
