"""Epochs are UTC days, numbered from 1970-01-01 (D14).

    closes_at(e) = end of the day e + grace           an epoch closes when network time reaches this
    epoch of an entry = day of its deciding fact while that day is open, else the oldest open epoch

So a late fact changes no closed epoch, and nothing is lost.
"""

from events.instant import MICROSECONDS, day_of, start_of_day

__all__ = ["closes_at", "epoch_for"]


def closes_at(epoch: int, grace_seconds: int) -> int:
    """Return the network time, in microseconds, at which an epoch closes."""
    return start_of_day(epoch + 1) + grace_seconds * MICROSECONDS


def epoch_for(occurred_at: int, oldest_open: int) -> int:
    """Return the epoch of what was decided by a fact of `occurred_at` (microseconds)."""
    return max(day_of(occurred_at), oldest_open)
