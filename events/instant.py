"""Instants: RFC 3339 UTC text with six decimals and Z, and whole microseconds since 1970.

Holds: `format_instant(parse_instant(t)) == t` for each text that `parse_instant` accepts. Text sorts as time does.
"""

import re
from datetime import UTC, datetime, timedelta

__all__ = [
    "DAY",
    "MICROSECONDS",
    "day_of",
    "format_instant",
    "parse_instant",
    "start_of_day",
]

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
# What `fromisoformat` accepts of this shape has one reading and one writing.
_CANONICAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_instant(text: str) -> int:
    """Read canonical text; return microseconds since 1970-01-01T00:00:00Z.

    Raises: ValueError for any text that is not canonical, also where the calendar has no such day.
    """
    if _CANONICAL.fullmatch(text) is None:
        raise ValueError(f"instant {text!r}: expected YYYY-MM-DDThh:mm:ss.ffffffZ")
    elapsed = datetime.fromisoformat(text) - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * MICROSECONDS + elapsed.microseconds


def format_instant(instant: int) -> str:
    """Write microseconds since 1970 as canonical text."""
    moment = _EPOCH + timedelta(microseconds=instant)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def day_of(instant: int) -> int:
    """Return the UTC day, counted from 1970-01-01 = 0."""
    return instant // DAY


def start_of_day(day: int) -> int:
    """Return the first instant of a UTC day."""
    return day * DAY
