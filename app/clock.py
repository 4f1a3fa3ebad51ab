"""The one place that reads the wall clock. What it says is evidence (`recorded_at`) and decides nothing."""

from datetime import UTC, datetime

__all__ = ["now"]


def now() -> str:
    """Return the present as a canonical instant."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
