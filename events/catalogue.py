"""The catalogue: the union of all events, as it is decoded, and the versions in which they are written."""

from typing import get_args

from events.decisions import (
    DecisionRefused,
    DepositCredited,
    EpochClosed,
    EscrowFunded,
    FeeAllocated,
    GenesisAllocated,
    JobRefunded,
    JobSettled,
    LaneEpochClosed,
)
from events.event import Event
from events.facts import (
    ChainFactDeclared,
    GenesisDeclared,
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobSubmitted,
    NodeRegistered,
    QuorumClaimed,
    RecordRefused,
    StreamMarked,
    StreamRegistered,
    UsageMetered,
)

__all__ = ["DECISIONS", "FACTS", "AnyEvent", "get_version"]

AnyFact = (
    GenesisDeclared
    | StreamRegistered
    | StreamMarked
    | RecordRefused
    | ChainFactDeclared
    | NodeRegistered
    | JobSubmitted
    | JobDispatched
    | UsageMetered
    | QuorumClaimed
    | JobFailed
    | JobCancelled
)
AnyDecision = (
    DepositCredited
    | EscrowFunded
    | JobSettled
    | JobRefunded
    | DecisionRefused
    | LaneEpochClosed
    | GenesisAllocated
    | EpochClosed
    | FeeAllocated
)
AnyEvent = AnyFact | AnyDecision
FACTS: tuple[type[Event], ...] = get_args(AnyFact)
DECISIONS: tuple[type[Event], ...] = get_args(AnyDecision)
_VERSIONS = {kind.__struct_config__.tag: kind.VERSION for kind in FACTS + DECISIONS}


def get_version(kind: str) -> int:
    """Return the schema version of a type that is written today. Raises: KeyError for an unknown type."""
    return _VERSIONS[kind]
