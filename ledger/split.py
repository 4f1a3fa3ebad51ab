"""How a released job gross is split (R1, R2, D1–D3).

Burn and fee are each floored from the gross; the supplier receives the rest, so both remainders are the supplier's:

    gross = burn + fee + net            100 → 2 + 5 + 93 at 200 and 500 bps

The base of the burn is the released gross: not deposits, refunds, stake moves or rewards (D2).
"""

from typing import NamedTuple

from ledger.bps import BPS, Integers, cut_many

__all__ = ["Split", "SplitMany", "split_gross", "split_many"]


class Split(NamedTuple):
    """The parts of a gross, base units."""

    burn: int
    fee: int
    net: int


class SplitMany(NamedTuple):
    """The parts of many grosses, base units, a row each."""

    burn: Integers
    fee: Integers
    net: Integers


def split_gross(gross: int, burn_bps: int, fee_bps: int) -> Split:
    """Split a gross ≥ 0; burn + fee + net = gross. Needs burn_bps + fee_bps < 10,000."""
    assert gross >= 0 <= burn_bps
    assert 0 <= fee_bps < BPS - burn_bps
    burn, fee = gross * burn_bps // BPS, gross * fee_bps // BPS
    return Split(burn, fee, gross - burn - fee)


def split_many(gross: Integers, burn_bps: int, fee_bps: int) -> SplitMany:
    """Split each gross in 0 … 2^63 - 1, as `split_gross` does."""
    assert burn_bps + fee_bps < BPS
    burn, fee = cut_many(gross, burn_bps), cut_many(gross, fee_bps)
    return SplitMany(burn, fee, gross - burn - fee)
