"""The regular lives, whole jobs and deposits of a batch, as a lane takes them: those that its state refuses nothing of.

A batch is taken in runs. Of a life a run takes the facts that stand in it, where, whatever is decided on those beside,
its job is new, or all its facts before were taken so; and its consumer can pay (see `settlement.run_money`).

A life that asks for more than its consumer could ever have is a regular one if it stands whole in the run: why its
dispatch is refused is told at its turn, since that names what is available. The tests are sufficient, not necessary;
where money fails, all of the consumer's facts go one by one. Those see each balance as it is at their turn.
"""

from collections.abc import Iterable, Sequence, Set
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Batch, split_lines
from events.facts import JobDispatched, JobSubmitted
from events.hashing import Digests, Part, Spans, join_texts, render_lines
from events.refusal import Refusal
from ledger.bps import Integers
from ledger.parameters import Parameters
from ledger.sums import add_up
from settlement.answers import Answers
from settlement.deposits import find_deposits
from settlement.intake import Accepted
from settlement.job_facts import SUBMITTED, are_among, ranges
from settlement.jobs import Begun, LaneState, digest_jobs
from settlement.life_lines import write_denials, write_lives
from settlement.lives import Lives, Place, find_lives
from settlement.output import Decided
from settlement.run_money import Claims, Moves, Names
from settlement.whole_jobs import WholeJobs, find_whole_jobs

__all__ = ["LIVES_MIN", "BatchLives", "Found", "merge"]

# In a batch of fewer facts all go one by one: columns would cost more than they save.
LIVES_MIN = 128
Mask = npt.NDArray[np.bool_]


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
    """Lives, and numbered behind them whole jobs and deposits, each a life of one fact.

    By number `consumers` (among `names`), `dispatched` and `ended` (lines, or -1), `escrow` (base units, once all is
    held). `lines`, `lives`, `before`: the batch's own facts, whose each is and how many of it come first.
    """

    names: Names
    consumers: Integers
    dispatched: Integers
    ended: Integers
    escrow: Integers
    lines: Integers
    lives: Integers
    before: Integers
    answers: list[Answers]

    @staticmethod
    def of_lives(lives: Lives, answers: list[Answers]) -> "_Plan":
        facts, count = lives.facts, len(lives.starts)
        escrow = np.zeros(count, dtype=np.int64)
        np.add.at(escrow, lives.nodes.life, lives.nodes.hold)
        life = np.repeat(np.arange(count), lives.sizes)
        before = np.arange(len(life)) - np.repeat(np.cumsum(lives.sizes) - lives.sizes, lives.sizes)
        every = lives.lines[ranges(lives.starts, lives.sizes)]
        mine, consumers = every < facts.own, facts.consumers[lives.submitted]
        own = every[mine], life[mine], before[mine]
        names = Names(facts.names, dict(zip(facts.names, range(len(facts.names)), strict=True)))
        return _Plan(names, consumers, lives.dispatched, lives.ended, escrow, *own, answers)

    @staticmethod
    def of_facts(names: list[str], consumers: Integers, answers: Answers) -> "_Plan":
        """Plan facts of which each is a life by itself, and is answered once."""
        none, lines = np.zeros(len(consumers), dtype=np.int64), answers.fact
        numbered = Names(names, dict(zip(names, range(len(names)), strict=True)))
        return _Plan(numbered, consumers, none - 1, lines, none, lines, np.arange(len(none)), none, [answers])

    def join(self, behind: "_Plan") -> "_Plan":
        """Return these lives, and others numbered behind them."""
        count, (texts, numbers) = len(self.consumers), self.names
        new = [name for name in behind.names.texts if name not in numbers]
        numbers |= zip(new, range(len(texts), len(texts) + len(new)), strict=True)
        places = np.fromiter(map(numbers.__getitem__, behind.names.texts), np.int64, len(behind.names.texts))
        behind = behind._replace(
            consumers=places[behind.consumers],
            lives=behind.lives + count,
        )
        consumers, dispatched, ended, escrow, *own = (
            np.concatenate(pair) for pair in zip(self[1:-1], behind[1:-1], strict=True)
        )
        lines, lives, before = own
        answers = [*self.answers, *(each._replace(of=each.of + count) for each in behind.answers)]
        return _Plan(Names(texts + new, numbers), consumers, dispatched, ended, escrow, lines, lives, before, answers)

    def in_order(self) -> tuple["_Plan", Answers]:
        """Return the plan, and all decisions, with the facts in the order of their lines."""
        answers = Answers.join(self.answers) if self.answers else Answers.none()
        if (np.diff(self.lines) > 0).all() and (np.diff(answers.fact) > 0).all():
            return self, answers
        order = np.argsort(self.lines)
        plan = self._replace(lines=self.lines[order], lives=self.lives[order], before=self.before[order])
        return plan, answers.pick(np.argsort(answers.fact))


class BatchLives:
    """The regular lives of one batch, whole jobs and deposits among them, on one lane's state."""

    def __init__(self, batch: Batch, state: LaneState, parameters: Parameters, params_hash: str) -> None:
        """Find and price them, once for all runs of the batch."""
        self._state, self._params_hash = state, params_hash
        self._lives: Lives | None = None
        self._whole: WholeJobs | None = None
        plans, digests = [], list[Digests]()
        rules = parameters, params_hash
        few = not batch.columns or sum(map(len, batch.columns.values())) < LIVES_MIN
        # Without open jobs a life can only begin.
        if not few and (state.jobs or batch.columns.keys() >= {JobSubmitted, JobDispatched}):
            self._lives = find_lives(batch, *rules, state.jobs)
        if (lives := self._lives) is not None:
            plans.append(_Plan.of_lives(lives, write_lives(lives, *rules)))
            span = lives.facts.span
            digests.append(digest_jobs(span("data.consumer", lives.submitted), span("subject", lives.submitted)))
        if not few and (whole := find_whole_jobs(batch, *rules)) is not None:
            self._whole = whole
            plans.append(_Plan.of_facts(whole.names, whole.consumers, whole.answers))
            digests.append(whole.digests)
        if not few and (deposits := find_deposits(batch, *rules)) is not None:
            plans.append(_Plan.of_facts(*deposits))
        nothing = _Plan.of_facts([], np.empty(0, dtype=np.int64), Answers.none())
        self._plan, self._answers = plan, _ = (reduce(_Plan.join, plans) if plans else nothing).in_order()
        # Those that these are of are jobs, lives first; behind them are deposits.
        self._digests = np.concatenate(digests) if digests else np.empty((0, 16), dtype=np.uint8)
        self._jobs = len(self._digests)
        self._beyond = are_among(plan.dispatched, {} if lives is None else lives.beyond)
        # What was made of those found last.
        self._made: tuple[Found, Moves, Answers] | None = None

    @cached_property
    def _places(self) -> list[Place]:
        """Consumer and id of each job."""
        lives, whole = self._lives, self._whole
        of_lives = [] if lives is None else lives.facts.places_of(lives.submitted)
        return of_lives if whole is None else of_lives + whole.places()

    def lines_of(self, found: Found | None = None) -> Integers:
        """Return the lines of the facts of lives found, or of all."""
        plan = self._plan
        if found is None:
            return plan.lines
        own = slice(*np.searchsorted(plan.lines, (found.start, found.end)).tolist())
        return np.asarray(plan.lines[own][self._choose(found.lives)[plan.lives[own]]])

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
        jobs = self._state.jobs
        right = np.ones(len(found.lives), dtype=np.bool_)
        new = (found.before == 0) & (found.lives < self._jobs)
        fresh = found.lives[new]
        right[new] = ~self._state.closed.has_many(self._digests[fresh])
        if jobs:
            places = list(map(self._places.__getitem__, fresh.tolist()))
            if not jobs.keys().isdisjoint(places):
                right[new] &= np.array([place not in jobs for place in places])
        for place in np.flatnonzero(found.before).tolist():
            job = jobs.get(self._places[found.lives[place]])
            right[place] = isinstance(job, Begun) and job.facts == found.before[place]
        return found.pick(right)

    def asked(self, found: Found) -> dict[int, tuple[str, int]]:
        """Return who asks for too much, and for how much, of lives found; by the lines of their dispatch."""
        if self._lives is None:
            return {}
        plan, beyond = self._plan, self._lives.beyond
        some = found.lives[self._beyond[found.lives]]
        lines, consumers = plan.dispatched[some].tolist(), plan.consumers[some].tolist()
        return {line: (plan.names.texts[number], beyond[line]) for line, number in zip(lines, consumers, strict=True)}

    def covered(self, found: Found, others: Iterable[Accepted]) -> Found:
        """Return those of the lives found whose consumers can pay whatever the other facts come to take.

        Consumers that may come to have what one of these lives should never get are not among them.
        """
        plan, (moves, lines) = self._plan, self._make(found)
        claims, asked = Claims(self._state, others), self.asked(found)
        # What others may come to have counts only where something is claimed.
        wanted = self._are_named(claims.consumers() | {consumer for consumer, _ in asked.values()})
        for life in found.lives[(found.before > 0) & wanted[plan.consumers[found.lives]]].tolist():
            claims.name(*self._places[life])
        given = np.flatnonzero((lines.of >= self._jobs) & wanted[plan.consumers[lines.of]])
        givers, places = np.unique(plan.consumers[lines.of[given]], return_inverse=True)
        for giver, amount in zip(givers.tolist(), add_up(places, lines.left[given], len(givers)), strict=True):
            claims.bring(plan.names.texts[giver], amount)
        short = moves.short(claims)
        short |= {consumer for consumer, amount in asked.values() if amount <= claims.most(consumer)}
        if not short:
            return found
        return found.pick(~self._are_named(short)[plan.consumers[found.lives]])

    def _are_named(self, consumers: Set[str]) -> Mask:
        """Tell which numbers are those of these consumers."""
        texts, numbers = self._plan.names
        mask = np.zeros(len(texts), dtype=np.bool_)
        mask[[numbers[consumer] for consumer in consumers if consumer in numbers]] = True
        return mask

    def take(self, found: Found, late: Mask) -> tuple[Moves, list[Answers]]:
        """Take lives as far as the run goes: jobs are closed, or have begun. `late`: which lines of the run are.

        Returns what they move, and the decisions.
        """
        moves, lines = self._make(found)
        if self._jobs:
            self._go_on(found.pick(found.lives < self._jobs))
        return moves, lines.at_turn(late[lines.fact - found.start], self._state.oldest_open)

    def deny(self, denied: dict[int, Refusal], late: Mask, start: int) -> list[Answers]:
        """Return the refusals of dispatches by their lines, in order; `late`: which lines from `start` on are."""
        if not denied:
            return []
        assert self._lives is not None
        lines = write_denials(self._lives.facts, denied, self._params_hash)
        return lines.at_turn(late[lines.fact - start], self._state.oldest_open)

    def _make(self, found: Found) -> tuple[Moves, Answers]:
        """Return what lives found move in the run, and their decisions in it in the order of the facts."""
        if self._made is None or self._made[0] is not found:
            plan, answers = self._plan, self._answers
            here = slice(*np.searchsorted(answers.fact, (found.start, found.end)).tolist())
            mine = self._choose(found.lives)[answers.of[here]]
            lines = answers.pick(here if mine.all() else here.start + np.flatnonzero(mine))
            self._made = found, Moves(self._state, lines, plan.consumers[lines.of], plan.names), lines
        return self._made[1:]

    def _go_on(self, found: Found) -> None:
        """Close the jobs that end in the run, and keep what has not ended."""
        ended = self._plan.ended[found.lives]
        over = (ended >= 0) & (ended < found.end)
        self._state.closed.add_many(self._digests[found.lives[over]])
        for life in found.lives[over & (found.before > 0)].tolist():
            del self._state.jobs[self._places[life]]
        if not over.all():
            assert self._lives is not None
            self._begin(self._lives, found.pick(~over))

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
        [((data, starts, ends), leaves, _)] = parts
        in_a_row = len(starts) > 0 and (starts[1:] == ends[:-1] + 1).all()
        return Decided(data[starts[0] : ends[-1] + 1] if in_a_row else join_texts(data, starts, ends), leaves)
    order = np.argsort(np.concatenate([of for _, _, of in parts]), kind="stable")
    rows = np.argsort(order)
    texts: list[Part] = []
    for (data, *span), _, of in parts:
        # In each row stands one of the parts, and nothing of the others.
        mine, rows = np.split(rows, [len(of)])
        places = np.zeros((2, len(order)), dtype=np.int64)
        places[:, mine] = span
        texts.append(Spans(data, *places))
    return Decided(render_lines(texts, len(order)).data, np.concatenate([leaves for _, leaves, _ in parts])[order])
