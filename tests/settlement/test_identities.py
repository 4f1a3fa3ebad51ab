"""The identities: they hold in random books of a whole network, and each of them sees what is wrong."""

import msgspec
import pytest
from hypothesis import given

from events.codec import encode
from events.event import Decision
from settlement.identities import Identity, measure_identities
from tests.ledger.random_books import deposit, fees, fund, genesis, settle
from tests.ledger.random_books import lines as split
from tests.ledger.random_network import (
    burn,
    distributed,
    lane_closed,
    matured,
    network_decisions,
    payout,
    proposed,
    reversed_,
    rewards,
    settle_waiting,
    unstaked,
    upheld,
    withdrawal,
)
from tests.settlement.desk import MemoryLog

# A job of which a line waits, a slash that stands and one that falls, rewards, what is paid and what is burned.
LIFE: tuple[Decision, ...] = (
    genesis({("external", ""): 10**9}),
    deposit("K", 10_000, 1),
    deposit("V1", 50_000, 2, role="validator"),
    deposit("A", 50_000, 3, role="node"),
    fund("K", "J", 3_000),
    settle_waiting("K", "J", (1_000,), 1_000, 1_000),
    fund("K", "J2", 1_000),
    settle("K", "J2", 1_000, split(1_000)),
    withdrawal("K", 700),
    unstaked("node", "A", 10_000),
    proposed("node", "A", 500, {"t1": 40}, "c1"),
    proposed("validator", "V1", 600, {}, "c2"),
    proposed("node", "A", 300, {}, "c3", bond=80, proposer="V1"),
    lane_closed(100),
    fees(100),
    rewards({"escrow": {"carry": 0, "current": 10}}, {"V1": 1}, {"V1": "c2"}),
    matured("node", "A", 9_960),
    upheld("node", "A", 540, {}, "c1"),
    distributed("A", {"V1": 270}, 270, "c1"),
    reversed_(
        "validator",
        "V1",
        {("stake:bonded:validator:V1", "stake"): 600},
        {("payable:validator:V1", "escrow"): 10},
        "c2",
    ),
    reversed_("node", "A", {("stake:bonded:node:A", "stake"): 300}, {}, "c3", bond=80),
    payout("escrow", {("payable:supplier:A", "escrow"): 900, ("payable:withdrawal:K", "escrow"): 500}),
    burn("escrow", 30),
    burn("stake", 350),
)


def measured(*made: Decision) -> list[Identity]:
    log = MemoryLog("hub")
    log.append([encode(decision) for decision in made], "2026-11-01T00:00:00.000000Z")
    return measure_identities("OMNI", [log])


def test_each_identity_holds_and_none_but_those_about_nothing_is_trivial() -> None:
    found = measured(*LIFE)

    assert [identity for identity in found if not identity.holds] == []
    trivial = {identity.name for identity in found if not identity.left}
    assert trivial == {
        "accounts below zero, but supply:issued",
        "within each vault, entries without a chain fact: net",
    }


def test_both_sides_are_those_figures() -> None:
    left = {identity.name: identity.left for identity in measured(*LIFE)}

    assert left == {
        "Σ debits = Σ credits": left["Σ debits = Σ credits"],
        "issued − burned = Σ supply classes": 10**9 - 380,
        "accounts below zero, but supply:issued": 0,
        "per line: gross = burn + fee + net": 2_000,
        "escrow = gross + refund + what is open or waits": 4_000,
        "deposits = gross + withdrawn + own money + escrow": 10_000,
        "fees of closed epochs = pool + treasury": 100,
        "fees = pool + treasury + accrued": 100,
        "staked = bonded + unbonding + frozen + bonds + released + slashed": 100_000,
        "frozen by slashes = distributed + returned + pending": 1_440,
        "upheld = distributed": 540,
        "bonds posted = given back + lost + open": 80,
        "per epoch: shares + withheld + carry = pool": 10,
        "validators' part of fees = shares + released + pool": 10,
        "withheld = released + upheld + waiting": 10,
        "owed at any time = paid + still owed": 1_860 + 700 + 9_960 + 270 + 10,
        "to be burned = burned + pending": 40 + 270 + 80,
        "within each vault, entries without a chain fact: net": 0,
    }


@given(network_decisions())
def test_they_hold_in_random_books(made: tuple[Decision, ...]) -> None:
    assert [identity for identity in measured(*made) if not identity.holds] == []


@pytest.mark.parametrize(
    ("forged", "named"),
    [
        (lane_closed(101, 9), "fees of closed epochs = pool + treasury"),
        (upheld("node", "A", 540, {}, "c9"), "upheld = distributed"),
        (deposit("bank", 7, 9), None),
    ],
)
def test_one_decision_too_many_breaks_the_identity_it_is_about(forged: Decision, named: str | None) -> None:
    broken = [identity.name for identity in measured(*LIFE, forged) if not identity.holds]

    assert broken == [named] * (named is not None)


def test_what_never_was_in_escrow_is_named() -> None:
    job = settle("K", "J3", 50, split(50))
    moved = [identity.name for identity in measured(*LIFE, job) if not identity.holds]

    # Its entry balances, but its escrow stands below zero.
    assert moved == ["accounts below zero, but supply:issued"]


def test_shares_that_come_from_nowhere_are_named() -> None:
    upside = upheld("validator", "V1", 0, {"escrow": 5}, "c8")
    twice = msgspec.structs.replace(upside, id="cd" * 32)

    broken = {identity.name for identity in measured(*LIFE, upside, twice) if not identity.holds}

    assert broken == {"accounts below zero, but supply:issued"}
