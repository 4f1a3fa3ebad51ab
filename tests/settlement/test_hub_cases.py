"""Slash cases: who may accuse, what is frozen, what silence and rulings do, and where it all goes (D10 to D12)."""

from typing import Any

import pytest

from events.event import decision_id
from events.instant import DAY, format_instant
from events.orders import SlashReportFiled
from events.refusal import Reason
from events.stakes import (
    ParticipantSuspended,
    SlashDisputed,
    SlashDistributed,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
)
from tests.settlement.one_hub import HOUR, MINUTE, OneHub, kinds
from tests.worlds import FOUNDATION, signer_of

WEEK = 7 * DAY
GRAVE = {"failed_challenge": 10_000, "false_attestation": 10_000, "quorum_dissent": 0, "offline": 0}


def network(*extra: int, **settings: Any) -> OneHub:
    """A hub with the validators v, w, x and the node n, at their minimum or what is said of v, w, x."""
    hub = OneHub(settings=settings)
    stakes = (*extra, 10_000, 10_000, 10_000)
    for id, stake in zip("vwx", stakes, strict=False):
        hub.validator(id, stake)
    hub.node("n")
    hub.tick()
    return hub


def refused(hub: OneHub, fact: str) -> str | None:
    """Go on to the next cut, and tell why a fact was refused."""
    hub.tick()
    return hub.reason(fact)


# --- evidence ---


def test_evidence_freezes_and_silence_upholds_when_the_window_ends() -> None:
    hub = network()
    case = hub.evidence("n", "node", verifiers=("w", "v"))

    (proposed,) = hub.tick()

    assert isinstance(proposed, SlashProposed)
    data = proposed.data
    assert (proposed.key, proposed.subject, proposed.causation_id) == (case, "n", decision_id("SlashEvidenced", case))
    assert (data.basis, data.amount, data.bps, data.bond, data.proposer) == ("500", "25", 500, "0", "protocol")
    assert data.ends_at == format_instant(hub.now + DAY)
    assert (hub.bonded("n", "node"), hub.money[f"slash:pending:{case}", "stake"]) == (475, 25)

    ends_at = hub.now + DAY
    assert not {"SlashUpheld", "ParticipantSuspended"} & set(kinds(hub.go(ends_at - 1))), "not before it is upheld"
    upheld, distributed, suspended = hub.go(ends_at)
    assert isinstance(upheld, SlashUpheld)
    assert (upheld.data.amount, upheld.causation_id, upheld.occurred_at) == ("25", None, format_instant(ends_at))
    assert isinstance(distributed, SlashDistributed)
    assert [(line.id, line.amount) for line in distributed.data.paid] == [("v", "6"), ("w", "6")]
    assert distributed.data.burned == "13"
    assert isinstance(suspended, ParticipantSuspended)
    assert (suspended.data.cause, suspended.data.stake) == ("stake", "475")


def test_reporter_of_evidence_is_rewarded_alone() -> None:
    hub = network()
    hub.evidence("v", verifiers=("w",), reporter="x")
    hub.tick()
    hub.go(hub.now + DAY)

    paid = hub.last(SlashDistributed).data.paid
    assert [(line.id, line.amount) for line in paid] == [("x", "500")]


def test_to_unstake_and_then_cheat_still_pays_the_slash() -> None:
    hub = network(20_000)
    early, late = hub.unstake("v", 9_000), ""
    hub.tick()
    late = hub.unstake("v", 10_500)
    hub.tick()

    hub.evidence("v")

    (proposed,) = hub.tick()
    assert isinstance(proposed, SlashProposed)
    assert (proposed.data.basis, proposed.data.amount, proposed.data.from_bonded) == ("20000", "2000", "500")
    assert [(part.ticket, part.amount) for part in proposed.data.from_tickets] == [(late, "1500")]
    assert hub.money[f"stake:unbonding:{early}", "stake"] == 9_000


def test_what_is_frozen_counts_until_the_case_is_upheld_and_what_came_of_tickets_never_did() -> None:
    hub = network(20_000, slash={"bps": GRAVE})
    hub.unstake("v", 9_000)
    hub.tick()
    case = hub.evidence("v")

    assert kinds(hub.tick()) == ["SlashProposed"]
    assert (hub.bonded("v"), hub.money[f"slash:pending:{case}", "stake"]) == (0, 20_000)
    hub.rule(case, "upheld")
    assert kinds(hub.tick()) == ["SlashUpheld", "SlashDistributed", "ParticipantSuspended"]
    assert hub.last(ParticipantSuspended).data.stake == "0"


def test_cases_of_one_cut_have_one_basis() -> None:
    hub = network()
    for job in ("j1", "j2", "j3"):
        hub.evidence("v", job=job)

    assert [(d.data.basis, d.data.amount) for d in hub.tick() if isinstance(d, SlashProposed)] == [
        ("10000", "1000")
    ] * 3
    hub.evidence("v", job="j4")
    (next_one,) = hub.tick()
    assert isinstance(next_one, SlashProposed)
    assert (next_one.data.basis, next_one.data.amount) == ("7000", "700")


def test_bond_posted_in_a_cut_is_in_the_basis_of_that_cuts_slashes() -> None:
    hub = network()
    hub.report("v", "w")
    hub.now += 1
    hub.evidence("v", job="other")

    first, second = (d for d in hub.tick() if isinstance(d, SlashProposed))

    assert (first.subject, first.data.bond, second.subject, second.data.basis) == ("w", "100", "v", "10000")
    assert hub.bonded("v") == 8_900


def test_evidence_against_who_has_no_stake_makes_a_case_all_the_same() -> None:
    hub = network()
    case = hub.evidence("stranger", "node")

    (proposed,) = hub.tick()

    assert isinstance(proposed, SlashProposed)
    assert (proposed.data.basis, proposed.data.amount) == ("0", "0")
    assert kinds(hub.go(hub.now + DAY))[-2:] == ["SlashUpheld", "SlashDistributed"]
    assert refused(hub, hub.rule(case, "reversed")) == Reason.CASE_CLOSED


def test_stake_without_a_registration_can_be_slashed() -> None:
    hub = network()
    hub.bond("node", "m", 1_000)
    hub.evidence("m", "node")
    hub.tick()

    hub.node("m", 0)

    assert kinds(hub.tick()) == ["ParticipantRegistered"]
    assert hub.bonded("m", "node") == 950
    hub.go(hub.now + DAY)
    assert hub.last(SlashUpheld).data.amount == "50"


# --- disputes and rulings ---


def test_disputed_evidence_waits_for_a_ruling_and_stands_without_one() -> None:
    hub = network()
    case = hub.evidence("n", "node")
    hub.tick()
    hub.go(hub.now + 23 * HOUR)
    hub.dispute(case, "n")

    (disputed,) = hub.tick()

    assert isinstance(disputed, SlashDisputed)
    ends_at = hub.now + WEEK
    assert (disputed.key, disputed.subject, disputed.data.ends_at) == (case, "n", format_instant(ends_at))
    assert "SlashUpheld" not in kinds(hub.go(ends_at - 1))
    assert "SlashUpheld" in kinds(hub.go(ends_at))


@pytest.mark.parametrize("disputed", [False, True])
@pytest.mark.parametrize("accused", [False, True])
def test_ruling_decides_any_open_case_at_once(disputed: bool, accused: bool) -> None:
    hub = network()
    case = hub.report("x", "v") if accused else hub.evidence("v")
    hub.tick()
    if disputed:
        hub.dispute(case, "v")
        hub.tick()

    ruling = hub.rule(case, "reversed")

    fallen = hub.tick()[0]
    assert isinstance(fallen, SlashReversed)
    assert (fallen.key, fallen.causation_id, hub.bonded("v")) == (case, ruling, 10_000)
    assert not {"SlashUpheld", "SlashReversed"} & set(kinds(hub.go(hub.now + 2 * WEEK)))


def test_ruling_that_ends_with_its_window_comes_first() -> None:
    hub = network()
    case = hub.evidence("v")
    hub.tick()
    hub.go(hub.now + DAY - MINUTE)

    hub.rule(case, "reversed")

    assert kinds(hub.tick()) == ["SlashReversed"]


def test_disputes_that_are_none_are_refused() -> None:
    hub = network()
    case = hub.evidence("v")
    hub.tick()

    assert refused(hub, hub.dispute("0" * 32, "v")) == Reason.CASE_UNKNOWN
    assert refused(hub, hub.dispute(case, "w")) == Reason.OWNER_DIFFERS
    assert refused(hub, hub.dispute(case, "v")) is None
    assert refused(hub, hub.dispute(case, "v")) == Reason.CASE_NOT_DISPUTABLE
    hub.rule(case, "upheld")
    hub.tick()
    assert refused(hub, hub.dispute(case, "v")) == Reason.CASE_CLOSED


def test_dispute_comes_before_the_end_of_the_window_not_before_the_cut_that_sees_to_it() -> None:
    hub = network(slash={"window_seconds": 90})
    first, second = hub.evidence("v"), hub.evidence("w")
    hub.tick()
    ends_at = hub.now + 90 * 1_000_000
    hub.go(hub.now + MINUTE)

    timely = hub.dispute(first, "v", at=ends_at - 1)
    late = hub.dispute(second, "w", at=ends_at)
    decided = hub.go(hub.now + MINUTE)

    assert hub.reason(timely) is None
    assert hub.reason(late) == Reason.CASE_NOT_DISPUTABLE
    assert [d.key for d in decided if isinstance(d, SlashUpheld)] == [second]


def test_rulings_need_enough_keys_of_the_foundation() -> None:
    hub = network()
    case = hub.evidence("v")
    hub.tick()
    stranger = signer_of("stranger")

    assert refused(hub, hub.rule(case, "reversed", FOUNDATION[:1])) == Reason.APPROVALS_MISSING
    assert refused(hub, hub.rule(case, "reversed", (FOUNDATION[0], stranger))) == Reason.APPROVALS_MISSING
    assert refused(hub, hub.rule("0" * 32, "reversed")) == Reason.CASE_UNKNOWN
    assert refused(hub, hub.rule(case, "reversed", FOUNDATION)) is None
    assert refused(hub, hub.rule(case, "reversed")) == Reason.CASE_CLOSED


# --- accusations ---


def test_false_report_evicts_nobody_and_costs_the_bond() -> None:
    hub = network()
    case = hub.report("x", "v")

    (proposed,) = hub.tick()

    assert isinstance(proposed, SlashProposed)
    data = proposed.data
    assert (data.proposer, data.reporter, data.bond, data.amount) == ("x", "x", "100", "1000")
    assert data.ends_at == format_instant(hub.now + WEEK)
    assert hub.money[f"bond:{case}", "stake"] == 100
    decided = hub.go(hub.now + WEEK)
    assert "ParticipantSuspended" not in kinds([d for d in decided if d.subject == "v"])
    assert kinds(decided)[-2:] == ["SlashReversed", "ParticipantSuspended"], "its own level now lacks the bond"
    assert decided[-1].subject == "x"
    assert (hub.bonded("v"), hub.bonded("x"), hub.money["burn:pending", "stake"]) == (10_000, 9_900, 100)


def test_report_that_is_upheld_returns_the_bond_and_pays_the_reporter() -> None:
    hub = network()
    case = hub.report("x", "n", "node", cause="failed_challenge")
    hub.tick()

    hub.rule(case, "upheld")

    assert kinds(hub.tick()) == ["SlashUpheld", "SlashDistributed", "ParticipantSuspended"]
    assert (hub.bonded("x"), hub.money["payable:reporter:x", "stake"], hub.money["burn:pending", "stake"]) == (
        10_000, 12, 13,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"accused": "nobody"}, Reason.PARTICIPANT_UNKNOWN),
        ({"accused": "n"}, Reason.PARTICIPANT_UNKNOWN),
        ({"accused": "v", "cause": "offline"}, Reason.CAUSE_NOT_SLASHED),
        ({"accused": "v", "cause": "rudeness"}, Reason.CAUSE_NOT_SLASHED),
        ({"accused": "v", "by": "w"}, Reason.OWNER_DIFFERS),
        ({"accused": "v", "cluster": "other"}, Reason.CLUSTER_DIFFERS),
    ],
)
def test_reports_that_are_none_freeze_nothing(changed: dict[str, str], reason: Reason) -> None:
    hub = network()
    members = {"by": "x"} | changed
    by, accused = members.pop("by"), members.pop("accused")
    said: dict[str, Any] = {
        "accused": accused,
        "attempt": 1,
        "cause": "false_attestation",
        "consumer": "c",
        "evidence": "e" * 64,
        "job": "j",
    }
    fact = hub.order(SlashReportFiled, "x", by, **({"role": "validator"} | said | members))

    assert refused(hub, fact) == reason
    assert (hub.bonded("v"), hub.bonded("x")) == (10_000, 10_000)


def test_only_an_active_validator_with_the_bond_accuses() -> None:
    hub = network(slash={"bond": "20000"})
    hub.retire("validator", "w")
    hub.tick()

    hub.report("w", "v")
    hub.report("x", "v")

    assert sorted(hub.reason(d.causation_id or "") or "" for d in hub.tick()) == [
        Reason.PARTICIPANT_SUSPENDED, Reason.STAKE_INSUFFICIENT,
    ]  # fmt: skip


def test_case_exists_once() -> None:
    hub = network()
    case = hub.evidence("v")
    hub.tick()
    hub.report("x", "v")
    (again,) = hub.tick()
    hub.rule(case, "reversed")
    hub.tick()
    hub.report("x", "v")
    (closed,) = hub.tick()

    assert [hub.reason(d.causation_id or "") for d in (again, closed)] == [Reason.CASE_EXISTS] * 2
    assert (hub.bonded("v"), hub.bonded("x")) == (10_000, 10_000)


def test_no_silence_frees_an_accused_against_whom_evidence_came_as_well() -> None:
    hub = network()
    case = hub.report("x", "v")
    hub.tick()
    ends_at = hub.now + WEEK

    evidence = hub.evidence("v")

    (proposed,) = hub.tick()
    assert isinstance(proposed, SlashProposed)
    assert (proposed.data.case, proposed.data.bps, proposed.data.amount) == (evidence, 0, "0"), "a deed costs once"
    decided = [d for d in hub.go(ends_at) if d.key == case]
    assert kinds(decided) == ["SlashUpheld", "SlashDistributed"]
    assert (hub.bonded("v"), hub.bonded("x"), hub.money["payable:reporter:x", "stake"]) == (9_000, 10_000, 500)


def test_accusation_that_fell_shields_nobody_from_evidence() -> None:
    hub = network()
    hub.report("x", "v")
    hub.tick()
    hub.go(hub.now + WEEK)
    assert (hub.bonded("v"), hub.bonded("x")) == (10_000, 9_900)

    hub.evidence("v")

    proposed = hub.tick()[0]
    assert isinstance(proposed, SlashProposed)
    assert (proposed.data.proposer, proposed.data.amount) == ("protocol", "1000")


def test_accusation_that_was_upheld_is_not_paid_for_again() -> None:
    hub = network()
    case = hub.report("x", "v")
    hub.tick()
    hub.rule(case, "upheld")
    hub.tick()
    assert hub.bonded("v") == 9_000

    hub.evidence("v")
    hub.tick()
    hub.go(hub.now + 2 * DAY)

    assert hub.bonded("v") == 9_000
    hub.report("x", "v")
    assert hub.reason(hub.tick()[0].causation_id or "") == Reason.CASE_EXISTS


def test_nobody_accuses_itself() -> None:
    hub = network(slash={"bps": GRAVE})
    hub.report("v", "v")

    assert hub.reason(hub.tick()[0].causation_id or "") == Reason.ACCUSER_IS_ACCUSED
    assert hub.bonded("v") == 10_000


# --- where a case that falls gives back ---


@pytest.mark.parametrize("end", ["open", "taken back", "matured"])
def test_what_came_of_a_ticket_goes_back_to_it_or_to_its_owner(end: str) -> None:
    hub = network(20_000)
    ticket = hub.unstake("v", 19_000)
    hub.tick()
    hub.go(hub.now + 6 * DAY + 23 * HOUR)
    case = hub.evidence("v")
    hub.tick()
    assert (hub.bonded("v"), hub.money[f"stake:unbonding:{ticket}", "stake"]) == (0, 18_000)
    if end == "taken back":
        hub.rebond("v", ticket)
    hub.go(hub.now + (2 * HOUR if end == "matured" else MINUTE))

    hub.rule(case, "reversed")
    hub.tick()

    returned = {line.account: line.amount for line in hub.last(SlashReversed).data.returned}
    back = f"stake:unbonding:{ticket}" if end == "open" else f"payable:stake:{signer_of('v').key}"
    assert returned == {"stake:bonded:validator:v": "1000", back: "1000"}
    assert hub.money[f"slash:pending:{case}", "stake"] == 0


def test_window_of_no_length_ends_at_the_next_cut() -> None:
    hub = network(slash={"window_seconds": 0})
    hub.evidence("v")

    assert kinds(hub.tick()) == ["SlashProposed"]
    assert kinds(hub.tick())[:2] == ["SlashUpheld", "SlashDistributed"]


def test_dispute_without_time_for_a_ruling_ends_in_its_own_cut() -> None:
    hub = network(slash={"ruling_seconds": 0})
    case = hub.evidence("v")
    hub.tick()
    hub.dispute(case, "v")

    assert kinds(hub.tick())[:2] == ["SlashDisputed", "SlashUpheld"]
