"""Who may serve, with what behind them, and how stake leaves and comes back (R7, D12, D13)."""

from typing import Any

import pytest

from events.decisions import DepositCredited, PayoutKeyAccepted
from events.instant import DAY, format_instant
from events.refusal import Reason
from events.stakes import (
    ParticipantRegistered,
    ParticipantReinstated,
    ParticipantSuspended,
    UnbondingCancelled,
    UnbondingMatured,
    UnstakeRequested,
)
from tests.settlement.one_hub import HOUR, MINUTE, OneHub, kinds
from tests.worlds import LAUNCH, signer_of


@pytest.fixture
def hub() -> OneHub:
    """A hub with a validator at its minimum."""
    hub = OneHub()
    hub.validator("v")
    hub.tick()
    return hub


# --- joining ---


def test_participant_begins_suspended_and_is_reinstated_by_the_stake_that_arrives_with_it() -> None:
    hub = OneHub()
    hub.node("n", 500)

    decided = hub.tick()

    assert kinds(decided) == ["ParticipantRegistered", "DepositCredited", "ParticipantReinstated"]
    registered, credited, reinstated = decided
    assert isinstance(registered, ParticipantRegistered)
    assert (registered.key, registered.data.active, registered.data.minimum) == ("node:n", False, "500")
    assert isinstance(credited, DepositCredited)
    assert (credited.key, credited.subject, credited.data.role) == (credited.causation_id, "n", "node")
    assert isinstance(reinstated, ParticipantReinstated)
    assert (reinstated.key, reinstated.data.stake, reinstated.causation_id) == ("node:n:1", "500", credited.key)


def test_stake_may_arrive_before_its_owner_is_known() -> None:
    hub = OneHub()
    hub.bond("validator", "v", 10_000)
    assert kinds(hub.tick()) == ["DepositCredited"]

    hub.validator("v", 0)

    (registered,) = hub.tick()
    assert isinstance(registered, ParticipantRegistered)
    assert registered.data.active


def test_stake_below_the_minimum_waits_for_a_top_up() -> None:
    hub = OneHub()
    hub.validator("v", 9_999)
    assert kinds(hub.tick()) == ["ParticipantRegistered", "DepositCredited"]

    hub.bond("validator", "v", 1)

    assert kinds(hub.tick()) == ["DepositCredited", "ParticipantReinstated"]


def test_declared_node_is_exempt_and_no_participant() -> None:
    hub = OneHub()
    hub.node("n", 0, authority="declared", owner=None, vram_mib=None)
    assert hub.tick() == []

    hub.update("n")

    hub.tick()
    assert hub.reason(hub.decided[-1].causation_id or "") == Reason.PARTICIPANT_UNKNOWN


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"owner": None}, Reason.OWNER_MISSING),
        ({"vram_mib": 8_191}, Reason.HARDWARE_BELOW_MINIMUM),
        ({"vram_mib": None}, Reason.HARDWARE_BELOW_MINIMUM),
        ({"bandwidth_mbps": 99}, Reason.HARDWARE_BELOW_MINIMUM),
    ],
)
def test_node_with_a_stake_has_an_owner_and_the_hardware(changed: dict[str, None], reason: Reason) -> None:
    hub = OneHub()
    hub.node("n", 0, **changed)

    (refused,) = hub.tick()

    assert hub.reason(refused.causation_id or "") == reason


def test_participant_registers_once_in_each_role(hub: OneHub) -> None:
    hub.node("v", 0)
    assert kinds(hub.tick()) == ["ParticipantRegistered"]

    hub.validator("v", 0)
    hub.node("v", 0)

    refused = hub.tick()
    assert [hub.reason(decision.causation_id or "") for decision in refused] == [Reason.PARTICIPANT_EXISTS] * 2


# --- suspension ---


def test_hardware_below_the_minimum_suspends_until_it_is_back() -> None:
    hub = OneHub()
    hub.node("n")
    hub.tick()

    hub.update("n", vram_mib=1)
    (suspended,) = hub.tick()
    hub.update("n", bandwidth_mbps=1)
    assert hub.tick() == []
    hub.update("n")
    (reinstated,) = hub.tick()

    assert isinstance(suspended, ParticipantSuspended)
    assert (suspended.key, suspended.data.cause, suspended.data.stake) == ("node:n:2", "hardware", "500")
    assert isinstance(reinstated, ParticipantReinstated)
    assert reinstated.key == "node:n:3"


def test_each_new_cause_is_told_and_retirement_is_for_good(hub: OneHub) -> None:
    hub.unstake("v", 1)
    assert hub.tick()[-1].key == "validator:v:2"

    hub.retire("validator", "v")
    (retired,) = hub.tick()
    hub.bond("validator", "v", 50_000)
    hub.retire("validator", "v")

    assert isinstance(retired, ParticipantSuspended)
    assert (retired.data.cause, retired.data.stake) == ("retired", "9999")
    assert kinds(hub.tick()) == ["DepositCredited"]


def test_unknown_participants_neither_change_nor_retire() -> None:
    hub = OneHub()
    hub.update("n")
    hub.retire("node", "n")
    hub.retire("validator", "n")

    refused = hub.tick()

    assert [hub.reason(decision.causation_id or "") for decision in refused] == [Reason.PARTICIPANT_UNKNOWN] * 3


# --- stakes ---


@pytest.mark.parametrize(
    ("amount", "vault", "more", "reason"),
    [
        (1, "stake", {"asset": "SOL", "role": "node"}, Reason.ASSET_UNKNOWN),
        (0, "stake", {"role": "node"}, Reason.EFFECT_MALFORMED),
        (1, "escrow", {"role": "node"}, Reason.EFFECT_MALFORMED),
        (1, "stake", {}, Reason.EFFECT_MALFORMED),
        (1, "stake", {"role": "node", "to": "stake"}, Reason.EFFECT_MALFORMED),
        (10**18 + 1, "stake", {"role": "node"}, Reason.AMOUNT_ABOVE_CAP),
    ],
)
def test_stake_that_is_none_is_refused(amount: int, vault: str, more: dict[str, str], reason: Reason) -> None:
    hub = OneHub()
    fact = hub.declare("stake", "n", amount, vault, **more)
    hub.tick()

    assert hub.reason(fact) == reason
    assert hub.bonded("n", "node") == 0


def test_stake_leaves_by_a_ticket_and_is_owed_when_it_matures(hub: OneHub) -> None:
    ticket = hub.unstake("v", 4_000)

    requested, suspended = hub.tick()
    assert isinstance(requested, UnstakeRequested)
    assert (requested.key, requested.subject) == (ticket, "v")
    assert requested.data.matures_at == format_instant(hub.now + 7 * DAY)
    assert isinstance(suspended, ParticipantSuspended)
    assert (suspended.data.cause, suspended.data.stake) == ("stake", "6000")
    assert hub.money[f"stake:unbonding:{ticket}", "stake"] == 4_000

    due = hub.now + 7 * DAY
    assert "UnbondingMatured" not in kinds(hub.go(due - 1))
    (matured,) = hub.go(due)
    assert isinstance(matured, UnbondingMatured)
    assert (matured.occurred_at, matured.causation_id) == (format_instant(due), None)
    assert hub.money[f"payable:stake:{signer_of('v').key}", "stake"] == 4_000
    hub.rebond("v", ticket)
    (refused,) = hub.tick()
    assert hub.reason(refused.causation_id or "") == Reason.TICKET_UNKNOWN


def test_ticket_is_taken_back_whole_and_does_not_mature(hub: OneHub) -> None:
    ticket = hub.unstake("v", 4_000)
    hub.tick()
    hub.rebond("v", ticket)

    cancelled, reinstated = hub.tick()

    assert isinstance(cancelled, UnbondingCancelled)
    assert (cancelled.key, cancelled.data.amount) == (ticket, "4000")
    assert isinstance(reinstated, ParticipantReinstated)
    assert hub.bonded("v") == 10_000
    assert "UnbondingMatured" not in kinds(hub.go(hub.now + 8 * DAY))


def test_ticket_that_matures_at_a_cut_cannot_be_taken_back_in_it() -> None:
    hub = OneHub(settings={"stake": {"unbonding_seconds": 60}})
    hub.validator("v")
    hub.tick()
    ticket = hub.unstake("v", 1)
    hub.tick()

    rebond = hub.rebond("v", ticket)

    assert kinds(hub.tick()) == ["UnbondingMatured", "DecisionRefused"]
    assert hub.reason(rebond) == Reason.TICKET_UNKNOWN


def test_ticket_without_unbonding_time_matures_at_the_next_cut() -> None:
    hub = OneHub(settings={"stake": {"unbonding_seconds": 0}})
    hub.validator("v")
    hub.tick()
    hub.unstake("v", 1)

    assert "UnbondingMatured" not in kinds(hub.tick())
    assert kinds(hub.tick()) == ["UnbondingMatured"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"by": "w"}, Reason.OWNER_DIFFERS),
        ({"role": "node"}, Reason.PARTICIPANT_UNKNOWN),
        ({"cluster": "other"}, Reason.CLUSTER_DIFFERS),
        ({"expires_at": format_instant(LAUNCH)}, Reason.ORDER_EXPIRED),
        ({"expires_at": format_instant(LAUNCH + 40 * DAY)}, Reason.ORDER_EXPIRES_TOO_LATE),
        ({"asset": "SOL"}, Reason.ASSET_UNKNOWN),
        ({"amount": 0}, Reason.AMOUNT_IS_ZERO),
        ({"amount": 10_001}, Reason.STAKE_INSUFFICIENT),
    ],
)
def test_order_that_the_rules_do_not_grant_takes_nothing_out(
    changed: dict[str, Any], reason: Reason, hub: OneHub
) -> None:
    hub.unstake("v", **({"amount": 5} | changed))

    (refused,) = hub.tick()

    assert hub.reason(refused.causation_id or "") == reason
    assert hub.bonded("v") == 10_000


def test_nonce_is_used_once(hub: OneHub) -> None:
    hub.unstake("v", 1, nonce=7)
    hub.go(hub.now + HOUR)
    hub.unstake("v", 2, nonce=7)

    hub.tick()

    assert hub.reason(hub.decided[-1].causation_id or "") == Reason.NONCE_USED
    assert hub.bonded("v") == 9_999


def test_order_is_judged_at_its_own_effective_time_and_not_at_the_cuts(hub: OneHub) -> None:
    expires_at = format_instant(hub.now + MINUTE // 2)
    hub.unstake("v", 1, at=hub.now + MINUTE // 2, expires_at=expires_at)
    hub.unstake("v", 2, at=hub.now + MINUTE // 2 + 1, expires_at=expires_at)

    assert kinds(hub.tick())[0::2] == ["UnstakeRequested", "DecisionRefused"]
    assert hub.bonded("v") == 9_999


def test_strangers_tickets_are_unknown(hub: OneHub) -> None:
    hub.validator("w")
    ticket = hub.unstake("v", 1)
    hub.tick()

    hub.rebond("w", ticket)
    (refused,) = hub.tick()

    assert hub.reason(refused.causation_id or "") == Reason.TICKET_UNKNOWN


def test_owner_names_another_key_and_nobody_else_does(hub: OneHub) -> None:
    granted = hub.change_key("v")
    stolen = hub.change_key("w", subject=signer_of("v").key)

    hub.tick()

    accepted = hub.last(PayoutKeyAccepted)
    assert (accepted.key, accepted.subject) == (granted, signer_of("v").key)
    assert accepted.data.payout_key == signer_of("new").key
    assert hub.reason(stolen) == Reason.OWNER_DIFFERS
