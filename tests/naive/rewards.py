"""The naive share-out of an epoch's pool among its validators."""

from typing import TYPE_CHECKING, Any

from events.instant import DAY

if TYPE_CHECKING:
    from tests.naive.stakes import Stakes

__all__ = ["share_epoch"]

CURRENT, CARRY = "validator_pool:current", "validator_pool:carry"


def share_epoch(hub: "Stakes", epoch: int, time: int) -> None:
    """Share the pool at the close of an epoch; what is nobody's carries."""
    purse = hub.purse
    start, end = epoch * DAY, (epoch + 1) * DAY
    validators = sorted(id for role, id in hub.members if role == "validator")
    vaults = sorted({vault for _, vault in purse.money}, key=lambda vault: (vault != "fees", vault))
    buckets = [(name, vault) for vault in vaults for name in (CARRY, CURRENT)]
    pool = sum(purse.money[bucket] for bucket in buckets)
    if not validators and not pool:
        return
    before = [level for level in hub.levels if level.time <= start][-1:]
    within = [level for level in hub.levels if start < level.time <= end]
    weights, excluded, waits_on = {}, {}, {}
    for id in validators:
        weight = min(level.stake.get(id, 0) for level in before + within) if before else 0
        reason = _why_not(hub, id, epoch, before, within)
        if reason is None and weight == 0:
            reason = "no_weight"
        if reason is None:
            weights[id] = weight
            open_cases = [
                case.id
                for case in hub.cases.values()
                if case.open and case.who == ("validator", id) and case.proposed_at <= end
            ]
            if open_cases:
                waits_on[id] = open_cases[0]
        else:
            excluded[id] = reason
    whole = sum(weights.values())
    lines: list[tuple[str, int, int]] = []
    withheld: list[tuple[str, int, int]] = []
    for id in sorted(weights):
        share = pool * weights[id] // whole
        account = f"validator_pool:withheld:{waits_on[id]}" if id in waits_on else f"payable:validator:{id}"
        (withheld if id in waits_on else lines).append((id, weights[id], share))
        for bucket in buckets:
            part = min(share, purse.money[bucket])
            share -= part
            purse.move(bucket, (account, bucket[1]), part)
        assert share == 0
    for vault in vaults:
        purse.move((CURRENT, vault), (CARRY, vault), purse.money[CURRENT, vault])
    carry = sum(purse.money[CARRY, vault] for vault in vaults)
    assert pool == carry + sum(share for _, _, share in lines + withheld)
    duties = tuple((id, hub.jobs.assigned[epoch, id], hub.jobs.answered[epoch, id]) for id in validators)
    told: tuple[Any, ...] = tuple(lines), tuple(withheld), tuple(sorted(excluded.items())), duties
    purse.say("ValidatorRewardsAllocated", epoch, pool, carry, whole, *told)


def _why_not(hub: "Stakes", id: str, epoch: int, before: list[Any], within: list[Any]) -> str | None:
    start, end = epoch * DAY, (epoch + 1) * DAY
    during = before + [level for level in within if level.time < end]
    if not before or not all(level.active.get(id, False) for level in during):
        return "not_active_all_epoch"
    assigned, answered = hub.jobs.assigned[epoch, id], hub.jobs.answered[epoch, id]
    if answered * 10_000 < hub.purse.rules.rewards.duty_bps * assigned:
        return "duties_unanswered"
    for case in hub.cases.values():
        if case.who == ("validator", id) and case.upheld_at is not None and start < case.upheld_at <= end:
            return "case_upheld"
    return None
