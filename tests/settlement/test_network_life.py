"""What a network's rules are for, told as short lives; in each, books and naive model agree fact by fact."""

from typing import Any, Literal

import pytest

from app.facts import Producer
from app.orders import approve, sign
from events.event import Data, Decision, Fact
from events.facts import (
    AttestationRecorded,
    AttestationRecordedData,
    ChainFactDeclared,
    ChainFactDeclaredData,
    ChallengeResultRecorded,
    ChallengeResultRecordedData,
    DeclaredLine,
    DutyAssigned,
    DutyAssignedData,
    JobDispatched,
    JobDispatchedData,
    JobSubmitted,
    JobSubmittedData,
    Quote,
    Terms,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, MICROSECONDS, format_instant
from events.orders import RebondOrdered, SlashDisputeFiled, SlashReportFiled, UnstakeOrdered
from events.participants import (
    NodeRegistered,
    NodeRegisteredData,
    SlashRuled,
    ValidatorRegistered,
    ValidatorRegisteredData,
)
from events.stakes import (
    ParticipantSuspended,
    SlashDistributed,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
    UnbondingMatured,
    ValidatorRewardsAllocated,
)
from tests.naive.jobs import case_of
from tests.naive.stakes import accusation_of
from tests.settlement.desk import day
from tests.settlement.live import Live
from tests.worlds import ASSET, CLUSTER, FOUNDATION, LAUNCH, parameter_set, signer_of

MINUTE = 60 * MICROSECONDS
NODE, VALIDATOR = "node", "validator"


class Life:
    """A network with one stream."""

    def __init__(self, **settings: Any) -> None:
        self.live = Live(parameter_set(settings=settings))
        self.stream = Producer("a")
        self.time = LAUNCH
        self.number = 0
        self.live.take(self.stream.register(LAUNCH))
        for id in ("v0", "v1"):
            self.say(ValidatorRegistered, id, ValidatorRegisteredData(operator=id, owner=signer_of(id).key))
        data = NodeRegisteredData(
            asset=ASSET, authority="stake", gpu_model="g", gpus=1, minimum_price="0", operator="o", supplier="s",
            bandwidth_mbps=100, owner=signer_of("n").key, vram_mib=8192,
        )  # fmt: skip
        self.say(NodeRegistered, "n", data)
        for role, id, amount in ((VALIDATOR, "v0", 10_000), (VALIDATOR, "v1", 30_000), (NODE, "n", 500)):
            self.stake(role, id, amount)

    def say(self, kind: type[Fact], subject: str, data: Data) -> str:
        """Say it a moment later; return the fact's id."""
        self.number += 1
        fact = self.stream.fact(kind, self.time + self.number, subject, f"{self.number}", data)
        self.live.take(fact)
        return fact.id

    def order(self, kind: type[Fact], subject: str, owner: str, **members: Any) -> str:
        expires_at = format_instant(self.time + DAY)
        order: dict[str, Any] = {"cluster": CLUSTER, "nonce": self.number, "expires_at": expires_at} | members
        return self.say(kind, subject, sign(kind, subject, signer_of(owner), **order))

    def wait(self, until: int) -> list[Decision]:
        self.time = until
        return self.live.take(self.stream.mark(until))

    def stake(self, role: Any, id: str, amount: int) -> None:
        data = ChainFactDeclaredData(effect="stake", asset=ASSET, amount=str(amount), vault="stake", role=role)
        self.say(ChainFactDeclared, id, data)

    def cheat(self, job: str) -> str:
        """Let n fail the challenge of a job; return the case."""
        of: dict[str, Any] = {"attempt": 1, "consumer": "c"}
        submitted = JobSubmittedData(asset=ASSET, authority="declared", consumer="c", gpu_seconds_max=1, nodes=1)
        self.say(JobSubmitted, job, submitted)
        quotes = (Quote(node="n", operator="o", price="0", minimum="0"),)
        self.say(JobDispatched, job, JobDispatchedData(quotes=quotes, **of))
        self.say(DutyAssigned, job, DutyAssignedData(seed="0" * 64, validators=("v0", "v1"), **of))
        passed = AttestationRecordedData(node="n", validator="v0", verdict="passed", **of)
        self.say(AttestationRecorded, job, passed)
        failed = AttestationRecordedData(node="n", validator="v1", verdict="failed", **of)
        self.say(AttestationRecorded, job, failed)
        self.say(ChallengeResultRecorded, job, ChallengeResultRecordedData(node="n", passed=False, **of))
        return case_of(NODE, "n", "c", job, 1, "failed_challenge")

    def report(self, by: str, role: str, accused: str, job: str = "j9") -> str:
        """Accuse; return the case that the next cut opens."""
        cause = "failed_challenge" if role == NODE else "false_attestation"
        report = self.order(
            SlashReportFiled, by, by, accused=accused, attempt=1, cause=cause, consumer="c", evidence="0" * 64, job=job,
            role=role,
        )  # fmt: skip
        return accusation_of(report)

    def rule(self, case: str, verdict: Literal["upheld", "reversed"]) -> None:
        self.say(SlashRuled, case, approve(case, verdict, CLUSTER, FOUNDATION[1:]))

    def rule_at_once(self, case: str, verdict: Literal["upheld", "reversed"]) -> None:
        """Rule on what is to be proposed, a cut later, and let the verdict be carried out."""
        self.wait(self.time + MINUTE)
        self.rule(case, verdict)
        self.wait(self.time + MINUTE)

    def held(self, account: str, vault: str = "stake") -> int:
        return self.live.money().get((account, vault), 0)


def only(decisions: list[Decision], kind: type[Any]) -> list[Any]:
    return [decision.data for decision in decisions if isinstance(decision, kind)]


def test_who_unstakes_and_then_cheats_still_pays_the_whole_slash() -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    life.order(UnstakeOrdered, "n", "n", asset=ASSET, amount="490", role=NODE)
    life.cheat("j1")
    (proposed,) = [d for d in only(life.wait(LAUNCH + 3 * MINUTE), SlashProposed) if d.role == NODE]
    assert (proposed.basis, proposed.amount, proposed.from_bonded) == ("500", "25", "25")

    life = Life()
    life.wait(LAUNCH + MINUTE)
    ticket = life.order(UnstakeOrdered, "n", "n", asset=ASSET, amount="490", role=NODE)[:32]
    life.wait(LAUNCH + 2 * MINUTE)
    life.cheat("j1")
    (proposed,) = [d for d in only(life.wait(LAUNCH + 3 * MINUTE), SlashProposed) if d.role == NODE]

    assert (proposed.basis, proposed.amount, proposed.from_bonded) == ("500", "25", "10")
    assert [(part.ticket, part.amount) for part in proposed.from_tickets] == [(ticket, "15")]
    decided = life.wait(day(8))
    assert {d.burned for d in only(decided, SlashDistributed) if d.amount == "25"} == {"13"}
    assert [matured.amount for matured in only(decided, UnbondingMatured)] == ["475"]
    life.live.check()


def test_two_cases_of_one_cut_are_reckoned_from_the_same_basis() -> None:
    life = Life(slash={"bps": {"failed_challenge": 6_000, "false_attestation": 0, "quorum_dissent": 0, "offline": 0}})
    life.wait(LAUNCH + MINUTE)
    life.cheat("j1")
    life.cheat("j2")

    proposed = [d for d in only(life.wait(LAUNCH + 2 * MINUTE), SlashProposed) if d.role == NODE]

    assert [(d.basis, d.amount) for d in proposed] == [("500", "300"), ("500", "200")]
    life.live.check()


def test_a_false_report_evicts_nobody_and_costs_its_bond() -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    life.report("v1", VALIDATOR, "v0")
    life.report("v1", NODE, "n")
    burned = life.held("burn:pending")

    decided = life.wait(day(9))

    assert not only(decided, ParticipantSuspended)
    assert not only(decided, SlashUpheld)
    assert len(only(decided, SlashReversed)) == 2
    assert life.held("burn:pending") - burned == 200
    assert (life.held("stake:bonded:validator:v0"), life.held("stake:bonded:validator:v1")) == (10_000, 29_800)
    assert life.held("stake:bonded:node:n") == 500
    life.live.check()


def test_a_true_report_is_upheld_by_a_ruling_and_rewards_its_reporter() -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    case = life.report("v1", VALIDATOR, "v0")
    life.wait(LAUNCH + 2 * MINUTE)
    life.rule(case, "upheld")

    decided = life.wait(LAUNCH + 3 * MINUTE)

    assert [d.cause for d in only(decided, ParticipantSuspended)] == ["stake"]
    assert (life.held("payable:reporter:v1"), life.held("burn:pending")) == (500, 500)
    assert (life.held("stake:bonded:validator:v0"), life.held("stake:bonded:validator:v1")) == (9_000, 30_000)
    life.live.check()


def test_evidence_upholds_an_accusation_of_the_same_deed_and_takes_nothing_more() -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    accusation = life.report("v1", NODE, "n", "j1")
    life.wait(LAUNCH + 2 * MINUTE)
    evidenced = life.cheat("j1")

    decided = life.wait(day(9))

    amounts = {d.case: d.amount for d in only(decided, SlashUpheld) if d.role == NODE}
    assert amounts == {accusation: "25", evidenced: "0"}
    assert life.held("stake:bonded:node:n") == 475
    life.live.check()


def test_an_accusation_that_fell_shields_nobody() -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    life.rule_at_once(life.report("v1", NODE, "n", "j1"), "reversed")
    evidenced = life.cheat("j1")

    decided = life.wait(day(9))

    assert [(d.case, d.amount) for d in only(decided, SlashUpheld) if d.role == NODE] == [(evidenced, "25")]
    life.live.check()


def test_nobody_accuses_its_own() -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    life.report("v0", VALIDATOR, "v0")

    assert not only(life.wait(LAUNCH + 2 * MINUTE), SlashProposed)
    assert set(life.live.naive.refused.values()) == {"accuser_is_accused"}
    life.live.check()


@pytest.mark.parametrize(("verdict", "bonded", "suspended"), [("upheld", 475, 1), ("reversed", 500, 0)])
def test_nobody_is_suspended_before_the_case_stands(verdict: Any, bonded: int, suspended: int) -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    case = life.cheat("j1")
    life.wait(LAUNCH + 2 * MINUTE)
    life.order(SlashDisputeFiled, case, "n")
    assert not [d for d in only(life.wait(day(2)), ParticipantSuspended) if d.role == NODE]
    life.rule(case, verdict)

    suspensions = [d for d in only(life.wait(day(3)), ParticipantSuspended) if d.role == NODE]

    assert len(suspensions) == suspended
    assert life.held("stake:bonded:node:n") == bonded
    life.live.check()


def test_what_was_taken_of_a_ticket_returns_to_its_owner_when_the_ticket_is_gone() -> None:
    life = Life(stake={"unbonding_seconds": 3_600})
    life.wait(LAUNCH + MINUTE)
    ticket = life.order(UnstakeOrdered, "n", "n", asset=ASSET, amount="490", role=NODE)[:32]
    life.wait(LAUNCH + 2 * MINUTE)
    case = life.cheat("j1")
    life.wait(LAUNCH + 3 * MINUTE)
    life.order(RebondOrdered, "n", "n", role=NODE, ticket=ticket)
    life.wait(LAUNCH + 4 * MINUTE)
    assert life.held("stake:bonded:node:n") == 475
    life.rule(case, "reversed")
    life.wait(LAUNCH + 5 * MINUTE)

    assert life.held("stake:bonded:node:n") == 485
    assert life.held(f"payable:stake:{signer_of('n').key}") == 15
    life.live.check()


def earn(life: Life, gross: int) -> None:
    life.live.take(life.stream.deposit(life.time + 999, "c", ASSET, gross, f"deposit{life.number}"))
    terms = Terms(asset=ASSET, authority="declared", gpu_seconds_max=3_600, minimum="0", operator="o", price=str(gross))
    data = UsageMeteredData(attempt=1, consumer="c", gpu_seconds=3_600, node="n", terms=terms)
    life.say(UsageMetered, f"whole{life.number}", data)


@pytest.mark.parametrize("verdict", ["upheld", "reversed"])
def test_a_withheld_share_waits_for_its_case(verdict: Any) -> None:
    """Two reports stand against v0 when day 1 closes; its quarter of the pool waits for the older one."""
    life = Life()
    life.wait(day(1, 1))
    earn(life, 80_000)
    first = life.report("v1", VALIDATOR, "v0")
    life.wait(day(2))
    (rewards,) = only(life.wait(day(2, 1)), ValidatorRewardsAllocated)

    assert [(line.validator, line.amount) for line in rewards.lines] == [("v1", "300")]
    assert [(line.validator, line.case, line.amount) for line in rewards.withheld] == [("v0", first, "100")]
    life.rule(first, verdict)
    life.wait(day(2, 2))
    released = life.held("payable:validator:v0", "escrow"), life.held("validator_pool:carry", "escrow")
    assert released == ((0, 100) if verdict == "upheld" else (100, 0))
    life.live.check()


def declared(life: Life, effect: Any, vault: str, lines: list[tuple[str, int]], to: str | None = None) -> str:
    said = tuple(DeclaredLine(account=account, amount=str(amount)) for account, amount in lines)
    amount = sum(amount for _, amount in lines)
    data = ChainFactDeclaredData(effect=effect, asset=ASSET, amount=str(amount), vault=vault, lines=said, to=to)
    return life.say(ChainFactDeclared, vault, data)


def test_a_payable_named_twice_is_paid_no_more_than_it_holds() -> None:
    life = Life()
    life.wait(LAUNCH + MINUTE)
    earn(life, 1_000)
    refused = declared(life, "payout", "escrow", [("payable:supplier:n", 500), ("payable:supplier:n", 500)])
    life.wait(LAUNCH + 2 * MINUTE)
    paid = declared(life, "payout", "escrow", [("payable:supplier:n", 500), ("payable:supplier:n", 430)])
    life.wait(LAUNCH + 3 * MINUTE)

    assert life.live.naive.refused.get(refused) == "balance_insufficient"
    assert paid not in life.live.naive.refused
    assert life.held("payable:supplier:n", "escrow") == 0
    life.live.check()


def test_lane_money_is_neither_paid_out_nor_swept_by_declaration() -> None:
    life = Life()
    earn(life, 1_000)
    life.live.take(life.stream.deposit(life.time + 999, "c", ASSET, 77, "more"))
    life.wait(LAUNCH + MINUTE)
    declared(life, "payout", "escrow", [("consumer:c", 77)])
    declared(life, "sweep", "escrow", [("consumer:c", 77)], "escrow")
    declared(life, "sweep", "escrow", [("burn:pending", 20)], "treasury")
    declared(life, "sweep", "escrow", [("burn:pending", 20)], "")
    life.wait(LAUNCH + 2 * MINUTE)

    assert len(life.live.naive.refused) == 4
    assert life.held("consumer:c", "escrow") == 77
    life.live.check()


def test_fees_are_shared_where_they_arose_and_not_swept_before() -> None:
    """Were they, the close of the epoch would look for them in vain."""
    life = Life()
    life.wait(LAUNCH + MINUTE)
    earn(life, 100_000)
    life.wait(LAUNCH + 2 * MINUTE)
    declared(life, "sweep", "escrow", [("fee:accrued", 3_000)], "fees")
    life.wait(day(2))

    assert set(life.live.naive.refused.values()) == {"effect_malformed"}
    assert (life.held("fee:accrued", "escrow"), life.held("treasury:ops", "escrow")) == (0, 4_500)
    life.live.check()
