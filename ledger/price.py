"""From a supplier's net minimum to the gross price that is quoted (R11, D4).

    quoted = ceil(minimum × 10,000 / (10,000 − burn − fee))

Theorem (tested): what the supplier nets for s GPU-seconds at the quoted price is at least floor(minimum × s / 3600).
"""

from ledger.bps import BPS

__all__ = ["quote_price"]


def quote_price(minimum: int, burn_bps: int, fee_bps: int) -> int:
    """Return the lowest gross price per GPU-hour that nets `minimum` base units per GPU-hour; rounds up."""
    kept_bps = BPS - burn_bps - fee_bps
    assert kept_bps > 0
    return -(-minimum * BPS // kept_bps)
