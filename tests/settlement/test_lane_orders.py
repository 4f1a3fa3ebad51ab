"""A consumer's own orders: that a job may be paid, and that money shall come back."""

import pytest
from msgspec import convert

from app.facts import Producer
from chain.keys import Signer
from events.decisions import EscrowFunded, WithdrawalAccepted
from events.event import Fact
from events.facts import ChainFactDeclared, ChainFactDeclaredData
from events.instant import DAY, format_instant
from events.refusal import Reason
from tests.settlement.one_lane import HOUR, C, OneLane

STRANGER = Signer(b"s" * 32)


def test_job_of_owner_authority_needs_its_consumers_word() -> None:
    lane = OneLane()
    lane.submit()
    assert lane.refused(lane.dispatch("a")) == Reason.SPEND_NOT_AUTHORIZED
    lane.authorize(signer=STRANGER)
    assert lane.refused(lane.dispatch("a", attempt=2)) == Reason.SPEND_NOT_AUTHORIZED

    lane.authorize()

    (funded,) = lane.dispatch("a", attempt=3)
    assert isinstance(funded, EscrowFunded)


def test_word_may_come_before_its_job() -> None:
    lane = OneLane()
    assert lane.authorize() == []
    lane.submit()

    assert isinstance(lane.dispatch("a")[0], EscrowFunded)


def test_stranger_cannot_take_the_place_of_the_consumers_word() -> None:
    lane = OneLane()
    lane.authorize()
    lane.authorize(0, signer=STRANGER)
    lane.submit()

    assert isinstance(lane.dispatch("a")[0], EscrowFunded)


@pytest.mark.parametrize(("maximum", "granted"), [(7_200, True), (7_199, False)])
def test_what_is_held_at_once_stays_within_the_maximum(maximum: int, granted: bool) -> None:
    lane = OneLane()
    lane.authorize(maximum)
    lane.submit(2)

    said = lane.dispatch("a", "b")

    if granted:
        assert isinstance(said[0], EscrowFunded)
        lane.redistribute()
        assert isinstance(lane.dispatch("a", "b", attempt=2)[0], EscrowFunded)
    else:
        assert lane.refused(said) == Reason.SPEND_ABOVE_MAXIMUM


def test_later_word_takes_the_place_of_the_earlier() -> None:
    lane = OneLane()
    lane.submit()
    lane.authorize(0)
    lane.authorize(3_600)
    assert isinstance(lane.dispatch("a")[0], EscrowFunded)
    lane.redistribute()
    lane.authorize(0)

    assert lane.refused(lane.dispatch("a", attempt=2)) == Reason.SPEND_ABOVE_MAXIMUM


def test_word_holds_until_it_expires() -> None:
    for wait, granted in ((24 * HOUR, True), (24 * HOUR + 1, False), (10 * DAY, False)):
        lane = OneLane()
        lane.submit()
        lane.authorize(hours=24)
        lane.wait(wait)
        said = lane.dispatch("a")
        assert isinstance(said[0], EscrowFunded) if granted else lane.refused(said) == Reason.ORDER_EXPIRED


def test_word_is_forgotten_once_it_has_expired_or_its_job_is_over() -> None:
    lane = OneLane()
    lane.authorize(hours=1)
    lane.wait(2 * DAY)
    assert lane.lane.state.spends == {}
    lane.submit()
    assert lane.refused(lane.dispatch("a")) == Reason.SPEND_NOT_AUTHORIZED
    lane.authorize()
    lane.dispatch("a", attempt=2)
    lane.fail(2)
    assert lane.lane.state.spends == {}


def test_attempt_without_a_word_is_used_up() -> None:
    lane = OneLane()
    lane.submit()
    lane.dispatch("a")
    lane.authorize()

    assert lane.refused(lane.dispatch("a")) == Reason.ATTEMPT_OUT_OF_ORDER
    assert isinstance(lane.dispatch("a", attempt=2)[0], EscrowFunded)


def test_refusals_of_a_dispatch_in_their_order() -> None:
    lane = OneLane(funds=100)
    lane.submit()
    lane.authorize(99)

    assert lane.refused(lane.dispatch("a")) == Reason.SPEND_ABOVE_MAXIMUM
    lane.authorize()
    assert lane.refused(lane.dispatch("a", attempt=2)) == Reason.FUNDS_INSUFFICIENT


def test_order_is_refused_by_the_rule_that_it_breaks() -> None:
    lane = OneLane()
    assert lane.refused(lane.authorize(cluster="mainnet")) == Reason.CLUSTER_DIFFERS
    assert lane.refused(lane.authorize(hours=-1)) == Reason.ORDER_EXPIRED
    assert lane.refused(lane.authorize(hours=24 * 31 + 1)) == Reason.ORDER_EXPIRES_TOO_LATE
    assert lane.refused(lane.authorize(asset="DUST")) == Reason.ASSET_UNKNOWN
    lane.authorize(nonce=10**6)
    assert lane.refused(lane.authorize(nonce=10**6)) == Reason.NONCE_USED
    assert lane.lane.state.spends.keys() == {(C, "j")}


def test_time_of_an_order_is_that_of_its_arrival_where_it_occurred_before() -> None:
    lane = OneLane()
    old = lane.now
    lane.wait(DAY)

    assert lane.refused(lane.authorize(expires_at=format_instant(old + HOUR))) == Reason.ORDER_EXPIRED


def test_nonces_are_kept_until_their_orders_have_expired() -> None:
    lane = OneLane()
    lane.authorize(hours=1)
    assert len(lane.lane._orders) == 1

    lane.wait(2 * DAY)

    assert len(lane.lane._orders) == 0


def test_withdrawal_moves_the_consumers_own_money() -> None:
    lane = OneLane(funds=100)

    (accepted,) = lane.withdraw(100)

    assert isinstance(accepted, WithdrawalAccepted)
    assert (accepted.subject, accepted.data.amount, accepted.key) == (C, "100", accepted.causation_id)
    assert lane.lane.state.available[C] == 0


def test_withdrawal_is_refused_by_the_rule_that_it_breaks() -> None:
    lane = OneLane(funds=100)

    assert lane.refused(lane.withdraw(101)) == Reason.FUNDS_INSUFFICIENT
    assert lane.refused(lane.withdraw(0)) == Reason.AMOUNT_IS_ZERO
    assert lane.refused(lane.withdraw(1, asset="DUST")) == Reason.ASSET_UNKNOWN
    assert lane.refused(lane.withdraw(1, subject="somebody")) == Reason.OWNER_DIFFERS
    assert lane.refused(lane.withdraw(1, cluster="mainnet")) == Reason.CLUSTER_DIFFERS
    assert lane.lane.state.available[C] == 100


def test_what_is_held_for_a_job_cannot_be_withdrawn() -> None:
    lane = OneLane(funds=4_000)
    lane.begin("a")

    assert lane.refused(lane.withdraw(401)) == Reason.FUNDS_INSUFFICIENT
    assert isinstance(lane.withdraw(400)[0], WithdrawalAccepted)


LINE = {"account": "payable:supplier:a", "amount": "1"}


@pytest.mark.parametrize(
    "changed", [{"effect": "stake"}, {"vault": "fees"}, {"role": "node"}, {"to": "fees"}, {"lines": (LINE,)}], ids=str
)
def test_deposit_that_is_anything_else_is_malformed(changed: dict[str, object]) -> None:
    lane = OneLane(funds=0)
    terms: dict[str, object] = {"effect": "deposit", "asset": "OMNI", "amount": "1", "vault": "escrow"}
    data = convert(terms | changed, ChainFactDeclaredData)
    fact: Fact = Producer("bank").fact(ChainFactDeclared, lane.now, C, "d", data)

    assert lane.refused(lane.take(fact)) == Reason.EFFECT_MALFORMED
