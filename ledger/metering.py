"""What is held for a job, and what its usage costs (D20).

    hold_i   = ceil(price_i × gpu_seconds_max / 3600)
    s_i      = min(metered_i, 2 × lower median of the agreeing nodes)
    gross_i  = min(floor(price_i × s_i / 3600), hold_i)
    escrow   = Σ hold_i = Σ gross_i + Σ hold of waiting lines + refund

The hold rounds up, so that the gross of the whole time always fits; what gross rounds down goes back with the refund. A
line that waits for a verdict (`ledger.quorum`) counts in the median like any other, and its whole hold stays in escrow.

Of many at once no product passes 64 bits, where the result does not: with price = 3600 q + r

    floor(price × s / 3600) = q s + floor(r s / 3600)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ledger.bps import Integers

__all__ = [
    "MEDIAN_MULTIPLE",
    "bound_many",
    "bound_seconds",
    "fits_many",
    "hold_for",
    "hold_many",
    "price_many",
    "price_usage",
]

SECONDS_PER_HOUR = 3_600
MEDIAN_MULTIPLE = 2
# So large may price × seconds / 3600 become where many are priced at once, and so many the seconds.
_PRODUCT_MAX = 2**61
_SECONDS_MAX = 2**48


def hold_for(price: int, gpu_seconds_max: int) -> int:
    """Return the hold in base units; `price` is base units per GPU-hour."""
    return -(-price * gpu_seconds_max // SECONDS_PER_HOUR)


def price_usage(price: int, gpu_seconds: int, hold: int) -> int:
    """Return the gross of a metered time in base units, floored, at most the hold."""
    return min(price * gpu_seconds // SECONDS_PER_HOUR, hold)


def fits_many(prices: Integers, seconds: Integers) -> npt.NDArray[np.bool_]:
    """Tell which may be handed to `hold_many` and `price_many`; both lie in 0 … 2^63 - 1, or are negative: unknown."""
    known = (prices >= 0) & (seconds >= 0) & (seconds < _SECONDS_MAX)
    fits: npt.NDArray[np.bool_] = known & (prices // SECONDS_PER_HOUR <= _PRODUCT_MAX // np.maximum(seconds, 1))
    return fits


def hold_many(prices: Integers, gpu_seconds_max: Integers) -> Integers:
    """Return each hold, as `hold_for` does."""
    whole, part = prices // SECONDS_PER_HOUR, prices % SECONDS_PER_HOUR
    return whole * gpu_seconds_max - (-part * gpu_seconds_max // SECONDS_PER_HOUR)


def price_many(prices: Integers, gpu_seconds: Integers, holds: Integers) -> Integers:
    """Return each gross, as `price_usage` does."""
    whole, part = prices // SECONDS_PER_HOUR, prices % SECONDS_PER_HOUR
    return np.minimum(whole * gpu_seconds + part * gpu_seconds // SECONDS_PER_HOUR, holds)


def bound_seconds(metered: Sequence[int]) -> tuple[int, ...]:
    """Bound each agreeing node's GPU-seconds by twice their lower median; needs at least one."""
    limit = MEDIAN_MULTIPLE * sorted(metered)[(len(metered) - 1) // 2]
    return tuple([min(seconds, limit) for seconds in metered])


def bound_many(metered: Integers, starts: Integers) -> Integers:
    """Bound the GPU-seconds of many attempts, as `bound_seconds` does; `starts`: where each attempt's nodes begin."""
    counts = np.diff(starts, append=len(metered))
    attempts = np.repeat(np.arange(len(starts)), counts)
    medians = metered[np.lexsort((metered, attempts))][starts + (counts - 1) // 2]
    bound: Integers = np.minimum(metered, MEDIAN_MULTIPLE * medians[attempts])
    return bound
