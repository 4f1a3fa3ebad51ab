"""What a slash takes, and where it goes (R8, R10, D10–D12).

    basis     = bonded + Σ unbonding tickets at the cut that takes the case, before that cut's slashes
    amount    = min(floor(basis × bps / 10,000), what is left)           from bonded first, then the latest ticket
    suspended = bonded + frozen in open cases < minimum

The basis counts what is on its way out, so that to unstake and then cheat costs the same. Taken stake is frozen until
its window has passed; then, where upheld,

    rewarded  = floor(amount × reward_bps / 10,000)                      to the reporter, or in equal floors
    amount    = Σ paid + burned                                          to the verifying validators

and the remainders of both divisions are burned. With nobody to reward, all is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from ledger.bps import cut

__all__ = [
    "Case",
    "Distribution",
    "Reward",
    "StakeLevels",
    "Taken",
    "Ticket",
    "accusation_id",
    "case_id",
    "distribute",
    "is_suspended",
    "take_case",
]


class Ticket(NamedTuple):
    """Stake that is unbonding by one order, base units."""

    id: str
    amount: int


@dataclass(frozen=True, slots=True)
class StakeLevels:
    """What of a stake can be slashed, base units; tickets from the earliest order to the latest."""

    bonded: int
    tickets: tuple[Ticket, ...] = ()

    def __post_init__(self) -> None:
        """Assert that nothing is owed."""
        assert self.bonded >= 0
        assert all(ticket.amount >= 0 for ticket in self.tickets)

    @property
    def total(self) -> int:
        """What is left to take."""
        return self.bonded + sum(ticket.amount for ticket in self.tickets)


class Case(NamedTuple):
    """A case against a stake, and what its cause costs."""

    id: str
    bps: int


class Taken(NamedTuple):
    """What a case froze, and whence; from_tickets is in the order of taking, the latest ticket first."""

    case: str
    from_bonded: int
    from_tickets: tuple[Ticket, ...]

    @property
    def amount(self) -> int:
        """The whole of it, base units."""
        return self.from_bonded + sum(ticket.amount for ticket in self.from_tickets)


class Reward(NamedTuple):
    """What one receiver has of a slash, base units."""

    receiver: str
    amount: int


class Distribution(NamedTuple):
    """An upheld slash in its parts. Holds: Σ paid + burned = amount."""

    paid: tuple[Reward, ...]
    burned: int


def take_case(levels: StakeLevels, case: Case, basis: int) -> tuple[Taken, StakeLevels]:
    """Take one case from what is left of a stake, on the basis of base units that its cut began with."""
    amount = min(cut(basis, case.bps).part, levels.total)
    from_bonded = min(amount, levels.bonded)
    owed = amount - from_bonded
    from_tickets, kept = [], []
    for id, unbonding in reversed(levels.tickets):
        part = min(owed, unbonding)
        owed -= part
        if part:
            from_tickets.append(Ticket(id, part))
        if part < unbonding:
            kept.append(Ticket(id, unbonding - part))
    assert owed == 0
    return Taken(case.id, from_bonded, tuple(from_tickets)), StakeLevels(levels.bonded - from_bonded, tuple(kept[::-1]))


def case_id(role: str, accused: str, consumer: str, job: str, attempt: int, cause: str) -> str:
    """Name a case: there is one for each (accused, consumer's job, attempt, cause)."""
    return sha256(f"{role}|{accused}|{consumer}|{job}|{attempt}|{cause}".encode()).hexdigest()[:32]


def accusation_id(report: str) -> str:
    """Name the case that a report opens, by the report's id: no evidence comes under a name that an accuser chose."""
    return sha256(f"accusation|{report}".encode()).hexdigest()[:32]


def distribute(amount: int, reward_bps: int, reporter: str | None, verifiers: Collection[str]) -> Distribution:
    """Distribute an upheld slash of base units: to the reporter; without one to the verifiers, in the order of ids."""
    receivers = sorted(set(verifiers)) if reporter is None else [reporter]
    each = cut(amount, reward_bps).part // len(receivers) if receivers else 0
    paid = tuple(Reward(receiver, each) for receiver in receivers)
    return Distribution(paid, burned=amount - each * len(receivers))


def is_suspended(bonded: int, frozen: int, minimum: int) -> bool:
    """Tell whether a stake is too low for duties; what is frozen in open cases counts until they are upheld."""
    return bonded + frozen < minimum
