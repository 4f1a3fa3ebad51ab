"""The `Log` protocol: five verbs, the same for the embedded file log and for Kafka.

A log appends records and never dedupes, edits or forgets. Positions are tree sizes (see `events.record`).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from events.hashing import Digests
from events.record import Basis, Record

__all__ = ["Log", "LogBusy", "LogDamaged", "LogFault", "LogFenced", "LogFull"]


class LogFault(Exception):
    """The world failed under a log; the base of its errors.

    LogFault
    ├── LogDamaged   bytes that were acknowledged do not check; says where
    ├── LogBusy      another process holds the lock
    ├── LogFenced    another writer has taken over; stop
    └── LogFull      nothing of the batch was kept; free space and append again
    """


class LogDamaged(LogFault):
    """A record does not check. `log`, `offset` and `sequence` say where, `fault` what."""

    def __init__(self, log: str, place: str, offset: int, sequence: int, fault: str) -> None:
        """Keep the place as fields and say it as a sentence."""
        super().__init__(f"{log}: record at sequence {sequence} ({place}, byte {offset}): {fault}")
        self.log, self.place, self.offset = log, place, offset
        self.sequence, self.fault = sequence, fault


class LogBusy(LogFault):
    """Another process writes; try again when it has ended."""


class LogFenced(LogFault):
    """Another writer has taken over: what was not committed is not kept; stop, or open anew and fence the other."""


class LogFull(LogFault):
    """The batch could not be written and was taken back whole."""


class Log(Protocol):
    """An append-only log that is a Merkle tree."""

    name: str

    def append(
        self,
        lines: Sequence[bytes] | bytes,
        recorded_at: str,
        network_time: str | None = None,
        basis: tuple[Basis, ...] = (),
        hashes: Digests | None = None,
    ) -> Record:
        """Make one batch of lines (or their bytes, each with its LF) durable, then return its record.

        `hashes`: the lines' leaf hashes, where the writer knows them.
        Raises: LogFull, LogFault.
        """
        ...

    def read(self, position: int = 0) -> Iterator[Record]:
        """Yield the records that end behind `position`, up to the last whole one. Raises: LogDamaged."""
        ...

    def end(self) -> int:
        """Return the position behind the last whole record. Raises: LogDamaged."""
        ...

    def root(self) -> bytes:
        """Return the tree's root at `end`. Raises: LogDamaged."""
        ...

    def close(self) -> None:
        """Give back files, connections and locks."""
        ...
