"""Where a fact goes follows from what it says, and all that concerns a consumer goes to one lane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.facts import Producer
from events.facts import ChainFactDeclared, GenesisDeclared, StreamMarked, StreamRegistered
from events.orders import (
    SlashReportFiled,
    SlashReportFiledData,
    SpendAuthorized,
    SpendAuthorizedData,
    WithdrawalOrdered,
    WithdrawalOrderedData,
)
from settlement.routing import HUB_PARTITION, LANES_MAX, lane_of, partitions_of, route
from tests.worlds import ASSET, LAUNCH, build_world, genesis_of, parameter_set

P = Producer("p")
EVERYWHERE = GenesisDeclared | StreamRegistered | StreamMarked


@given(st.text("abcdefghijklmnop.-_", min_size=1), st.integers(1, LANES_MAX))
def test_lane_is_one_of_the_lanes(consumer: str, lanes: int) -> None:
    assert 0 <= lane_of(consumer, lanes) < lanes


def test_lanes_of_many_consumers_are_all_used_and_stay_as_they_are() -> None:
    assert {lane_of(f"c{number}", 8) for number in range(200)} == set(range(8))
    assert [lane_of(name, 8) for name in ("atlas-lab", "birch-ai", "cobalt")] == [5, 7, 1]


def test_partitions_are_the_lanes_in_order_and_then_the_hubs() -> None:
    assert partitions_of(1) == ("facts/0", "facts/hub")
    assert partitions_of(11)[-2:] == ("facts/10", "facts/hub")


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_facts_of_worlds_go_to_their_consumers_lane_or_everywhere_or_to_the_hub(lanes: int) -> None:
    for seed in range(10):
        for fact in build_world(seed).facts():
            names = route(fact, lanes)
            consumer = getattr(fact.data, "consumer", None)  # type: ignore[attr-defined]
            if isinstance(fact, ChainFactDeclared):
                consumer = fact.subject
            if isinstance(fact, EVERYWHERE):
                assert names == partitions_of(lanes)
            elif consumer is not None:
                assert names == (f"facts/{lane_of(consumer, lanes)}",)
            else:
                assert names == (HUB_PARTITION,)


def test_deposit_goes_by_its_owner_and_genesis_everywhere() -> None:
    assert route(P.deposit(LAUNCH, "c", ASSET, 1, "k"), 64) == (f"facts/{lane_of('c', 64)}",)
    assert route(genesis_of(parameter_set()), 3) == ("facts/0", "facts/1", "facts/2", "facts/hub")


def test_orders_that_move_a_consumers_money_go_to_the_owners_lane() -> None:
    order = {"cluster": "t", "expires_at": "2026-10-02T00:00:00.000000Z", "nonce": 1, "owner": "c", "signature": "s"}
    spend = SpendAuthorizedData(**order, asset=ASSET, maximum="1")  # type: ignore[arg-type]
    withdrawal = WithdrawalOrderedData(**order, asset=ASSET, amount="1")  # type: ignore[arg-type]

    expected = (f"facts/{lane_of('c', 64)}",)
    assert route(P.fact(SpendAuthorized, LAUNCH, "j", "k1", spend), 64) == expected
    assert route(P.fact(WithdrawalOrdered, LAUNCH, "c", "k2", withdrawal), 64) == expected


def test_report_about_a_consumers_job_goes_to_the_hub() -> None:
    order = {"cluster": "t", "expires_at": "2026-10-02T00:00:00.000000Z", "nonce": 1, "owner": "v", "signature": "s"}
    terms = {"accused": "n", "attempt": 1, "cause": "offline", "consumer": "c", "evidence": "e", "job": "j"}
    report = SlashReportFiledData(**order, **terms, role="node")  # type: ignore[arg-type]

    assert route(P.fact(SlashReportFiled, LAUNCH, "v", "k", report), 64) == (HUB_PARTITION,)
