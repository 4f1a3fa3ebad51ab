"""The regular lives and deposits of a batch, as a lane takes them: those that its state refuses nothing of.

A batch is taken in runs. Of a life a run takes the facts that stand in it, where, whatever is decided on those beside,

    its job is new, or all its facts before were taken so
    per consumer    available before + what its lives and deposits have moved, at each of their facts
                    ≥ Σ of what its other facts may come to take

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
from events.hashing import Part, Spans, hash_parts, join_texts, render_lines
from events.orders import WithdrawalOrdered
from ledger.bps import Integers
from ledger.metering import hold_for
from ledger.parameters import Parameters
from ledger.sums import add_up
from settlement.answers import Answers
from settlement.deposits import Deposits, find_deposits
from settlement.intake import Accepted
from settlement.job_facts import SUBMITTED, ranges
from settlement.jobs import Begun, LaneState
from settlement.life_lines import write_lives
from settlement.lives import Lives, find_lives
from settlement.output import Decided

__all__ = ["LIVES_MIN", "BatchLives", "Found", "Moves", "merge", "payer_of"]

# In a batch of fewer facts all go one by one: columns would cost more than they save.
LIVES_MIN = 128
Mask = npt.NDArray[np.bool_]


class Moves:
    """What lives and deposits do to money: made for each consumer as it is asked for, and for all in the end."""

    def __init__(self, state: LaneState, lines: Answers, consumers: Integers, names: Sequence[str]) -> None:
        """Take decisions in the order of their facts; `consumers`: the number of each one's consumer in `names`."""
        self._available = state.available
        order = np.argsort(consumers, kind="stable")
        self._facts = lines.fact[order].tolist()
        self._sums = [0, *accumulate(lines.left[order].tolist())]
        firsts = np.flatnonzero(np.diff(consumers[order], prepend=-1))
        numbers, ends = consumers[order[firsts]].tolist(), np.append(firsts, len(order))[1:].tolist()
        # By consumer: from where on its moves are still to be made, and where they end.
        self._left = {names[n]: [start, end] for n, start, end in zip(numbers, firsts.tolist(), ends, strict=True)}

    def needs(self) -> dict[str, int]:
        """Return what consumers need to have before, so that no move leaves them less than nothing."""
        sums = self._sums
        return {name: sums[start] - min(sums[start : end + 1]) for name, (start, end) in self._left.items()}

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


class _Plan(NamedTuple):
    """Lives, and numbered behind them deposits, each a life of one fact.

    By number `consumers` (among `names`), `dispatched` and `ended` (lines, or -1), `escrow` (base units, once all is
    held). `lines`, `lives`, `before`: the batch's own facts in order, whose each is and how many of it come first.
    """

    names: list[str]
    consumers: Integers
    dispatched: Integers
    ended: Integers
    escrow: Integers
    lines: Integers
    lives: Integers
    before: Integers
    answers: Answers

    @staticmethod
    def of_lives(lives: Lives, answers: Answers) -> "_Plan":
        facts, count = lives.facts, len(lives.starts)
        escrow = np.zeros(count, dtype=np.int64)
        np.add.at(escrow, lives.nodes.life, lives.nodes.hold)
        life = np.repeat(np.arange(count), lives.sizes)
        before = np.arange(len(life)) - np.repeat(np.cumsum(lives.sizes) - lives.sizes, lives.sizes)
        every = lives.lines[ranges(lives.starts, lives.sizes)]
        order = np.argsort(every)[: int(np.count_nonzero(every < facts.own))]
        consumers = facts.consumers[lives.submitted]
        own = every[order], life[order], before[order]
        return _Plan(facts.names, consumers, lives.dispatched, lives.ended, escrow, *own, answers)

    @staticmethod
    def of_deposits(deposits: Deposits) -> "_Plan":
        count, lines = len(deposits.consumers), deposits.answers.fact
        none, own = np.zeros(count, dtype=np.int64), (lines, np.arange(count), np.zeros(count, dtype=np.int64))
        return _Plan(deposits.names, deposits.consumers, none - 1, lines, none, *own, deposits.answers)

    def join(self, behind: "_Plan") -> "_Plan":
        """Return these lives, and others behind them."""
        count, numbers = len(self.consumers), {name: number for number, name in enumerate(self.names)}
        places = np.array([numbers.setdefault(name, len(numbers)) for name in behind.names], dtype=np.int64)
        behind = behind._replace(
            consumers=places[behind.consumers],
            lives=behind.lives + count,
            answers=behind.answers._replace(of=behind.answers.of + count),
        )
        consumers, dispatched, ended, escrow, lines, lives, before = (
            np.concatenate(pair) for pair in zip(self[1:-1], behind[1:-1], strict=True)
        )
        order = np.argsort(lines)
        own, answers = (lines[order], lives[order], before[order]), Answers.join((self.answers, behind.answers))
        return _Plan([*numbers], consumers, dispatched, ended, escrow, *own, answers)


class BatchLives:
    """The regular lives and deposits of one batch on one lane's state."""

    def __init__(self, batch: Batch, state: LaneState, parameters: Parameters, params_hash: str) -> None:
        """Find and price them, once for all runs of the batch."""
        self._state = state
        few = not batch.columns or sum(map(len, batch.columns.values())) < LIVES_MIN
        # Without open jobs a life can only begin.
        none = few or not (state.jobs or batch.columns.keys() >= {JobSubmitted, JobDispatched})
        lives = self._lives = None if none else find_lives(batch, parameters, params_hash, state.jobs)
        deposits = find_deposits(None if few else batch.columns.get(ChainFactDeclared), parameters, params_hash)
        self._plan = _Plan.of_deposits(deposits)
        if lives is not None:
            facts = lives.facts
            self._places = facts.places_of(lives.submitted)
            parts = facts.span("data.consumer", lives.submitted), b":", facts.span("subject", lives.submitted)
            self._digests = np.ascontiguousarray(hash_parts(parts, len(lives.starts))[:, :16])
            mine = _Plan.of_lives(lives, write_lives(lives, parameters, params_hash))
            self._plan = mine.join(self._plan) if len(deposits.consumers) else mine
        beyond = [] if lives is None else list(lives.beyond)
        self._jobs = 0 if lives is None else len(lives.starts)
        self._beyond, self._at_once = np.isin(self._plan.dispatched, beyond), ~np.isin(self._plan.lines, beyond)
        # What was made of those found last.
        self._made: tuple[Found, Moves, Answers] | None = None

    def lines_of(self, found: Found | None = None) -> Integers:
        """Return the lines of the facts of lives found, or of all, but for the dispatches that ask for too much."""
        plan = self._plan
        if found is None:
            return np.asarray(plan.lines[self._at_once])
        own = slice(*np.searchsorted(plan.lines, (found.start, found.end)).tolist())
        return np.asarray(plan.lines[own][self._at_once[own] & self._choose(found.lives)[plan.lives[own]]])

    def _choose(self, lives: Integers) -> Mask:
        """Return a mask of some lives."""
        mask = np.zeros(len(self._plan.consumers), dtype=np.bool_)
        mask[lives] = True
        return mask

    def find(self, start: int, end: int) -> Found:
        """Return the lives with facts in [start, end) that go on as regular ones."""
        plan = self._plan
        own = slice(*np.searchsorted(plan.lines, (start, end)).tolist())
        here = np.bincount(plan.lives[own], minlength=len(plan.consumers))
        before = np.zeros(len(here), dtype=np.int64)
        # The last to be written is the first of each life.
        before[plan.lives[own][::-1]] = plan.before[own][::-1]
        found = Found(start, end, numbers := np.flatnonzero(here), before[numbers], here[numbers])
        bad = self._beyond & ((before > 0) | (plan.ended >= end))
        return self._as_state_has(found.pick(~bad[numbers]))

    def _as_state_has(self, found: Found) -> Found:
        """Return those of lives that begin and whose jobs are new, or that go on from what was taken of them."""
        if not self._jobs:
            return found
        jobs, places = self._state.jobs, self._places
        right = np.ones(len(found.lives), dtype=np.bool_)
        new = (found.before == 0) & (found.lives < self._jobs)
        fresh = found.lives[new]
        right[new] = ~self._state.closed.has_many(self._digests[fresh])
        if not jobs.keys().isdisjoint([places[life] for life in fresh.tolist()]):
            right[new] &= np.array([places[life] not in jobs for life in fresh.tolist()])
        for place in np.flatnonzero(found.before).tolist():
            job = jobs.get(places[found.lives[place]])
            right[place] = isinstance(job, Begun) and job.facts == found.before[place]
        return found.pick(right)

    def asked(self, found: Found) -> dict[int, tuple[str, int]]:
        """Return who asks for too much, and for how much, of lives found; by the lines of their dispatch."""
        if self._lives is None:
            return {}
        plan, beyond = self._plan, self._lives.beyond
        some = found.lives[self._beyond[found.lives]]
        lines, consumers = plan.dispatched[some].tolist(), plan.consumers[some].tolist()
        return {line: (plan.names[number], beyond[line]) for line, number in zip(lines, consumers, strict=True)}

    def covered(self, found: Found, others: Iterable[Accepted]) -> Found:
        """Return those of the lives found whose consumers can pay whatever the other facts come to take.

        Consumers that may come to have what one of these lives should never get are not among them.
        """
        plan, (moves, lines) = self._plan, self._make(found)
        claims = _Claims(self._state, others)
        for life in found.lives[found.before > 0].tolist():
            claims.name(*self._places[life])
        given = np.flatnonzero(lines.of >= self._jobs)
        givers, places = np.unique(plan.consumers[lines.of[given]], return_inverse=True)
        for giver, amount in zip(givers.tolist(), add_up(places, lines.left[given], len(givers)), strict=True):
            claims.bring(plan.names[giver], amount)
        needs = moves.needs()
        takers = np.unique(plan.consumers[lines.of[lines.left < 0]]).tolist()
        short = {name for name in map(plan.names.__getitem__, takers) if not claims.leave(name, needs[name])}
        short |= {consumer for consumer, amount in self.asked(found).values() if amount <= claims.most(consumer)}
        if not short:
            return found
        kept = np.array([name not in short for name in plan.names])
        return found.pick(kept[plan.consumers[found.lives]])

    def take(self, found: Found, late: Mask) -> tuple[Moves, list[Answers]]:
        """Take lives as far as the run goes: jobs are closed, or have begun. `late`: which lines of the run are.

        Returns what they move, and the decisions.
        """
        moves, lines = self._make(found)
        if self._lives is not None:
            self._go_on(self._lives, found.pick(found.lives < self._jobs))
        return moves, lines.at_turn(late[lines.fact - found.start], self._state.oldest_open)

    def _make(self, found: Found) -> tuple[Moves, Answers]:
        """Return what lives found move in the run, and their decisions in it in the order of the facts."""
        if self._made is None or self._made[0] is not found:
            plan, answers = self._plan, self._plan.answers
            here = (answers.fact >= found.start) & (answers.fact < found.end)
            rows = np.flatnonzero(self._choose(found.lives)[answers.of] & here)
            lines = answers.pick(rows[np.argsort(answers.fact[rows])])
            self._made = found, Moves(self._state, lines, plan.consumers[lines.of], plan.names), lines
        return self._made[1:]

    def _go_on(self, lives: Lives, found: Found) -> None:
        """Close the jobs of lives that end in the run, and keep what has not ended."""
        over = (lives.ended[found.lives] >= 0) & (lives.ended[found.lives] < found.end)
        self._state.closed.add_many(self._digests[found.lives[over]])
        for life in found.lives[over & (found.before > 0)].tolist():
            del self._state.jobs[self._places[life]]
        if not over.all():
            self._begin(lives, found.pick(~over))

    def _begin(self, lives: Lives, found: Found) -> None:
        """Keep what has not ended as its lines."""
        some, counts = found.lives, found.before + found.here
        ends = np.cumsum(counts)
        spans = lives.facts.span("", lives.lines[ranges(lives.starts[some], counts)])
        sizes = np.cumsum(spans.ends - spans.starts + 1)
        text, places = join_texts(*spans), [0, *sizes[ends - 1].tolist()]
        dispatched = lives.dispatched[some]
        held = (dispatched >= 0) & ((dispatched < found.end) | (dispatched >= lives.facts.own))
        escrow = np.where(held, self._plan.escrow[some], 0).tolist()
        most = lives.facts.numbers(SUBMITTED, "data.gpu_seconds_max", lives.submitted[some]).tolist()
        for number, life in enumerate(some.tolist()):
            lines = text[places[number] : places[number + 1]]
            self._state.jobs[self._places[life]] = Begun(lines, int(counts[number]), escrow[number], most[number])


def merge(lines: Sequence[Answers], decided: Decided, facts: Sequence[int]) -> Decided:
    """Put decisions in the order of their facts, with those made one by one; `facts`: the line of each of these."""
    parts = [(Spans(each.data, each.starts, each.ends), each.leaves, each.fact) for each in lines]
    if facts:
        assert decided.hashes is not None
        parts.append((Spans(decided.data, *split_lines(decided.data)), decided.hashes, np.array(facts)))
    if len(parts) == 1:
        [(spans, leaves, _)] = parts
        return Decided(join_texts(*spans), leaves)
    order = np.argsort(np.concatenate([of for _, _, of in parts]), kind="stable")
    rows = np.argsort(order)
    texts: list[Part] = []
    for (data, *ends), _, of in parts:
        # In each row stands one of the parts, and nothing of the others.
        mine, rows = np.split(rows, [len(of)])
        places = np.zeros((2, len(order)), dtype=np.int64)
        places[:, mine] = ends
        texts.append(Spans(data, *places))
    return Decided(render_lines(texts, len(order)).data, np.concatenate([leaves for _, leaves, _ in parts])[order])


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
