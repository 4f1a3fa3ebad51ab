"""What is declared in place of a chain: payouts, burns and sweeps of what is there, or nothing at all."""

from typing import Any

import pytest

from events.decisions import BurnFinalized, PayoutFinalized, SweepFinalized
from events.refusal import Reason
from tests.settlement.one_hub import HOUR, OneHub, kinds


@pytest.fixture
def hub() -> OneHub:
    """A hub whose lanes have settled a job of two nodes, and owe a consumer its money."""
    hub = OneHub()
    hub.settle("a", 930, burn=20, fee=50)
    hub.settle("b", 93, burn=2, fee=5)
    hub.withdraw("c", 7)
    return hub


def test_payout_leaves_payables(hub: OneHub) -> None:
    external = hub.money["external", ""]
    fact = hub.declare(
        "payout", "escrow", 937, "escrow", ("payable:supplier:a", 930), ("payable:withdrawal:c", 7)
    )  # fmt: skip

    (paid,) = hub.tick()

    assert isinstance(paid, PayoutFinalized)
    assert (paid.key, paid.causation_id, paid.subject, paid.data.amount) == (fact, fact, "escrow", "937")
    assert hub.money["payable:supplier:a", "escrow"] == 0
    assert hub.money["external", ""] == external + 937


def test_burn_takes_what_waits_for_it(hub: OneHub) -> None:
    fact = hub.declare("burn", "escrow", 22, "escrow")

    (burned,) = hub.tick()

    assert isinstance(burned, BurnFinalized)
    assert (burned.key, burned.subject) == (fact, "escrow")
    assert hub.money["supply:burned", ""] == 22


def test_sweep_brings_money_home(hub: OneHub) -> None:
    hub.close()
    fact = hub.declare("sweep", "escrow", 50, "escrow", ("treasury:ops", 50), to="treasury")

    (swept,) = hub.tick()

    assert isinstance(swept, SweepFinalized)
    assert (swept.key, swept.data.to) == (fact, "treasury")
    assert hub.money["treasury:ops", "treasury"] == 200 * 10**15 + 50


def test_payout_comes_before_burn_and_burn_before_sweep_within_a_cut(hub: OneHub) -> None:
    hub.declare("sweep", "fees", 1, "fees", ("payable:supplier:a", 1), to="escrow")
    hub.declare("burn", "escrow", 1, "escrow")
    hub.declare("payout", "escrow", 1, "escrow", ("payable:supplier:a", 1))

    assert kinds(hub.tick()) == ["PayoutFinalized", "BurnFinalized", "DecisionRefused"]


A, SWEPT = "payable:supplier:a", {"to": "treasury"}


@pytest.mark.parametrize(
    ("effect", "amount", "vault", "lines", "more", "reason"),
    [
        ("payout", 1, "escrow", [(A, 1)], {"asset": "SOL"}, Reason.ASSET_UNKNOWN),
        ("payout", 2, "escrow", [(A, 1)], {}, Reason.EFFECT_MALFORMED),
        ("payout", 0, "escrow", [], {}, Reason.EFFECT_MALFORMED),
        ("payout", 1, "escrow", [(A, 1)], {"to": "fees"}, Reason.EFFECT_MALFORMED),
        ("payout", 1, "escrow", [(A, 1)], {"role": "node"}, Reason.EFFECT_MALFORMED),
        ("payout", 1, "escrow", [("fee:accrued", 1)], {}, Reason.EFFECT_MALFORMED),
        ("payout", 1, "escrow", [("payable:friend:a", 1)], {}, Reason.EFFECT_MALFORMED),
        ("payout", 931, "escrow", [(A, 931)], {}, Reason.BALANCE_INSUFFICIENT),
        ("payout", 931, "escrow", [(A, 930), (A, 1)], {}, Reason.BALANCE_INSUFFICIENT),
        ("payout", 1, "fees", [(A, 1)], {}, Reason.BALANCE_INSUFFICIENT),
        ("burn", 1, "escrow", [], {"asset": "SOL"}, Reason.ASSET_UNKNOWN),
        ("burn", 0, "escrow", [], {}, Reason.EFFECT_MALFORMED),
        ("burn", 1, "escrow", [(A, 1)], {}, Reason.EFFECT_MALFORMED),
        ("burn", 1, "escrow", [], {"to": "fees"}, Reason.EFFECT_MALFORMED),
        ("burn", 23, "escrow", [], {}, Reason.BALANCE_INSUFFICIENT),
        ("burn", 1, "stake", [], {}, Reason.BALANCE_INSUFFICIENT),
        ("burn", 1, "", [], {}, Reason.BALANCE_INSUFFICIENT),
        ("sweep", 1, "escrow", [("fee:accrued", 1)], {"to": "fees", "asset": "SOL"}, Reason.ASSET_UNKNOWN),
        ("sweep", 1, "escrow", [("fee:accrued", 1)], {}, Reason.EFFECT_MALFORMED),
        ("sweep", 1, "escrow", [("fee:accrued", 1)], SWEPT, Reason.EFFECT_MALFORMED),
        ("sweep", 1, "treasury", [("treasury:ops", 1)], SWEPT, Reason.EFFECT_MALFORMED),
        ("sweep", 1, "escrow", [("burn:pending", 1)], {"to": ""}, Reason.EFFECT_MALFORMED),
        ("sweep", 1, "escrow", [("nobody", 1)], {"to": ""}, Reason.EFFECT_MALFORMED),
        ("sweep", 1, "escrow", [("treasury:ops", 1)], SWEPT, Reason.BALANCE_INSUFFICIENT),
        ("sweep", 1, "fees", [("consumer:c", 1)], {"to": "escrow"}, Reason.BALANCE_INSUFFICIENT),
    ],
)
def test_what_cannot_have_happened_moves_nothing(
    effect: str,
    amount: int,
    vault: str,
    lines: list[tuple[str, int]],
    more: dict[str, Any],
    reason: Reason,
    hub: OneHub,
) -> None:
    before = dict(hub.money)
    fact = hub.declare(effect, vault or "none", amount, vault, *lines, **more)
    hub.tick()

    assert hub.reason(fact) == reason
    assert {place: amount for place, amount in hub.money.items() if amount} == {
        place: amount for place, amount in before.items() if amount
    }


def test_what_lanes_credit_counts_from_the_cut_behind_it_on_and_causes_none() -> None:
    hub = OneHub()
    hub.settle("a", 10)
    hub.declare("payout", "escrow", 11, "escrow", (A, 11))
    hub.tick()
    hub.settle("a", 1)
    assert hub.hub.next_cut(hub.now + HOUR) is None

    hub.declare("payout", "escrow", 11, "escrow", (A, 11))

    assert kinds(hub.decided[-1:]) == ["DecisionRefused"]
    assert kinds(hub.tick()) == ["PayoutFinalized"]
