"""What a lane remembers: open jobs, what each consumer can spend, the sums of its open epochs.

All of it follows from the lane's facts and from the hub's verdicts; a snapshot of it is a cache. A job is its
consumer's: under another consumer the same id names another job. Closed jobs leave but for a 16-byte digest, which
keeps their consumer from using the id again. What is known of their proof stays for a while, where there is any; so
does what waits in escrow for a verdict.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec
import numpy as np

from events.codec import decode
from events.decisions import AgreedLine, DutyCount
from events.facts import JobDispatched, JobSubmitted, JobSubmittedData, QuorumClaimed, Quote, UsageMetered
from events.hashing import Digests, Spans, hash_parts
from events.refusal import Reason, Refusal
from ledger.metering import hold_for
from ledger.quorum import paid_nodes
from settlement.keys import KeySet
from settlement.proof import Proof

__all__ = ["Begun", "EpochSum", "Job", "LaneState", "Spend", "Withheld", "digest_jobs"]


class Job(msgspec.Struct):
    """A job; `quotes`, `holds`, `usage` are keyed by node and belong to the running attempt, `proofs` by attempt.

    `escrow` and `holds` in base units, `usage` in GPU-seconds. `owned`: of owner authority. `until`: once the job is
    over, so long do facts about it still count as evidence.
    """

    consumer: str
    nodes: int
    gpu_seconds_max: int
    owned: bool = False
    attempt: int = 0
    funded: bool = False
    escrow: int = 0
    quotes: dict[str, Quote] = {}
    holds: dict[str, int] = {}
    usage: dict[str, int] = {}
    agreeing: tuple[str, ...] = ()
    proofs: dict[int, Proof] | None = None
    until: int = 0

    @staticmethod
    def of(data: JobSubmittedData) -> "Job":
        """Return a job as it is submitted."""
        owned = data.authority == "owner"
        return Job(consumer=data.consumer, nodes=data.nodes, gpu_seconds_max=data.gpu_seconds_max, owned=owned)

    def holds_for(self, quotes: dict[str, Quote]) -> dict[str, int]:
        """Return what these nodes may come to earn at most, base units."""
        return {node: hold_for(int(quote.price), self.gpu_seconds_max) for node, quote in quotes.items()}

    def operators(self) -> dict[str, str]:
        """Return whose each node is."""
        return {node: quote.operator for node, quote in self.quotes.items()}

    def fund(self, quotes: dict[str, Quote], holds: dict[str, int]) -> None:
        """Begin the attempt on these holds; escrow = Σ holds in base units."""
        self.funded = True
        self.escrow = sum(holds.values())
        self.quotes, self.holds = quotes, holds
        self.usage = {}
        self.agreeing = ()

    def leave(self) -> None:
        """End the attempt; what is known of its proof stays."""
        self.funded = False
        self.escrow = 0
        self.quotes, self.holds, self.usage = {}, {}, {}
        self.agreeing = ()

    def proof_of(self, attempt: int) -> Proof | None:
        """Return what is known of an attempt, a proof to be kept where it is the running one; None for any other."""
        proof = self.proofs.get(attempt) if self.proofs else None
        if proof is None and self.funded and attempt == self.attempt:
            return Proof(nodes=tuple(self.quotes))
        return proof

    def running_proof(self) -> Proof:
        """Return what is known of the running attempt, to be kept where something is added; empty without one."""
        return self.proof_of(self.attempt) or Proof(nodes=())

    def keep(self, attempt: int, proof: Proof) -> None:
        """Keep what is known of an attempt."""
        if self.proofs is None:
            self.proofs = {}
        self.proofs[attempt] = proof

    def keep_running(self) -> None:
        """Keep a proof of the running attempt, if there is one, beyond its end."""
        proof = self.proof_of(self.attempt)
        if proof is not None:
            self.keep(self.attempt, proof)


class Begun(msgspec.Struct):
    """A regular life that has begun (see `settlement.lives`), as the lines of its facts: so many, each with its LF.

    `escrow` in base units.
    """

    lines: bytes
    facts: int
    escrow: int
    gpu_seconds_max: int

    def read(self) -> Job:
        """Return the job that one by one these facts would have made."""
        submitted, *others = (decode(line) for line in self.lines.splitlines())
        assert isinstance(submitted, JobSubmitted)
        job = Job.of(submitted.data)
        for fact in others:
            if isinstance(fact, JobDispatched):
                quotes = {quote.node: quote for quote in fact.data.quotes}
                job.attempt = fact.data.attempt
                job.fund(quotes, job.holds_for(quotes))
            elif isinstance(fact, UsageMetered):
                job.usage[fact.data.node] = fact.data.gpu_seconds
            else:
                assert isinstance(fact, QuorumClaimed)
                job.agreeing = paid_nodes(fact.data.agreeing, job.operators())
        assert job.escrow == self.escrow
        return job


class Spend(msgspec.Struct):
    """A consumer's word that a job may be paid: base units, and microseconds since 1970."""

    maximum: int
    expires_at: int


class Withheld(msgspec.Struct):
    """What is left in escrow of an attempt that was settled: by case the hold and the line that wait.

    `settlements` counts those of the attempt.
    """

    job: str
    attempt: int
    consumer: str
    settlements: int = 1
    lines: dict[str, tuple[int, AgreedLine]] = {}


class EpochSum(msgspec.Struct):
    """An open epoch: base units that the lane credited, leaf hashes of its decisions, counts of duties by validator.

    `leaves`: hashes of 32 bytes, one after another, in parts of any length.
    """

    fee: int = 0
    burn: int = 0
    leaves: list[bytes] = []
    assigned: dict[str, int] = {}
    answered: dict[str, int] = {}

    def include(self, leaves: bytes, fee: int, burn: int) -> None:
        """Count decisions of the epoch; a later settlement of a waiting line counts in its own epoch."""
        self.leaves.append(leaves)
        self.fee += fee
        self.burn += burn

    def digest(self) -> tuple[str, int]:
        """Return the SHA-256 over the sorted leaf hashes, and how many there are."""
        leaves = np.sort(np.frombuffer(b"".join(self.leaves), dtype="S32"))
        return sha256(leaves.tobytes()).hexdigest(), len(leaves)

    def assign(self, validators: Iterable[str]) -> None:
        """Count a duty of each."""
        for validator in validators:
            self.assigned[validator] = self.assigned.get(validator, 0) + 1

    def answer(self, validator: str) -> None:
        """Count a duty of the epoch as answered."""
        self.answered[validator] = self.answered.get(validator, 0) + 1

    def duties(self) -> tuple[DutyCount, ...]:
        """Return the counts of all validators with duties, in the order of ids."""
        return tuple(
            DutyCount(validator=validator, assigned=assigned, answered=self.answered.get(validator, 0))
            for validator, assigned in sorted(self.assigned.items())
        )


class LaneState(msgspec.Struct):
    """The whole state of a lane; `available` in base units by consumer; `jobs`, `ended`, `spends` by (consumer, job).

    `ended`: closed jobs whose proof still counts. `waiting` by case. `verdicts` says of
    each case against a node that was decided whether it was upheld; it is never forgotten, since a job may be settled
    any time later, and it is small, since each of them cost somebody a trial.
    """

    oldest_open: int
    available: dict[str, int] = {}
    jobs: dict[tuple[str, str], Job | Begun] = {}
    closed: KeySet = msgspec.field(default_factory=KeySet)
    ended: dict[tuple[str, str], Job] = {}
    spends: dict[tuple[str, str], Spend] = {}
    waiting: dict[str, Withheld] = {}
    verdicts: dict[str, bool] = {}
    epochs: dict[int, EpochSum] = {}

    def credit(self, consumer: str, amount: int) -> None:
        """Give a consumer money to spend."""
        self.available[consumer] = self.available.get(consumer, 0) + amount

    def knows_job(self, consumer: str, job_id: str) -> bool:
        """Tell whether a consumer's job is open or was closed."""
        return (consumer, job_id) in self.jobs or self.closed.has(_digest(consumer, job_id))

    def open_job(self, consumer: str, job_id: str) -> Job | None:
        """Return an open job of a consumer's. From here on it goes one by one."""
        job = self.jobs.get((consumer, job_id))
        if isinstance(job, Begun):
            job = self.jobs[consumer, job_id] = job.read()
        return job

    def find(self, consumer: str, job_id: str) -> Job | Refusal:
        """Find an open job of a consumer's."""
        job = self.open_job(consumer, job_id)
        if job is None:
            return Refusal(Reason.JOB_CLOSED if self.knows_job(consumer, job_id) else Reason.JOB_UNKNOWN, job_id)
        return job

    def running(self, consumer: str, job_id: str, attempt: int) -> Job | Refusal:
        """Find an open job of a consumer's, at an attempt that is funded."""
        job = self.find(consumer, job_id)
        if isinstance(job, Job) and (not job.funded or attempt != job.attempt):
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{attempt} is not running")
        return job

    def accountable(self, consumer: str, job_id: str, now: int) -> Job | Refusal:
        """Find a job that is open, or over so short a time that facts about it still are evidence."""
        job = self.ended.get((consumer, job_id))
        if job is None or now >= job.until:
            return self.find(consumer, job_id)
        return job

    def close(self, consumer: str, job_id: str) -> None:
        """Let a job go; its id stays used."""
        self.jobs.pop((consumer, job_id), None)
        self.closed.add(_digest(consumer, job_id))

    def epoch_sum(self, epoch: int) -> EpochSum:
        """Return the sums of an open epoch."""
        if epoch not in self.epochs:
            self.epochs[epoch] = EpochSum()
        return self.epochs[epoch]

    def forget(self, network_time: int) -> None:
        """Drop what can no longer count: proofs of closed jobs, and words that have expired for no open job."""
        for place in [place for place, job in self.ended.items() if job.until <= network_time]:
            del self.ended[place]
        for place in [place for place, spend in self.spends.items() if spend.expires_at < network_time]:
            if place not in self.jobs:
                del self.spends[place]


def _digest(consumer: str, job_id: str) -> bytes:
    return sha256(f"{consumer}:{job_id}".encode()).digest()[:16]


def digest_jobs(consumers: Spans, job_ids: Spans) -> Digests:
    """Return the digests by which closed jobs are known, 16 bytes a row: the vectorised twin of `_digest`."""
    return np.ascontiguousarray(hash_parts([consumers, b":", job_ids], len(consumers.starts))[:, :16])
