"""The facts about time, the chain and jobs.

What participants and owners say is in `events.participants` and `events.orders`.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from events.event import AccountName, Amount, Count, Data, Digest, Fact, Instant, Name, Positive, Role, Text, VaultName

__all__ = [
    "AttestationRecorded",
    "AttestationRecordedData",
    "ChainFactDeclared",
    "ChainFactDeclaredData",
    "ChallengeResultRecorded",
    "ChallengeResultRecordedData",
    "DeclaredLine",
    "DutyAssigned",
    "DutyAssignedData",
    "GenesisDeclared",
    "GenesisDeclaredData",
    "JobCancelled",
    "JobCancelledData",
    "JobDispatched",
    "JobDispatchedData",
    "JobFailed",
    "JobFailedData",
    "JobRedistributed",
    "JobRedistributedData",
    "JobSubmitted",
    "JobSubmittedData",
    "QuorumClaimed",
    "QuorumClaimedData",
    "Quote",
    "RecordRefused",
    "RecordRefusedData",
    "ResultSubmitted",
    "ResultSubmittedData",
    "StreamMarked",
    "StreamMarkedData",
    "StreamRegistered",
    "StreamRegisteredData",
    "Terms",
    "UsageMetered",
    "UsageMeteredData",
]


# --- Facts: time and the books themselves ---------------------------------------------------------------------------


class GenesisDeclaredData(Data, frozen=True):
    """`parameters` is the canonical JSON of the parameter set; `params_hash` its SHA-256."""

    parameters: str
    params_hash: Digest


class GenesisDeclared(Fact, frozen=True, tag="GenesisDeclared"):
    """The foundation declares the books: parameter set and first allocation. Subject: the network."""

    data: GenesisDeclaredData


class StreamRegisteredData(Data, frozen=True):
    """No fact of the stream has occurred before `since`."""

    since: Instant


class StreamRegistered(Fact, frozen=True, tag="StreamRegistered"):
    """A stream of facts begins; network time waits for it from now on. Subject: the stream."""

    data: StreamRegisteredData


class StreamMarkedData(Data, frozen=True):
    """No later fact of the stream has occurred before `until`."""

    until: Instant


class StreamMarked(Fact, frozen=True, tag="StreamMarked"):
    """A stream has passed a time. Subject: the stream."""

    data: StreamMarkedData


class RecordRefusedData(Data, frozen=True):
    """What was refused, where it stood, why; `raw` is base64 of (at most the first 48 KiB of) the bytes."""

    source: Text
    position: Count
    reason: Text
    detail: Text
    raw: str
    length: Count
    sha256: Digest


class RecordRefused(Fact, frozen=True, tag="RecordRefused"):
    """A line that could not enter is kept. Subject: `intake`."""

    data: RecordRefusedData


# --- Facts: seen on the chain, or declared in its place -------------------------------------------------------------


class DeclaredLine(Data, frozen=True):
    """One account's part of a payout or a sweep."""

    account: AccountName
    amount: Amount


class ChainFactDeclaredData(Data, frozen=True):
    """What is said to have happened on a chain, without proof from one.

    deposit  external → consumer:{subject}@escrow
    stake    external → stake:bonded:{role}:{subject}@stake
    payout   each line, a payable in `vault` → external       amount = Σ lines
    burn     burn:pending@vault → supply:burned
    sweep    each line, `vault` → `to`                        amount = Σ lines
    """

    effect: Literal["deposit", "stake", "payout", "burn", "sweep"]
    asset: Name
    amount: Amount
    vault: VaultName
    lines: tuple[DeclaredLine, ...] = ()
    role: Role | None = None
    to: VaultName | None = None


class ChainFactDeclared(Fact, frozen=True, tag="ChainFactDeclared"):
    """Stands in for a chain fact in books without a chain; unproven on every report.

    Subject: the owner of a deposit, the participant of a stake; else the vault.
    """

    data: ChainFactDeclaredData


# --- Facts: from the compute layer ----------------------------------------------------------------------------------


class Quote(Data, frozen=True):
    """A node's price for one attempt: `price` gross, `minimum` net, base units per GPU-hour."""

    node: Name
    operator: Name
    price: Amount
    minimum: Amount


class JobSubmittedData(Data, frozen=True):
    """`nodes` nodes shall run the job, each for at most `gpu_seconds_max` GPU-seconds.

    `authority: owner` needs the consumer's `SpendAuthorized`, passed challenges and attestations (D19); a job of
    declared authority is released on its usage alone, and is marked so.
    """

    asset: Name
    authority: Literal["declared", "owner"]
    consumer: Name
    gpu_seconds_max: Count
    nodes: Positive


class JobSubmitted(Fact, frozen=True, tag="JobSubmitted"):
    """A consumer asks for compute. Subject: the job."""

    data: JobSubmittedData


class JobDispatchedData(Data, frozen=True):
    """The quotes on which the attempt rests; the hold follows from them (D20)."""

    attempt: Positive
    consumer: Name
    quotes: Annotated[tuple[Quote, ...], Meta(min_length=1, max_length=64)]
    params_hash: Digest | None = None


class JobDispatched(Fact, frozen=True, tag="JobDispatched"):
    """A job was placed on nodes. Subject: the job."""

    data: JobDispatchedData


class Terms(Data, frozen=True):
    """A whole one-node job of declared authority, carried by its usage."""

    asset: Name
    authority: Literal["declared"]
    gpu_seconds_max: Count
    minimum: Amount
    operator: Name
    price: Amount


class UsageMeteredData(Data, frozen=True):
    """A node ran `gpu_seconds` GPU-seconds. With `terms` the fact is the whole job."""

    attempt: Positive
    consumer: Name
    gpu_seconds: Count
    node: Name
    terms: Terms | None = None


class UsageMetered(Fact, frozen=True, tag="UsageMetered"):
    """A node reports what it ran. Subject: the job."""

    data: UsageMeteredData


class QuorumClaimedData(Data, frozen=True):
    """The nodes whose results agree (R9)."""

    agreeing: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    attempt: Positive
    consumer: Name


class QuorumClaimed(Fact, frozen=True, tag="QuorumClaimed"):
    """The verdict on an attempt of several nodes. Subject: the job."""

    data: QuorumClaimedData


class JobFailedData(Data, frozen=True):
    """The attempt failed and the job is over."""

    attempt: Positive
    consumer: Name
    reason: Name


class JobFailed(Fact, frozen=True, tag="JobFailed"):
    """A job ended without a result; what was held is returned (D21). Subject: the job."""

    data: JobFailedData


class JobCancelledData(Data, frozen=True):
    """Why; version 1 of this event had no `reason`."""

    consumer: Name
    reason: Name


class JobCancelled(Fact, frozen=True, tag="JobCancelled"):
    """A job was withdrawn before it ran. Subject: the job."""

    VERSION: ClassVar[int] = 2
    data: JobCancelledData


# --- Facts: the proof that a job was computed -----------------------------------------------------------------------


class DutyAssignedData(Data, frozen=True):
    """The validators drawn for an attempt, and the seed they were drawn by (R10)."""

    attempt: Positive
    consumer: Name
    seed: Digest
    validators: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]


class DutyAssigned(Fact, frozen=True, tag="DutyAssigned"):
    """Validators shall check an attempt. Subject: the job."""

    data: DutyAssignedData


class ResultSubmittedData(Data, frozen=True):
    """The SHA-256 of what a node computed, never the thing itself (R14)."""

    attempt: Positive
    consumer: Name
    node: Name
    result: Digest


class ResultSubmitted(Fact, frozen=True, tag="ResultSubmitted"):
    """A node has a result. Subject: the job."""

    data: ResultSubmittedData


class AttestationRecordedData(Data, frozen=True):
    """A validator's word on a node's computation; `reporter` is who brought it up, where another did."""

    attempt: Positive
    consumer: Name
    node: Name
    validator: Name
    verdict: Literal["passed", "failed"]
    reporter: Name | None = None


class AttestationRecorded(Fact, frozen=True, tag="AttestationRecorded"):
    """A validator has answered a duty. Subject: the job."""

    data: AttestationRecordedData


class ChallengeResultRecordedData(Data, frozen=True):
    """Whether a node's challenge tensors came back right (R8); `proof` is the hash of what shows it."""

    attempt: Positive
    consumer: Name
    node: Name
    passed: bool
    proof: Digest | None = None
    reporter: Name | None = None


class ChallengeResultRecorded(Fact, frozen=True, tag="ChallengeResultRecorded"):
    """A node's challenge is decided. Subject: the job."""

    data: ChallengeResultRecordedData


class JobRedistributedData(Data, frozen=True):
    """The attempt is over and the job goes on with the next (D21)."""

    attempt: Positive
    consumer: Name
    reason: Name


class JobRedistributed(Fact, frozen=True, tag="JobRedistributed"):
    """A job is taken from its nodes; what was held is released. Subject: the job."""

    data: JobRedistributedData
