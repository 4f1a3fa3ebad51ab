"""Instants: RFC 3339 UTC text with six decimals and Z, and whole microseconds since 1970.

Holds: `format_instant(parse_instant(t)) == t` for each text that `parse_instant` accepts. Text sorts as time does.
"""

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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_instant(text: str) -> int:
    """Read canonical text; return microseconds since 1970-01-01T00:00:00Z.

    Raises: ValueError for any text that is not canonical, also where the calendar has no such day.
    """
    if len(text) != len("YYYY-MM-DDThh:mm:ss.ffffffZ") or text[10] != "T" or text[19] != "." or text[26] != "Z":
        raise ValueError(f"instant {text!r}: expected YYYY-MM-DDThh:mm:ss.ffffffZ")
    moment = datetime.fromisoformat(text)
    elapsed = moment - _EPOCH
    instant = (elapsed.days * 86_400 + elapsed.seconds) * MICROSECONDS + elapsed.microseconds
    if format_instant(instant) != text:
        raise ValueError(f"instant {text!r}: not canonical")
    return instant


def format_instant(instant: int) -> str:
    """Write microseconds since 1970 as canonical text."""
    moment = _EPOCH + timedelta(microseconds=instant)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z".rjust(27, "0")


def day_of(instant: int) -> int:
    """Return the UTC day, counted from 1970-01-01 = 0."""
    return instant // DAY


def start_of_day(day: int) -> int:
    """Return the first instant of a UTC day."""
    return day * DAY
