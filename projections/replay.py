"""All balances at once: sealed segments by their columns, what lies behind them from the log.

    balances = Σ over logs (Σ over segments: amounts by side  +  Σ over the unsealed tail: postings)

Each column that is added is checked before. Where one is unusable its segment is named, and the log is read instead.
What accounts hold is added up in memory for those that hold something. Debits and credits, of which the digest is, need
some for each account that ever was, closed escrows among them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from ledger.accounts import Key
from ledger.balances import digest_of_balances
from ledger.sums import Limbs, LimbSums, Numbering
from ledger.vectors import Names
from projections.batch import Batch, read_batches
from projections.past import Past
from projections.segments import Segment, SegmentUnusable, SideSums, split_key

__all__ = ["Held", "Replayed", "add_up", "replay"]

# So many events behind what is sealed are held at once.
_TAIL_EVENTS = 4_096
_LIMB = 31
_LOW = 2**_LIMB - 1

Found = TypeVar("Found")


class _Totals:
    """Sums of sides by account, from many segments; in limbs, since they may pass 2^63."""

    def __init__(self) -> None:
        self._numbers = Numbering()
        self._low = self._high = np.zeros((0, 2), dtype=np.int64)
        self._large: dict[tuple[int, int], int] = {}

    def add(self, names: list[bytes], sums: SideSums) -> None:
        """Add a segment's sums; no account is named twice."""
        numbers = np.fromiter(map(self._numbers.__getitem__, names), dtype=np.int64, count=len(names))
        more = len(self._numbers) - len(self._low)
        if more > 0:
            room = np.zeros((max(more, len(self._low)), 2), dtype=np.int64)
            self._low, self._high = np.concatenate((self._low, room)), np.concatenate((self._high, room))
        low = self._low[numbers] + (sums.low & _LOW).reshape(-1, 2)
        self._low[numbers] = low & _LOW
        self._high[numbers] += (sums.high + (sums.low >> _LIMB)).reshape(-1, 2) + (low >> _LIMB)
        for side, amount in sums.large.items():
            place = int(numbers[side // 2]), side % 2
            self._large[place] = self._large.get(place, 0) + amount

    def items(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield each account's name, debits and credits."""
        sums = Limbs(self._low.reshape(-1), self._high.reshape(-1)).ints()
        for (number, side), amount in self._large.items():
            sums[2 * number + side] += amount
        yield from zip(self._numbers.names, sums[::2], sums[1::2], strict=False)


class _Tail:
    """Sums of what is not sealed."""

    def __init__(self) -> None:
        self.events = 0
        self._names = Names()
        self._sums = LimbSums(), LimbSums()

    def add(self, batch: Batch) -> None:
        """Add a batch's postings. Raises: LedgerInvariantBroken."""
        moves = batch.moves(self._names)
        for sums, amounts in zip(self._sums, (moves.debits, moves.credits), strict=True):
            sums.add(moves.accounts, amounts)
        self.events += batch.size

    def items(self) -> Iterator[tuple[Key, int, int]]:
        """Yield each account with its debits and credits."""
        numbers = np.arange(len(self._names))
        debits, credits = (sums.totals(numbers) for sums in self._sums)
        yield from zip(self._names, debits, credits, strict=True)


class Replayed(NamedTuple):
    """Debits and credits of every account, and of how many events they were read from where."""

    sums: dict[Key, tuple[int, int]]
    segments: int
    sealed: int
    tail: int

    def digest(self) -> str:
        """Return the digest of all balances, as `ledger.balances` defines it."""
        return digest_of_balances(self.sums.items())


class Held(NamedTuple):
    """What each account holds that is not zero, base units, and of how many events that was read from where."""

    nets: dict[Key, int]
    segments: int
    sealed: int
    tail: int


def add_up(past: Past) -> Held:
    """Add up what accounts hold by all of the logs. Raises: LogDamaged, LedgerInvariantBroken."""
    nets: dict[bytes, int] = {}
    tail, segments, sealed = _Tail(), 0, 0
    for log in past.logs():
        for events, (names, amounts) in _read_sealed(past, log.name, Segment.nets):
            for name, amount in zip(names, amounts, strict=True):
                net = nets.get(name, 0) + amount
                if net:
                    nets[name] = net
                else:
                    nets.pop(name, None)
            segments, sealed = segments + 1, sealed + events
        for batch in read_batches(log, past.end(log.name), events_max=_TAIL_EVENTS):
            tail.add(batch)
    held = {split_key(name): net for name, net in nets.items()}
    for key, debits, credits in tail.items():
        held[key] = held.get(key, 0) + credits - debits
    return Held({key: net for key, net in held.items() if net}, segments, sealed, tail.events)


def replay(past: Past) -> Replayed:
    """Add up all that the logs hold. Raises: LogDamaged, LedgerInvariantBroken."""
    totals, tail = _Totals(), _Tail()
    segments = sealed = 0
    for log in past.logs():
        for events, (accounts, sums) in _read_sealed(past, log.name, lambda one: (one.names(), one.fold())):
            totals.add(accounts, sums)
            segments, sealed = segments + 1, sealed + events
        for batch in read_batches(log, past.end(log.name), events_max=_TAIL_EVENTS):
            tail.add(batch)
    sums_of = {split_key(name): (debits, credits) for name, debits, credits in totals.items()}
    for key, debits, credits in tail.items():
        before = sums_of.get(key, (0, 0))
        sums_of[key] = before[0] + debits, before[1] + credits
    return Replayed(sums_of, segments, sealed, tail.events)


def _read_sealed(past: Past, log: str, read: Callable[[Segment], Found]) -> Iterator[tuple[int, Found]]:
    """Yield how many events each of a log's segments holds, and what is read of it, up to one that is unusable."""
    for segment in past.segments(log):
        try:
            found = read(segment)
        except SegmentUnusable as unusable:
            past.forget(log, unusable)
            return
        yield segment.header.events, found
        segment.rest()
