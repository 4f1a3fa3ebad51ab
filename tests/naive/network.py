"""The life of a whole network in plain integers and dictionaries, one fact at a time, one cut after another.

It is written from the rules alone and shares none of them with the product, so that both must be wrong alike to agree.
It is slow and obvious on purpose. `money` says what each account holds in the end, `decided` what was decided (kind,
subject, the numbers that matter), `refused` why facts were refused, `closed` the two parts of each
closed epoch's fees.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from events.event import Fact
from events.facts import ChainFactDeclared, GenesisDeclared, StreamMarked, StreamRegistered
from events.instant import parse_instant
from events.refusal import Reason
from ledger.parameters import Parameters
from tests.naive.jobs import JOB_FACTS, Jobs
from tests.naive.purse import HOMES, Purse
from tests.naive.stakes import Stakes

__all__ = ["Naive"]


class Naive:
    """What a network comes to. `forged` names the facts whose signatures are not their owners'."""

    def __init__(self, parameters: Parameters, forged: Collection[str] = ()) -> None:
        """Begin with the genesis."""
        self.purse = Purse(parameters, forged)
        self.jobs = Jobs(self.purse)
        self.stakes = Stakes(self.purse, self.jobs)
        # How many facts came behind their own streams' marks.
        self.late = 0
        self._said: set[tuple[str, str]] = set()
        self._marks: dict[str, int] = {}
        for line in parameters.genesis:
            self.purse.move(("supply:issued", ""), (line.account, HOMES[line.account]), int(line.amount))

    @property
    def money(self) -> Counter[tuple[str, str]]:
        """Credits − debits by account and vault, with what lanes credited and no cut has seen yet."""
        money = Counter(self.purse.money)
        for _, place, amount in self.purse.coming:
            money[place] += amount
        return money

    @property
    def closed(self) -> dict[int, tuple[int, int]]:
        """Pool and treasury of each closed epoch."""
        return self.purse.closed

    @property
    def decided(self) -> "Counter[tuple[Any, ...]]":
        """How often each decision was taken: (kind, subject, numbers)."""
        return Counter(self.purse.decided)

    @property
    def refused(self) -> dict[str, Reason]:
        """Why facts were refused, by their ids."""
        return self.purse.refused

    def run(self, facts: Iterable[Fact]) -> "Naive":
        """Take facts in the order in which they arrive."""
        for fact in facts:
            if (fact.source, fact.key) not in self._said:
                self._said.add((fact.source, fact.key))
                self._take(fact)
        return self

    def _take(self, fact: Fact) -> None:
        data: Any = fact.data  # type: ignore[attr-defined]
        occurred_at = parse_instant(fact.occurred_at)
        self.late += occurred_at < self._marks.get(fact.stream, occurred_at)
        if isinstance(fact, StreamRegistered | StreamMarked):
            self._marks[fact.stream] = parse_instant(data.since if isinstance(fact, StreamRegistered) else data.until)
            self._pass_time(min(self._marks.values()))
        elif isinstance(fact, JOB_FACTS) or (isinstance(fact, ChainFactDeclared) and data.effect == "deposit"):
            self.jobs.take(fact, data, occurred_at)
        elif not isinstance(fact, GenesisDeclared):
            self.stakes.waiting.append((max(occurred_at, self.purse.now), occurred_at, fact))

    def _pass_time(self, reached: int) -> None:
        """Make each stop of lanes and hub, one after another; at the same time the lane's comes first."""
        while True:
            stop = min(self.jobs.next_stop(), self.stakes.next_cut())
            if stop > reached:
                break
            self.purse.now = max(self.purse.now, stop)
            self.jobs.stop(stop)
            if stop == self.stakes.next_cut():
                self.stakes.cut(stop)
        self.purse.now = max(self.purse.now, reached)
