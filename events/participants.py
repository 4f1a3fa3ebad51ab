"""The facts about nodes and validators, and the foundation's rulings on slashes."""

from typing import Annotated, Literal

from msgspec import Meta

from events.event import Amount, Count, Data, Fact, Name, PublicKey, Signature, Text

__all__ = [
    "Approval",
    "NodeRegistered",
    "NodeRegisteredData",
    "NodeRetired",
    "NodeRetiredData",
    "NodeUpdated",
    "NodeUpdatedData",
    "SlashRuled",
    "SlashRuledData",
    "ValidatorExited",
    "ValidatorExitedData",
    "ValidatorRegistered",
    "ValidatorRegisteredData",
]


class NodeRegisteredData(Data, frozen=True):
    """Hardware and terms; `minimum_price` is net base units per GPU-hour (R11).

    `authority: stake` needs `owner`, whose key orders the stake, and the hardware minimum (R7); a declared node needs
    neither, and is marked so.
    """

    asset: Name
    authority: Literal["declared", "stake"]
    gpu_model: Text
    gpus: Count
    minimum_price: Amount
    operator: Name
    supplier: Name
    bandwidth_mbps: Count | None = None
    owner: PublicKey | None = None
    vram_mib: Count | None = None


class NodeRegistered(Fact, frozen=True, tag="NodeRegistered"):
    """A node offers GPUs. Subject: the node."""

    data: NodeRegisteredData


class NodeUpdatedData(Data, frozen=True):
    """Hardware and minimum price from now on."""

    bandwidth_mbps: Count
    gpu_model: Text
    gpus: Count
    minimum_price: Amount
    vram_mib: Count


class NodeUpdated(Fact, frozen=True, tag="NodeUpdated"):
    """A node's hardware or terms have changed. Subject: the node."""

    data: NodeUpdatedData


class NodeRetiredData(Data, frozen=True):
    """Why."""

    reason: Name


class NodeRetired(Fact, frozen=True, tag="NodeRetired"):
    """A node takes no more jobs; its stake stays until it is unstaked. Subject: the node."""

    data: NodeRetiredData


class ValidatorRegisteredData(Data, frozen=True):
    """Who runs the validator, and whose key orders its stake."""

    operator: Name
    owner: PublicKey


class ValidatorRegistered(Fact, frozen=True, tag="ValidatorRegistered"):
    """A validator joins. Subject: the validator."""

    data: ValidatorRegisteredData


class ValidatorExitedData(Data, frozen=True):
    """Why."""

    reason: Name


class ValidatorExited(Fact, frozen=True, tag="ValidatorExited"):
    """A validator takes no more duties; its stake stays until it is unstaked. Subject: the validator."""

    data: ValidatorExitedData


class Approval(Data, frozen=True):
    """One key's signature over `events.signing.signed_bytes` of the fact."""

    key: PublicKey
    signature: Signature


class SlashRuledData(Data, frozen=True):
    """The verdict on a slash case, approved by keys of the foundation."""

    approvals: Annotated[tuple[Approval, ...], Meta(min_length=1, max_length=16)]
    cluster: Name
    verdict: Literal["upheld", "reversed"]


class SlashRuled(Fact, frozen=True, tag="SlashRuled"):
    """A disputed or an accused case is ruled upon. Subject: the case."""

    data: SlashRuledData
