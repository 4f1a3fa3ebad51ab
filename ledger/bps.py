"""Basis points, exactly: floor(amount × bps / 10,000), and the rest.

Holds: part + rest = amount. The remainder of the division stays in the rest.
"""

from typing import NamedTuple

__all__ = ["BPS", "Cut", "cut"]

BPS = 10_000


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
