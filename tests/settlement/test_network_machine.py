"""A state machine over a whole network: after each fact, books and naive model hold the same balances."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from app.facts import Producer
from app.orders import approve, sign
from events.event import Data, Fact
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
    JobFailed,
    JobFailedData,
    JobRedistributed,
    JobRedistributedData,
    JobSubmitted,
    JobSubmittedData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    ResultSubmitted,
    ResultSubmittedData,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, MICROSECONDS, format_instant
from events.orders import (
    RebondOrdered,
    SlashDisputeFiled,
    SlashReportFiled,
    SpendAuthorized,
    UnstakeOrdered,
    WithdrawalOrdered,
)
from events.participants import (
    NodeRegistered,
    NodeRegisteredData,
    NodeUpdated,
    NodeUpdatedData,
    SlashRuled,
    ValidatorExited,
    ValidatorExitedData,
    ValidatorRegistered,
    ValidatorRegisteredData,
)
from tests.naive.stakes import home_of
from tests.settlement.counted import Counted, take_steps
from tests.settlement.live import Live
from tests.worlds import ASSET, CLUSTER, FOUNDATION, LAUNCH, parameter_set, signer_of

HOUR = 3_600
LONG = 100
NODES, VALIDATORS = ("n0", "n1", "n2"), ("v0", "v1", "v2")
SPENDER = signer_of("spender")
RULES = parameter_set(
    settings={
        "stake": {"unbonding_seconds": 12 * HOUR, "node_minimum": "500", "validator_minimum": "10000"},
        "slash": {"window_seconds": 12 * HOUR, "ruling_seconds": 30 * HOUR, "evidence_seconds": 6 * HOUR},
        "rewards": {"duty_bps": 5_000},
    }
)
participants = st.sampled_from([*(("node", id) for id in NODES), *(("validator", id) for id in VALIDATORS)])
nodes, validators = st.sampled_from(NODES), st.sampled_from(VALIDATORS)
# Which of those that there are: modulo their number.
which = st.integers(0, 11)
parts = st.sampled_from([1, 2, 3, 7])
MIN_STEPS = 3_000


class NetworkMachine(Counted):
    """Facts come on two streams; time passes only by marks."""

    def __init__(self) -> None:
        """Begin with participants that have staked, and a consumer with money."""
        super().__init__()
        self.live = Live(RULES)
        self.streams = [Producer("a"), Producer("b")]
        self.marked = [LAUNCH, LAUNCH]
        self.number = 0
        self.jobs: list[dict[str, Any]] = []
        self.tickets: list[tuple[str, str, str]] = []
        opening = [producer.register(LAUNCH) for producer in self.streams]
        opening.append(self.streams[0].deposit(LAUNCH, SPENDER.key, ASSET, 10**15, "first"))
        for role, id, amount in (("validator", "v0", 20_000), ("validator", "v1", 33_333), ("node", "n0", 500)):
            opening += [self.registration(role, id), self.staking(role, id, amount)]
        self.live.take(*opening)

    def fact(self, kind: type[Fact], subject: str, data: Data, late: bool = False) -> Fact:
        """Build the next fact of the first stream, soon behind its mark or long before it."""
        self.number += 1
        time = self.marked[0] + self.number if not late else max(LAUNCH, self.marked[0] - DAY + self.number)
        return self.streams[0].fact(kind, time, subject, f"{self.number}", data)

    def say(self, kind: type[Fact], subject: str, data: Data, late: bool = False) -> Fact:
        """Take a fact in."""
        fact = self.fact(kind, subject, data, late)
        self.live.take(fact)
        return fact

    def order(self, kind: type[Fact], subject: str, owner: str, **members: Any) -> Fact:
        """Take an order in."""
        expires_at = format_instant(self.marked[0] + 20 * DAY)
        members |= {"cluster": CLUSTER, "nonce": self.number, "expires_at": expires_at}
        return self.say(kind, subject, sign(kind, subject, signer_of(owner), **members))

    def registration(self, role: str, id: str) -> Fact:
        owner = signer_of(id).key
        if role == "validator":
            return self.fact(ValidatorRegistered, id, ValidatorRegisteredData(operator=f"o{id}", owner=owner))
        data = NodeRegisteredData(
            asset=ASSET, authority="stake", gpu_model="g", gpus=1, minimum_price="0", operator="o", supplier="s",
            bandwidth_mbps=100, owner=owner, vram_mib=8192,
        )  # fmt: skip
        return self.fact(NodeRegistered, id, data)

    def staking(self, role: Any, id: str, amount: int) -> Fact:
        data = ChainFactDeclaredData(effect="stake", asset=ASSET, amount=str(amount), vault="stake", role=role)
        return self.fact(ChainFactDeclared, id, data)

    # --- time ---

    @rule(seconds=st.sampled_from([1, 60, 61, 600, HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR]), both=st.booleans())
    def pass_time(self, seconds: int, both: bool) -> None:
        self.marked[0] += seconds * MICROSECONDS
        marks = [self.streams[0].mark(self.marked[0])]
        if both:
            self.marked[1] = self.marked[0]
            marks.append(self.streams[1].mark(self.marked[1]))
        self.live.take(*marks)

    @rule()
    def pass_a_day(self) -> None:
        """Pass the next close of an epoch."""
        self.marked = [(self.marked[0] // DAY + 1) * DAY + HOUR * MICROSECONDS] * 2
        self.live.take(*(producer.mark(self.marked[0]) for producer in self.streams))

    # --- participants and stakes ---

    @rule(who=participants)
    def register(self, who: tuple[str, str]) -> None:
        self.live.take(self.registration(*who))

    @rule(who=participants, amount=st.sampled_from([1, 500, 9_500, 33_334]))
    def stake(self, who: tuple[str, str], amount: int) -> None:
        self.live.take(self.staking(*who, amount))

    @rule(who=participants, part=parts)
    def unstake(self, who: tuple[str, str], part: int) -> None:
        role, id = who
        bonded = self.live.naive.money[f"stake:bonded:{role}:{id}", "stake"]
        fact = self.order(UnstakeOrdered, id, id, asset=ASSET, amount=str(bonded // part), role=role)
        self.tickets.append((role, id, fact.id[:32]))

    @precondition(lambda self: self.tickets)
    @rule(number=which)
    def rebond(self, number: int) -> None:
        role, id, ticket = self.tickets[-1 - number % len(self.tickets)]
        self.order(RebondOrdered, id, id, role=role, ticket=ticket)

    @rule(node=nodes, mbps=st.sampled_from([99, 100]))
    def update(self, node: str, mbps: int) -> None:
        data = NodeUpdatedData(bandwidth_mbps=mbps, gpu_model="g", gpus=1, minimum_price="0", vram_mib=8192)
        self.say(NodeUpdated, node, data)

    @precondition(lambda self: self.number > LONG)
    @rule()
    def leave(self) -> None:
        self.say(ValidatorExited, "v2", ValidatorExitedData(reason="tired"))

    # --- jobs ---

    @rule(
        size=st.sampled_from([1, 3]),
        owned=st.sampled_from([True, True, False]),
        wrong=st.sets(nodes, max_size=2),
        told=st.sampled_from(["passed", "failed"]),
        stops=st.integers(1, 4),
    )
    def run_job(self, size: int, owned: bool, wrong: set[str], told: Any, stops: int) -> None:
        """Submit a job and take it through all or the first of its steps."""
        name, picked = f"j{len(self.jobs)}", NODES[:size]
        submitted = JobSubmittedData(
            asset=ASSET, authority="owner" if owned else "declared", consumer=SPENDER.key, gpu_seconds_max=3_600,
            nodes=size,
        )  # fmt: skip
        self.jobs.append({"name": name, "size": size, "attempt": 0})
        self.order(SpendAuthorized, name, "spender", asset=ASSET, maximum=str(10**14))
        self.say(JobSubmitted, name, submitted)
        self.dispatch(-1)
        if stops > 1:
            self.submit_results(0)
            for node in picked:
                self.attest(0, node, "v0", told)
                self.challenge(0, node, node not in wrong, None)
        if stops > 2:
            self.use(0, [3_000, 1_000, 3_600], False)

    @precondition(lambda self: self.jobs)
    @rule(number=which)
    def dispatch(self, number: int) -> None:
        job = self.jobs[number % len(self.jobs)]
        job["attempt"] += 1
        quotes = tuple(
            Quote(node=node, operator=f"o{node}", price="36000000", minimum="1") for node in NODES[: job["size"]]
        )
        of = {"attempt": job["attempt"], "consumer": SPENDER.key}
        self.say(JobDispatched, job["name"], JobDispatchedData(quotes=quotes, **of))
        self.say(DutyAssigned, job["name"], DutyAssignedData(seed="0" * 64, validators=("v1", "v0"), **of))

    def _about(self, number: int) -> tuple[str, dict[str, Any]]:
        job = self.jobs[-1 - number % len(self.jobs)]
        return job["name"], {"attempt": max(1, job["attempt"]), "consumer": SPENDER.key}

    @precondition(lambda self: self.jobs)
    @rule(number=which)
    def submit_results(self, number: int) -> None:
        name, of = self._about(number)
        for node in NODES:
            self.say(ResultSubmitted, name, ResultSubmittedData(node=node, result="a" * 64, **of))
        self.say(QuorumClaimed, name, QuorumClaimedData(agreeing=NODES[:2], **of))

    @precondition(lambda self: self.jobs)
    @rule(number=which, node=nodes, passed=st.booleans(), reporter=st.sampled_from([None, "v1"]))
    def challenge(self, number: int, node: str, passed: bool, reporter: str | None) -> None:
        name, of = self._about(number)
        data = ChallengeResultRecordedData(node=node, passed=passed, reporter=reporter, **of)
        self.say(ChallengeResultRecorded, name, data, late=passed)

    @precondition(lambda self: self.jobs)
    @rule(number=which, node=nodes, validator=validators, verdict=st.sampled_from(["passed", "failed"]))
    def attest(self, number: int, node: str, validator: str, verdict: Any) -> None:
        name, of = self._about(number)
        self.say(
            AttestationRecorded, name, AttestationRecordedData(node=node, validator=validator, verdict=verdict, **of)
        )

    @precondition(lambda self: self.jobs)
    @rule(
        number=which, used=st.lists(st.sampled_from([0, 99, 3_600, 10**6]), min_size=3, max_size=3), late=st.booleans()
    )
    def use(self, number: int, used: list[int], late: bool) -> None:
        name, of = self._about(number)
        for node, seconds in zip(NODES, used, strict=True):
            self.say(UsageMetered, name, UsageMeteredData(node=node, gpu_seconds=seconds, **of), late)

    @precondition(lambda self: self.jobs)
    @rule(number=which)
    def redistribute(self, number: int) -> None:
        name, of = self._about(number)
        self.say(JobRedistributed, name, JobRedistributedData(reason="wrong", **of))

    @precondition(lambda self: self.jobs)
    @rule(number=which)
    def fail(self, number: int) -> None:
        name, of = self._about(number)
        self.say(JobFailed, name, JobFailedData(reason="lost", **of))

    @rule(part=parts)
    def withdraw(self, part: int) -> None:
        amount = self.live.naive.money[f"consumer:{SPENDER.key}", "escrow"] // (1_000 * part)
        self.order(WithdrawalOrdered, SPENDER.key, "spender", asset=ASSET, amount=str(amount))

    # --- slashes ---

    @rule(by=validators, who=participants, job=which, cause=st.sampled_from(["failed_challenge", "false_attestation"]))
    def report(self, by: str, who: tuple[str, str], job: int, cause: str) -> None:
        if by != who[1]:
            self.order(
                SlashReportFiled, by, by, accused=who[1], attempt=1, cause=cause, consumer=SPENDER.key,
                evidence="0" * 64, job=f"j{job}", role=who[0],
            )  # fmt: skip

    @precondition(lambda self: self.live.naive.stakes.cases)
    @rule(number=which)
    def dispute(self, number: int) -> None:
        cases = list(self.live.naive.stakes.cases.values())
        case = cases[-1 - number % len(cases)]
        self.order(SlashDisputeFiled, case.id, case.who[1])

    @precondition(lambda self: self.live.naive.stakes.cases)
    @rule(number=which, verdict=st.sampled_from(["upheld", "reversed"]), keys=st.sampled_from([2, 2, 2, 1]))
    def decide(self, number: int, verdict: Any, keys: int) -> None:
        cases = list(self.live.naive.stakes.cases)
        case = cases[-1 - number % len(cases)]
        self.say(SlashRuled, case, approve(case, verdict, CLUSTER, FOUNDATION[:keys]))

    # --- declared in place of a chain ---

    def held(self, effect: str) -> list[tuple[tuple[str, str], int]]:
        """List what can be paid, burned or swept: the places where it lies, and how much."""
        wanted: Callable[[str, str], bool] = {
            "payout": lambda account, vault: account.startswith("payable:"),
            "sweep": lambda account, vault: home_of(account) not in {None, vault},
            "burn": lambda account, vault: account == "burn:pending",
        }[effect]
        money = sorted(self.live.naive.money.items())
        return [(place, amount) for place, amount in money if amount > 0 and place[1] and wanted(*place)]

    @precondition(lambda self: self.held("payout"))
    @rule(number=which, part=parts)
    def pay_out(self, number: int, part: int) -> None:
        self._declare("payout", number, part)

    @precondition(lambda self: self.held("sweep"))
    @rule(number=which, part=parts)
    def sweep(self, number: int, part: int) -> None:
        self._declare("sweep", number, part)

    @precondition(lambda self: self.held("burn"))
    @rule(number=which, part=parts)
    def burn(self, number: int, part: int) -> None:
        self._declare("burn", number, part)

    def _declare(self, effect: Any, number: int, part: int) -> None:
        held = self.held(effect)
        (account, vault), amount = held[number % len(held)]
        to = home_of(account) if effect == "sweep" else None
        lines = () if effect == "burn" else (DeclaredLine(account=account, amount=str(amount // part)),)
        data = ChainFactDeclaredData(
            effect=effect, asset=ASSET, amount=str(amount // part), vault=vault, lines=lines, to=to
        )
        self.say(ChainFactDeclared, vault, data)

    def teardown(self) -> None:
        """At the end, the two have also decided and refused alike."""
        self.live.check()


@pytest.mark.slow
def test_books_and_model_agree_after_every_fact_of_a_network() -> None:
    take_steps(NetworkMachine, 85, 50, MIN_STEPS)
