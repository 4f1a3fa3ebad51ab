"""The close of an epoch: weights, honesty, withheld shares, and a pool that is shared to the unit (D14 to D17)."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.decisions import EpochClosed, FeeAllocated
from events.instant import DAY, start_of_day
from events.stakes import SlashReversed, SlashUpheld, ValidatorRewardsAllocated
from ledger.snapshot import SnapshotLine, snapshot_root
from tests.settlement.one_hub import EPOCH, HOUR, MINUTE, OneHub, kinds
from tests.strategies import integers
from tests.worlds import LAUNCH

NOON = LAUNCH + DAY + DAY // 2


def network(*stakes: int, **sections: Any) -> OneHub:
    """A hub with v1, v2, … of these stakes, the day after they came, with a fee pool of 1,000 in it."""
    hub = OneHub(settings=sections)
    for number, stake in enumerate(stakes, 1):
        hub.validator(f"v{number}", stake)
    hub.go(LAUNCH + DAY + HOUR)
    hub.settle("n", 0, fee=10_000)
    return hub


def close(hub: OneHub) -> ValidatorRewardsAllocated:
    """Go on to the close of the day, and return how its pool was shared."""
    allocated = hub.close()[-1]
    assert isinstance(allocated, ValidatorRewardsAllocated)
    return allocated


def shares(allocated: ValidatorRewardsAllocated) -> dict[str, int]:
    """Return what each was given."""
    return {line.validator: int(line.amount) for line in allocated.data.lines}


def reasons(allocated: ValidatorRewardsAllocated) -> dict[str, str]:
    """Return why the others were not."""
    return {line.validator: line.reason for line in allocated.data.excluded}


# --- order and form ---


def test_close_says_what_was_closed_then_splits_fees_then_shares_the_pool() -> None:
    hub = network(10_000, 30_000)
    hub.settle("n", 0, fee=10_006)

    closed, fees, rewards = hub.close()

    assert isinstance(closed, EpochClosed)
    assert (closed.key, closed.subject, closed.epoch) == (str(EPOCH + 1), "2026-10-02", EPOCH + 1)
    assert [(line.log, line.size) for line in closed.data.positions] == [("lane-0", 100)]
    assert isinstance(fees, FeeAllocated)
    assert (fees.key, fees.data.pool) == (f"fees:{EPOCH + 1}:OMNI:escrow", "2000")
    assert isinstance(rewards, ValidatorRewardsAllocated)
    assert (rewards.key, rewards.subject) == (f"rewards:{EPOCH + 1}:OMNI", "2026-10-02")
    assert (rewards.data.pool, rewards.data.carry_in, rewards.data.carry) == ("2000", "0", "0")
    assert shares(rewards) == {"v1": 500, "v2": 1_500}
    assert [(line.account, line.vault, line.amount) for line in rewards.data.drawn] == [
        ("validator_pool:current", "escrow", "2000")
    ]


def test_snapshot_is_the_root_over_what_each_share_rests_on() -> None:
    hub = network(10_000, 30_000, 9_000)
    hub.duties[EPOCH + 1] = {"v1": (10, 9), "v2": (10, 8), "stranger": (1, 1)}
    case = hub.evidence("v1")

    closed, _, rewards = hub.close()[-3:]

    lines = [
        SnapshotLine("v1", 10_000, 10, 9, None, case),
        SnapshotLine("v2", 30_000, 10, 8, "duties_unanswered", None),
        SnapshotLine("v3", 9_000, 0, 0, "not_active_all_epoch", None),
    ]
    assert isinstance(closed, EpochClosed)
    assert isinstance(rewards, ValidatorRewardsAllocated)
    assert closed.data.snapshot == rewards.data.snapshot == snapshot_root(lines)


def test_without_validators_and_pool_nothing_is_shared() -> None:
    assert kinds(OneHub().close()) == ["EpochClosed"]


def test_without_validators_the_pool_carries() -> None:
    hub = network()
    data = close(hub).data

    assert (data.pool, data.carry, data.lines) == ("1000", "1000", ())
    assert hub.money["validator_pool:carry", "escrow"] == 1_000
    assert close(hub).data.drawn == ()


def test_without_a_pool_weights_are_told_all_the_same() -> None:
    hub = OneHub()
    hub.validator("v1")
    hub.close()

    data = close(hub).data

    assert (data.pool, data.weight, [(line.validator, line.amount) for line in data.lines]) == (
        "0", "10000", [("v1", "0")],
    )  # fmt: skip


def test_duties_and_fees_of_all_lanes_are_summed() -> None:
    hub = OneHub(lanes=3)
    hub.validator("v1")
    hub.close()
    hub.duties[EPOCH + 1] = {"v1": (2, 1)}
    hub.settle("n", 0, fee=10)

    closed, fees, rewards = hub.close()

    assert isinstance(closed, EpochClosed)
    assert [line.log for line in closed.data.positions] == ["lane-0", "lane-1", "lane-2"]
    assert isinstance(fees, FeeAllocated)
    assert isinstance(rewards, ValidatorRewardsAllocated)
    assert reasons(rewards) == {"v1": "duties_unanswered"}


# --- weight and honesty ---


def test_joiner_has_no_weight_and_shares_from_the_next_whole_day_on() -> None:
    hub = network(10_000)
    hub.validator("v2")

    first = close(hub)
    second = close(hub)

    assert (shares(first), reasons(first)) == ({"v1": 1_000}, {"v2": "not_active_all_epoch"})
    assert [(line.validator, line.weight) for line in second.data.lines] == [("v1", "10000"), ("v2", "10000")]


def test_who_joins_at_the_cut_with_which_the_day_begins_has_joined_in_time() -> None:
    hub = OneHub()
    hub.go(LAUNCH + DAY - MINUTE)
    hub.validator("v1")
    hub.go(LAUNCH + DAY)
    hub.validator("v2")
    hub.close()

    allocated = close(hub)

    assert [line.validator for line in allocated.data.lines] == ["v1"]
    assert reasons(allocated) == {"v2": "not_active_all_epoch"}


def test_weight_is_the_least_of_the_day_and_the_cut_at_its_end_belongs_to_it() -> None:
    hub = network(30_000, 30_000, 30_000)
    hub.unstake("v1", 10_000)
    hub.tick()
    hub.bond("validator", "v1", 20_000)
    hub.go(LAUNCH + 2 * DAY - MINUTE)
    hub.unstake("v2", 1)
    hub.go(LAUNCH + 2 * DAY)
    hub.unstake("v3", 1)
    hub.go(LAUNCH + 2 * DAY + MINUTE)

    assert [(line.validator, line.weight) for line in close(hub).data.lines] == [
        ("v1", "20000"),
        ("v2", "29999"),
        ("v3", "30000"),
    ]


def test_weight_is_not_less_for_what_is_frozen() -> None:
    hub = network(20_000, 20_000)
    hub.evidence("v1")
    hub.report("v2", "v1", job="other")

    data = close(hub).data

    assert [line.weight for line in data.lines] == [line.weight for line in data.withheld] == ["20000"]


@pytest.mark.parametrize("after_noon", [MINUTE, 12 * HOUR])
def test_who_was_suspended_for_a_moment_of_the_day_was_not_active_all_of_it(after_noon: int) -> None:
    hub = network(10_000, 10_000)
    hub.go(NOON + after_noon - MINUTE)
    hub.unstake("v1", 1)
    hub.tick()
    hub.bond("validator", "v1", 1)
    hub.tick()

    assert reasons(close(hub)) == ({"v1": "not_active_all_epoch"} if after_noon == MINUTE else {})
    assert ("v1" in reasons(close(hub))) is (after_noon != MINUTE)


def test_upheld_case_costs_the_epoch_in_which_it_is_upheld() -> None:
    hub = network(30_000, 30_000)
    case = hub.evidence("v1")
    hub.tick()
    hub.rule(case, "upheld")

    assert reasons(close(hub)) == {"v1": "case_upheld"}
    assert reasons(close(hub)) == {}


def test_case_upheld_at_the_last_cut_of_a_day_costs_that_day_and_not_the_next() -> None:
    hub = network(30_000, 30_000)
    case = hub.evidence("v1")
    hub.go(LAUNCH + 2 * DAY - MINUTE)
    hub.rule(case, "upheld")
    hub.go(LAUNCH + 2 * DAY)

    assert reasons(close(hub)) == {"v1": "case_upheld"}
    assert reasons(close(hub)) == {}


def test_who_takes_all_out_at_the_last_cut_was_active_and_has_no_weight() -> None:
    hub = network(10_000, 10_000)
    hub.go(LAUNCH + 2 * DAY - MINUTE)
    hub.unstake("v1", 10_000)

    assert reasons(close(hub)) == {"v1": "no_weight"}
    assert reasons(close(hub)) == {"v1": "not_active_all_epoch"}


# --- withheld shares ---


def test_share_waits_on_the_oldest_open_case_and_carries_where_that_is_upheld() -> None:
    hub = network(20_000, 20_000)
    oldest = hub.evidence("v1", job="b")
    hub.tick()
    hub.evidence("v1", job="a")

    data = close(hub).data

    assert [(line.validator, line.case, line.amount) for line in data.withheld] == [("v1", oldest, "500")]
    assert hub.money[f"validator_pool:withheld:{oldest}", "escrow"] == 500
    hub.rule(oldest, "upheld")
    hub.tick()
    assert [(line.account, line.amount) for line in hub.last(SlashUpheld).data.withheld] == [
        (f"validator_pool:withheld:{oldest}", "500")
    ]
    assert hub.money["validator_pool:carry", "escrow"] == 500
    assert close(hub).data.carry_in == "500"


def test_share_moves_to_the_next_open_case_and_is_paid_when_none_is_left() -> None:
    hub = network(20_000, 20_000)
    first = hub.evidence("v1", job="a")
    hub.tick()
    second = hub.evidence("v1", job="b")
    close(hub)
    for case in (first, second):
        hub.dispute(case, "v1")
    hub.tick()

    hub.rule(first, "reversed")
    hub.tick()
    assert [line.account for line in hub.last(SlashReversed).data.released] == [f"validator_pool:withheld:{second}"]
    assert hub.money[f"validator_pool:withheld:{second}", "escrow"] == 500
    hub.rule(second, "reversed")
    hub.tick()

    assert hub.money["payable:validator:v1", "escrow"] == 500
    assert hub.money[f"validator_pool:withheld:{second}", "escrow"] == 0


def test_case_of_the_next_day_holds_no_share_of_this_one_back() -> None:
    hub = network(20_000, slash={"window_seconds": 172_800})
    hub.go(LAUNCH + 2 * DAY)
    hub.evidence("v1")
    hub.tick()

    assert shares(close(hub)) == {"v1": 1_000}
    assert close(hub).data.withheld[0].validator == "v1"


def test_withheld_shares_of_several_vaults_are_released_where_they_lie() -> None:
    hub = network(20_000)
    case = hub.evidence("v1")
    close(hub)
    hub.dispute(case, "v1")
    hub.declare("sweep", "escrow", 400, "escrow", (f"validator_pool:withheld:{case}", 400), to="fees")
    hub.tick()

    hub.rule(case, "reversed")
    hub.tick()

    assert [(line.vault, line.amount) for line in hub.last(SlashReversed).data.released] == [
        ("escrow", "600"), ("fees", "400"),
    ]  # fmt: skip


# --- the pool ---


@settings(max_examples=30)
@given(
    integers(0, 2**64 - 1),
    integers(0, 2**64 - 1),
    st.integers(0, 10**12),
    st.lists(st.integers(10_000, 10**15), min_size=1, max_size=4),
    st.data(),
)
def test_shares_withheld_and_carry_are_the_pool_in_each_vault(
    fees: int, more: int, swept: int, stakes: list[int], data: st.DataObject
) -> None:
    hub = OneHub(settings={"waterfall": {"validator_bps": 10_000}})
    for number, stake in enumerate(stakes):
        hub.validator(f"v{number}", stake)
    hub.settle("n", 0, fee=fees)
    hub.close()
    # What nobody had a share of on the first day lies in the carry, some of it swept home.
    swept = min(swept, hub.money["validator_pool:carry", "escrow"])
    if swept:
        hub.declare("sweep", "escrow", swept, "escrow", ("validator_pool:carry", swept), to="fees")
    hub.settle("n", 0, fee=more)
    for number in data.draw(st.sets(st.integers(0, len(stakes) - 1))):
        hub.evidence(f"v{number}", verifiers=())

    allocated = close(hub).data

    parts = [int(line.amount) for line in allocated.lines] + [int(line.amount) for line in allocated.withheld]
    assert int(allocated.pool) == fees + more
    assert sum(parts) + int(allocated.carry) == fees + more
    assert int(allocated.carry) < len(stakes)
    for vault in ("escrow", "fees"):
        drawn = sum(int(line.amount) for line in allocated.drawn if line.vault == vault)
        assert drawn == sum(int(line.amount) for line in allocated.credited if line.vault == vault)
    assert len(parts) == len(stakes)


def test_what_an_epoch_no_longer_needs_is_forgotten() -> None:
    hub = network(20_000)
    for day in range(2, 40):
        hub.evidence("v1", job=f"j{day}")
        hub.bond("validator", "v1", 1_000)
        hub.go(LAUNCH + day * DAY)

    (who,) = hub.hub._participants.validators()

    assert len(who.levels) < 9
    assert len(who.upheld) < 4
    assert who.levels[0].time <= start_of_day(hub.epoch) < who.levels[1].time
