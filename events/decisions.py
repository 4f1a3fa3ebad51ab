"""The decisions: what settlement made of the facts, with the numbers that a fold needs."""

from typing import Literal

from events.event import (
    AccountName,
    Amount,
    Count,
    Data,
    Decision,
    Digest,
    Instant,
    Key,
    Name,
    Positive,
    Text,
    VaultName,
)

__all__ = [
    "AgreedLine",
    "AllocatedLine",
    "DecisionRefused",
    "DecisionRefusedData",
    "DepositCredited",
    "DepositCreditedData",
    "EpochClosed",
    "EpochClosedData",
    "EscrowFunded",
    "EscrowFundedData",
    "FeeAllocated",
    "FeeAllocatedData",
    "GenesisAllocated",
    "GenesisAllocatedData",
    "Hold",
    "JobRefunded",
    "JobRefundedData",
    "JobSettled",
    "JobSettledData",
    "LaneEpochClosed",
    "LaneEpochClosedData",
    "LaneTotal",
    "LogPosition",
]


# --- Decisions: by a lane -------------------------------------------------------------------------------------------


class DepositCreditedData(Data, frozen=True):
    """external → consumer:{subject}@vault."""

    asset: Name
    amount: Amount
    proof: Literal["declared"]
    vault: Name


class DepositCredited(Decision, frozen=True, tag="DepositCredited"):
    """A consumer's money arrived. Subject: the consumer."""

    data: DepositCreditedData


class Hold(Data, frozen=True):
    """What is held for one node: ceil(price × gpu_seconds_max / 3600)."""

    node: Name
    price: Amount
    amount: Amount


class EscrowFundedData(Data, frozen=True):
    """consumer:{consumer} → escrow:{subject}: amount = Σ holds."""

    asset: Name
    amount: Amount
    attempt: Positive
    consumer: Name
    holds: tuple[Hold, ...]


class EscrowFunded(Decision, frozen=True, tag="EscrowFunded"):
    """An attempt's price is held. Subject: the job."""

    data: EscrowFundedData


class AgreedLine(Data, frozen=True):
    """One paid node: gross = burn + fee + net."""

    node: Name
    gpu_seconds: Count
    price: Amount
    gross: Amount
    burn: Amount
    fee: Amount
    net: Amount


class JobSettledData(Data, frozen=True):
    """escrow = Σ gross + refund. `funding: consumer` says that hold and release fall together in this one entry."""

    asset: Name
    attempt: Positive
    consumer: Name
    escrow: Amount
    funding: Literal["escrow", "consumer"]
    lines: tuple[AgreedLine, ...]
    refund: Amount


class JobSettled(Decision, frozen=True, tag="JobSettled"):
    """Payment is released to the suppliers (R1). Subject: the job."""

    data: JobSettledData


class JobRefundedData(Data, frozen=True):
    """escrow:{subject} → consumer; the amount may be 0, then there is no entry."""

    asset: Name
    amount: Amount
    attempt: Count
    cause: Name
    consumer: Name
    outcome: Literal["failed", "cancelled"]


class JobRefunded(Decision, frozen=True, tag="JobRefunded"):
    """A job is over without payment. Subject: the job."""

    data: JobRefundedData


class DecisionRefusedData(Data, frozen=True):
    """Which rule refused the fact `causation_id`; `position` where the fact's bytes could not even be read."""

    detail: Text
    reason: Name
    position: Text | None = None


class DecisionRefused(Decision, frozen=True, tag="DecisionRefused"):
    """A well-kept fact that the rules do not grant. Subject: that of the fact."""

    data: DecisionRefusedData


class LaneTotal(Data, frozen=True):
    """What a lane credited to `fee:accrued` and `burn:pending` in one vault."""

    asset: Name
    vault: Name
    fee: Amount
    burn: Amount


class LaneEpochClosedData(Data, frozen=True):
    """`digest` = SHA-256 over the sorted leaf hashes of the lane's other events of the epoch; `events` counts them."""

    digest: Digest
    events: Count
    lane: Count
    totals: tuple[LaneTotal, ...]


class LaneEpochClosed(Decision, frozen=True, tag="LaneEpochClosed"):
    """A lane has no more to say about an epoch. Subject: the lane."""

    data: LaneEpochClosedData


# --- Decisions: by the hub ------------------------------------------------------------------------------------------


class AllocatedLine(Data, frozen=True):
    """Who receives how much of the first supply."""

    account: AccountName
    amount: Amount
    vault: VaultName


class GenesisAllocatedData(Data, frozen=True):
    """supply:issued → each line; amount = Σ lines."""

    asset: Name
    amount: Amount
    lines: tuple[AllocatedLine, ...]


class GenesisAllocated(Decision, frozen=True, tag="GenesisAllocated"):
    """The first supply is allocated. Subject: the asset."""

    data: GenesisAllocatedData


class LogPosition(Data, frozen=True):
    """How much of a log was taken in: a number of leaves."""

    log: Key
    size: Count


class EpochClosedData(Data, frozen=True):
    """[starts_at, ends_at), and where each lane closed it."""

    starts_at: Instant
    ends_at: Instant
    positions: tuple[LogPosition, ...]


class EpochClosed(Decision, frozen=True, tag="EpochClosed"):
    """All lanes have closed an epoch. Subject: the epoch's date."""

    data: EpochClosedData


class FeeAllocatedData(Data, frozen=True):
    """fee:accrued → validator_pool:current and treasury:ops: fees = pool + treasury (D5)."""

    asset: Name
    fees: Amount
    pool: Amount
    treasury: Amount
    vault: Name


class FeeAllocated(Decision, frozen=True, tag="FeeAllocated"):
    """An epoch's fees are split, once per epoch and asset. Subject: the asset."""

    data: FeeAllocatedData
