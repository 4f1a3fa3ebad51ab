"""What a cut takes, and when: order of arrival is nothing, and cuts with nothing to do are not made."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import decode
from events.decisions import DecisionRefused
from events.instant import DAY, MICROSECONDS, format_instant
from events.refusal import Reason, Refusal
from ledger.epoch import closes_at
from ledger.errors import LedgerInvariantBroken
from settlement.credits import Credits
from settlement.holdings import Holdings
from settlement.intake import Accepted
from tests.settlement.one_hub import EPOCH, HOUR, MINUTE, OneHub, kinds
from tests.worlds import LAUNCH


class Shuffled:
    """Keeps what a hub is told until the cut, and tells it in another order."""

    def __init__(self, hub: OneHub, random: Random) -> None:
        self.hub, self.random = hub, random
        self.told: list[Callable[[], None]] = []
        self.fact, self.decision = hub.hub.take_fact, hub.hub.take_decision
        hub.hub.take_fact = lambda *told: self.told.append(lambda: self.fact(*told))  # type: ignore[method-assign]
        hub.hub.take_decision = lambda *told: self.told.append(lambda: self.decision(*told))  # type: ignore[method-assign]

    def tell(self) -> None:
        """Tell all of it."""
        self.random.shuffle(self.told)
        for tell in self.told:
            tell()
        self.told.clear()


def live(hub: OneHub, steps: list[int], tell: Callable[[], None]) -> list[bytes]:
    """Live through some minutes with several things in each; each number chooses one."""
    for id in ("v", "w", "x"):
        hub.validator(id, 15_000)
    hub.node("n", 1_000)
    tell()
    hub.tick()
    cases: list[str] = []
    acts: list[Callable[[], Any]] = [
        lambda: cases.append(hub.evidence("v", job=f"j{len(cases)}")),
        lambda: cases.append(hub.evidence("n", "node", job=f"j{len(cases)}", verifiers=("v", "w"))),
        lambda: cases.append(hub.report("x", "v", job=f"j{len(cases)}")),
        lambda: hub.unstake("v", 1_000),
        lambda: hub.bond("node", "n", 10),
        lambda: hub.settle("n", 93, 2, 5),
        lambda: hub.declare("payout", "escrow", 93, "escrow", ("payable:supplier:n", 93)),
        lambda: hub.declare("burn", "stake", 5, "stake"),
        lambda: hub.rule(cases[len(cases) // 2], "upheld") if cases else None,
        lambda: hub.rule(cases[len(cases) // 3], "reversed") if cases else None,
        lambda: hub.dispute(cases[-1], "v") if cases else None,
        lambda: hub.update("n", 8_192 - len(cases) % 2),
        lambda: hub.validator("y", 10_000),
    ]
    for number, step in enumerate(steps):
        acts[step % len(acts)]()
        hub.now += MICROSECONDS * (step % 3)
        if number % 5 == 4:
            tell()
            hub.tick()
    tell()
    hub.go(hub.now + 9 * DAY)
    return hub.lines


@settings(max_examples=60)
@given(st.lists(st.integers(0, 12), max_size=40), st.randoms(use_true_random=False))
def test_order_of_arrival_within_a_cut_is_nothing(steps: list[int], random: Random) -> None:
    shuffled = OneHub()
    told = Shuffled(shuffled, random)
    close = shuffled._close_lanes

    def close_lanes(time: int) -> None:
        close(time)
        told.tell()

    shuffled._close_lanes = close_lanes  # type: ignore[method-assign]

    assert live(shuffled, steps, told.tell) == live(OneHub(), steps, lambda: None)


def test_ranks_come_in_their_order_whatever_the_time() -> None:
    hub = OneHub(settings={"stake": {"unbonding_seconds": 120}, "slash": {"window_seconds": 120}})
    hub.validator("v", 50_000)
    hub.tick()
    ticket = hub.unstake("v", 1)
    hub.unstake("v", 2)
    hub.evidence("v", job="old")
    hub.settle("n", 50, 50)
    hub.tick()
    hub.rebond("v", ticket)
    hub.tick()

    said: list[Callable[[], Any]] = [
        lambda: hub.declare("sweep", "fees", 1, "fees", ("fee:accrued", 1), to="fees"),
        lambda: hub.declare("burn", "escrow", 1, "escrow"),
        lambda: hub.declare("payout", "escrow", 1, "escrow", ("payable:supplier:n", 1)),
        lambda: hub.change_key("v"),
        lambda: hub.unstake("v", 3),
        lambda: hub.rebond("v", "none"),
        lambda: hub.evidence("v", job="new"),
        lambda: hub.rule("0" * 32, "upheld"),
        lambda: hub.bond("validator", "v", 5),
        lambda: hub.node("n", 0),
    ]
    for say in said:
        say()
        hub.now += 1

    assert kinds(hub.tick()) == [
        "ParticipantRegistered", "DepositCredited", "DecisionRefused", "SlashUpheld", "SlashDistributed",
        "SlashProposed", "UnbondingMatured", "DecisionRefused", "UnstakeRequested", "PayoutKeyAccepted",
        "PayoutFinalized", "BurnFinalized", "DecisionRefused",
    ]  # fmt: skip


def test_only_cuts_with_something_to_do_are_made() -> None:
    hub = OneHub()
    first_close = closes_at(EPOCH, 1_800)
    assert hub.hub.next_cut(first_close - 1) is None
    assert hub.hub.next_cut(first_close) == first_close
    hub.validator("v")
    assert hub.hub.next_cut(first_close) == LAUNCH + MINUTE
    hub.tick()
    assert hub.hub.next_cut(first_close - 1) is None
    hub.unstake("v", 1)
    hub.tick()
    hub.go(hub.now + 7 * DAY - 1)

    assert hub.hub.next_cut(hub.now + HOUR) == hub.now + 1


def test_what_is_effective_before_the_launch_is_taken_by_the_first_cut() -> None:
    hub = OneHub()
    hub.now = LAUNCH - DAY
    hub.validator("v")
    hub.now = LAUNCH

    assert kinds(hub.tick()) == ["ParticipantRegistered", "DepositCredited", "ParticipantReinstated"]
    assert {decision.epoch for decision in hub.decided} == {EPOCH}


def test_fact_at_the_time_of_a_cut_waits_for_the_next() -> None:
    hub = OneHub()
    hub.validator("early")
    hub.now = LAUNCH + MINUTE
    hub.validator("late")

    assert [d.subject for d in hub.go(LAUNCH + MINUTE)] == ["early"] * 3
    assert [d.subject for d in hub.tick()] == ["late"] * 3


def test_late_fact_is_marked_and_counts_in_the_oldest_open_epoch() -> None:
    hub = OneHub()
    hub.go(LAUNCH + 2 * DAY + HOUR)
    taken: list[Accepted] = []
    take = hub.hub.take_fact
    hub.hub.take_fact = lambda accepted, effective: taken.append(accepted)  # type: ignore[method-assign]
    hub.validator("v", 0)
    take(taken[0]._replace(occurred_at=LAUNCH, late=True), hub.now)

    (registered,) = hub.tick()

    assert (registered.occurred_at, registered.late) == (format_instant(LAUNCH), True)
    assert registered.epoch == EPOCH + 2


def test_unreadable_line_is_answered_at_once() -> None:
    hub = OneHub()

    (line,) = hub.hub.refuse_unreadable("facts/hub:7", Refusal(Reason.NOT_JSON, "x" * 400)).data.splitlines()

    refused = decode(line)
    assert isinstance(refused, DecisionRefused)
    assert (refused.key, refused.subject, refused.data.position) == ("facts/hub:7", "intake", "facts/hub:7")
    assert (len(refused.data.detail), refused.occurred_at) == (300, format_instant(LAUNCH))


def test_each_order_is_forgotten_when_it_has_expired() -> None:
    hub = OneHub()
    hub.validator("v", 50_000)
    hub.tick()
    for _ in range(20):
        hub.unstake("v", 1)
        hub.go(hub.now + HOUR)
    assert len(hub.hub._orders) == 20
    hub.go(hub.now + 2 * DAY)

    assert len(hub.hub._orders) == 0


def test_hub_stops_where_its_books_would_not_hold() -> None:
    hub = OneHub()
    hub.fees[EPOCH] = 100

    with pytest.raises(LedgerInvariantBroken, match="fee:accrued in escrow would stand at -100"):
        hub.close()


def test_holdings_keep_nothing_that_is_zero() -> None:
    credits = Credits()
    holdings = Holdings(credits)
    credits.add(10, "payable:supplier:n", 5)
    credits.add(20, "payable:supplier:n", 7)
    assert holdings.held("payable:supplier:n", "escrow") == 0
    credits.collect(10)
    assert holdings.held("payable:supplier:n", "escrow") == 5
    assert dict(holdings.vaults("payable:supplier:n")) == {"escrow": 5}
    credits.collect(20)
    assert dict(holdings.vaults("payable:supplier:n")) == {"escrow": 12}
    assert (holdings.held("payable:supplier:n", "fees"), dict(holdings.vaults("other"))) == (0, {})


def test_evidence_in_jobs_of_one_id_but_two_consumers_makes_two_cases_in_any_order() -> None:
    proposed = []
    for order in (("c", "d"), ("d", "c")):
        hub = OneHub(lanes=2)
        hub.validator("v")
        hub.tick()
        for consumer in order:
            hub.evidence("v", consumer=consumer, reporter=f"r-{consumer}")
        proposed.append(hub.tick())

    assert kinds(proposed[0]) == ["SlashProposed", "SlashProposed"]
    assert {(p.data.consumer, p.data.reporter) for p in proposed[0]} == {("c", "r-c"), ("d", "r-d")}  # type: ignore[attr-defined]
    assert proposed[0] == proposed[1]
