"""The regular lives of a batch, as a lane takes them: those that its state refuses nothing of.

A batch is taken in runs. Of a life a run takes the facts that stand in it, where, whatever is decided on those beside,

    its job is new, or all its facts before were taken so; its decisions are on time and in their own days' epochs
    per consumer    available before ≥ Σ holds of its lives + Σ of what its other facts may come to take

What has not ended then is `Begun` in the state, until it goes on or somebody asks for it.

What may never be granted takes nothing: a claim above all that the consumer could ever have meanwhile, which is what is
available, its deposits, and the escrow of its open jobs. A life that asks for so much is a regular one if it stands
whole in the run: its dispatch alone is answered at its turn, since a refusal names what is available. The test is
sufficient, not necessary; where it fails, all of the consumer's facts go one by one. Those see each balance as it is
at their turn.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

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
from settlement.job_facts import SUBMITTED, ranges
from settlement.jobs import Begun, LaneState
from settlement.life_lines import LifeLines, write_lives
from settlement.lives import Lives, find_lives
from settlement.output import Decided

__all__ = ["LIVES_MIN", "BatchLives", "Found", "Moves", "merge", "payer_of"]

# In a batch of fewer facts all go one by one: columns would cost more than they save.
LIVES_MIN = 128
Mask = npt.NDArray[np.bool_]


class Moves:
    """What lives do to their consumers' money: made for each as it is asked for, and for all in the end."""

    def __init__(self, state: LaneState, lines: LifeLines, consumers: Integers, names: Sequence[str]) -> None:
        """Take decisions in the order of their facts; `consumers`: the number of each one's consumer in `names`."""
        self._available = state.available
        order = np.argsort(consumers, kind="stable")
        self._facts = lines.fact[order].tolist()
        self._sums = [0, *accumulate(lines.left[order].tolist())]
        firsts = np.flatnonzero(np.diff(consumers[order], prepend=-1))
        numbers, ends = consumers[order[firsts]].tolist(), np.append(firsts, len(order))[1:].tolist()
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


class Found(NamedTuple):
    """What a run has of some lives, by number: how many facts of each were taken before, how many stand in it."""

    start: int
    end: int
    lives: Integers
    before: Integers
    here: Integers

    def pick(self, some: Mask) -> "Found":
        """Return those of some of the lives."""
        return Found(self.start, self.end, self.lives[some], self.before[some], self.here[some])


class BatchLives:
    """The regular lives of one batch on one lane's state."""

    def __init__(self, batch: Batch, state: LaneState, parameters: Parameters, params_hash: str) -> None:
        """Find and price them, once for all runs of the batch."""
        self._state = state
        few = not batch.columns or sum(map(len, batch.columns.values())) < LIVES_MIN
        # Without open jobs a life can only begin.
        none = few or not (state.jobs or batch.columns.keys() >= {JobSubmitted, JobDispatched})
        self._lives = None if none else find_lives(batch, parameters, params_hash, state.jobs)
        if self._lives is not None:
            self._open(self._lives, write_lives(self._lives, parameters, params_hash))

    def _open(self, lives: Lives, lines: LifeLines) -> None:
        self._lines, facts = lines, lives.facts
        consumer, job = (facts.span(path, lives.submitted) for path in ("data.consumer", "subject"))
        self._places, self._names = facts.places_of(lives.submitted), facts.names
        self._consumers = facts.consumers[lives.submitted]
        self._digests = np.ascontiguousarray(hash_parts([consumer, b":", job], len(lives.starts))[:, :16])
        self._escrow = np.zeros(len(lives.starts), dtype=np.int64)
        np.add.at(self._escrow, lives.nodes.life, lives.nodes.hold)
        beyond = list(lives.beyond)
        self._beyond = np.isin(lives.dispatched, beyond)
        # The batch's own facts of lives in their order, and how many of each life come before each.
        life = np.repeat(np.arange(len(lives.starts)), lives.sizes)
        taken = np.arange(len(life)) - np.repeat(np.cumsum(lives.sizes) - lives.sizes, lives.sizes)
        every = lives.lines[ranges(lives.starts, lives.sizes)]
        order = np.argsort(every)[: int(np.count_nonzero(every < facts.own))]
        self._own, self._life, self._taken = every[order], life[order], taken[order]
        self._at_once = ~np.isin(self._own, beyond)

    def lines_of(self, found: Found | None = None) -> Integers:
        """Return the lines of the facts of lives found, or of all, but for the dispatches that ask for too much."""
        if self._lives is None:
            return np.empty(0, dtype=np.int64)
        if found is None:
            return np.asarray(self._own[self._at_once])
        own = slice(*np.searchsorted(self._own, (found.start, found.end)).tolist())
        return np.asarray(self._own[own][self._at_once[own] & self._choose(found.lives)[self._life[own]]])

    def _choose(self, lives: Integers) -> Mask:
        """Return a mask of some lives."""
        mask = np.zeros(len(self._digests), dtype=np.bool_)
        mask[lives] = True
        return mask

    def find(self, start: int, end: int, late: Mask) -> Found:
        """Return the lives with facts in [start, end) that go on as regular ones, and whose decisions are not late."""
        lives, none = self._lives, np.empty(0, dtype=np.int64)
        if lives is None:
            return Found(start, end, none, none, none)
        own = slice(*np.searchsorted(self._own, (start, end)).tolist())
        here = np.bincount(self._life[own], minlength=len(lives.starts))
        before = np.zeros(len(lives.starts), dtype=np.int64)
        # The last to be written is the first of each life.
        before[self._life[own][::-1]] = self._taken[own][::-1]
        found = Found(start, end, numbers := np.flatnonzero(here), before[numbers], here[numbers])
        bad, dispatched = self._is_late(start, end, late), lives.dispatched
        bad |= self._beyond & ((before > 0) | (lives.ended >= end))
        asked = np.flatnonzero(self._beyond & (dispatched >= start) & (dispatched < end))
        bad[asked] |= late[dispatched[asked] - start]
        return self._as_state_has(found.pick(~bad[numbers]))

    def _is_late(self, start: int, end: int, late: Mask) -> Mask:
        """Tell of which lives a decision of the run is late, or would be of a closed epoch."""
        bad, lines = np.zeros(len(self._digests), dtype=np.bool_), self._lines
        rows = np.flatnonzero((lines.fact >= start) & (lines.fact < end))
        rows = rows[late[lines.fact[rows] - start] | (lines.epochs[rows] < self._state.oldest_open)]
        bad[lines.life[rows]] = True
        return bad

    def _as_state_has(self, found: Found) -> Found:
        """Return those of lives that begin and whose jobs are new, or that go on from what was taken of them."""
        jobs, places = self._state.jobs, self._places
        right, new = np.ones(len(found.lives), dtype=np.bool_), found.before == 0
        fresh = found.lives[new]
        right[new] = ~self._state.closed.has_many(self._digests[fresh])
        if not jobs.keys().isdisjoint([places[life] for life in fresh.tolist()]):
            right[new] &= np.array([places[life] not in jobs for life in fresh.tolist()])
        for place in np.flatnonzero(~new).tolist():
            job = jobs.get(places[found.lives[place]])
            right[place] = isinstance(job, Begun) and job.facts == found.before[place]
        return found.pick(right)

    def asked(self, found: Found) -> dict[int, tuple[str, int]]:
        """Return who asks for too much, and for how much, of lives found; by the lines of their dispatch."""
        lives = self._lives
        if lives is None:
            return {}
        some = found.lives[self._beyond[found.lives]]
        lines, consumers = lives.dispatched[some].tolist(), self._consumers[some].tolist()
        return {line: (self._names[number], lives.beyond[line]) for line, number in zip(lines, consumers, strict=True)}

    def covered(self, found: Found, others: Iterable[Accepted]) -> Found:
        """Return those of the lives found whose consumers can pay whatever the other facts come to take.

        Consumers that may come to have what one of these lives should never get are not among them.
        """
        assert self._lives is not None
        numbers, dispatched = found.lives, self._lives.dispatched[found.lives]
        held = np.where((dispatched >= found.start) & (dispatched < found.end), self._escrow[numbers], 0)
        own, places = np.unique(self._consumers[numbers], return_inverse=True)
        names, needed = [self._names[number] for number in own.tolist()], add_up(places, held, len(own))
        claims = _Claims(self._state, others)
        for life in numbers[found.before > 0].tolist():
            claims.name(*self._places[life])
        short = {name for name, need in zip(names, needed, strict=True) if need and not claims.leave(name, need)}
        short |= {consumer for consumer, amount in self.asked(found).values() if amount <= claims.most(consumer)}
        return found.pick(~np.array([name in short for name in names])[places]) if short else found

    def take(self, found: Found) -> tuple["Moves", "LifeLines"]:
        """Take lives as far as the run goes: jobs are closed, or have begun.

        Returns what they move, and the decisions in the order of the facts.
        """
        assert self._lives is not None
        over = (self._lives.ended[found.lives] >= 0) & (self._lives.ended[found.lives] < found.end)
        self._state.closed.add_many(self._digests[found.lives[over]])
        for life in found.lives[over & (found.before > 0)].tolist():
            del self._state.jobs[self._places[life]]
        if not over.all():
            self._begin(self._lives, found.pick(~over))
        lines = self._lines
        taken = self._choose(found.lives)[lines.life] & (lines.fact >= found.start) & (lines.fact < found.end)
        rows = np.flatnonzero(taken)
        rows = rows[np.argsort(lines.fact[rows])]
        lines = lines.pick(rows)
        return Moves(self._state, lines, self._consumers[lines.life], self._names), lines

    def _begin(self, lives: Lives, found: Found) -> None:
        """Keep what has not ended as its lines."""
        some, counts = found.lives, found.before + found.here
        ends = np.cumsum(counts)
        spans = lives.facts.span("", lives.lines[ranges(lives.starts[some], counts)])
        sizes = np.cumsum(spans.ends - spans.starts + 1)
        text, places = join_texts(*spans), [0, *sizes[ends - 1].tolist()]
        dispatched = lives.dispatched[some]
        held = (dispatched >= 0) & ((dispatched < found.end) | (dispatched >= lives.facts.own))
        escrow = np.where(held, self._escrow[some], 0).tolist()
        most = lives.facts.numbers(SUBMITTED, "data.gpu_seconds_max", lives.submitted[some]).tolist()
        for number, life in enumerate(some.tolist()):
            lines = text[places[number] : places[number + 1]]
            self._state.jobs[self._places[life]] = Begun(lines, int(counts[number]), escrow[number], most[number])


def merge(lines: LifeLines, decided: Decided, facts: Sequence[int]) -> Decided:
    """Put what was decided one by one among the lines of lives; `facts`: by decision, the line of its fact."""
    if not facts:
        return Decided(join_texts(lines.data, lines.starts, lines.ends), lines.leaves)
    assert decided.hashes is not None
    order = np.argsort(np.concatenate((lines.fact, facts)), kind="stable")
    starts, ends = (
        np.concatenate((here, there + len(lines.data)))[order]
        for here, there in zip((lines.starts, lines.ends), split_lines(decided.data), strict=True)
    )
    return Decided(
        join_texts(lines.data + decided.data, starts, ends), np.concatenate((lines.leaves, decided.hashes))[order]
    )


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

    def name(self, consumer: str, job_id: str) -> None:
        """Count on it that an open job may end."""
        self._asked_for(consumer, job_id)

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
