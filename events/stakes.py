"""The hub's decisions about stakes, slashes and validators' rewards, with the numbers that a fold needs."""

from typing import Literal

from events.decisions import AllocatedLine
from events.event import Amount, Count, Data, Decision, Digest, Instant, Name, Positive, PublicKey, Role

__all__ = [
    "ExcludedLine",
    "ParticipantRegistered",
    "ParticipantRegisteredData",
    "ParticipantReinstated",
    "ParticipantReinstatedData",
    "ParticipantSuspended",
    "ParticipantSuspendedData",
    "RewardLine",
    "SlashDisputed",
    "SlashDisputedData",
    "SlashDistributed",
    "SlashDistributedData",
    "SlashPayment",
    "SlashProposed",
    "SlashProposedData",
    "SlashReversed",
    "SlashReversedData",
    "SlashUpheld",
    "SlashUpheldData",
    "TicketPart",
    "UnbondingCancelled",
    "UnbondingCancelledData",
    "UnbondingMatured",
    "UnbondingMaturedData",
    "UnstakeRequested",
    "UnstakeRequestedData",
    "ValidatorRewardsAllocated",
    "ValidatorRewardsAllocatedData",
    "WithheldLine",
]


# --- Stakes ---------------------------------------------------------------------------------------------------------


class ParticipantRegisteredData(Data, frozen=True):
    """`active` says whether the stake that is there already suffices; if not, it begins suspended."""

    active: bool
    minimum: Amount
    operator: Name
    owner: PublicKey
    role: Role


class ParticipantRegistered(Decision, frozen=True, tag="ParticipantRegistered"):
    """A node or a validator is known (R7). Subject: the participant."""

    data: ParticipantRegisteredData


class ParticipantSuspendedData(Data, frozen=True):
    """`stake` is bonded and frozen in open cases; no duties until reinstated (D12)."""

    cause: Literal["stake", "hardware", "retired"]
    minimum: Amount
    role: Role
    stake: Amount


class ParticipantSuspended(Decision, frozen=True, tag="ParticipantSuspended"):
    """A participant may not serve. Subject: the participant."""

    data: ParticipantSuspendedData


class ParticipantReinstatedData(Data, frozen=True):
    """`stake` is bonded and frozen in open cases, at least `minimum`."""

    minimum: Amount
    role: Role
    stake: Amount


class ParticipantReinstated(Decision, frozen=True, tag="ParticipantReinstated"):
    """A participant may serve. Subject: the participant."""

    data: ParticipantReinstatedData


class UnstakeRequestedData(Data, frozen=True):
    """stake:bonded:{role}:{subject} → stake:unbonding:{ticket}, both @stake."""

    asset: Name
    amount: Amount
    matures_at: Instant
    role: Role
    ticket: Name


class UnstakeRequested(Decision, frozen=True, tag="UnstakeRequested"):
    """Stake is on its way out, and can be slashed until it is (D13). Subject: the participant."""

    data: UnstakeRequestedData


class UnbondingCancelledData(Data, frozen=True):
    """stake:unbonding:{ticket} → stake:bonded:{role}:{subject}, both @stake."""

    asset: Name
    amount: Amount
    role: Role
    ticket: Name


class UnbondingCancelled(Decision, frozen=True, tag="UnbondingCancelled"):
    """Stake is bonded again. Subject: the participant."""

    data: UnbondingCancelledData


class UnbondingMaturedData(Data, frozen=True):
    """stake:unbonding:{ticket} → payable:stake:{owner}, both @stake; the amount may be 0, then there is no entry."""

    asset: Name
    amount: Amount
    owner: PublicKey
    role: Role
    ticket: Name


class UnbondingMatured(Decision, frozen=True, tag="UnbondingMatured"):
    """What was unstaked is owed to its owner. Subject: the participant."""

    data: UnbondingMaturedData


# --- Slashes --------------------------------------------------------------------------------------------------------


class TicketPart(Data, frozen=True):
    """What a slash takes of a ticket."""

    ticket: Name
    amount: Amount


class SlashProposedData(Data, frozen=True):
    """stake:bonded:{role}:{subject} and stake:unbonding:{ticket} → slash:pending:{case}, all @stake (D10).

    amount = from_bonded + Σ from_tickets = min(floor(basis × bps / 10,000), what is left). A `proposer` other than
    `protocol` is a validator that posts a bond: stake:bonded:validator:{proposer} → bond:{case}.
    """

    amount: Amount
    asset: Name
    attempt: Positive
    basis: Amount
    bond: Amount
    bps: Count
    case: Name
    cause: Name
    consumer: Name
    ends_at: Instant
    from_bonded: Amount
    from_tickets: tuple[TicketPart, ...]
    job: Name
    proposer: Name
    role: Role
    verifiers: tuple[Name, ...]
    reporter: Name | None = None


class SlashProposed(Decision, frozen=True, tag="SlashProposed"):
    """Stake is frozen on a case. Subject: the accused."""

    data: SlashProposedData


class SlashDisputedData(Data, frozen=True):
    """The case now waits for a ruling until `ends_at`."""

    case: Name
    ends_at: Instant


class SlashDisputed(Decision, frozen=True, tag="SlashDisputed"):
    """The accused objects. Subject: the accused."""

    data: SlashDisputedData


class SlashUpheldData(Data, frozen=True):
    """bond:{case} → stake:bonded:validator:{proposer}; the shares withheld for the case → validator_pool:carry.

    `withheld` has a line for each vault in which such shares lie: validator_pool:withheld:{case}.
    """

    amount: Amount
    asset: Name
    bond: Amount
    case: Name
    proposer: Name
    role: Role
    withheld: tuple[AllocatedLine, ...]


class SlashUpheld(Decision, frozen=True, tag="SlashUpheld"):
    """A case stands; what it froze will be distributed. Subject: the accused."""

    data: SlashUpheldData


class SlashReversedData(Data, frozen=True):
    """slash:pending:{case} → each of `returned`: amount = Σ returned; bond:{case} → burn:pending@stake.

    `released` says to which account, per vault, the shares withheld for the case go.
    """

    amount: Amount
    asset: Name
    bond: Amount
    case: Name
    released: tuple[AllocatedLine, ...]
    returned: tuple[AllocatedLine, ...]
    role: Role


class SlashReversed(Decision, frozen=True, tag="SlashReversed"):
    """A case falls; what it froze goes back to where it was. Subject: the accused."""

    data: SlashReversedData


class SlashPayment(Data, frozen=True):
    """What a reporter or a verifier receives."""

    id: Name
    amount: Amount


class SlashDistributedData(Data, frozen=True):
    """slash:pending:{case} → payable:reporter:{id} each, burn:pending, all @stake: amount = Σ paid + burned (D11)."""

    amount: Amount
    asset: Name
    burned: Amount
    case: Name
    paid: tuple[SlashPayment, ...]


class SlashDistributed(Decision, frozen=True, tag="SlashDistributed"):
    """An upheld slash goes where it belongs. Subject: the accused."""

    data: SlashDistributedData


# --- Rewards --------------------------------------------------------------------------------------------------------


class RewardLine(Data, frozen=True):
    """amount = floor(pool × weight / Σ weights)."""

    amount: Amount
    answered: Count
    assigned: Count
    validator: Name
    weight: Amount


class WithheldLine(Data, frozen=True):
    """A share that waits for a case."""

    amount: Amount
    answered: Count
    assigned: Count
    case: Name
    validator: Name
    weight: Amount


class ExcludedLine(Data, frozen=True):
    """A validator without a share, and why (`ledger.rewards.Ineligible`)."""

    answered: Count
    assigned: Count
    reason: Name
    validator: Name
    weight: Amount


class ValidatorRewardsAllocatedData(Data, frozen=True):
    """pool = current + carry_in = Σ lines + Σ withheld + carry (D16).

    The money moves from each of `drawn` to each of `credited`, vault by vault: payable:validator:{id},
    validator_pool:withheld:{case}, validator_pool:carry; what would leave an account and come back to it is left out.
    `weight` is Σ weights of lines and withheld.
    """

    asset: Name
    carry: Amount
    carry_in: Amount
    credited: tuple[AllocatedLine, ...]
    drawn: tuple[AllocatedLine, ...]
    excluded: tuple[ExcludedLine, ...]
    lines: tuple[RewardLine, ...]
    pool: Amount
    snapshot: Digest
    weight: Amount
    withheld: tuple[WithheldLine, ...]


class ValidatorRewardsAllocated(Decision, frozen=True, tag="ValidatorRewardsAllocated"):
    """An epoch's pool is shared among honest validators (R3). Subject: the epoch's date."""

    data: ValidatorRewardsAllocatedData
