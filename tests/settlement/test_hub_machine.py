"""A state machine of stakes and slashes: no unit is lost, no level is below zero, every case and ticket ends once."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from events.decisions import BurnFinalized, DepositCredited, PayoutFinalized
from events.event import Decision
from events.instant import DAY
from events.stakes import (
    ParticipantRegistered,
    ParticipantReinstated,
    ParticipantSuspended,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
    UnbondingCancelled,
    UnbondingMatured,
    UnstakeRequested,
)
from tests.settlement.counted import Counted, take_steps
from tests.settlement.one_hub import HOUR, MINUTE, OneHub
from tests.worlds import signer_of

VALIDATORS, NODES = ("v", "w", "x"), ("m", "n")
MINIMUM = {"validator": 10_000, "node": 500}
amounts = st.sampled_from([1, 499, 500, 9_999, 10_000, 33_333]) | st.integers(1, 10**12)
stakes = st.sampled_from([500, 9_999, 10_000, 10_100, 33_333, 10**9 + 7])
validators, nodes = st.sampled_from(VALIDATORS), st.sampled_from(NODES)
roles_and_ids = st.sampled_from([("validator", id) for id in VALIDATORS] + [("node", id) for id in NODES])
MIN_STEPS = 3_000
waits = st.sampled_from([1, MINUTE - 1, MINUTE, MINUTE, 5 * MINUTE, HOUR, 23 * HOUR, DAY, 3 * DAY])


class Stakes(Counted):
    """Orders, evidence, reports and rulings come as they like; cuts are made when time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = OneHub()
        self.seen = 0
        self.staked = self.arrived = self.paid = self.burned = 0
        self.jobs = 0
        self.found: set[tuple[object, ...]] = set()
        self.tickets: dict[str, tuple[str, str]] = {}
        # What the log says: open cases with what they froze, what is unbonding, who may serve.
        self.open: dict[str, SlashProposed] = {}
        self.unbonding: set[str] = set()
        self.closed: Counter[str] = Counter()
        self.active: dict[tuple[str, str], bool] = {}
        self.unfit: set[tuple[str, str]] = set()

    # --- what may happen ---

    @initialize(
        joined=st.lists(roles_and_ids, min_size=3, max_size=5, unique=True),
        stakes=st.lists(stakes, min_size=5, max_size=5),
    )
    def begin(self, joined: list[tuple[Any, str]], stakes: list[int]) -> None:
        for who, amount in zip(joined, stakes, strict=False):
            self.join(who)
            self.stake(who, amount)
        self.hub.tick()

    @rule(who=roles_and_ids)
    def join(self, who: tuple[Any, str]) -> None:
        if who[0] == "validator":
            self.hub.validator(who[1], 0)
        else:
            self.hub.node(who[1], 0)

    @rule(who=roles_and_ids, amount=amounts)
    def stake(self, who: tuple[Any, str], amount: int) -> None:
        self.hub.bond(*who, amount)
        self.staked += amount

    @rule(who=roles_and_ids, amount=amounts)
    def unstake(self, who: tuple[Any, str], amount: int) -> None:
        role, id = who
        self.tickets[self.hub.unstake(id, amount, role)] = who

    @precondition(lambda self: self.tickets)
    @rule(number=st.integers(0, 99))
    def rebond(self, number: int) -> None:
        ticket, (role, id) = sorted(self.tickets.items())[number % len(self.tickets)]
        self.hub.rebond(id, ticket, role)  # type: ignore[arg-type]

    @rule(who=roles_and_ids, verifiers=st.sets(validators), reporter=st.none() | validators, again=st.booleans())
    def find_evidence(self, who: tuple[Any, str], verifiers: set[str], reporter: str | None, again: bool) -> None:
        self.jobs += not again
        # A lane finds it once.
        if (who, self.jobs) in self.found:
            return
        self.found.add((who, self.jobs))
        more: dict[str, Any] = {"verifiers": tuple(sorted(verifiers)), "reporter": reporter}
        self.hub.evidence(who[1], who[0], job=f"j{self.jobs}", **more)

    @rule(by=validators, who=roles_and_ids, again=st.booleans())
    def report(self, by: str, who: tuple[Any, str], again: bool) -> None:
        self.jobs += not again
        cause = "false_attestation" if who[0] == "validator" else "failed_challenge"
        self.hub.report(by, who[1], who[0], job=f"j{self.jobs}", cause=cause)

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 99), verdict=st.sampled_from(["upheld", "reversed"]))
    def rule_on(self, number: int, verdict: str) -> None:
        self.hub.rule(sorted(self.open)[number % len(self.open)], verdict)

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 99))
    def dispute(self, number: int) -> None:
        case = sorted(self.open)[number % len(self.open)]
        self.hub.dispute(case, self.open[case].subject)

    @rule(node=nodes, vram_mib=st.sampled_from([8_191, 8_192]))
    def update(self, node: str, vram_mib: int) -> None:
        self.hub.update(node, vram_mib)

    @rule(vault=st.just("stake"), owner=roles_and_ids)
    def pay_out(self, vault: str, owner: tuple[str, str]) -> None:
        account = f"payable:stake:{signer_of(owner[1]).key}"
        amount = self.hub.money[account, vault]
        if amount:
            self.hub.declare("payout", vault, amount, vault, (account, amount))
            self.hub.tick()

    @rule()
    def burn(self) -> None:
        amount = self.hub.money["burn:pending", "stake"]
        if amount:
            self.hub.declare("burn", "stake", amount, "stake")
            self.hub.tick()

    @rule(wait=waits)
    def wait(self, wait: int) -> None:
        self.hub.go(self.hub.now + wait)

    # --- what must hold ---

    @invariant()
    def books_hold(self) -> None:
        """Read what the log says, and hold it against the money."""
        for decision in self.hub.decided[self.seen :]:
            self.read(decision)
        self.seen = len(self.hub.decided)
        self.every_unit_of_stake_is_somewhere()
        self.cases_hold_what_they_froze()
        self.who_may_serve_has_the_stake()

    def every_unit_of_stake_is_somewhere(self) -> None:
        """Σ accounts@stake = arrived − paid out − burned."""
        inside = sum(amount for (_, vault), amount in self.hub.money.items() if vault == "stake")
        assert inside == self.arrived - self.paid - self.burned
        assert self.arrived <= self.staked

    def cases_hold_what_they_froze(self) -> None:
        """No level is negative; slash:pending, bonds and tickets are those of what is open, and no others."""
        for (account, _), amount in self.hub.money.items():
            head, _, id = account.rpartition(":")
            if head == "slash:pending":
                assert amount == (int(self.open[id].data.amount) if id in self.open else 0)
            elif head == "bond":
                assert amount == (int(self.open[id].data.bond) if id in self.open else 0)
            elif head == "stake:unbonding":
                assert amount == 0 or id in self.unbonding
            assert amount >= 0 or account == "supply:issued"

    def who_may_serve_has_the_stake(self) -> None:
        """A suspension by stake comes when a case is upheld, and not before."""
        frozen: Counter[tuple[str, str]] = Counter()
        for case in self.open.values():
            frozen[case.data.role, case.subject] += int(case.data.from_bonded)
            frozen["validator", case.data.proposer] += int(case.data.bond)
        for (role, id), active in self.active.items():
            level = self.hub.money[f"stake:bonded:{role}:{id}", "stake"] + frozen[role, id]
            assert active == (level >= MINIMUM[role] and (role, id) not in self.unfit)

    def read(self, decision: Decision) -> None:
        """Follow one decision."""
        data: Any = decision.data  # type: ignore[attr-defined]
        match decision:
            case SlashProposed():
                assert decision.key not in self.open
                assert decision.key not in self.closed
                self.open[decision.key] = decision
            case SlashUpheld() | SlashReversed():
                del self.open[decision.key]
                self.closed[decision.key] += 1
                assert self.closed[decision.key] == 1
            case UnstakeRequested():
                self.unbonding.add(decision.key)
            case UnbondingMatured() | UnbondingCancelled():
                self.unbonding.remove(decision.key)
            case ParticipantRegistered():
                self.active[data.role, decision.subject] = data.active
            case ParticipantSuspended():
                self.active[data.role, decision.subject] = False
                (self.unfit.add if data.cause == "hardware" else self.unfit.discard)((data.role, decision.subject))
            case ParticipantReinstated():
                self.active[data.role, decision.subject] = True
                self.unfit.discard((data.role, decision.subject))
            case DepositCredited():
                self.arrived += int(data.amount)
            case PayoutFinalized():
                self.paid += int(data.amount)
            case BurnFinalized():
                self.burned += int(data.amount)

    def teardown(self) -> None:
        """Wait until silence has spoken: nothing stays open, nothing stays frozen or on its way."""
        self.hub.go(self.hub.now + 16 * DAY)
        self.books_hold()
        assert not self.open
        assert not self.unbonding


@pytest.mark.slow
def test_no_unit_is_lost_whatever_befalls_the_stakes() -> None:
    take_steps(Stakes, 100, 50, MIN_STEPS)
