"""Jobs that arrive whole, many at once: the vectorised twin of `Lane._whole_job`.

A row is taken where nothing can refuse it, whatever the rows before it did:

    known terms and in range, price ≥ its minimum's, a job that is new and stands once in the batch
    per consumer    available before the batch ≥ Σ holds of all its rows in the batch, taken or not

The test is sufficient, not necessary: what a job gives back within the batch is not counted on. Where it holds, no row
of the consumer can lack money because of another, so those that are not taken may go one by one beside those that are.
Where it fails none of the consumer's rows is taken: they go in the order of the log through the scalar rules, and those
decide.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Columns
from events.hashing import Digests, Lines, Part, Spans, hash_parts, render_lines
from events.instant import DAY
from ledger.bps import Integers
from ledger.metering import fits_many, hold_for, hold_many, price_many
from ledger.parameters import Parameters
from ledger.price import keeps_many
from ledger.split import SplitMany, split_many
from ledger.sums import Numbering, add_up
from settlement.jobs import LaneState

__all__ = ["Taken", "WholeJobs"]

_LATE = b',"late":true'


class Taken(NamedTuple):
    """Which rows were taken, and their decisions: lines and what epochs sum up of them."""

    mask: npt.NDArray[np.bool_]
    lines: Lines
    epochs: Integers
    burn: Integers
    fee: Integers


class _Priced(NamedTuple):
    hold: Integers
    gross: Integers
    parts: SplitMany


class WholeJobs:
    """Settles whole jobs on a lane's state."""

    def __init__(self, state: LaneState, parameters: Parameters, params_hash: str) -> None:
        """Begin on a lane's state, which is changed as the scalar rules would."""
        self._state = state
        self._rules = parameters.job
        self._asset = parameters.unit.asset.encode()
        self._params_hash = params_hash.encode()
        self._consumers = Numbering()

    def settle(self, usage: Columns, late: npt.NDArray[np.bool_]) -> Taken:
        """Settle what can be taken of `UsageMetered` with terms, in the order of the facts."""
        fits, hold = self._check(usage)
        consumers = np.array([self._consumers[name] for name in usage.bytes("data.consumer")], dtype=np.int64)
        jobs = hash_parts([self._span(usage, "data.consumer"), b":", self._span(usage, "subject")], len(usage))
        fits &= self._are_new(usage, jobs[:, :16])
        hold = np.where(fits, hold, 0)
        found, places = np.unique(consumers, return_inverse=True)
        mask = fits & self._covered(found, places, hold, self._holds_apart(usage, ~fits))
        if not mask.all():
            usage, late, hold, jobs, places = usage.take(mask), late[mask], hold[mask], jobs[mask], places[mask]
        gross = price_many(usage.amounts("data.terms.price"), usage.numbers("data.gpu_seconds"), hold)
        parts = split_many(gross, self._rules.burn_bps, self._rules.fee_bps)
        self._spend(found, places, gross)
        self._state.closed.add_many(np.ascontiguousarray(jobs[:, :16]))
        epochs = np.maximum(usage.numbers("occurred_at") // DAY, self._state.oldest_open)
        lines = self._write(usage, _Priced(hold, gross, parts), epochs, late)
        return Taken(mask, lines, epochs, parts.burn, parts.fee)

    def _check(self, usage: Columns) -> tuple[npt.NDArray[np.bool_], Integers]:
        """Tell which rows have terms that nothing refuses, and the hold of each of them; of the others, nothing."""
        price, most = usage.amounts("data.terms.price"), usage.numbers("data.terms.gpu_seconds_max")
        minimum, rules = usage.amounts("data.terms.minimum"), self._rules
        fits = fits_many(price, most) & fits_many(price, usage.numbers("data.gpu_seconds")) & (minimum >= 0)
        fits &= keeps_many(np.maximum(price, 0), minimum, rules.burn_bps, rules.fee_bps)
        fits &= usage.numbers("data.attempt") == 1
        fits &= np.array([asset == self._asset for asset in usage.bytes("data.terms.asset")], dtype=np.bool_)
        return fits, np.where(fits, hold_many(np.where(fits, price, 0), np.where(fits, most, 0)), 0)

    def _are_new(self, usage: Columns, jobs: Digests) -> npt.NDArray[np.bool_]:
        """Tell which jobs are neither closed nor open, and stand once."""
        halves = np.ascontiguousarray(jobs).view(np.uint64)
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        same = (halves[order[1:]] == halves[order[:-1]]).all(axis=1)
        new = ~self._state.closed.has_many(np.ascontiguousarray(jobs))
        new[order[1:][same]] = new[order[:-1][same]] = False
        if self._state.jobs:
            places = zip(usage.texts("data.consumer"), usage.texts("subject"), strict=True)
            new &= np.array([place not in self._state.jobs for place in places], dtype=np.bool_)
        return new

    def _holds_apart(self, usage: Columns, rows: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Return the rows that are not taken, each with the hold that it may come to, however large."""
        apart = usage.take(rows)
        prices, most = apart.bytes("data.terms.price"), apart.numbers("data.terms.gpu_seconds_max").tolist()
        holds = [hold_for(int(price), seconds) for price, seconds in zip(prices, most, strict=True)]
        return list(zip(np.flatnonzero(rows).tolist(), holds, strict=True))

    def _covered(
        self, consumers: Integers, places: Integers, holds: Integers, apart: list[tuple[int, int]]
    ) -> npt.NDArray[np.bool_]:
        """Tell which rows belong to consumers whose money covers all their rows; `places`: each row's consumer."""
        needed = add_up(places, holds, len(consumers))
        for row, hold in apart:
            needed[places[row]] += hold
        available, names = self._state.available, self._consumers.names
        covered = [
            available.get(names[number].decode(), 0) >= amount
            for number, amount in zip(consumers.tolist(), needed, strict=True)
        ]
        return np.array(covered, dtype=np.bool_)[places]

    def _spend(self, consumers: Integers, places: Integers, gross: Integers) -> None:
        """Take what jobs cost: what they held beyond that is back at once."""
        spent = add_up(places, gross, len(consumers))
        available, names = self._state.available, self._consumers.names
        for number, amount in zip(consumers.tolist(), spent, strict=True):
            consumer = names[number].decode()
            available[consumer] = available.get(consumer, 0) - amount

    def _write(self, usage: Columns, priced: _Priced, epochs: Integers, late: npt.NDArray[np.bool_]) -> Lines:
        """Write each `JobSettled` as its canonical line."""
        consumer, job = self._span(usage, "data.consumer"), self._span(usage, "subject")
        ids = hash_parts([b"JobSettled|", consumer, b":", job, b":1:1"], len(usage))
        flag = Spans(_LATE, np.zeros(len(usage), dtype=np.int64), late.astype(np.int64) * len(_LATE))
        parts: list[Part] = [
            b'{"causation_id":"',
            self._span(usage, "id"),
            b'","data":{"asset":"%b","attempt":1,"consumer":"' % self._asset,
            consumer,
            b'","escrow":"',
            priced.hold,
            b'","funding":"consumer","lines":[{"burn":"',
            priced.parts.burn,
            b'","fee":"',
            priced.parts.fee,
            b'","gpu_seconds":',
            self._span(usage, "data.gpu_seconds"),
            b',"gross":"',
            priced.gross,
            b'","net":"',
            priced.parts.net,
            b'","node":"',
            self._span(usage, "data.node"),
            b'","price":"',
            self._span(usage, "data.terms.price"),
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
            self._span(usage, "occurred_at"),
            b'","params_hash":"%b","schema_version":1,"source":"settlement","subject":"' % self._params_hash,
            job,
            b'","type":"JobSettled"}',
        ]
        return render_lines(parts, len(usage))

    @staticmethod
    def _span(usage: Columns, path: str) -> Spans:
        return Spans(usage.data, *usage.span(path))
