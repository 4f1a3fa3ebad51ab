"""What the hub's decisions about epochs, stakes, slashes and rewards add to the tables.

Each row comes from one decision alone, carries its place in the hub's log, and is never changed: what was known at a
past position are the rows below it. How things stand is derived by who reads (`projections.stakes`,
`projections.rewards`).
"""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Table

from events.decisions import AllocatedLine, EpochClosed
from events.event import Decision
from events.stakes import (
    ExcludedLine,
    ParticipantRegistered,
    ParticipantReinstated,
    ParticipantSuspended,
    RewardLine,
    SlashDisputed,
    SlashDistributed,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
    UnbondingCancelled,
    UnbondingMatured,
    UnstakeRequested,
    ValidatorRewardsAllocated,
    WithheldLine,
)
from projections import tables

__all__ = ["DISPUTED", "DISTRIBUTED", "REVERSED", "UPHELD", "network_rows"]

DISPUTED, UPHELD, REVERSED, DISTRIBUTED = "disputed", "upheld", "reversed", "distributed"

Row = dict[str, Any]
Added = tuple[Table, Row]


def network_rows(sequence: int, decision: Decision) -> Iterator[Added]:
    """Yield the rows that a decision of the hub adds, each with its table."""
    add = _ADDS.get(type(decision))
    if add is not None:
        for table, row in add(decision):
            yield table, row | {"sequence": sequence}


def _epoch(event: EpochClosed) -> Iterator[Added]:
    data = event.data
    yield (
        tables.epoch,
        {
            "epoch": event.epoch,
            "starts_at": data.starts_at,
            "ends_at": data.ends_at,
            "snapshot": data.snapshot,
        },
    )


# --- stakes ---


def _registered(event: ParticipantRegistered) -> Iterator[Added]:
    data = event.data
    yield (
        tables.participant,
        {
            "role": data.role,
            "id": event.subject,
            "operator": data.operator,
            "owner": data.owner,
            "minimum": int(data.minimum),
            "registered_at": event.occurred_at,
        },
    )
    yield _standing(event, data.role, "" if data.active else "stake")


def _suspended(event: ParticipantSuspended) -> Iterator[Added]:
    yield _standing(event, event.data.role, event.data.cause)


def _reinstated(event: ParticipantReinstated) -> Iterator[Added]:
    yield _standing(event, event.data.role, "")


def _standing(event: Decision, role: str, cause: str) -> Added:
    return (
        tables.standing,
        {
            "role": role,
            "id": event.subject,
            "active": not cause,
            "cause": cause,
            "occurred_at": event.occurred_at,
        },
    )


def _ticket(event: UnstakeRequested) -> Iterator[Added]:
    data = event.data
    yield (
        tables.ticket,
        {
            "id": data.ticket,
            "role": data.role,
            "participant": event.subject,
            "asset": data.asset,
            "amount": int(data.amount),
            "ordered_at": event.occurred_at,
            "matures_at": data.matures_at,
        },
    )


def _ticket_end(event: UnbondingCancelled | UnbondingMatured) -> Iterator[Added]:
    yield (
        tables.ticket_end,
        {
            "ticket": event.data.ticket,
            "outcome": "matured" if isinstance(event, UnbondingMatured) else "cancelled",
            "amount": int(event.data.amount),
            "occurred_at": event.occurred_at,
        },
    )


# --- slashes ---


def _proposed(event: SlashProposed) -> Iterator[Added]:
    data = event.data
    yield (
        tables.slash_case,
        {
            "id": data.case,
            "role": data.role,
            "accused": event.subject,
            "cause": data.cause,
            "consumer": data.consumer,
            "job": data.job,
            "attempt": data.attempt,
            "asset": data.asset,
            "basis": int(data.basis),
            "bps": data.bps,
            "amount": int(data.amount),
            "from_bonded": int(data.from_bonded),
            "proposer": data.proposer,
            "bond": int(data.bond),
            "reporter": data.reporter or "",
            "verifiers": " ".join(data.verifiers),
            "proposed_at": event.occurred_at,
            "ends_at": data.ends_at,
            "epoch": event.epoch,
        },
    )


def _disputed(event: SlashDisputed) -> Iterator[Added]:
    yield _step(event, event.data.case, DISPUTED, ends_at=event.data.ends_at)


def _upheld(event: SlashUpheld) -> Iterator[Added]:
    yield _step(event, event.data.case, UPHELD, shares=_sum(event.data.withheld))


def _reversed(event: SlashReversed) -> Iterator[Added]:
    released = event.data.released
    # One validator's shares go one way, be it from several vaults.
    shares_to = released[0].account if released else ""
    yield _step(event, event.data.case, REVERSED, shares=_sum(released), shares_to=shares_to)


def _distributed(event: SlashDistributed) -> Iterator[Added]:
    data = event.data
    paid = sum(int(payment.amount) for payment in data.paid)
    yield _step(event, data.case, DISTRIBUTED, paid=paid, burned=int(data.burned))


def _step(event: Decision, case: str, step: str, **terms: Any) -> Added:
    none = {"ends_at": "", "paid": 0, "burned": 0, "shares": 0, "shares_to": ""}
    return (
        tables.slash_step,
        {"slash_case": case, "step": step, "occurred_at": event.occurred_at, "epoch": event.epoch} | none | terms,
    )


def _sum(lines: tuple[AllocatedLine, ...]) -> int:
    return sum(int(line.amount) for line in lines)


# --- rewards ---


def _rewards(event: ValidatorRewardsAllocated) -> Iterator[Added]:
    data = event.data
    yield (
        tables.reward_epoch,
        {
            "epoch": event.epoch,
            "asset": data.asset,
            "pool": int(data.pool),
            "carry_in": int(data.carry_in),
            "shared": sum(int(line.amount) for line in data.lines),
            "withheld": sum(int(line.amount) for line in data.withheld),
            "carry": int(data.carry),
            "weight": int(data.weight),
        },
    )
    lines: tuple[RewardLine | WithheldLine | ExcludedLine, ...] = (*data.lines, *data.withheld, *data.excluded)
    for line in lines:
        yield (
            tables.reward,
            {
                "epoch": event.epoch,
                "asset": data.asset,
                "validator": line.validator,
                "weight": int(line.weight),
                "amount": int(getattr(line, "amount", 0)),
                "assigned": line.assigned,
                "answered": line.answered,
                "waits_on": getattr(line, "case", ""),
                "reason": getattr(line, "reason", ""),
            },
        )


_ADDS: dict[type[Decision], Callable[[Any], Iterator[Added]]] = {
    EpochClosed: _epoch,
    ParticipantRegistered: _registered,
    ParticipantSuspended: _suspended,
    ParticipantReinstated: _reinstated,
    UnstakeRequested: _ticket,
    UnbondingCancelled: _ticket_end,
    UnbondingMatured: _ticket_end,
    SlashProposed: _proposed,
    SlashDisputed: _disputed,
    SlashUpheld: _upheld,
    SlashReversed: _reversed,
    SlashDistributed: _distributed,
    ValidatorRewardsAllocated: _rewards,
}
