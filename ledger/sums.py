"""Exact sums of many amounts by account, in two limbs: 31 bits, and the rest.

    amount = high × 2^31 + low        sum = Σ high × 2^31 + Σ low

Limbs are of 64 bits where those hold them, and Python's whole numbers where they do not, so that sums may pass 2^63, as
turnover does. Accounts are small numbers, in the order in which they appeared.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ledger.bps import Integers

__all__ = ["LimbSums", "Limbs", "Numbering", "add_up", "limbs_of"]

Numbers = npt.NDArray[Any]

_LIMB = 31
_LOW = 2**_LIMB - 1
# The high limb of what is 2^63 or more, and what may stand in one for others to be added.
_HIGH_MAX = 2**32
_HIGH_SAFE = 2**61
_WHOLE_MAX = _HIGH_SAFE << _LIMB


class Numbering(dict[bytes, int]):
    """Small numbers for names, from 0, in the order in which they were first asked for; `names[n]` is number n."""

    def __init__(self) -> None:
        """Begin without names."""
        self.names: list[bytes] = []

    def __missing__(self, name: bytes) -> int:
        """Number a new name."""
        number = self[name] = len(self.names)
        self.names.append(name)
        return number


class Limbs(NamedTuple):
    """Whole numbers from 0: high × 2^31 + low, in 64 bits each; in Python's numbers where one is 2^92 or more."""

    low: Numbers
    high: Numbers

    def pick(self, places: Integers) -> "Limbs":
        """Return some of the numbers."""
        return Limbs(self.low[places], self.high[places])

    def sum_groups(self, starts: Integers) -> "Limbs":
        """Add numbers up that stand side by side, from each start to the next."""
        if not len(starts):
            return self
        return _carry(*(np.add.reduceat(limb, starts) for limb in self))

    def are_below(self, others: "Limbs") -> npt.NDArray[np.bool_]:
        """Tell which numbers are less than the others at their places."""
        (low, high), (other_low, other_high) = _carry(*self), _carry(*others)
        return np.asarray((high < other_high) | ((high == other_high) & (low < other_low)), dtype=np.bool_)

    def ints(self) -> list[int]:
        """Return the numbers as Python's."""
        numbers, large = self._split()
        for place, number in large:
            numbers[place] = number
        return numbers

    def texts(self) -> list[int | str]:
        """Return the numbers, those of 2^63 and more as their digits: a database binds no larger ones."""
        small, large = self._split()
        numbers: list[int | str] = [*small]
        for place, number in large:
            numbers[place] = str(number)
        return numbers

    def _split(self) -> tuple[list[int], Iterable[tuple[int, int]]]:
        """Return the numbers as Python's, but for those of 2^63 and more, and those with their places."""
        low, high = _carry(*self)
        large = np.flatnonzero(high >= _HIGH_MAX)
        small: list[int] = ((high % _HIGH_MAX << _LIMB) + low).tolist()
        halves = zip(high[large].tolist(), low[large].tolist(), strict=True)
        return small, zip(large.tolist(), ((above << _LIMB) + below for above, below in halves), strict=True)


def limbs_of(amounts: Integers | Sequence[int]) -> Limbs:
    """Split whole numbers from 0."""
    if not isinstance(amounts, np.ndarray):
        kind = np.int64 if max(amounts, default=0) < _WHOLE_MAX else object
        low, high = [amount & _LOW for amount in amounts], [amount >> _LIMB for amount in amounts]
        return Limbs(np.array(low, dtype=kind), np.array(high, dtype=kind))
    return Limbs(amounts & _LOW, amounts >> _LIMB)


class LimbSums:
    """A growing sum for each account number, exact at any size."""

    # Limbs of 64 bits hold the sum of so many more.
    ADDITIONS_MAX = 2**30

    def __init__(self) -> None:
        """Begin with zeros."""
        self._low = np.zeros(1024, dtype=np.int64)
        self._high = np.zeros(1024, dtype=np.int64)
        self._large: dict[int, int] = {}
        self._additions = 0

    def set(self, number: int, total: int) -> None:
        """Put a sum that was kept."""
        self._reserve(number + 1)
        self._large.pop(number, None)
        if total >= _WHOLE_MAX:
            total, self._large[number] = 0, total
        self._low[number], self._high[number] = total & _LOW, total >> _LIMB

    def add(self, numbers: Integers, amounts: Limbs) -> None:
        """Add each amount to the sum of its account."""
        if not len(numbers):
            return
        self._reserve(int(numbers.max()) + 1)
        large = np.flatnonzero(amounts.high >= _HIGH_MAX)
        if len(large):
            for number, amount in zip(numbers[large].tolist(), amounts.pick(large).ints(), strict=True):
                self.set(number, self._total(number) + amount)
            others = np.flatnonzero(amounts.high < _HIGH_MAX)
            numbers, amounts = numbers[others], Limbs(*(limb.astype(np.int64) for limb in amounts.pick(others)))
        self._additions += len(numbers)
        if self._additions > self.ADDITIONS_MAX:
            self._make_room()
            self._additions = len(numbers)
        np.add.at(self._low, numbers, amounts.low)
        np.add.at(self._high, numbers, amounts.high)

    def totals(self, numbers: Integers) -> list[int]:
        """Return the sums of some accounts."""
        return self.limbs(numbers).ints()

    def take(self, number: int) -> int:
        """Return one sum, and begin it again."""
        self._reserve(number + 1)
        total = self._total(number)
        self.set(number, 0)
        return total

    def running(self, numbers: Integers, amounts: Limbs) -> Limbs:
        """Add each amount; return where that left its account's sum. Equal numbers stand side by side."""
        if not len(numbers):
            return amounts
        first = np.flatnonzero(np.diff(numbers, prepend=-1))
        lengths = np.diff(first, append=len(numbers))
        before = self.limbs(numbers[first])
        if amounts.high.dtype != object and int(amounts.high.max()) * len(numbers) >= _HIGH_SAFE:
            amounts = Limbs(*(limb.astype(object) for limb in amounts))
        reached = []
        for limb, base in zip(amounts, before, strict=True):
            sums = np.cumsum(limb)
            reached.append(sums + np.repeat(base - sums[first] + limb[first], lengths))
        self.add(numbers, amounts)
        return _carry(*reached)

    def limbs(self, numbers: Integers) -> Limbs:
        """As `totals`, in limbs."""
        if not len(numbers):
            return limbs_of([])
        self._reserve(int(numbers.max()) + 1)
        limbs = _carry(self._low[numbers], self._high[numbers])
        if self._large and np.isin(numbers, list(self._large)).any():
            large = np.array([self._large.get(number, 0) for number in numbers.tolist()], dtype=object)
            limbs = _carry(limbs.low.astype(object) + (large & _LOW), limbs.high.astype(object) + (large >> _LIMB))
        return limbs

    def _total(self, number: int) -> int:
        return (int(self._high[number]) << _LIMB) + int(self._low[number]) + self._large.get(number, 0)

    def _make_room(self) -> None:
        self._low, self._high = _carry(self._low, self._high)
        for number in np.flatnonzero(self._high >= _HIGH_SAFE).tolist():
            self._large[number] = self._large.get(number, 0) + (int(self._high[number]) << _LIMB)
            self._high[number] = 0

    def _reserve(self, size: int) -> None:
        if size > len(self._low):
            more = np.zeros(max(size, 2 * len(self._low)) - len(self._low), dtype=np.int64)
            self._low, self._high = np.concatenate((self._low, more)), np.concatenate((self._high, more))


def _carry(low: Numbers, high: Numbers) -> Limbs:
    return Limbs(low & _LOW, high + (low >> _LIMB))


def add_up(places: Integers, amounts: Integers, count: int) -> list[int]:
    """Return the exact sum of the amounts, of either sign, at each of `count` places."""
    low, high = np.zeros((2, count), dtype=np.int64)
    np.add.at(low, places, amounts & _LOW)
    np.add.at(high, places, amounts >> _LIMB)
    low, high = _carry(low, high)
    if ((high >= -_HIGH_MAX) & (high < _HIGH_MAX)).all():
        sums: list[int] = ((high << _LIMB) + low).tolist()
        return sums
    return [(above << _LIMB) + below for above, below in zip(high.tolist(), low.tolist(), strict=True)]
