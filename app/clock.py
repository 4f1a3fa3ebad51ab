"""The one place that reads clocks. What they say is evidence (`recorded_at`, metrics) and decides nothing."""

import time
from datetime import UTC, datetime

__all__ = ["elapsed", "now"]


def now() -> str:
    """Return the present as a canonical instant."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def elapsed() -> float:
    """Return seconds since some moment before this process began, to be subtracted from one another."""
    return time.monotonic()
