"""The catalogue: the union of all events, as it is decoded, and the versions in which they are written."""

from typing import get_args

from events.decisions import (
    BurnFinalized,
    DecisionRefused,
    DepositCredited,
    EpochClosed,
    EscrowFunded,
    FeeAllocated,
    GenesisAllocated,
    JobRefunded,
    JobSettled,
    LaneEpochClosed,
    PayoutFinalized,
    PayoutKeyAccepted,
    SlashEvidenced,
    SweepFinalized,
    WithdrawalAccepted,
)
from events.event import Event
from events.facts import (
    AttestationRecorded,
    ChainFactDeclared,
    ChallengeResultRecorded,
    DutyAssigned,
    GenesisDeclared,
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobRedistributed,
    JobSubmitted,
    QuorumClaimed,
    RecordRefused,
    ResultSubmitted,
    StreamMarked,
    StreamRegistered,
    UsageMetered,
)
from events.orders import (
    PayoutKeyChanged,
    RebondOrdered,
    SlashDisputeFiled,
    SlashReportFiled,
    SpendAuthorized,
    UnstakeOrdered,
    WithdrawalOrdered,
)
from events.participants import (
    NodeRegistered,
    NodeRetired,
    NodeUpdated,
    SlashRuled,
    ValidatorExited,
    ValidatorRegistered,
)
from events.stakes import (
    ParticipantRegistered,
    ParticipantReinstated,
    ParticipantSuspended,
    SlashDisputed,
    SlashDistributed,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
    UnbondingCancelled,
    UnbondingMatured,
    UnstakeRequested,
    ValidatorRewardsAllocated,
)

__all__ = ["DECISIONS", "FACTS", "AnyEvent", "get_version"]

AnyFact = (
    GenesisDeclared
    | StreamRegistered
    | StreamMarked
    | RecordRefused
    | ChainFactDeclared
    | NodeRegistered
    | NodeUpdated
    | NodeRetired
    | ValidatorRegistered
    | ValidatorExited
    | SlashRuled
    | JobSubmitted
    | JobDispatched
    | JobRedistributed
    | JobFailed
    | JobCancelled
    | DutyAssigned
    | ResultSubmitted
    | ChallengeResultRecorded
    | AttestationRecorded
    | QuorumClaimed
    | UsageMetered
    | SpendAuthorized
    | WithdrawalOrdered
    | UnstakeOrdered
    | RebondOrdered
    | SlashDisputeFiled
    | SlashReportFiled
    | PayoutKeyChanged
)
AnyDecision = (
    DepositCredited
    | EscrowFunded
    | JobSettled
    | JobRefunded
    | WithdrawalAccepted
    | SlashEvidenced
    | DecisionRefused
    | LaneEpochClosed
    | GenesisAllocated
    | EpochClosed
    | FeeAllocated
    | ValidatorRewardsAllocated
    | ParticipantRegistered
    | ParticipantSuspended
    | ParticipantReinstated
    | UnstakeRequested
    | UnbondingCancelled
    | UnbondingMatured
    | SlashProposed
    | SlashDisputed
    | SlashUpheld
    | SlashReversed
    | SlashDistributed
    | PayoutFinalized
    | BurnFinalized
    | SweepFinalized
    | PayoutKeyAccepted
)
AnyEvent = AnyFact | AnyDecision
FACTS: tuple[type[Event], ...] = get_args(AnyFact)
DECISIONS: tuple[type[Event], ...] = get_args(AnyDecision)
_VERSIONS = {kind.__struct_config__.tag: kind.VERSION for kind in FACTS + DECISIONS}


def get_version(kind: str) -> int:
    """Return the schema version of a type that is written today. Raises: KeyError for an unknown type."""
    return _VERSIONS[kind]
