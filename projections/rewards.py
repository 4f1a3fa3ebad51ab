"""Closed epochs and validators' rewards as they stood at a position.

    status of a share    paid        allocated at once
                         withheld    waits for an open case
                         released    the case was reversed: paid then
                         forfeited   the case was upheld: gone back to the pool
                         excluded    no share, for the named reason

A reversal hands a share on to the next open case where there is one, so a share is followed from case to case. An epoch
is known from its close on; nothing is added to it afterwards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, select

from events.instant import MICROSECONDS, parse_instant
from ledger.accounts import withheld
from projections.reports import read_totals
from projections.stakes import Case, read_cases
from projections.tables import epoch, epoch_total, reward, reward_epoch

__all__ = [
    "EXCLUDED",
    "FORFEITED",
    "PAID",
    "RELEASED",
    "WITHHELD",
    "EpochLine",
    "RewardTerms",
    "read_epochs",
    "read_rewards",
]

PAID, WITHHELD, RELEASED, FORFEITED, EXCLUDED = "paid", "withheld", "released", "forfeited", "excluded"


@dataclass(frozen=True, slots=True)
class EpochLine:
    """A closed epoch, base units of one asset.

    fee = pool + treasury        shareable = shared + withheld + carry, at its close

    `shareable` holds the pools since the last sharing, what was carried, and what was forfeited in between.
    """

    epoch: int
    starts_at: str
    ends_at: str
    snapshot: str
    settled: int
    gross: int
    burn: int
    fee: int
    pool: int
    treasury: int
    carry_in: int
    shareable: int
    shared: int
    withheld: int
    carry: int
    weight: int

    @property
    def seconds(self) -> int:
        """How long it lasted."""
        return (parse_instant(self.ends_at) - parse_instant(self.starts_at)) // MICROSECONDS


@dataclass(frozen=True, slots=True)
class RewardTerms:
    """A validator's share of an epoch with every term; amount = floor(pool × weight ÷ weights).

    `case` is the one that it waits for, waited for, or was lost on; empty where it never waited.
    """

    epoch: int
    validator: str
    pool: int
    weight: int
    weights: int
    amount: int
    assigned: int
    answered: int
    status: str
    case: str
    reason: str

    @property
    def is_gained(self) -> bool:
        """Tell whether it is the validator's: paid, or released by a reversal."""
        return self.status in {PAID, RELEASED}

    @property
    def gained(self) -> int:
        """What the validator has of it, base units."""
        return self.amount if self.is_gained else 0


def read_epochs(connection: Connection, position: dict[str, int], asset: str) -> list[EpochLine]:
    """Return the epochs that were closed, oldest first."""
    size = position.get("hub", 0)
    totals = ("settled", "gross", "burn", "fee", "pool", "treasury")
    settled = read_totals(connection, epoch_total.c.asset == asset)
    terms = ("carry_in", "shared", "withheld", "carry", "weight")
    rows = connection.execute(
        select(
            epoch,
            *(reward_epoch.c[name] for name in terms),
            reward_epoch.c.pool.label("shareable"),
        )
        .outerjoin(
            reward_epoch,
            and_(
                reward_epoch.c.epoch == epoch.c.epoch,
                reward_epoch.c.asset == asset,
                reward_epoch.c.sequence < size,
            ),
        )
        .where(epoch.c.sequence < size)
        .order_by(epoch.c.epoch)
    ).mappings()
    # An epoch without jobs has no totals, one without validators no rewards.
    return [
        EpochLine(
            row["epoch"],
            row["starts_at"],
            row["ends_at"],
            row["snapshot"],
            **{name: settled.get((row["epoch"], asset), {}).get(name, 0) for name in totals},
            **{name: row[name] or 0 for name in ("shareable", *terms)},
        )
        for row in rows
    ]


def read_rewards(
    connection: Connection, position: dict[str, int], asset: str, validators: Iterable[str] | None = None
) -> list[RewardTerms]:
    """Return shares in order of epoch and validator; of all validators, or of some."""
    cases = {case.id: case for case in read_cases(connection, position)}
    statement = (
        select(reward, reward_epoch.c.pool, reward_epoch.c.weight.label("weights"))
        .join(reward_epoch, and_(reward_epoch.c.epoch == reward.c.epoch, reward_epoch.c.asset == reward.c.asset))
        .where(reward.c.asset == asset, reward.c.sequence < position.get("hub", 0))
        .order_by(reward.c.epoch, reward.c.validator)
    )
    if validators is not None:
        statement = statement.where(reward.c.validator.in_(sorted(validators)))
    lines = []
    for row in connection.execute(statement).mappings():
        status, case = _status(row["waits_on"], row["reason"], cases)
        lines.append(
            RewardTerms(
                epoch=row["epoch"],
                validator=row["validator"],
                pool=row["pool"],
                weight=row["weight"],
                weights=row["weights"],
                amount=row["amount"],
                assigned=row["assigned"],
                answered=row["answered"],
                status=status,
                case=case,
                reason=row["reason"],
            )
        )
    return lines


def _status(waits_on: str, reason: str, cases: Mapping[str, Case]) -> tuple[str, str]:
    """Say what became of a share, and on which case."""
    if reason:
        return EXCLUDED, ""
    if not waits_on:
        return PAID, ""
    case, moved = cases[waits_on], withheld("")
    while case.shares_to.startswith(moved):
        case = cases[case.shares_to.removeprefix(moved)]
    if case.is_open:
        return WITHHELD, case.id
    return (FORFEITED if case.is_upheld else RELEASED), case.id
