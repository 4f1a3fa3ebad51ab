"""How an epoch's pool is shared among honest validators (R3, D15–D17).

    w      = min over the epoch of (bonded + frozen in open cases)       so a joiner's is 0
    share  = floor(pool × w / Σ w)                                       Σ w over the honest
    pool   = Σ shares + Σ withheld + carry                               0 ≤ carry < number with w > 0, where any is

The share of a validator with an open case waits on that case, and its weight stays in Σ w: were it left out, the others
would be paid with money that a reversal owes it. With no weight at all the whole pool carries. `pool` is the epoch's
own and what was carried into it.

Where the pool lies in several vaults its lines are filled one after another: from the home vault first, then by the
vaults' names; of what lies in one vault, what was carried goes first (`draw`).

Only the floor keeps the carry from falling below zero. The other roundings are here to reproduce the sheets of
networks that round each share by itself; these may pay out more than the pool, and say by how much.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ledger.accounts import VAULT_FEES
from ledger.bps import BPS

__all__ = [
    "Allocation",
    "Backing",
    "Conduct",
    "Drawn",
    "EpochRewards",
    "Ineligible",
    "Leg",
    "Rounding",
    "Share",
    "Withheld",
    "allocate",
    "divide",
    "draw",
    "share_pool",
    "weigh",
    "why_not",
]


class Backing(NamedTuple):
    """What stands behind a validator at one moment, base units."""

    bonded: int
    frozen: int


class Ineligible(StrEnum):
    """Why a validator has no share. A lasting code: it is shown to the validator."""

    NOT_ACTIVE_ALL_EPOCH = "not_active_all_epoch"
    DUTIES_UNANSWERED = "duties_unanswered"
    CASE_UPHELD = "case_upheld"
    NO_WEIGHT = "no_weight"


@dataclass(frozen=True, slots=True)
class Conduct:
    """What a validator did in an epoch."""

    active_all_epoch: bool
    duties_assigned: int
    duties_answered: int
    cases_upheld: int

    def __post_init__(self) -> None:
        """Assert that no duty was answered which was not assigned."""
        assert 0 <= self.duties_answered <= self.duties_assigned
        assert self.cases_upheld >= 0


class Rounding(StrEnum):
    """How a share is made whole."""

    FLOOR = "floor"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"


class Share(NamedTuple):
    """What falls to one id, base units."""

    id: str
    amount: int


class Allocation(NamedTuple):
    """Shares in the order of their ids, and what they leave of the pool or take beyond it.

    Holds: Σ shares + carry = pool + overdrawn. One of carry and overdrawn is 0; floored, it is `overdrawn`.
    """

    shares: tuple[Share, ...]
    carry: int
    overdrawn: int


class Withheld(NamedTuple):
    """A share that waits for a case: upheld, it carries; reversed, it is the validator's."""

    case: str
    id: str
    amount: int


class EpochRewards(NamedTuple):
    """A pool in its parts, each in the order of the validators' ids. Holds: Σ shares + Σ withheld + carry = pool."""

    shares: tuple[Share, ...]
    withheld: tuple[Withheld, ...]
    carry: int


class Leg(NamedTuple):
    """So much of an account in a vault, base units above zero."""

    account: str
    vault: str
    amount: int


class Drawn(NamedTuple):
    """How a pool moves, each side in the order of (account, vault). Holds per vault: Σ drawn = Σ credited."""

    drawn: tuple[Leg, ...]
    credited: tuple[Leg, ...]


def weigh(levels: Sequence[Backing]) -> int:
    """Return a validator's weight from its levels: the one the epoch began with, then each that followed."""
    assert levels, "the level that the epoch began with, be it zero"
    return min(level.bonded + level.frozen for level in levels)


def why_not(conduct: Conduct, weight: int, duty_bps: int) -> Ineligible | None:
    """Return the first reason for which a validator has no share, in the order of D16; None: it has one.

    An open case is no reason. No duties assigned counts as all answered. Without weight there is nothing to share by.
    """
    if not conduct.active_all_epoch:
        return Ineligible.NOT_ACTIVE_ALL_EPOCH
    if conduct.duties_answered * BPS < duty_bps * conduct.duties_assigned:
        return Ineligible.DUTIES_UNANSWERED
    if conduct.cases_upheld:
        return Ineligible.CASE_UPHELD
    return None if weight else Ineligible.NO_WEIGHT


def share_pool(pool: int, weights: Mapping[str, int], open_cases: Mapping[str, str]) -> EpochRewards:
    """Share a pool of base units among the honest by weight, keeping back the shares of those with an open case.

    Shape: weights by validator; open_cases names for some of these validators the case on which the share waits.
    """
    assert open_cases.keys() <= weights.keys(), "a case of a validator without a weight"
    shares, carry, overdrawn = allocate(pool, weights, Rounding.FLOOR)
    assert overdrawn == 0
    return EpochRewards(
        shares=tuple(share for share in shares if share.id not in open_cases),
        withheld=tuple(Withheld(open_cases[id], id, amount) for id, amount in shares if id in open_cases),
        carry=carry,
    )


def draw(pool: Mapping[tuple[str, str], int], lines: Sequence[tuple[str, int]]) -> Drawn:
    """Fill lines of (account, amount) from a pool of base units by (account, vault), netted per account and vault.

    Nothing leaves the vault in which it lies. Holds: Σ lines = Σ pool.
    """
    sources = deque(sorted(pool, key=lambda source: (source[1] != VAULT_FEES, source[1], source[0])))
    left = dict(pool)
    assert min([*left.values(), *(amount for _, amount in lines)], default=0) >= 0
    assert sum(left.values()) == sum(amount for _, amount in lines), "lines that are not the pool"
    gained: defaultdict[tuple[str, str], int] = defaultdict(int)
    for account, amount in lines:
        due = amount
        while due:
            source = sources[0]
            part = min(due, left[source])
            due -= part
            left[source] -= part
            gained[source] -= part
            gained[account, source[1]] += part
            if not left[source]:
                sources.popleft()
    net = [Leg(*place, amount) for place, amount in sorted(gained.items())]
    return Drawn(
        drawn=tuple(leg._replace(amount=-leg.amount) for leg in net if leg.amount < 0),
        credited=tuple(leg for leg in net if leg.amount > 0),
    )


def allocate(pool: int, weights: Mapping[str, int], rounding: Rounding) -> Allocation:
    """Split a pool of base units ≥ 0 by weights ≥ 0, each share rounded by itself; the order of weights is nothing.

    Shape: one share for each weight. Where all weights are 0, so are the shares, and the pool carries.
    """
    assert pool >= 0
    assert all(weight >= 0 for weight in weights.values())
    total = sum(weights.values())
    shares = tuple(Share(id, divide(pool * weights[id], total or 1, rounding)) for id in sorted(weights))
    left = pool - sum(amount for _, amount in shares)
    return Allocation(shares, carry=max(left, 0), overdrawn=max(-left, 0))


def divide(dividend: int, divisor: int, rounding: Rounding) -> int:
    """Return dividend ≥ 0 over divisor > 0 as a whole number."""
    assert dividend >= 0
    assert divisor > 0
    quotient, remainder = divmod(dividend, divisor)
    match rounding:
        case Rounding.FLOOR:
            return quotient
        case Rounding.HALF_UP:
            return quotient + (2 * remainder >= divisor)
        case Rounding.HALF_EVEN:
            return quotient + (2 * remainder + quotient % 2 > divisor)
