"""The decisions about deposits, jobs, epochs and fees, with the numbers that a fold needs.

Those about stakes, slashes and rewards are in `events.stakes`.
"""

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
    PublicKey,
    Role,
    Text,
    VaultName,
)

__all__ = [
    "AgreedLine",
    "AllocatedLine",
    "BurnFinalized",
    "BurnFinalizedData",
    "DecisionRefused",
    "DecisionRefusedData",
    "DepositCredited",
    "DepositCreditedData",
    "DutyCount",
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
    "PayoutFinalized",
    "PayoutFinalizedData",
    "PayoutKeyAccepted",
    "PayoutKeyAcceptedData",
    "SlashEvidenced",
    "SlashEvidencedData",
    "SweepFinalized",
    "SweepFinalizedData",
    "WaitingLine",
    "WithdrawalAccepted",
    "WithdrawalAcceptedData",
]


# --- Decisions: by a lane -------------------------------------------------------------------------------------------


class DepositCreditedData(Data, frozen=True):
    """external → consumer:{subject}@vault; with a role, external → stake:bonded:{role}:{subject}@vault."""

    asset: Name
    amount: Amount
    proof: Literal["declared"]
    vault: Name
    role: Role | None = None


class DepositCredited(Decision, frozen=True, tag="DepositCredited"):
    """A consumer's money or a participant's stake arrived. Subject: the consumer, the participant."""

    data: DepositCreditedData


class Hold(Data, frozen=True):
    """What is held for one node: ceil(price × gpu_seconds_max / 3600)."""

    node: Name
    price: Amount
    amount: Amount


class EscrowFundedData(Data, frozen=True):
    """consumer:{consumer} → escrow:{consumer}:{subject}: amount = Σ holds."""

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


class WaitingLine(Data, frozen=True):
    """An agreeing node with a case against it: its hold stays in escrow until the case is decided (D19)."""

    node: Name
    case: Name
    hold: Amount


class JobSettledData(Data, frozen=True):
    """escrow = Σ gross + Σ waiting holds + refund.

    `funding: consumer` says that hold and release fall together in this one entry. A later settlement of the same
    attempt is about one line that waited: `escrow` is its hold; paid or, without a line, refunded.
    """

    asset: Name
    attempt: Positive
    consumer: Name
    escrow: Amount
    funding: Literal["escrow", "consumer"]
    lines: tuple[AgreedLine, ...]
    refund: Amount
    waiting: tuple[WaitingLine, ...] = ()


class JobSettled(Decision, frozen=True, tag="JobSettled"):
    """Payment is released to the suppliers (R1). Subject: the job."""

    data: JobSettledData


class JobRefundedData(Data, frozen=True):
    """escrow:{consumer}:{subject} → consumer:{consumer}; the amount may be 0, then there is no entry."""

    asset: Name
    amount: Amount
    attempt: Count
    cause: Name
    consumer: Name
    outcome: Literal["failed", "cancelled", "redistributed"]


class JobRefunded(Decision, frozen=True, tag="JobRefunded"):
    """An attempt is over without payment; so is the job, unless it was redistributed. Subject: the job."""

    data: JobRefundedData


class WithdrawalAcceptedData(Data, frozen=True):
    """consumer:{subject} → payable:withdrawal:{subject}, both @escrow."""

    asset: Name
    amount: Amount


class WithdrawalAccepted(Decision, frozen=True, tag="WithdrawalAccepted"):
    """A consumer's own money is owed back. Subject: the owner."""

    data: WithdrawalAcceptedData


class SlashEvidencedData(Data, frozen=True):
    """A lane's facts show a fault; the amount is the hub's to say.

    `verifiers` are the validators whose attestation had told it before; `reporter` who brought the evidence.
    """

    attempt: Positive
    case: Name
    cause: Name
    consumer: Name
    job: Name
    role: Role
    verifiers: tuple[Name, ...]
    reporter: Name | None = None


class SlashEvidenced(Decision, frozen=True, tag="SlashEvidenced"):
    """There is evidence against a participant. Subject: the accused."""

    data: SlashEvidencedData


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


class DutyCount(Data, frozen=True):
    """How many duties of a validator were assigned in the epoch, and how many of these were answered."""

    validator: Name
    assigned: Count
    answered: Count


class LaneEpochClosedData(Data, frozen=True):
    """`digest` = SHA-256 over the sorted leaf hashes of the lane's other events of the epoch; `events` counts them."""

    digest: Digest
    events: Count
    lane: Count
    totals: tuple[LaneTotal, ...]
    duties: tuple[DutyCount, ...] = ()


class LaneEpochClosed(Decision, frozen=True, tag="LaneEpochClosed"):
    """A lane has no more to say about an epoch. Subject: the lane."""

    data: LaneEpochClosedData


# --- Decisions: by the hub ------------------------------------------------------------------------------------------


class AllocatedLine(Data, frozen=True):
    """So much of an account, in a vault."""

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
    """[starts_at, ends_at), and where each lane closed it.

    `snapshot` is the Merkle root over the stakes of all validators (`ledger.snapshot`).
    """

    starts_at: Instant
    ends_at: Instant
    positions: tuple[LogPosition, ...]
    snapshot: Digest


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


class PayoutFinalizedData(Data, frozen=True):
    """Each line, a payable where it lies → external: amount = Σ lines."""

    asset: Name
    amount: Amount
    lines: tuple[AllocatedLine, ...]
    proof: Literal["declared"]


class PayoutFinalized(Decision, frozen=True, tag="PayoutFinalized"):
    """What was owed has been paid. Subject: the vault it left."""

    data: PayoutFinalizedData


class BurnFinalizedData(Data, frozen=True):
    """burn:pending@vault → supply:burned."""

    asset: Name
    amount: Amount
    proof: Literal["declared"]
    vault: VaultName


class BurnFinalized(Decision, frozen=True, tag="BurnFinalized"):
    """Tokens are gone for good (R2). Subject: the vault they left."""

    data: BurnFinalizedData


class SweepFinalizedData(Data, frozen=True):
    """Each line where it lies → the same account @`to`: amount = Σ lines."""

    asset: Name
    amount: Amount
    lines: tuple[AllocatedLine, ...]
    proof: Literal["declared"]
    to: VaultName


class SweepFinalized(Decision, frozen=True, tag="SweepFinalized"):
    """Money was moved to another vault. Subject: the vault it left."""

    data: SweepFinalizedData


class PayoutKeyAcceptedData(Data, frozen=True):
    """Where payouts to the subject go from now on."""

    payout_key: PublicKey


class PayoutKeyAccepted(Decision, frozen=True, tag="PayoutKeyAccepted"):
    """An owner is paid at another key. Subject: the owner."""

    data: PayoutKeyAcceptedData
