"""From a supplier's net minimum to the gross price that is quoted (R11, D4).

    quoted = ceil(minimum × 10,000 / (10,000 − burn − fee))

Theorem (tested): what the supplier nets for s GPU-seconds at the quoted price is at least floor(minimum × s / 3600).
"""

import numpy as np
import numpy.typing as npt

from ledger.bps import BPS, Integers, cut_many

__all__ = ["keeps_many", "quote_price"]


def quote_price(minimum: int, burn_bps: int, fee_bps: int) -> int:
    """Return the lowest gross price per GPU-hour that nets `minimum` base units per GPU-hour; rounds up."""
    kept_bps = BPS - burn_bps - fee_bps
    assert kept_bps > 0
    return -(-minimum * BPS // kept_bps)


def keeps_many(prices: Integers, minima: Integers, burn_bps: int, fee_bps: int) -> npt.NDArray[np.bool_]:
    """Tell of each price whether it is at least `quote_price` of its minimum; both lie in 0 … 2^63 - 1.

    price ≥ ceil(minimum × 10,000 / kept)  ⇔  floor(price × kept / 10,000) ≥ minimum
    """
    kept_bps = BPS - burn_bps - fee_bps
    assert kept_bps > 0
    return cut_many(prices, kept_bps) >= minima
