"""Basis points, exactly: floor(amount × bps / 10,000), and the rest.

Holds: part + rest = amount. The remainder of the division stays in the rest.

Of many amounts at once no product passes 64 bits:

    a = 10,000 q + r    ⇒    floor(a b / 10,000) = q b + floor(r b / 10,000)
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["BPS", "Cut", "Integers", "cut", "cut_many"]

BPS = 10_000
Integers = npt.NDArray[np.int64]


class Cut(NamedTuple):
    """An amount in two parts, base units."""

    part: int
    rest: int


def cut(amount: int, bps: int) -> Cut:
    """Cut `bps` basis points (0 to 10,000) off an amount of base units ≥ 0; the part is floored."""
    assert amount >= 0
    assert 0 <= bps <= BPS
    part = amount * bps // BPS
    return Cut(part, amount - part)


def cut_many(amounts: Integers, bps: int) -> Integers:
    """Return the part of each amount in 0 … 2^63 - 1, as `cut` does."""
    assert 0 <= bps <= BPS
    return amounts // BPS * bps + amounts % BPS * bps // BPS
