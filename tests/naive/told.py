"""The product's decisions in the naive network's words: (kind, subject, the numbers that matter)."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from events.decisions import DecisionRefused
from events.event import Decision
from events.instant import parse_instant

__all__ = ["reasons", "told"]


def told(decisions: Iterable[Decision]) -> "Counter[tuple[Any, ...]]":
    """Count decisions as `Naive.decided` does."""
    said: Counter[tuple[Any, ...]] = Counter()
    for decision in decisions:
        kind = type(decision).__name__
        if kind == "DepositCredited" and decision.data.role is not None:  # type: ignore[attr-defined]
            kind = "StakeCredited"
        if kind in _WORDS:
            said[(kind, *_WORDS[kind](decision, decision.data))] += 1  # type: ignore[attr-defined]
    return said


def reasons(decisions: Iterable[Decision]) -> dict[str | None, str]:
    """Return why facts were refused, by their ids, as `Naive.refused` does."""
    refused = [decision for decision in decisions if isinstance(decision, DecisionRefused)]
    return {decision.causation_id: decision.data.reason for decision in refused}


def _settled(event: Any, data: Any) -> tuple[Any, ...]:
    spent, kept = sum(int(line.gross) for line in data.lines), sum(int(line.hold) for line in data.waiting)
    return event.subject, data.consumer, int(data.escrow), spent, int(data.refund), kept


def _proposed(event: Any, data: Any) -> tuple[Any, ...]:
    assert int(data.amount) == int(data.from_bonded) + sum(int(part.amount) for part in data.from_tickets)
    basis, amount, bonded = int(data.basis), int(data.amount), int(data.from_bonded)
    return (
        data.case,
        data.consumer,
        data.job,
        data.role,
        event.subject,
        basis,
        amount,
        bonded,
        parse_instant(data.ends_at),
    )


def _distributed(event: Any, data: Any) -> tuple[Any, ...]:
    each = int(data.paid[0].amount) if data.paid else 0
    assert all(int(payment.amount) == each for payment in data.paid)
    return data.case, int(data.burned), each, len(data.paid)


def _rewarded(event: Any, data: Any) -> tuple[Any, ...]:
    lines = tuple((line.validator, int(line.weight), int(line.amount)) for line in data.lines)
    withheld = tuple((line.validator, int(line.weight), int(line.amount)) for line in data.withheld)
    excluded = tuple((line.validator, line.reason) for line in data.excluded)
    everyone = sorted((*data.lines, *data.withheld, *data.excluded), key=lambda line: str(line.validator))
    duties = tuple((line.validator, line.assigned, line.answered) for line in everyone)
    return event.epoch, int(data.pool), int(data.carry), int(data.weight), lines, withheld, excluded, duties


_WORDS: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "SlashEvidenced": lambda e, d: (e.subject, d.case, d.consumer, d.job, d.verifiers, d.reporter),
    "JobSettled": _settled,
    "JobRefunded": lambda e, d: (e.subject, d.consumer, d.outcome, int(d.amount)),
    "WithdrawalAccepted": lambda e, d: (e.subject, int(d.amount)),
    "ParticipantRegistered": lambda e, d: (d.role, e.subject, d.active),
    "ParticipantSuspended": lambda e, d: (d.role, e.subject, d.cause),
    "ParticipantReinstated": lambda e, d: (d.role, e.subject),
    "StakeCredited": lambda e, d: (d.role, e.subject, int(d.amount)),
    "UnstakeRequested": lambda e, d: (d.ticket, int(d.amount), parse_instant(d.matures_at)),
    "UnbondingMatured": lambda e, d: (d.ticket, int(d.amount)),
    "UnbondingCancelled": lambda e, d: (d.ticket, int(d.amount)),
    "SlashProposed": _proposed,
    "SlashDisputed": lambda e, d: (d.case, parse_instant(d.ends_at)),
    "SlashUpheld": lambda e, d: (d.case, int(d.amount)),
    "SlashReversed": lambda e, d: (d.case, int(d.amount)),
    "SlashDistributed": _distributed,
    "PayoutKeyAccepted": lambda e, d: (e.subject, d.payout_key),
    "PayoutFinalized": lambda e, d: (e.subject, int(d.amount)),
    "BurnFinalized": lambda e, d: (d.vault, int(d.amount)),
    "SweepFinalized": lambda e, d: (e.subject, d.to, int(d.amount)),
    "ValidatorRewardsAllocated": _rewarded,
}
