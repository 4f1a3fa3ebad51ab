"""What is held for a job, and what its usage costs (D20).

    hold_i   = ceil(price_i × gpu_seconds_max / 3600)
    s_i      = min(metered_i, 2 × lower median of the agreeing nodes)
    gross_i  = min(floor(price_i × s_i / 3600), hold_i)
    escrow   = Σ hold_i = Σ gross_i + Σ hold of waiting lines + refund

The hold rounds up, so that the gross of the whole time always fits; what gross rounds down goes back with the refund. A
line that waits for a verdict (`ledger.quorum`) counts in the median like any other, and its whole hold stays in escrow.
"""

from collections.abc import Sequence

__all__ = ["MEDIAN_MULTIPLE", "bound_seconds", "hold_for", "price_usage"]

SECONDS_PER_HOUR = 3_600
MEDIAN_MULTIPLE = 2


def hold_for(price: int, gpu_seconds_max: int) -> int:
    """Return the hold in base units; `price` is base units per GPU-hour."""
    return -(-price * gpu_seconds_max // SECONDS_PER_HOUR)


def price_usage(price: int, gpu_seconds: int, hold: int) -> int:
    """Return the gross of a metered time in base units, floored, at most the hold."""
    return min(price * gpu_seconds // SECONDS_PER_HOUR, hold)


def bound_seconds(metered: Sequence[int]) -> tuple[int, ...]:
    """Bound each agreeing node's GPU-seconds by twice their lower median; needs at least one."""
    median = sorted(metered)[(len(metered) - 1) // 2]
    return tuple(min(seconds, MEDIAN_MULTIPLE * median) for seconds in metered)
