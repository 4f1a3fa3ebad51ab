"""A state machine over epochs and their rewards, with amounts beyond 2^64: after each fact, books and model agree."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from app.facts import Producer
from app.orders import approve, sign
from events.decisions import FeeAllocated
from events.event import Data, Fact
from events.facts import (
    AttestationRecorded,
    AttestationRecordedData,
    ChainFactDeclared,
    ChainFactDeclaredData,
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
from events.orders import RebondOrdered, SlashReportFiled, UnstakeOrdered
from events.participants import (
    SlashRuled,
    ValidatorExited,
    ValidatorExitedData,
    ValidatorRegistered,
    ValidatorRegisteredData,
)
from events.stakes import ValidatorRewardsAllocated
from tests.settlement.counted import Counted, take_steps
from tests.settlement.live import Live
from tests.worlds import ASSET, CLUSTER, FOUNDATION, LAUNCH, parameter_set, signer_of

HOUR = 3_600
VALIDATORS = ("v0", "v1", "v2", "v3")
RULES = parameter_set(
    fee_bps=2_000,
    validator_bps=9_999,
    scale=2**64,
    settings={
        "stake": {"unbonding_seconds": 36 * HOUR},
        "slash": {"window_seconds": 24 * HOUR, "ruling_seconds": 40 * HOUR},
        "rewards": {"duty_bps": 5_000},
    },
)
validators = st.sampled_from(VALIDATORS)
amounts = st.sampled_from([1, 10_000, 10_007, 2**63 - 1, 2**64 - 1])
which = st.integers(0, 5)
MIN_STEPS = 2_000


class EpochMachine(Counted):
    """One stream; every rule is a fact or a time."""

    def __init__(self) -> None:
        """Begin with two validators that have staked, and a rich consumer."""
        super().__init__()
        self.live = Live(RULES)
        self.stream = Producer("a")
        self.marked = LAUNCH
        self.number = 0
        self.duties: list[str] = []
        self.live.take(self.stream.register(LAUNCH), self.stream.deposit(LAUNCH, "c", ASSET, 2**70, "first"))
        for id, amount in (("v0", 20_000), ("v1", 33_333)):
            self.stake(id, amount)
            self.register(id)

    def say(self, kind: type[Fact], subject: str, data: Data) -> Fact:
        """Take a fact in; what an epoch allots is in whole its pool."""
        self.number += 1
        fact = self.stream.fact(kind, self.marked + self.number, subject, f"{self.number}", data)
        self.live.take(fact)
        return fact

    def order(self, kind: type[Fact], subject: str, owner: str, **members: Any) -> Fact:
        """Take an order in."""
        expires_at = format_instant(self.marked + 20 * DAY)
        members |= {"cluster": CLUSTER, "nonce": self.number, "expires_at": expires_at}
        return self.say(kind, subject, sign(kind, subject, signer_of(owner), **members))

    # --- time ---

    @rule(hours=st.sampled_from([1, 12, 23, 24]))
    def pass_time(self, hours: int) -> None:
        self._pass(self.marked + hours * HOUR * MICROSECONDS)

    @rule()
    def pass_a_day(self) -> None:
        self._pass((self.marked // DAY + 1) * DAY)
        self._pass(self.marked + HOUR * MICROSECONDS)

    @rule()
    def pass_three_days(self) -> None:
        self._pass(self.marked + 3 * DAY)

    def _pass(self, time: int) -> None:
        self.marked = time
        registered = {id for role, id in self.live.naive.stakes.members if role == "validator"}
        for decision in self.live.take(self.stream.mark(time)):
            if isinstance(decision, ValidatorRewardsAllocated):
                data: Any = decision.data
                shares = [int(line.amount) for line in (*data.lines, *data.withheld)]
                assert sum(shares) + int(data.carry) == int(data.pool)
                assert not int(data.weight) or int(data.carry) < max(1, len(shares))
                told = [line.validator for line in (*data.lines, *data.withheld, *data.excluded)]
                assert sorted(told) == sorted(set(told))
                assert set(told) >= registered
            if isinstance(decision, FeeAllocated):
                assert int(decision.data.fees) == int(decision.data.pool) + int(decision.data.treasury)

    # --- validators ---

    @rule(id=validators)
    def register(self, id: str) -> None:
        data = ValidatorRegisteredData(operator=id, owner=signer_of(id).key)
        self.say(ValidatorRegistered, id, data)

    @precondition(lambda self: self.number > 40)
    @rule()
    def leave(self) -> None:
        self.say(ValidatorExited, "v3", ValidatorExitedData(reason="tired"))

    @rule(id=validators, amount=amounts)
    def stake(self, id: str, amount: int) -> None:
        data = ChainFactDeclaredData(effect="stake", asset=ASSET, amount=str(amount), vault="stake", role="validator")
        self.say(ChainFactDeclared, id, data)

    @rule(id=validators, part=st.sampled_from([1, 2, 3]))
    def unstake(self, id: str, part: int) -> None:
        bonded = self.live.naive.money[f"stake:bonded:validator:{id}", "stake"]
        self.order(UnstakeOrdered, id, id, asset=ASSET, amount=str(bonded // part), role="validator")

    @precondition(lambda self: any(ticket.open for ticket in self.live.naive.stakes.tickets.values()))
    @rule(number=which)
    def rebond(self, number: int) -> None:
        tickets = [ticket for ticket in self.live.naive.stakes.tickets.values() if ticket.open]
        ticket = tickets[number % len(tickets)]
        self.order(RebondOrdered, ticket.who[1], ticket.who[1], role="validator", ticket=ticket.id)

    # --- what fills the pool ---

    @rule(gross=st.sampled_from([1, 99, 100_003, 2**63 - 1, 2**64 - 1]))
    def earn(self, gross: int) -> None:
        terms = Terms(
            asset=ASSET, authority="declared", gpu_seconds_max=3_600, minimum="0", operator="o", price=str(gross)
        )
        data = UsageMeteredData(attempt=1, consumer="c", gpu_seconds=3_600, node="n", terms=terms)
        self.say(UsageMetered, f"whole{self.number}", data)

    @precondition(lambda self: self._swept())
    @rule(number=which, part=st.sampled_from([1, 2]))
    def sweep(self, number: int, part: int) -> None:
        held = self._swept()
        account, amount = held[number % len(held)]
        line = DeclaredLine(account=account, amount=str(amount // part))
        data = ChainFactDeclaredData(
            effect="sweep", asset=ASSET, amount=line.amount, vault="escrow", lines=(line,), to="fees"
        )
        self.say(ChainFactDeclared, "escrow", data)

    def _swept(self) -> list[tuple[str, int]]:
        return [
            (account, amount)
            for (account, vault), amount in sorted(self.live.naive.money.items())
            if account.startswith("validator_pool") and vault == "escrow" and amount
        ]

    # --- conduct ---

    @rule(drawn=st.sets(validators, min_size=1))
    def assign(self, drawn: set[str]) -> None:
        """Draw validators for a job of one node."""
        job = f"duty{self.number}"
        of: dict[str, Any] = {"attempt": 1, "consumer": "c"}
        self.duties.append(job)
        submitted = JobSubmittedData(asset=ASSET, authority="declared", consumer="c", gpu_seconds_max=1, nodes=1)
        self.say(JobSubmitted, job, submitted)
        quotes = (Quote(node="n", operator="o", price="0", minimum="0"),)
        self.say(JobDispatched, job, JobDispatchedData(quotes=quotes, **of))
        self.say(DutyAssigned, job, DutyAssignedData(seed="0" * 64, validators=tuple(sorted(drawn)), **of))

    @precondition(lambda self: self.duties)
    @rule(number=which, validator=validators)
    def answer(self, number: int, validator: str) -> None:
        job = self.duties[-1 - number % len(self.duties)]
        data = AttestationRecordedData(attempt=1, consumer="c", node="n", validator=validator, verdict="passed")
        self.say(AttestationRecorded, job, data)

    @rule(by=validators, accused=validators)
    def report(self, by: str, accused: str) -> None:
        if by != accused:
            self.order(
                SlashReportFiled, by, by, accused=accused, attempt=1, cause="false_attestation", consumer="c",
                evidence="0" * 64, job=f"j{self.number}", role="validator",
            )  # fmt: skip

    @precondition(lambda self: any(case.open for case in self.live.naive.stakes.cases.values()))
    @rule(number=which, verdict=st.sampled_from(["upheld", "reversed"]))
    def decide(self, number: int, verdict: Any) -> None:
        cases = [case.id for case in self.live.naive.stakes.cases.values() if case.open]
        case = cases[number % len(cases)]
        self.say(SlashRuled, case, approve(case, verdict, CLUSTER, FOUNDATION[:2]))

    def teardown(self) -> None:
        """At the end, the two have also decided and refused alike."""
        self.live.check()


@pytest.mark.slow
def test_books_and_model_agree_after_every_fact_of_an_epoch() -> None:
    take_steps(EpochMachine, 60, 50, MIN_STEPS)
