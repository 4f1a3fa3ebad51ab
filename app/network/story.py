"""A seeded network with known ground truth: facts in the order of report, and what must come of them.

Three streams report: the desk (money, orders, rulings) and two routers (nodes, validators, jobs). They tell facts and
never a decision. Nothing is random but by the seed.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from app.facts import Producer
from app.network.actors import HOUR, Cast, gather
from app.network.closing import Closing, tell_closing
from app.network.desk import Desk
from app.network.jobs import Jobs
from app.network.lives import Lives
from app.network.reports import Reports
from app.network.stakes import OpenCase, Stakes
from app.network.thread import Duties, Outcome, Shared
from app.network.truth import DutySum, JobSums, PlantedCase, Truth
from events.event import Fact, Role
from events.instant import DAY, MICROSECONDS, parse_instant
from ledger.parameters import Parameters

__all__ = ["Network", "simulate"]

# One fact in so many is told twice.
TWICE = 50
NODES_MIN, VALIDATORS_MIN = 14, 8


@dataclass(frozen=True, slots=True)
class Network:
    """What the network reports, and the truth about it."""

    parameters: Parameters
    facts: tuple[Fact, ...]
    truth: Truth
    cast: Cast


def simulate(
    parameters: Parameters, jobs: int, seed: int, days: int = 92, *, nodes: int = 24, validators: int = 12,
    mark_seconds: int = 86_400,
) -> Network:  # fmt: skip
    """Make up a network from the launch on; the same for the same arguments.

    `parameters` are those of `parameters_for` the same seed. Marks stand every `mark_seconds` on every stream and go
    on until all windows have passed. Needs at least 14 nodes, 8 validators and 12 days.
    """
    assert nodes >= NODES_MIN
    assert validators >= VALIDATORS_MIN
    assert DAY % (mark_seconds * MICROSECONDS) == 0
    return _Story(parameters, seed, days, nodes, validators, mark_seconds).tell(jobs)


class _Story:
    """Puts the parts together."""

    def __init__(
        self, parameters: Parameters, seed: int, days: int, nodes: int, validators: int, mark_seconds: int
    ) -> None:
        self._parameters = parameters
        self._random = Random(f"network {seed}")
        self._start = parse_instant(parameters.launched_at)
        self._end = self._start + days * DAY
        self._cast = gather(self._random, parameters, seed, nodes, validators, self._start, self._end)
        keys = {signer.key for signer in self._cast.foundation}
        assert keys == set(parameters.foundation.keys), "the foundation's keys are those of the seed"
        self._reports = Reports(parameters, self._start, mark_seconds * MICROSECONDS)
        self._stakes = Stakes(parameters)
        self._desk = Desk(parameters, self._reports, self._stakes, self._cast)
        self._duties = Duties()
        self._routers = [Producer("router-eu"), Producer("router-us")]
        self._shared = Shared(parameters.unit.asset, self._reports, self._stakes, self._desk, self._duties)

    def tell(self, jobs: int) -> Network:
        """Tell everything, in the order in which one part needs another's figures."""
        span = range(self._start, self._end)
        lives = Lives(self._random, self._parameters, self._shared, self._cast, self._routers[0], span)
        lives.tell()
        outcomes = self._tell_jobs(jobs, lives)
        cases = list(self._stakes.cases.values())
        for case in [case for case in cases if case.plot == "wrong result"][:1]:
            lives.misrule(case)
        last = self._stakes.run()
        closing = tell_closing(
            self._random, self._parameters, self._shared, self._cast, outcomes, (self._start, self._end)
        )
        end = (max(last + self._parameters.epoch.return_seconds * MICROSECONDS, self._end) // DAY + 2) * DAY
        return self._finish(outcomes, closing, max(end, closing.end))

    def _tell_jobs(self, jobs: int, lives: Lives) -> list[Outcome]:
        told = Jobs(self._random, self._shared, self._cast, self._routers, 10**self._parameters.unit.decimals)
        first, last = self._start + DAY, self._end - 30 * HOUR
        begins = sorted(self._random.randrange(first, last) for _ in range(jobs))
        for number, (plot, at) in enumerate(zip(told.deal(jobs), begins, strict=True)):
            told.tell(number, plot, at)
        leaver, runner = self._cast.node("leaver"), self._cast.node("runner")
        span = self._end - self._start
        told.tell_leaving(jobs, runner, self._start + span * 20 // 100 + HOUR, None)
        told.tell_leaving(jobs + 1, leaver, self._start + span * 45 // 100, lives.retire)
        return told.outcomes

    def _finish(self, outcomes: Sequence[Outcome], closing: Closing, end: int) -> Network:
        producers = [self._desk.producer, *self._routers]
        opening = [producer.register(self._start) for producer in producers]
        facts = [*opening, *self._reports.in_order(producers, end)]
        # Some are told again at once, some at the very end.
        again = self._random.sample(range(len(facts)), len(facts) // TWICE)
        at_once, at_last = set(again[::2]), again[1::2]
        told = [fact for number, fact in enumerate(facts) for _ in range(2 if number in at_once else 1)]
        told += [facts[number] for number in at_last]
        return Network(self._parameters, tuple(told), self._truth(outcomes, closing, len(again)), self._cast)

    def _truth(self, outcomes: Sequence[Outcome], closing: Closing, twice: int) -> Truth:
        cases = [_planted(case) for case in self._stakes.cases.values()]
        sums = self._desk.sums
        return Truth(
            cases=tuple(sorted(cases, key=lambda case: (case.proposed_at, case.id))),
            untouched=self._untouched(cases),
            refused=dict(self._reports.refused),
            jobs=_sum_jobs(outcomes, closing),
            duties={key: DutySum(*counts) for key, counts in sorted(self._duties.sums.items())},
            balances={place: amount for place, amount in sorted(closing.balances.items()) if amount},
            deposited=sums["deposited"],
            staked=sums["staked"],
            withdrawn=sums["withdrawn"],
            paid_out=sums["paid_out"],
            burned=sums["burned"],
            swept=sums["swept"],
            late=self._reports.late,
            twice=twice,
        )

    def _untouched(self, cases: Sequence[PlantedCase]) -> frozenset[tuple[Role, str]]:
        guilty = {(case.role, case.accused) for case in cases if case.guilty}
        everybody: list[tuple[Role, str]] = [(one.role, one.id) for one in self._cast.nodes if one.kind != "declared"]
        everybody += [(one.role, one.id) for one in self._cast.validators if one.kind != "liar"]
        return frozenset(everybody) - guilty


def _planted(case: OpenCase) -> PlantedCase:
    assert case.outcome is not None
    upheld = case.outcome == "upheld"
    return PlantedCase(
        id=case.id,
        role=case.role,
        accused=case.accused,
        job=case.job,
        attempt=case.attempt,
        cause=case.cause,
        plot=case.plot,
        guilty=case.guilty,
        outcome=case.outcome,
        bps=case.bps,
        basis=case.basis,
        amount=case.amount,
        paid=tuple(case.paid),
        burned=case.amount - sum(amount for _, amount in case.paid) if upheld else 0,
        proposed_at=case.proposed_at,
        decided_at=case.decided_at,
        suspends=case.suspends,
    )


def _sum_jobs(outcomes: Sequence[Outcome], closing: Closing) -> JobSums:
    endings = Counter(outcome.ending for outcome in outcomes)
    assert "open" not in endings
    money: defaultdict[str, int] = defaultdict(int)
    for line in closing.lines:
        money["gross"] += line.gross
        money["burn"] += line.burn
        money["fee"] += line.fee
        money["net"] += line.net
    return JobSums(
        submitted=len(outcomes),
        settled=endings["settled"],
        failed=endings["failed"],
        cancelled=endings["cancelled"],
        redistributed=sum(outcome.redistributed for outcome in outcomes),
        gross=money["gross"],
        burn=money["burn"],
        fee=money["fee"],
        net=money["net"],
    )
