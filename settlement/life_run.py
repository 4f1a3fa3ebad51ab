"""The regular lives of a batch, as a lane takes them: those that its state refuses nothing of.

A life is taken where, whatever is decided on the facts beside it,

    its job is new, its decisions are on time and in their own days' epochs
    per consumer    available before ≥ Σ holds of its lives + Σ of what its other facts may come to take

What may never be granted takes nothing: a claim above all that the consumer could ever have meanwhile, which is what
is available, its deposits, and the escrow of its open jobs. The test is sufficient, not necessary; where it fails, all
of the consumer's facts go one by one. Those see each balance as it is at their turn.
"""

from collections.abc import Iterable, Sequence

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
from settlement.intake import Accepted
from settlement.job_facts import ranges
from settlement.jobs import LaneState
from settlement.life_lines import LifeLines, write_lives
from settlement.lives import Lives, find_lives
from settlement.output import Decided

__all__ = ["LIVES_MIN", "BatchLives", "Moves", "merge"]

# In a batch of fewer facts all go one by one: columns would cost more than they save.
LIVES_MIN = 128


class Moves:
    """What lives do to their consumers' money, made in the order of the facts."""

    def __init__(self, state: LaneState, facts: list[int], consumers: list[str], amounts: list[int]) -> None:
        """Take the line of each fact, whose money it moves, and by how much."""
        self._available = state.available
        self._moves = list(zip(facts, consumers, amounts, strict=True))[::-1]

    def make(self, end: int) -> None:
        """Make what the facts before a line move."""
        while self._moves and self._moves[-1][0] < end:
            _, consumer, amount = self._moves.pop()
            available = self._available.get(consumer, 0) + amount
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
        names = lives.facts.names
        self._consumers = [names[number] for number in lives.facts.consumers[lives.submitted].tolist()]
        self._jobs = join_texts(*job).decode("ascii").split("\n")[:-1]
        self._digests = np.ascontiguousarray(hash_parts([consumer, b":", job], len(lives.starts))[:, :16])
        self._escrow = np.zeros(len(lives.starts), dtype=np.int64)
        np.maximum.at(self._escrow, lines.life, -lines.left)
        self._epochs = np.full(len(lives.starts), np.iinfo(np.int64).max)
        np.minimum.at(self._epochs, lines.life, lines.epochs)

    def lines_of(self, chosen: Integers | None = None) -> Integers:
        """Return the lines of all facts of some lives, or of all."""
        if self._lives is None:
            return np.empty(0, dtype=np.int64)
        some = slice(None) if chosen is None else chosen
        return self._lives.lines[ranges(self._lives.starts[some], self._lives.sizes[some])]

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
        return np.array([n for n in found.tolist() if (self._consumers[n], self._jobs[n]) not in jobs], dtype=np.int64)

    def covered(self, found: Integers, others: Iterable[Accepted]) -> Integers:
        """Return those of the lives found whose consumers can pay whatever the other facts come to take."""
        needed: dict[str, int] = {}
        for life, escrow in zip(found.tolist(), self._escrow[found].tolist(), strict=True):
            consumer = self._consumers[life]
            needed[consumer] = needed.get(consumer, 0) + escrow
        claims = _Claims(self._state, others)
        short = {consumer for consumer, need in needed.items() if not claims.leave(consumer, need)}
        if not short:
            return found
        return np.array([life for life in found.tolist() if self._consumers[life] not in short], dtype=np.int64)

    def close(self, chosen: Integers) -> tuple["Moves", "LifeLines"]:
        """Take lives: their jobs are closed; return what they move, and their decisions in the order of the facts."""
        assert self._lives is not None
        self._state.closed.add_many(self._digests[chosen])
        taken = np.zeros(len(self._lives.starts), dtype=np.bool_)
        taken[chosen] = True
        rows = np.flatnonzero(taken[self._lines.life])
        rows = rows[np.argsort(self._lines.fact[rows])]
        lines = self._lines.pick(rows)
        consumers = [self._consumers[life] for life in lines.life.tolist()]
        return Moves(self._state, lines.fact.tolist(), consumers, lines.left.tolist()), lines


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
        available = self._state.available.get(consumer, 0)
        claims = self._claims.get(consumer)
        if claims:
            most = available + self._brought.get(consumer, 0)
            need += sum(claim for claim in claims if claim <= most)
        return need <= available

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
