"""Times and numbers of a trace, read as exact text: whole numbers and fractions, never floats.

seconds        12, 12.5, -3
milliseconds   12500, 12500.0
rfc3339        2026-10-01T00:00:12.5Z, 2026-10-01 02:00:12.5+02:00; without an offset it is UTC
"""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from app.traces.mapping import Clock

__all__ = ["parse_duration", "parse_time", "parse_whole"]

_WHOLE = re.compile(r"([0-9]{1,15})(?:\.0{1,15})?")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,30})?")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,30})?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def parse_whole(text: str) -> int:
    """Read a whole number of at most 15 digits, with zeros behind the point or not. Raises: ValueError."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        raise ValueError("is no whole number")
    return int(match[1])


def parse_time(text: str, clock: Clock) -> Fraction:
    """Read a time; return exact seconds since the clock's zero, of rfc3339 since 1970. Raises: ValueError."""
    if clock is Clock.RFC3339:
        return _rfc3339(text)
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError(f"is no time in {clock.value}")
    return Fraction(text) / (1000 if clock is Clock.MILLISECONDS else 1)


def parse_duration(text: str, clock: Clock) -> Fraction:
    """Read a duration, in seconds where the clock is rfc3339; return exact seconds. Raises: ValueError."""
    unit = Clock.SECONDS if clock is Clock.RFC3339 else clock
    if _DECIMAL.fullmatch(text) is None or text.startswith("-"):
        raise ValueError(f"is no duration in {unit.value}")
    return parse_time(text, unit)


def _rfc3339(text: str) -> Fraction:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("is no time in rfc3339")
    day, time, part, offset = match.groups()
    offset = "+00:00" if offset in (None, "Z", "z") else offset
    try:
        whole = datetime.fromisoformat(f"{day}T{time}{offset}")
    except ValueError as error:
        raise ValueError(f"is no time in rfc3339: {error}") from None
    return Fraction((whole - _EPOCH) // _SECOND) + Fraction(part or 0)
