"""The facts: what is reported by producers, ordered by owners, declared by the foundation."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from events.event import Amount, Count, Data, Digest, Fact, Instant, Name, Positive, Text

__all__ = [
    "ChainFactDeclared",
    "ChainFactDeclaredData",
    "GenesisDeclared",
    "GenesisDeclaredData",
    "JobCancelled",
    "JobCancelledData",
    "JobDispatched",
    "JobDispatchedData",
    "JobFailed",
    "JobFailedData",
    "JobSubmitted",
    "JobSubmittedData",
    "NodeRegistered",
    "NodeRegisteredData",
    "QuorumClaimed",
    "QuorumClaimedData",
    "Quote",
    "RecordRefused",
    "RecordRefusedData",
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


class ChainFactDeclaredData(Data, frozen=True):
    """A deposit of `amount` into `vault`, stated without proof from a chain."""

    effect: Literal["deposit"]
    asset: Name
    amount: Amount
    vault: Literal["escrow"]


class ChainFactDeclared(Fact, frozen=True, tag="ChainFactDeclared"):
    """Stands in for a chain fact in books without a chain; unproven on every report. Subject: the owner."""

    data: ChainFactDeclaredData


# --- Facts: from the compute layer ----------------------------------------------------------------------------------


class NodeRegisteredData(Data, frozen=True):
    """Hardware and terms; `minimum_price` is net base units per GPU-hour (R11)."""

    asset: Name
    authority: Literal["declared"]
    gpu_model: Text
    gpus: Count
    minimum_price: Amount
    operator: Name
    supplier: Name


class NodeRegistered(Fact, frozen=True, tag="NodeRegistered"):
    """A node offers GPUs. Subject: the node."""

    data: NodeRegisteredData


class Quote(Data, frozen=True):
    """A node's price for one attempt: `price` gross, `minimum` net, base units per GPU-hour."""

    node: Name
    operator: Name
    price: Amount
    minimum: Amount


class JobSubmittedData(Data, frozen=True):
    """`nodes` nodes shall run the job, each for at most `gpu_seconds_max` GPU-seconds."""

    asset: Name
    authority: Literal["declared"]
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
