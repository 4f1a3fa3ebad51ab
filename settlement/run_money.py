"""The money of consumers through a run: what is decided at once moves, and what the facts beside that may take.

    available before + what was moved, at each turn ≥ Σ of what the other facts may come to take

What may never be granted takes nothing: a claim above all that the consumer could ever have meanwhile, which is what is
available, its deposits, and the escrow of its open jobs.
"""

from bisect import bisect_left
from collections.abc import Iterable, KeysView
from functools import cached_property
from itertools import accumulate
from operator import sub
from typing import NamedTuple

import numpy as np

from events.event import Fact
from events.facts import ChainFactDeclared, JobDispatched, JobSubmitted, UsageMetered
from events.orders import WithdrawalOrdered
from events.shapes import NOWHERE
from ledger.bps import Integers
from ledger.metering import hold_for
from ledger.sums import add_up
from settlement.answers import Answers
from settlement.intake import Accepted
from settlement.jobs import LaneState

__all__ = ["Claims", "Moves", "Names", "payer_of"]


class Names(NamedTuple):
    """Texts, and the number of each."""

    texts: list[str]
    numbers: dict[str, int]


class Moves:
    """What is decided at once does to money: made for one consumer as it is asked for, for all in the end."""

    def __init__(self, state: LaneState, lines: Answers, consumers: Integers, names: Names) -> None:
        """Take decisions in the order of their facts; `consumers`: the number of each one's consumer in `names`."""
        self._available, self._lines = state.available, lines
        self._numbers = names.numbers
        own = np.flatnonzero(np.bincount(consumers, minlength=len(names.texts)))
        self._places = np.full(len(names.texts), NOWHERE)
        self._places[own] = np.arange(len(own))
        # Of each decision the place of its consumer.
        self._at = self._places[consumers]
        self._names = list(map(names.texts.__getitem__, own.tolist()))
        self._followed: dict[str, _Followed] = {}

    def short(self, claims: "Claims") -> set[str]:
        """Return whose money may not be enough for what is taken, if what others claim is taken too."""
        has = self._available.get
        # At first nothing that comes back is counted on.
        most = self._add_up(np.maximum(self._taken, 0))
        short = {name for name, amount in zip(self._names, most, strict=True) if amount > has(name, 0)}
        short |= {name for name in claims.consumers() if (place := self._place(name)) >= 0 and most[place]}
        return {name for name in short if not claims.leave(name, self._follow(name).need)}

    def make(self, consumer: str, line: int) -> None:
        """Make what the facts before a line move of a consumer's money."""
        if self._place(consumer) >= 0:
            self._give(consumer, self._follow(consumer).move(line))

    def make_all(self) -> None:
        """Make what is left to be moved."""
        left = self._add_up(self._lines.left)
        for consumer, followed in self._followed.items():
            left[self._place(consumer)] -= followed.made()
        available = self._available
        for consumer, amount in zip(self._names, left, strict=True):
            if amount:
                available[consumer] = reached = available.get(consumer, 0) + amount
                assert reached >= 0

    @cached_property
    def _taken(self) -> Integers:
        """What each decision takes at its turn."""
        return np.asarray(self._lines.back - self._lines.left)

    def _place(self, consumer: str) -> int:
        """Return a consumer's place among those whose money is moved, or `NOWHERE`."""
        number = self._numbers.get(consumer)
        return NOWHERE if number is None else int(self._places[number])

    def _add_up(self, amounts: Integers) -> list[int]:
        """Return the sum of the amounts by consumer."""
        return add_up(self._at, amounts, len(self._names))

    def _follow(self, consumer: str) -> "_Followed":
        if consumer not in self._followed:
            ends, columns = self._parted
            place = self._place(consumer)
            mine = slice(ends[place - 1] if place else 0, ends[place])
            self._followed[consumer] = _Followed(*(column[mine].tolist() for column in columns))
        return self._followed[consumer]

    @cached_property
    def _parted(self) -> tuple[list[int], list[Integers]]:
        """Where each consumer's decisions end, consumer by consumer: their facts, what is left, and what is taken."""
        order = np.argsort(self._at, kind="stable")
        columns = [column[order] for column in (self._lines.fact, self._lines.left, self._taken)]
        return np.bincount(self._at).cumsum().tolist(), columns

    def _give(self, consumer: str, amount: int) -> None:
        if amount:
            available = self._available.get(consumer, 0) + amount
            assert available >= 0
            self._available[consumer] = available


class _Followed:
    """The moves of one consumer, decision by decision: what is left, and what is taken for it, in base units."""

    def __init__(self, facts: list[int], left: list[int], taken: list[int]) -> None:
        self._facts, self._sums, self._place = facts, [0, *accumulate(left)], 0
        self.need: int = max(0, *map(sub, taken, self._sums))

    def move(self, line: int) -> int:
        """Go on as far as before a line; return what that moves."""
        before = self.made()
        self._place = bisect_left(self._facts, line, self._place)
        return self.made() - before

    def made(self) -> int:
        """Return what was moved so far."""
        return self._sums[self._place]


def payer_of(fact: Fact) -> str | None:
    """Return the consumer whose money a fact may take, by what is available at its turn."""
    if isinstance(fact, JobDispatched) or (isinstance(fact, UsageMetered) and fact.data.terms is not None):
        return fact.data.consumer
    return fact.subject if isinstance(fact, WithdrawalOrdered) else None


class Claims:
    """What facts that go one by one may come to take of their consumers' money, and what they may bring."""

    def __init__(self, state: LaneState, facts: Iterable[Accepted]) -> None:
        self._state = state
        self._claims: dict[str, list[int]] = {}
        self._brought: dict[str, int] = {}
        # What a dispatch holds depends on what its job asked for.
        self._asked: dict[tuple[str, str], int] = {}
        self._named: set[tuple[str, str]] = set()
        for accepted in facts:
            self._read(accepted.fact)

    def name(self, consumer: str, job_id: str) -> None:
        """Count on it that an open job may end."""
        self._asked_for(consumer, job_id)

    def consumers(self) -> KeysView[str]:
        """Return whose money is claimed."""
        return self._claims.keys()

    def leave(self, consumer: str, need: int) -> bool:
        """Tell whether a consumer can pay so much for sure."""
        claims = self._claims.get(consumer)
        if claims:
            most = self.most(consumer)
            need += sum(claim for claim in claims if claim <= most)
        return need <= self._state.available.get(consumer, 0)

    def most(self, consumer: str) -> int:
        """Return the most that a consumer could have at any time."""
        return self._state.available.get(consumer, 0) + self._brought.get(consumer, 0)

    def _read(self, fact: Fact) -> None:
        if isinstance(fact, ChainFactDeclared):
            self.bring(fact.subject, int(fact.data.amount))
        elif isinstance(fact, WithdrawalOrdered):
            self._claim(fact.subject, int(fact.data.amount))
        elif isinstance(fact, JobSubmitted):
            place = fact.data.consumer, fact.subject
            self._asked[place] = max(self._asked.get(place, 0), fact.data.gpu_seconds_max)
        elif isinstance(fact, JobDispatched):
            asked = self._asked_for(fact.data.consumer, fact.subject)
            self._claim(fact.data.consumer, sum(hold_for(int(quote.price), asked) for quote in fact.data.quotes))
        elif isinstance(fact, UsageMetered) and fact.data.terms is not None:
            self._claim(fact.data.consumer, hold_for(int(fact.data.terms.price), fact.data.terms.gpu_seconds_max))
        elif (consumer := getattr(fact.data, "consumer", None)) is not None:  # type: ignore[attr-defined]
            # Whatever is said of an open job may end it.
            self._asked_for(consumer, fact.subject)

    def _asked_for(self, consumer: str, job_id: str) -> int:
        """Return the most GPU-seconds that a job may have asked for, or 0; what is in its escrow may come back."""
        place = consumer, job_id
        job = self._state.jobs.get(place)
        if job is not None and place not in self._named:
            self._named.add(place)
            self.bring(consumer, job.escrow)
        return max(self._asked.get(place, 0), 0 if job is None else job.gpu_seconds_max)

    def _claim(self, consumer: str, amount: int) -> None:
        self._claims.setdefault(consumer, []).append(amount)

    def bring(self, consumer: str, amount: int) -> None:
        """Count on it that a consumer may come to have so much more."""
        self._brought[consumer] = self._brought.get(consumer, 0) + amount
