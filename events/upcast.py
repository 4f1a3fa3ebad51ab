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

__all__ = ["upcast"]

Members = dict[str, Any]


def upcast(members: Members) -> Members:
    """Apply the steps from the version of `members` up to today's; the argument is left as it was.

    Raises: KeyError where no step leads on from its type and version.
    """
    current = dict(members)
    while current["schema_version"] < get_version(current["type"]):
        step = _STEPS[current["type"], current["schema_version"]]
        current = step(current) | {"schema_version": current["schema_version"] + 1}
    return current


def _job_cancelled_1(members: Members) -> Members:
    return members | {"data": members["data"] | {"reason": "unstated"}}


_STEPS: dict[tuple[str, int], Callable[[Members], Members]] = {
    ("JobCancelled", 1): _job_cancelled_1,
}
