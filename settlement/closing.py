"""The close of an epoch: its fees are split, and its pool is shared among the validators (R3, D5, D14–D17).

    EpochClosed → per asset and vault: FeeAllocated → ValidatorRewardsAllocated

    pool = what lies in validator_pool:current and :carry, in all vaults = Σ lines + Σ withheld + carry

Duties and fees are the sums of what the lanes count. A weight is taken from the level with which the day began, and
those behind the cuts up to its end. The share of a validator with an open case waits on the oldest of those that were
proposed by the day's end.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from events.decisions import (
    AllocatedLine,
    EpochClosed,
    EpochClosedData,
    FeeAllocated,
    FeeAllocatedData,
    LaneEpochClosed,
    LogPosition,
)
from events.instant import format_instant, start_of_day
from events.stakes import (
    ExcludedLine,
    RewardLine,
    ValidatorRewardsAllocated,
    ValidatorRewardsAllocatedData,
    WithheldLine,
)
from ledger.accounts import POOL_CARRY, POOL_CURRENT, payable, withheld
from ledger.parameters import Parameters
from ledger.rewards import Backing, Conduct, EpochRewards, Leg, draw, share_pool, weigh, why_not
from ledger.snapshot import SnapshotLine, snapshot_root
from ledger.waterfall import share_fees
from settlement.cases import Cases
from settlement.hub_writer import HubWriter
from settlement.participants import Level, Participant, Participants

__all__ = ["Closed", "Closing"]


class Closed(NamedTuple):
    """That a lane has closed an epoch, and its position behind that."""

    decision: LaneEpochClosed
    size: int


class Closing:
    """Closes epochs, one after another."""

    def __init__(self, parameters: Parameters, writer: HubWriter, participants: Participants, cases: Cases) -> None:
        """Begin with the parts of the hub that know who has a share."""
        self._parameters = parameters
        self._asset = parameters.unit.asset
        self._writer = writer
        self._participants = participants
        self._cases = cases

    def close(self, parts: Sequence[Closed]) -> None:
        """Close the oldest open epoch, which each lane has closed, at the present cut."""
        epoch = self._writer.oldest_open
        standings = self._judge(epoch, parts)
        root = snapshot_root(standings)
        data = EpochClosedData(
            starts_at=format_instant(start_of_day(epoch)),
            ends_at=format_instant(start_of_day(epoch + 1)),
            positions=tuple(LogPosition(log=closed.subject, size=size) for closed, size in parts),
            snapshot=root,
        )
        self._writer.write_close(EpochClosed, str(epoch), data.starts_at[:10], data)
        self._share_fees(epoch, parts)
        self._share_pool(epoch, standings, root)
        self._writer.oldest_open += 1
        self._participants.forget(self._writer.oldest_open)

    def _judge(self, epoch: int, parts: Sequence[Closed]) -> list[SnapshotLine]:
        """Say of each validator what its share rests on."""
        assigned: defaultdict[str, int] = defaultdict(int)
        answered: defaultdict[str, int] = defaultdict(int)
        for closed, _ in parts:
            for duty in closed.data.duties:
                assigned[duty.validator] += duty.assigned
                answered[duty.validator] += duty.answered
        start, end = start_of_day(epoch), start_of_day(epoch + 1)
        waits_on = self._cases.oldest_open("validator", end)
        standings = []
        for who in self._participants.validators():
            levels = _levels_of(who, start, end)
            conduct = Conduct(
                active_all_epoch=all(level.active for level in levels if level.time < end),
                duties_assigned=assigned[who.id],
                duties_answered=answered[who.id],
                cases_upheld=sum(start < time <= end for time in who.upheld),
            )
            weight = weigh([level.backing for level in levels])
            reason = why_not(conduct, weight, self._parameters.rewards.duty_bps)
            case = waits_on.get(who.id) if reason is None else None
            standings.append(SnapshotLine(who.id, weight, assigned[who.id], answered[who.id], reason, case))
        return standings

    def _share_fees(self, epoch: int, parts: Sequence[Closed]) -> None:
        fees: defaultdict[tuple[str, str], int] = defaultdict(int)
        for closed, _ in parts:
            for total in closed.data.totals:
                fees[total.asset, total.vault] += int(total.fee)
        for (asset, vault), amount in sorted(fees.items()):
            if amount:
                pool, treasury = share_fees(amount, self._parameters.waterfall.validator_bps)
                data = FeeAllocatedData(
                    asset=asset, fees=str(amount), pool=str(pool), treasury=str(treasury), vault=vault
                )
                self._writer.write_close(FeeAllocated, f"fees:{epoch}:{asset}:{vault}", asset, data)

    def _share_pool(self, epoch: int, standings: Sequence[SnapshotLine], root: str) -> None:
        held = {
            (account, vault): amount
            for account in (POOL_CARRY, POOL_CURRENT)
            for vault, amount in self._writer.holdings.vaults(account).items()
        }
        pool = sum(held.values())
        if not pool and not standings:
            return
        honest = {line.validator: line for line in standings if line.reason is None}
        waiting = {id: line.case for id, line in honest.items() if line.case is not None}
        shared = share_pool(pool, {id: line.weight for id, line in honest.items()}, waiting)
        drawn, credited = draw(held, _pool_lines(shared))
        data = ValidatorRewardsAllocatedData(
            asset=self._asset,
            carry=str(shared.carry),
            carry_in=str(sum(amount for (account, _), amount in held.items() if account == POOL_CARRY)),
            credited=_allocated(credited),
            drawn=_allocated(drawn),
            excluded=tuple(_excluded(line) for line in standings if line.reason is not None),
            lines=tuple(_rewarded(honest[id], amount) for id, amount in shared.shares),
            pool=str(pool),
            snapshot=root,
            weight=str(sum(line.weight for line in honest.values())),
            withheld=tuple(_withheld(honest[id], case, amount) for case, id, amount in shared.withheld),
        )
        date = format_instant(start_of_day(epoch))[:10]
        self._writer.write_close(ValidatorRewardsAllocated, f"rewards:{epoch}:{self._asset}", date, data)


def _levels_of(who: Participant, start: int, end: int) -> list[Level]:
    """Return the level a validator began the day with, then those behind the cuts up to its end."""
    before = [level for level in who.levels if level.time <= start]
    began = before[-1] if before else Level(start, Backing(0, 0), active=False)
    return [began, *(level for level in who.levels if start < level.time <= end)]


def _pool_lines(shared: EpochRewards) -> list[tuple[str, int]]:
    """Return what is to be filled from the pool: shares and what is withheld in the order of ids, then the carry."""
    due = [(id, payable("validator", id), amount) for id, amount in shared.shares]
    due += [(id, withheld(case), amount) for case, id, amount in shared.withheld]
    return [*((account, amount) for _, account, amount in sorted(due)), (POOL_CARRY, shared.carry)]


def _allocated(legs: Sequence[Leg]) -> tuple[AllocatedLine, ...]:
    return tuple(AllocatedLine(account=leg.account, amount=str(leg.amount), vault=leg.vault) for leg in legs)


def _rewarded(line: SnapshotLine, amount: int) -> RewardLine:
    return RewardLine(
        amount=str(amount),
        answered=line.answered,
        assigned=line.assigned,
        validator=line.validator,
        weight=str(line.weight),
    )


def _withheld(line: SnapshotLine, case: str, amount: int) -> WithheldLine:
    return WithheldLine(
        amount=str(amount),
        answered=line.answered,
        assigned=line.assigned,
        case=case,
        validator=line.validator,
        weight=str(line.weight),
    )


def _excluded(line: SnapshotLine) -> ExcludedLine:
    assert line.reason is not None
    return ExcludedLine(
        answered=line.answered,
        assigned=line.assigned,
        reason=line.reason,
        validator=line.validator,
        weight=str(line.weight),
    )
