"""How a released job gross is split (R1, R2, D1–D3).

Burn and fee are each floored from the gross; the supplier receives the rest, so both remainders are the supplier's:

    gross = burn + fee + net            100 → 2 + 5 + 93 at 200 and 500 bps

The base of the burn is the released gross: not deposits, refunds, stake moves or rewards (D2).
"""

from typing import NamedTuple

from ledger.bps import BPS, cut

__all__ = ["Split", "split_gross"]


class Split(NamedTuple):
    """The parts of a gross, base units."""

    burn: int
    fee: int
    net: int


def split_gross(gross: int, burn_bps: int, fee_bps: int) -> Split:
    """Split a gross ≥ 0; burn + fee + net = gross. Needs burn_bps + fee_bps < 10,000."""
    assert burn_bps + fee_bps < BPS
    burn = cut(gross, burn_bps).part
    fee = cut(gross, fee_bps).part
    return Split(burn, fee, gross - burn - fee)
