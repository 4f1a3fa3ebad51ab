"""Named steps at which the process can be told to die, for the fault tests.

Each order of effects is numbered in the code and calls `reach` behind each step. Nothing is armed unless the process
was started so; then the process kills itself with SIGKILL when it reaches the step for the n-th time.
"""

import signal

__all__ = ["KILLPOINTS", "arm", "reach"]

KILLPOINTS = (
    "append.1-frame-written",
    "append.2-record-written",
    "append.3-synced",
    "kafka.1-sent",
    "kafka.2-acknowledged",
    "kafka.3-committed",
    "ingest.1-checked",
    "ingest.1b-partition-appended",
    "ingest.2-appended",
    "ingest.3-acknowledged",
    "settle.1-decided",
    "settle.2-appended",
    "commit.1-facts-synced",
    "commit.2-ledgers-synced",
    "commit.3-marked",
    "snapshot.1-sealed",
    "snapshot.2-written",
    "snapshot.3-in-place",
    "project.1-rows-written",
    "project.2-committed",
    "project.3-history-written",
    "project.4-history-committed",
    "rows.1-moved",
    "rows.2-committed",
    "rebuild.1-built",
    "rebuild.2-swapped",
    "backup.1-copied",
    "backup.2-manifest-written",
    "restore.1-copied",
    "restore.2-put-in-place",
)
_armed: dict[str, int] = {}


def arm(name: str, times: int) -> None:
    """Die when `name` is reached for the `times`-th time. Raises: ValueError for a name that no step has."""
    if name not in KILLPOINTS:
        raise ValueError(f"kill point {name!r}: known are {', '.join(KILLPOINTS)}")
    _armed[name] = times


def reach(name: str) -> None:
    """Mark that a step is done."""
    if _armed and name in _armed:
        _armed[name] -= 1
        if _armed[name] == 0:
            signal.raise_signal(signal.SIGKILL)
