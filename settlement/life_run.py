"""The regular lives of a batch, as a lane takes them: those that its state refuses nothing of.

A life is taken where, whatever is decided on the facts beside it,

    its job is new, its decisions are on time and in their own days' epochs
    per consumer    available before ≥ Σ holds of its lives + Σ of what its other facts may come to take

What may never be granted takes nothing: a claim above all that the consumer could ever have meanwhile, which is what
is available, its deposits, and the escrow of its open jobs. A life that asks for so much is a regular one, of which the
dispatch alone is answered at its turn, since a refusal names what is available. The test is sufficient, not necessary;
where it fails, all of the consumer's facts go one by one. Those see each balance as it is at their turn.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from events.columns import Batch, split_lines
from events.event import Fact
from events.facts import (
    ChainFactDeclared,
    JobDispatched,
    JobSubmitted,
    UsageMetered,
)
from events.hashing import hash_parts, join_texts
from events.orders import WithdrawalOrdered
from ledger.bps import Integers
from ledger.metering import hold_for
from ledger.parameters import Parameters
from ledger.sums import add_up
from settlement.intake import Accepted
from settlement.job_facts import ranges
from settlement.jobs import LaneState
from settlement.life_lines import LifeLines, write_lives
from settlement.lives import Lives, find_lives
from settlement.output import Decided

__all__ = ["LIVES_MIN", "BatchLives", "Moves", "merge", "payer_of"]

# In a batch of fewer facts all go one by one: columns would cost more than they save.
LIVES_MIN = 128


class Moves:
    """What lives do to their consumers' money: made for each as it is asked for, and for all in the end."""

    def __init__(self, state: LaneState, lines: LifeLines, consumers: Integers, names: Sequence[str]) -> None:
        """Take decisions in the order of their facts; `consumers`: the number of each one's consumer in `names`."""
        self._available = state.available
        order = np.argsort(consumers, kind="stable")
        self._facts = lines.fact[order].tolist()
        self._sums = [0, *accumulate(lines.left[order].tolist())]
        firsts = np.flatnonzero(np.diff(consumers[order], prepend=-1))
        numbers, ends = consumers[order[firsts]].tolist(), [*firsts[1:].tolist(), len(order)]
        # By consumer: from where on its moves are still to be made, and where they end.
        self._left = {names[n]: [start, end] for n, start, end in zip(numbers, firsts.tolist(), ends, strict=True)}

    def make(self, consumer: str, line: int) -> None:
        """Make what the facts before a line move of a consumer's money."""
        place = self._left.get(consumer)
        if place is not None:
            end = bisect_left(self._facts, line, *place)
            self._make(consumer, place[0], end)
            place[0] = end

    def make_all(self) -> None:
        """Make what is left to be moved."""
        for consumer, place in self._left.items():
            self._make(consumer, *place)

    def _make(self, consumer: str, start: int, end: int) -> None:
        available = self._available.get(consumer, 0) + self._sums[end] - self._sums[start]
        assert available >= 0
        self._available[consumer] = available


class BatchLives:
    """The regular lives of one batch on one lane's state."""

    def __init__(self, batch: Batch, state: LaneState, parameters: Parameters, params_hash: str) -> None:
        """Find and price them, once for all runs of the batch."""
        self._state = state
        few = sum(map(len, batch.columns.values())) < LIVES_MIN
        self._lives = None if few else find_lives(batch, parameters, params_hash)
        if self._lives is not None:
            self._open(self._lives, write_lives(self._lives, parameters, params_hash))

    def _open(self, lives: Lives, lines: LifeLines) -> None:
        self._lines = lines
        consumer, job = (lives.facts.span(path, lives.submitted) for path in ("data.consumer", "subject"))
        self._names, self._consumers = lives.facts.names, lives.facts.consumers[lives.submitted]
        self._jobs = join_texts(*job).decode("ascii").split("\n")[:-1]
        self._digests = np.ascontiguousarray(hash_parts([consumer, b":", job], len(lives.starts))[:, :16])
        self._escrow = np.zeros(len(lives.starts), dtype=np.int64)
        np.maximum.at(self._escrow, lines.life, -lines.left)
        self._epochs = np.full(len(lives.starts), np.iinfo(np.int64).max)
        np.minimum.at(self._epochs, lines.life, lines.epochs)
        beyond = list(lives.beyond)
        self._beyond, self._at_once = np.isin(lives.dispatched, beyond), ~np.isin(lives.lines, beyond)

    def lines_of(self, chosen: Integers | None = None) -> Integers:
        """Return the lines of all facts of some lives, or of all, but for the dispatches that ask for too much."""
        if self._lives is None:
            return np.empty(0, dtype=np.int64)
        some = slice(None) if chosen is None else chosen
        places = ranges(self._lives.starts[some], self._lives.sizes[some])
        return np.asarray(self._lives.lines[places[self._at_once[places]]])

    def find(self, start: int, end: int, late: npt.NDArray[np.bool_]) -> Integers:
        """Return the lives in [start, end) whose jobs are new and whose decisions are not late."""
        lives = self._lives
        if lives is None:
            return np.empty(0, dtype=np.int64)
        first, last = np.searchsorted(lives.submitted, (start, end)).tolist()
        found = np.arange(first, last)
        found = found[lives.ended[found] < end]
        on_time = ~late[lives.ended[found] - start] & (self._epochs[found] >= self._state.oldest_open)
        dispatched = lives.dispatched[found]
        on_time &= ~((dispatched >= 0) & late[np.maximum(dispatched - start, 0)])
        found = found[on_time]
        if len(found):
            found = found[~self._state.closed.has_many(self._digests[found])]
        jobs = self._state.jobs
        if not jobs:
            return found
        places = zip(found.tolist(), self._consumers[found].tolist(), strict=True)
        return np.array([n for n, c in places if (self._names[c], self._jobs[n]) not in jobs], dtype=np.int64)

    def asked(self, found: Integers) -> dict[int, tuple[str, int]]:
        """Return who asks for too much, and for how much, of lives found; by the lines of their dispatch."""
        lives = self._lives
        if lives is None:
            return {}
        some = found[self._beyond[found]]
        lines, consumers = lives.dispatched[some].tolist(), self._consumers[some].tolist()
        return {line: (self._names[number], lives.beyond[line]) for line, number in zip(lines, consumers, strict=True)}

    def covered(self, found: Integers, others: Iterable[Accepted]) -> Integers:
        """Return those of the lives found whose consumers can pay whatever the other facts come to take.

        Consumers that may come to have what one of these lives should never get are not among them.
        """
        own, places = np.unique(self._consumers[found], return_inverse=True)
        names, needed = [self._names[number] for number in own.tolist()], add_up(places, self._escrow[found], len(own))
        claims = _Claims(self._state, others)
        short = {name for name, need in zip(names, needed, strict=True) if need and not claims.leave(name, need)}
        short |= {consumer for consumer, amount in self.asked(found).values() if amount <= claims.most(consumer)}
        return found[~np.array([name in short for name in names])[places]] if short else found

    def close(self, chosen: Integers) -> tuple["Moves", "LifeLines"]:
        """Take lives: their jobs are closed; return what they move, and their decisions in the order of the facts."""
        assert self._lives is not None
        self._state.closed.add_many(self._digests[chosen])
        taken = np.zeros(len(self._lives.starts), dtype=np.bool_)
        taken[chosen] = True
        rows = np.flatnonzero(taken[self._lines.life])
        rows = rows[np.argsort(self._lines.fact[rows])]
        lines = self._lines.pick(rows)
        return Moves(self._state, lines, self._consumers[lines.life], self._names), lines


def merge(lines: LifeLines, decided: Decided, facts: Sequence[int]) -> Decided:
    """Put what was decided one by one among the lines of lives; `facts`: by decision, the line of its fact."""
    data, leaves = join_texts(lines.data, lines.starts, lines.ends), lines.leaves
    if not facts:
        return Decided(data, leaves)
    assert decided.hashes is not None
    data += decided.data
    starts, ends = split_lines(data)
    order = np.argsort(np.concatenate((lines.fact, facts)), kind="stable")
    return Decided(join_texts(data, starts[order], ends[order]), np.concatenate((leaves, decided.hashes))[order])


def payer_of(fact: Fact) -> str | None:
    """Return the consumer whose money a fact may take, by what is available at its turn."""
    if isinstance(fact, JobDispatched) or (isinstance(fact, UsageMetered) and fact.data.terms is not None):
        return fact.data.consumer
    return fact.subject if isinstance(fact, WithdrawalOrdered) else None


class _Claims:
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
            self._bring(fact.subject, int(fact.data.amount))
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
            self._bring(consumer, job.escrow)
        return max(self._asked.get(place, 0), 0 if job is None else job.gpu_seconds_max)

    def _claim(self, consumer: str, amount: int) -> None:
        self._claims.setdefault(consumer, []).append(amount)

    def _bring(self, consumer: str, amount: int) -> None:
        self._brought[consumer] = self._brought.get(consumer, 0) + amount
