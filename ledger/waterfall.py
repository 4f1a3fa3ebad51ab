"""How an epoch's fees are shared (R3, D5): once per epoch and asset, on the network's sum.

    pool = floor(fees × validator_bps / 10,000)        treasury = fees − pool

The remainder is the treasury's. Split line by line the pool would lose a unit per job, so it is not.
"""

from typing import NamedTuple

from ledger.bps import cut

__all__ = ["FeeShares", "share_fees"]


class FeeShares(NamedTuple):
    """Fees in two parts, base units."""

    pool: int
    treasury: int


def share_fees(fees: int, validator_bps: int) -> FeeShares:
    """Share an epoch's fees; pool + treasury = fees."""
    pool, treasury = cut(fees, validator_bps)
    return FeeShares(pool, treasury)
