"""Old schema versions become today's, on read; what is stored is never rewritten.

Each step is a pure function from the members of version n to those of version n + 1. Its golden bytes stay in the
tests for ever.

Worked example: `JobCancelled` version 1 had no reason. Version 2 requires one, so that reports can count the reasons
apart; an old event says `unstated`.

    {"data":{"consumer":"k"},…,"schema_version":1,…}  →
    {"data":{"consumer":"k","reason":"unstated"},…,"schema_version":2,…}
"""

from collections.abc import Callable
from typing import Any

from events.catalogue import get_version

__all__ = ["UpcastRefused", "upcast"]

Members = dict[str, Any]


class UpcastRefused(ValueError):
    """The members are not those of their version; the message names one."""


def upcast(members: Members) -> Members:
    """Apply the steps from the version of `members` up to today's; the argument is left as it was.

    Raises: UpcastRefused; KeyError where no step leads on from its type and version.
    """
    current = dict(members)
    while current["schema_version"] < get_version(current["type"]):
        step = _STEPS[current["type"], current["schema_version"]]
        current = step(current) | {"schema_version": current["schema_version"] + 1}
    return current


def _job_cancelled_1(members: Members) -> Members:
    return members | {"data": _with_new(members["data"], "reason", "unstated")}


def _with_new(data: Members, name: str, value: object) -> Members:
    if name in data:
        raise UpcastRefused(f"{name} is not a member of that version")
    return data | {name: value}


_STEPS: dict[tuple[str, int], Callable[[Members], Members]] = {
    ("JobCancelled", 1): _job_cancelled_1,
}
