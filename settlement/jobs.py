"""What a lane remembers: open jobs, what each consumer can spend, the sums of its open epochs.

All of it follows from the lane's facts; a snapshot of it is a cache. Closed jobs leave but for a 16-byte digest, which
keeps a job id from being used again.
"""

from hashlib import sha256

import msgspec

from events.decisions import Hold, JobSettled
from events.event import Decision
from events.facts import Quote

__all__ = ["EpochSum", "Job", "LaneState"]


class Job(msgspec.Struct):
    """An open job; `quotes`, `holds`, `usage` are keyed by node and belong to the running attempt."""

    consumer: str
    nodes: int
    gpu_seconds_max: int
    attempt: int = 0
    funded: bool = False
    escrow: int = 0
    quotes: dict[str, Quote] = {}
    holds: dict[str, Hold] = {}
    usage: dict[str, int] = {}
    agreeing: tuple[str, ...] = ()

    def fund(self, quotes: tuple[Quote, ...], holds: tuple[Hold, ...]) -> None:
        """Begin the attempt on these holds; escrow = Σ holds in base units."""
        self.funded = True
        self.escrow = sum(int(hold.amount) for hold in holds)
        self.quotes = {quote.node: quote for quote in quotes}
        self.holds = {hold.node: hold for hold in holds}
        self.usage = {}
        self.agreeing = ()


class EpochSum(msgspec.Struct):
    """What the lane credited in an open epoch, base units, and the leaf hashes of its decisions."""

    fee: int = 0
    burn: int = 0
    leaves: list[bytes] = []

    def include(self, decision: Decision, leaf: bytes) -> None:
        """Count a decision of the epoch."""
        self.leaves.append(leaf)
        if isinstance(decision, JobSettled):
            for line in decision.data.lines:
                self.fee += int(line.fee)
                self.burn += int(line.burn)


class LaneState(msgspec.Struct):
    """The whole state of a lane; `available` in base units by consumer."""

    oldest_open: int
    available: dict[str, int] = {}
    jobs: dict[str, Job] = {}
    closed: set[bytes] = set()
    epochs: dict[int, EpochSum] = {}

    def credit(self, consumer: str, amount: int) -> None:
        """Give a consumer money to spend."""
        self.available[consumer] = self.available.get(consumer, 0) + amount

    def knows_job(self, job_id: str) -> bool:
        """Tell whether a job id is open or was closed."""
        return job_id in self.jobs or _digest(job_id) in self.closed

    def close(self, job_id: str) -> None:
        """Let a job go; its id stays used."""
        self.jobs.pop(job_id, None)
        self.closed.add(_digest(job_id))

    def epoch_sum(self, epoch: int) -> EpochSum:
        """Return the sums of an open epoch."""
        if epoch not in self.epochs:
            self.epochs[epoch] = EpochSum()
        return self.epochs[epoch]


def _digest(job_id: str) -> bytes:
    return sha256(job_id.encode()).digest()[:16]
