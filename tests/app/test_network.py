"""The made-up network through the product's own path: what was planted is found, and nothing else.

The network knows beforehand what must come of its facts (`app.network.truth`); here it is held against what the books
say of them, case by case and unit by unit.
"""

from collections import Counter, defaultdict
from typing import NamedTuple

import pytest

from app.network.actors import parameters_for
from app.network.story import Network, simulate
from events.codec import decode, encode
from events.decisions import (
    BurnFinalized,
    DecisionRefused,
    DepositCredited,
    JobRefunded,
    JobSettled,
    PayoutFinalized,
    SweepFinalized,
    WithdrawalAccepted,
)
from events.event import Decision, fact_id
from events.instant import day_of, parse_instant
from events.stakes import (
    ExcludedLine,
    ParticipantRegistered,
    ParticipantReinstated,
    ParticipantSuspended,
    RewardLine,
    SlashDistributed,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
    ValidatorRewardsAllocated,
    WithheldLine,
)
from settlement.identities import measure_identities
from tests.settlement.desk import Desk

ASSET = "OMNI"
# What `Truth.balances` says all of.
KNOWN = ("consumer:", "escrow:", "payable:supplier:", "payable:withdrawal:", "payable:stake:", "payable:reporter:",
         "stake:", "slash:", "bond:", "burn:pending")  # fmt: skip


class Run(NamedTuple):
    """A network, and the books of it."""

    network: Network
    desk: Desk
    decisions: list[Decision]

    def of(self, kind: type[Decision]) -> list[Decision]:
        """Return the decisions of a type."""
        return [decision for decision in self.decisions if isinstance(decision, kind)]


def run(seed: int, *, lanes: int = 1, mark_seconds: int = 86_400) -> Run:
    """Run a small network."""
    network = simulate(parameters_for(seed), 50, seed, 12, nodes=14, validators=8, mark_seconds=mark_seconds)
    desk = Desk(network.parameters, lanes)
    receipts = desk.ingest(network.facts, chunk=500)
    assert not [line for receipt in receipts for line in receipt.refused]
    desk.settle()
    return Run(network, desk, desk.decisions())


def every_planted_cheat_is_slashed_as_the_rules_say_and_nobody_else(seen: Run) -> None:
    verdicts = {d.data.case: "upheld" for d in seen.decisions if isinstance(d, SlashUpheld)}
    verdicts |= {d.data.case: "reversed" for d in seen.decisions if isinstance(d, SlashReversed)}
    found = {
        d.data.case: (
            d.data.role, d.subject, d.data.job, d.data.attempt, d.data.cause, d.data.bps, d.data.basis, d.data.amount,
            verdicts.get(d.data.case),
        )
        for d in seen.decisions
        if isinstance(d, SlashProposed)
    }  # fmt: skip
    planted = {
        case.id: (
            case.role, case.accused, case.job, case.attempt, case.cause, case.bps, str(case.basis), str(case.amount),
            case.outcome,
        )
        for case in seen.network.truth.cases
    }  # fmt: skip

    assert found == planted


def what_a_slash_took_goes_where_the_rules_say(seen: Run) -> None:
    found = {
        d.data.case: (tuple((line.id, int(line.amount)) for line in d.data.paid), int(d.data.burned))
        for d in seen.decisions
        if isinstance(d, SlashDistributed)
    }
    planted = {case.id: (case.paid, case.burned) for case in seen.network.truth.cases if case.outcome == "upheld"}

    assert found == planted


def whoever_a_verdict_leaves_below_the_minimum_is_suspended_and_others_are_not_for_it(seen: Run) -> None:
    foreseen = {case.id: case for case in seen.network.truth.cases}
    causes: dict[tuple[str, str], str] = {}
    # Each cut is a record of its own.
    for record in seen.desk.hub.records:
        decided = [event for line in record.lines if isinstance(event := decode(line), Decision)]
        for event in decided:
            if isinstance(event, ParticipantRegistered):
                causes[event.data.role, event.subject] = "" if event.data.active else "stake"
            elif isinstance(event, ParticipantSuspended):
                causes[event.data.role, event.subject] = event.data.cause
            elif isinstance(event, ParticipantReinstated):
                causes[event.data.role, event.subject] = ""
        for event in decided:
            if isinstance(event, SlashUpheld | SlashReversed):
                case = foreseen[event.data.case]
                cause = causes.get((case.role, case.accused))
                assert cause in {None, "retired"} or (cause == "stake") == case.suspends, case


def no_honest_stake_is_touched(seen: Run) -> None:
    slashed = {(d.data.role, d.subject) for d in seen.decisions if isinstance(d, SlashUpheld)}

    assert not slashed & seen.network.truth.untouched


def nothing_is_refused_but_what_was_planted_and_by_that_rule(seen: Run) -> None:
    found = {str(d.causation_id): d.data.reason for d in seen.decisions if isinstance(d, DecisionRefused)}
    names = {fact.id: f"{type(fact).__name__} {fact.key}" for fact in seen.network.facts}
    planted = dict(seen.network.truth.refused)

    differ = {key for key in found.keys() | planted if found.get(key) != planted.get(key)}
    assert not [(names[key], found.get(key), planted.get(key)) for key in sorted(differ)]


def jobs_end_as_they_were_made_up(seen: Run) -> None:
    truth = seen.network.truth.jobs
    settled = [d for d in seen.decisions if isinstance(d, JobSettled)]
    endings = Counter(d.data.outcome for d in seen.decisions if isinstance(d, JobRefunded))
    money: Counter[str] = Counter()
    for line in (line for d in settled for line in d.data.lines):
        money.update(gross=int(line.gross), burn=int(line.burn), fee=int(line.fee), net=int(line.net))

    assert len({d.subject for d in settled}) == truth.settled
    assert (endings["failed"], endings["cancelled"]) == (truth.failed, truth.cancelled)
    assert endings["redistributed"] == truth.redistributed
    assert money == {"gross": truth.gross, "burn": truth.burn, "fee": truth.fee, "net": truth.net}


def balances_are_those_that_were_foreseen(seen: Run) -> None:
    found = {place: net for place, net in seen.desk.money().items() if place[0].startswith(KNOWN)}
    planted = dict(seen.network.truth.balances)

    differ = sorted(place for place in found.keys() | planted if found.get(place) != planted.get(place))
    assert not [(place, found.get(place), planted.get(place)) for place in differ]


def what_came_and_went_on_the_chain_adds_up(seen: Run) -> None:
    truth, sums = seen.network.truth, defaultdict[str, int](int)
    for decision in seen.decisions:
        match decision:
            case DepositCredited(data=data):
                sums["staked" if data.role else "deposited"] += int(data.amount)
            case WithdrawalAccepted() | PayoutFinalized() | BurnFinalized() | SweepFinalized():
                sums[type(decision).__name__] += int(decision.data.amount)

    assert sums["deposited"] == truth.deposited
    assert sums["staked"] == truth.staked
    assert sums["WithdrawalAccepted"] == truth.withdrawn
    assert sums["PayoutFinalized"] == truth.paid_out
    assert sums["BurnFinalized"] == truth.burned
    assert sums["SweepFinalized"] == truth.swept


def duties_are_counted_in_their_epochs(seen: Run) -> None:
    found = {}
    for decision in seen.decisions:
        if isinstance(decision, ValidatorRewardsAllocated):
            told: list[RewardLine | WithheldLine | ExcludedLine] = []
            told += [*decision.data.lines, *decision.data.withheld, *decision.data.excluded]
            for line in told:
                if line.assigned:
                    found[decision.epoch, line.validator] = (line.assigned, line.answered)

    assert found == seen.network.truth.duties


def who_was_slashed_has_no_share_of_that_epoch(seen: Run) -> None:
    excluded = {
        (d.epoch, line.validator): line.reason
        for d in seen.decisions
        if isinstance(d, ValidatorRewardsAllocated)
        for line in d.data.excluded
    }
    upheld = [case for case in seen.network.truth.cases if (case.role, case.outcome) == ("validator", "upheld")]

    # A cut at midnight belongs to the day before it.
    assert all((day_of(case.decided_at - 1), case.accused) in excluded for case in upheld)
    idle = seen.network.cast.validator("idle").id
    duties = {epoch: sums for (epoch, who), sums in seen.network.truth.duties.items() if who == idle}
    for epoch, (assigned, answered) in duties.items():
        unanswered = answered * 10_000 < assigned * seen.network.parameters.rewards.duty_bps
        assert (excluded.get((epoch, idle)) == "duties_unanswered") == unanswered or epoch <= first_epoch(seen)


def first_epoch(seen: Run) -> int:
    """Return the day on which everybody registers."""
    return day_of(parse_instant(seen.network.parameters.launched_at))


def every_identity_holds(seen: Run) -> None:
    assert not [identity for identity in measure_identities(ASSET, seen.desk.ledgers) if not identity.holds]
    supply = seen.desk.books().supply(ASSET)
    assert supply.total == supply.issued - supply.burned
    assert supply.burned == seen.network.truth.burned


RULES = (
    nothing_is_refused_but_what_was_planted_and_by_that_rule,
    every_planted_cheat_is_slashed_as_the_rules_say_and_nobody_else,
    what_a_slash_took_goes_where_the_rules_say,
    whoever_a_verdict_leaves_below_the_minimum_is_suspended_and_others_are_not_for_it,
    no_honest_stake_is_touched,
    jobs_end_as_they_were_made_up,
    balances_are_those_that_were_foreseen,
    what_came_and_went_on_the_chain_adds_up,
    duties_are_counted_in_their_epochs,
    who_was_slashed_has_no_share_of_that_epoch,
    every_identity_holds,
)


def check(seed: int) -> None:
    """Hold a seed's network against its truth; the lanes change with the seed."""
    seen = run(seed, lanes=1 + seed % 3)
    for rule in RULES:
        rule(seen)


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 50))])
def test_books_find_what_was_planted_and_nothing_else(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1_000, 1_200))
def test_books_of_many_more_networks_find_it_too(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("seed", [3, 4])
def test_finer_marks_change_neither_truth_nor_books_beyond_what_is_late(seed: int) -> None:
    seen = run(seed, mark_seconds=3_600)

    for rule in RULES:
        rule(seen)
    assert seen.desk.verify().unsettled == 0


def test_the_same_arguments_make_the_same_network_and_another_seed_another() -> None:
    def facts(seed: int) -> list[bytes]:
        return [encode(fact) for fact in simulate(parameters_for(seed), 40, seed, 12, nodes=14, validators=8).facts]

    assert facts(1) == facts(1)
    assert facts(1) != facts(2)


def test_facts_are_canonical_and_none_is_a_decision() -> None:
    network = simulate(parameters_for(9), 80, 9, 14, nodes=16, validators=9)

    assert all(decode(encode(fact)) == fact for fact in network.facts)
    assert all(fact.id == fact_id(fact.source, fact.key) for fact in network.facts)
    assert {fact.stream for fact in network.facts} == {"desk", "router-eu", "router-us"}


def test_each_kind_of_cheat_is_planted_and_found() -> None:
    truth = simulate(parameters_for(5), 60, 5, 12, nodes=14, validators=8).truth

    assert {(case.role, case.outcome, case.guilty) for case in truth.cases} == {
        ("node", "upheld", True),
        ("node", "reversed", False),
        ("validator", "upheld", True),
        ("validator", "reversed", False),
    }
    assert {"collusion", "wrong result", "failed challenge while unstaking"} <= {case.plot for case in truth.cases}
