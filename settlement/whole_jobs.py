"""Jobs that arrive whole, many at once: the vectorised twin of `Lane._whole_job`.

A row is taken where nothing can refuse it, whatever the rows before it did:

    known terms and in range, price ≥ its minimum's, a job that is new and stands once in the batch
    per consumer    available before the run ≥ Σ holds of all its rows in the run, taken or not

The test is sufficient, not necessary: what a job gives back within the run is not counted on. Where it holds, no row
of the consumer can lack money because of another, so those that are not taken may go one by one beside those that are.
Where it fails none of the consumer's rows is taken: they go in the order of the log through the scalar rules, and those
decide.

What depends on the facts alone is worked out once for the batch, however many runs there are in it: prices, digests,
and the lines of jobs that come in time.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Columns
from events.hashing import Digests, Lines, Part, Spans, hash_leaves, hash_parts, join_texts, render_lines
from events.instant import DAY
from ledger.bps import Integers
from ledger.metering import fits_many, hold_for, hold_many, price_many
from ledger.parameters import Parameters
from ledger.price import keeps_many
from ledger.split import SplitMany, split_many
from ledger.sums import add_up
from settlement.jobs import LaneState
from settlement.output import Decided

__all__ = ["Taken", "WholeJobs"]

_LATE = b',"late":true'
Mask = npt.NDArray[np.bool_]


class Taken(NamedTuple):
    """Which rows were taken; their decisions, with the places behind their LFs, and what epochs sum up of them."""

    mask: Mask
    decided: Decided
    ends: Integers
    epochs: Integers
    burn: Integers
    fee: Integers


class _Priced(NamedTuple):
    hold: Integers
    gross: Integers
    parts: SplitMany

    def pick(self, rows: Integers) -> "_Priced":
        return _Priced(self.hold[rows], self.gross[rows], SplitMany(*(part[rows] for part in self.parts)))


class WholeJobs:
    """The whole jobs of a batch, settled on a lane's state run by run."""

    def __init__(self, usage: Columns, state: LaneState, parameters: Parameters, params_hash: str) -> None:
        """Take a batch's `UsageMetered` with terms; the state is changed as the scalar rules would."""
        self.usage = usage
        self._state = state
        self._rules = parameters.job
        self._asset = parameters.unit.asset
        self._params_hash = params_hash
        # Which of these jobs were new, and how many had been closed when that was asked, or here since.
        self._new: Mask | None = None
        self._closed = 0

    def settle(self, start: int, end: int, late: Mask) -> Taken:
        """Settle what can be taken of some rows, in the order of the facts."""
        fits = self._fits[start:end] & self._are_new(start, end)
        places = self._consumers[1][start:end]
        hold = np.where(fits, self._priced.hold[start:end], 0)
        mask = fits & self._covered(places, hold, self._holds_apart(start, np.flatnonzero(~fits)))
        rows = start + np.flatnonzero(mask)
        self._spend(places[mask], self._priced.gross[rows])
        self._state.closed.add_many(self._jobs[rows])
        self._closed += len(rows)
        days = self._days[rows]
        epochs = np.maximum(days, self._state.oldest_open)
        if late[mask].any() or (epochs != days).any():
            lines = self._write(rows, epochs, late[mask])
            decided = Decided(lines.data, _hash_lines(lines))
        else:
            lines, hashes = self._pick(rows, start, end)
            decided = Decided(lines.data, hashes)
        parts = self._priced.parts
        return Taken(mask, decided, lines.ends, epochs, parts.burn[rows], parts.fee[rows])

    # --- what depends on the facts alone ---

    @cached_property
    def _days(self) -> Integers:
        return self.usage.numbers("occurred_at") // DAY

    @cached_property
    def _consumers(self) -> tuple[list[str], Integers]:
        """The names of the consumers, and by row the place of its own among them."""
        return self.usage.numbered("data.consumer")

    @cached_property
    def _jobs(self) -> Digests:
        digests = hash_parts([self.usage.spans("data.consumer"), b":", self.usage.spans("subject")], len(self.usage))
        return np.ascontiguousarray(digests[:, :16])

    @cached_property
    def _fits(self) -> Mask:
        """Tell which rows have terms that nothing refuses, and a job that stands once."""
        usage, rules = self.usage, self._rules
        price, most = usage.amounts("data.terms.price"), usage.numbers("data.terms.gpu_seconds_max")
        minimum = usage.amounts("data.terms.minimum")
        fits = fits_many(price, most) & fits_many(price, usage.numbers("data.gpu_seconds")) & (minimum >= 0)
        fits &= keeps_many(np.maximum(price, 0), minimum, rules.burn_bps, rules.fee_bps)
        fits &= usage.numbers("data.attempt") == 1
        assets, places = usage.numbered("data.terms.asset")
        fits &= np.array([asset == self._asset for asset in assets], dtype=np.bool_)[places]
        # Two digests that begin alike are not told apart; it does no harm.
        beginnings = self._jobs.view(np.uint64)[:, 0]
        order = np.argsort(beginnings)
        same = beginnings[order[1:]] == beginnings[order[:-1]]
        fits[order[1:][same]] = fits[order[:-1][same]] = False
        return fits

    @cached_property
    def _priced(self) -> _Priced:
        """Holds, and what is paid of them; nothing in the rows that do not fit."""
        usage, fits = self.usage, self._fits
        price = np.where(fits, usage.amounts("data.terms.price"), 0)
        hold = hold_many(price, np.where(fits, usage.numbers("data.terms.gpu_seconds_max"), 0))
        gross = price_many(price, np.where(fits, usage.numbers("data.gpu_seconds"), 0), hold)
        return _Priced(hold, gross, split_many(gross, self._rules.burn_bps, self._rules.fee_bps))

    @cached_property
    def _in_time(self) -> tuple[Lines, Digests]:
        """The lines of all rows, as they are of jobs that come in time; and their leaf hashes."""
        rows = np.arange(len(self.usage))
        lines = self._write(rows, self._days, np.zeros(len(rows), dtype=np.bool_))
        return lines, _hash_lines(lines)

    def _pick(self, rows: Integers, start: int, end: int) -> tuple[Lines, Digests]:
        """Return the lines of some rows that come in time, all of which stand in a range."""
        (data, ends), hashes = self._in_time
        if len(rows) == end - start:
            begin = int(ends[start - 1]) if start else 0
            return Lines(data[begin : int(ends[end - 1])], ends[start:end] - begin), hashes[start:end]
        starts = np.concatenate((np.zeros(1, dtype=np.int64), ends))[rows]
        return Lines(join_texts(data, starts, ends[rows] - 1), np.cumsum(ends[rows] - starts)), hashes[rows]

    # --- what depends on the state ---

    def _are_new(self, start: int, end: int) -> Mask:
        """Tell which jobs are neither closed nor open."""
        state = self._state
        if self._new is None:
            self._new, self._closed = ~state.closed.has_many(self._jobs), len(state.closed)
        # Where others were closed too, one by one, only those that are wanted now are looked for again.
        known = len(state.closed) == self._closed
        new = self._new[start:end] if known else ~state.closed.has_many(self._jobs[start:end])
        if state.jobs:
            usage = self.usage.take(slice(start, end))
            places = zip(usage.texts("data.consumer"), usage.texts("subject"), strict=True)
            new = new & np.array([place not in state.jobs for place in places], dtype=np.bool_)
        return new

    def _holds_apart(self, start: int, rows: Integers) -> list[tuple[int, int]]:
        """Return the rows that are not taken, each with the hold that it may come to, however large."""
        if not len(rows):
            return []
        apart = self.usage.take(start + rows)
        prices, most = apart.bytes("data.terms.price"), apart.numbers("data.terms.gpu_seconds_max").tolist()
        holds = [hold_for(int(price), seconds) for price, seconds in zip(prices, most, strict=True)]
        return list(zip(rows.tolist(), holds, strict=True))

    def _covered(self, places: Integers, holds: Integers, apart: list[tuple[int, int]]) -> Mask:
        """Tell which rows belong to consumers whose money covers all their rows; `places`: each row's consumer."""
        own, places = np.unique(places, return_inverse=True)
        needed = add_up(places, holds, len(own))
        for row, hold in apart:
            needed[places[row]] += hold
        available, names = self._state.available, self._consumers[0]
        pairs = zip(own.tolist(), needed, strict=True)
        short = [bool(amount) and available.get(names[number], 0) < amount for number, amount in pairs]
        return ~np.array(short, dtype=np.bool_)[places]

    def _spend(self, places: Integers, gross: Integers) -> None:
        """Take what jobs cost: what they held beyond that is back at once."""
        own, places = np.unique(places, return_inverse=True)
        available, names = self._state.available, self._consumers[0]
        for number, amount in zip(own.tolist(), add_up(places, gross, len(own)), strict=True):
            if amount:
                available[names[number]] -= amount

    def _write(self, rows: Integers, epochs: Integers, late: Mask) -> Lines:
        """Write each `JobSettled` as its canonical line."""
        every = len(rows) == len(self.usage)
        usage, priced = (self.usage, self._priced) if every else (self.usage.take(rows), self._priced.pick(rows))
        consumer, job = usage.spans("data.consumer"), usage.spans("subject")
        ids = hash_parts([b"JobSettled|", consumer, b":", job, b":1:1"], len(usage))
        flag = Spans(_LATE, np.zeros(len(usage), dtype=np.int64), late.astype(np.int64) * len(_LATE))
        parts: list[Part] = [
            b'{"causation_id":"',
            usage.spans("id"),
            b'","data":{"asset":"%b","attempt":1,"consumer":"' % self._asset.encode(),
            consumer,
            b'","escrow":"',
            priced.hold,
            b'","funding":"consumer","lines":[{"burn":"',
            priced.parts.burn,
            b'","fee":"',
            priced.parts.fee,
            b'","gpu_seconds":',
            usage.spans("data.gpu_seconds"),
            b',"gross":"',
            priced.gross,
            b'","net":"',
            priced.parts.net,
            b'","node":"',
            usage.spans("data.node"),
            b'","price":"',
            usage.spans("data.terms.price"),
            b'"}],"refund":"',
            priced.hold - priced.gross,
            b'"},"epoch":',
            epochs,
            b',"id":"',
            ids,
            b'","key":"',
            consumer,
            b":",
            job,
            b':1:1"',
            flag,
            b',"occurred_at":"',
            usage.spans("occurred_at"),
            b'","params_hash":"%b","schema_version":1,"source":"settlement","subject":"' % self._params_hash.encode(),
            job,
            b'","type":"JobSettled"}',
        ]
        return render_lines(parts, len(usage))


def _hash_lines(lines: Lines) -> Digests:
    starts = np.concatenate((np.zeros(1, dtype=np.int64), lines.ends))[:-1]
    return hash_leaves(lines.data, starts, lines.ends - 1)
