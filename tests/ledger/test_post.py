"""What each decision means in debits and credits, leg by leg."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given

from events.catalogue import DECISIONS, AnyDecision
from events.event import Decision
from ledger.accounts import kind_of
from ledger.entry import Posting, Side, check_entry
from ledger.errors import LedgerInvariantBroken
from ledger.fold import Books
from ledger.post import post
from tests.events.samples import SAMPLES
from tests.ledger.random_books import decisions, deposit, fees, fund, genesis, lines, refund, settle
from tests.ledger.random_network import (
    OWNER,
    burn,
    distributed,
    matured,
    network_decisions,
    payout,
    proposed,
    rebonded,
    reversed_,
    rewards,
    settle_waiting,
    sweep,
    unstaked,
    upheld,
    withdrawal,
)

Leg = tuple[str, str, int]
BALANCED = lines(100)
FREE = lines(0)

CAUSED_BY_CHAIN = {"GenesisAllocated", "DepositCredited", "PayoutFinalized", "BurnFinalized", "SweepFinalized"}
STAKED, V1 = "stake:bonded:node:A", "stake:bonded:validator:V1"
LYING = {"fees": {"carry": 4, "current": 0}, "escrow": {"carry": 3, "current": 93}}

# Credits are above zero and debits below.
WITH_STAKES: list[tuple[str, Decision, list[Leg]]] = [
    ("stake", deposit("A", 7, role="node"), [("external", "", -7), (STAKED, "stake", 7)]),
    (
        "settlement with a line that waits: its hold stays",
        settle_waiting("K", "J", (100,), 40, 3),
        [
            ("escrow:K:J", "escrow", -103),
            ("consumer:K", "escrow", 3),
            ("payable:supplier:A", "escrow", 93),
            ("burn:pending", "escrow", 2),
            ("fee:accrued", "escrow", 5),
        ],
    ),
    ("settlement of which all waits", settle_waiting("K", "J", (), 40, 0), []),
    (
        "the line is refunded later",
        settle_waiting("K", "J", (), 0, 40, attempt=2),
        [("escrow:K:J", "escrow", -40), ("consumer:K", "escrow", 40)],
    ),
    ("withdrawal", withdrawal("K", 7), [("consumer:K", "escrow", -7), ("payable:withdrawal:K", "escrow", 7)]),
    ("unstake", unstaked("node", "A", 7), [(STAKED, "stake", -7), ("stake:unbonding:t1", "stake", 7)]),
    ("rebond", rebonded("node", "A", 7), [("stake:unbonding:t1", "stake", -7), (STAKED, "stake", 7)]),
    (
        "maturity",
        matured("node", "A", 7),
        [("stake:unbonding:t1", "stake", -7), (f"payable:stake:{OWNER}", "stake", 7)],
    ),
    ("maturity of a ticket that was slashed away", matured("node", "A", 0), []),
    (
        "slash, from bonded stake and tickets",
        proposed("node", "A", 5, {"t2": 3, "t1": 0}),
        [(STAKED, "stake", -5), ("stake:unbonding:t2", "stake", -3), ("slash:pending:c1", "stake", 8)],
    ),
    (
        "slash of an accuser who posts a bond",
        proposed("node", "A", 5, bond=2, proposer="V1"),
        [(STAKED, "stake", -5), ("slash:pending:c1", "stake", 5), (V1, "stake", -2), ("bond:c1", "stake", 2)],
    ),
    ("slash of nothing", proposed("node", "A", 0), []),
    (
        "slash upheld: bond back, shares carried where they lie",
        upheld("node", "A", 5, {"escrow": 3, "fees": 4}, bond=2, proposer="V1"),
        [
            ("bond:c1", "stake", -2),
            (V1, "stake", 2),
            ("validator_pool:withheld:c1", "escrow", -3),
            ("validator_pool:carry", "escrow", 3),
            ("validator_pool:withheld:c1", "fees", -4),
            ("validator_pool:carry", "fees", 4),
        ],
    ),
    ("slash upheld, with neither bond nor shares", upheld("node", "A", 5, {}), []),
    (
        "slash reversed: stake back, bond lost, shares released",
        reversed_(
            "validator",
            "V1",
            {(V1, "stake"): 5, (f"payable:stake:{OWNER}", "stake"): 1},
            {("payable:validator:V1", "fees"): 4, ("validator_pool:withheld:c2", "escrow"): 3},
            bond=2,
        ),
        [
            ("slash:pending:c1", "stake", -6),
            (V1, "stake", 5),
            (f"payable:stake:{OWNER}", "stake", 1),
            ("bond:c1", "stake", -2),
            ("burn:pending", "stake", 2),
            ("validator_pool:withheld:c1", "fees", -4),
            ("payable:validator:V1", "fees", 4),
            ("validator_pool:withheld:c1", "escrow", -3),
            ("validator_pool:withheld:c2", "escrow", 3),
        ],
    ),
    (
        "slash distributed",
        distributed("A", {"V1": 6, "V3": 6}, 13),
        [
            ("slash:pending:c1", "stake", -25),
            ("payable:reporter:V1", "stake", 6),
            ("payable:reporter:V3", "stake", 6),
            ("burn:pending", "stake", 13),
        ],
    ),
    (
        "rewards: the pool of two vaults, in order of id; what is carried again stays",
        rewards(LYING, {"V1": 1, "V2": 1, "V3": 1}, {"V2": "c1"}),
        [
            ("validator_pool:carry", "fees", -4),
            ("validator_pool:carry", "escrow", -2),
            ("validator_pool:current", "escrow", -93),
            ("payable:validator:V1", "fees", 4),
            ("payable:validator:V1", "escrow", 29),
            ("validator_pool:withheld:c1", "escrow", 33),
            ("payable:validator:V3", "escrow", 33),
        ],
    ),
    ("rewards of which all stays carried", rewards({"fees": {"carry": 4, "current": 0}}, {"V1": 0}, {}), []),
    (
        "rewards that are all carried",
        rewards(LYING, {}, {}),
        [("validator_pool:current", "escrow", -93), ("validator_pool:carry", "escrow", 93)],
    ),
    (
        "payout",
        payout("escrow", {("payable:supplier:A", "escrow"): 5, ("payable:withdrawal:K", "escrow"): 2}),
        [("payable:supplier:A", "escrow", -5), ("payable:withdrawal:K", "escrow", -2), ("external", "", 7)],
    ),
    ("burn", burn("stake", 7), [("burn:pending", "stake", -7), ("supply:burned", "", 7)]),
    (
        "sweep",
        sweep("escrow", {("treasury:ops", "escrow"): 5}, "treasury"),
        [("treasury:ops", "escrow", -5), ("treasury:ops", "treasury", 5)],
    ),
    ("sweep of nothing", sweep("escrow", {}, "fees"), []),
]
POSTED: list[tuple[str, Decision, list[Leg]]] = [
    (
        "genesis",
        genesis({("external", ""): 20, ("vest:locked:team:f", "vesting"): 10}),
        [("supply:issued", "", -30), ("external", "", 20), ("vest:locked:team:f", "vesting", 10)],
    ),
    (
        "genesis with an empty line",
        genesis({("external", ""): 20, ("treasury:ops", "treasury"): 0}),
        [("supply:issued", "", -20), ("external", "", 20)],
    ),
    ("genesis of nothing", genesis({("external", ""): 0}), []),
    ("deposit", deposit("K", 7), [("external", "", -7), ("consumer:K", "escrow", 7)]),
    (
        "deposit of 39 digits",
        deposit("K", 10**39 - 1),
        [("external", "", 1 - 10**39), ("consumer:K", "escrow", 10**39 - 1)],
    ),
    ("deposit of nothing", deposit("K", 0), []),
    ("escrow", fund("K", "J", 30), [("consumer:K", "escrow", -30), ("escrow:K:J", "escrow", 30)]),
    ("escrow of nothing", fund("K", "J", 0), []),
    (
        "settlement",
        settle("K", "J", 101, BALANCED),
        [
            ("escrow:K:J", "escrow", -101),
            ("consumer:K", "escrow", 1),
            ("payable:supplier:A", "escrow", 93),
            ("burn:pending", "escrow", 2),
            ("fee:accrued", "escrow", 5),
        ],
    ),
    (
        "settlement of two nodes: burns and fees are summed",
        settle("K", "J", 200, lines(100, 100)),
        [
            ("escrow:K:J", "escrow", -200),
            ("payable:supplier:A", "escrow", 93),
            ("payable:supplier:B", "escrow", 93),
            ("burn:pending", "escrow", 4),
            ("fee:accrued", "escrow", 10),
        ],
    ),
    (
        "settlement at once: only what is spent leaves the consumer",
        settle("K", "J", 101, BALANCED, "consumer"),
        [
            ("consumer:K", "escrow", -100),
            ("payable:supplier:A", "escrow", 93),
            ("burn:pending", "escrow", 2),
            ("fee:accrued", "escrow", 5),
        ],
    ),
    (
        "settlement too small to burn",
        settle("K", "J", 1, lines(1)),
        [("escrow:K:J", "escrow", -1), ("payable:supplier:A", "escrow", 1)],
    ),
    ("settlement of no time", settle("K", "J", 5, FREE), [("escrow:K:J", "escrow", -5), ("consumer:K", "escrow", 5)]),
    ("settlement of no time at once", settle("K", "J", 5, FREE, "consumer"), []),
    ("settlement of nothing", settle("K", "J", 0, FREE), []),
    ("refund", refund("K", "J", 30), [("escrow:K:J", "escrow", -30), ("consumer:K", "escrow", 30)]),
    ("refund of nothing", refund("K", "J", 0), []),
    (
        "fees",
        fees(999_861_111),
        [
            ("fee:accrued", "escrow", -999_861_111),
            ("validator_pool:current", "escrow", 99_986_111),
            ("treasury:ops", "escrow", 899_875_000),
        ],
    ),
    ("fees without a pool", fees(9), [("fee:accrued", "escrow", -9), ("treasury:ops", "escrow", 9)]),
    ("fees of nothing", fees(0), []),
    *WITH_STAKES,
]


def expected(legs: list[Leg]) -> tuple[Posting, ...]:
    return tuple(
        Posting(account, abs(amount), "OMNI", Side.CREDIT if amount > 0 else Side.DEBIT, vault)
        for account, vault, amount in legs
    )


@pytest.mark.parametrize(("decision", "legs"), [row[1:] for row in POSTED], ids=[row[0] for row in POSTED])
def test_a_decision_posts_these_legs_and_no_other(decision: Decision, legs: list[Leg]) -> None:
    entry = post(decision)

    if entry is None:
        assert legs == []
    else:
        assert entry.postings == expected(legs)
        assert (entry.event, entry.epoch) == (decision.id, decision.epoch)


@pytest.mark.parametrize("decision", [row[1] for row in POSTED], ids=[row[0] for row in POSTED])
def test_only_a_chain_fact_moves_money_between_vaults(decision: Decision) -> None:
    entry = post(decision)

    assert entry is None or entry.crosses_vaults == (type(decision).__name__ in CAUSED_BY_CHAIN)


def test_each_type_of_decision_posts_or_is_known_to_move_nothing() -> None:
    posting = {type(row[1]).__name__ for row in POSTED}
    silent = {
        "DecisionRefused", "LaneEpochClosed", "EpochClosed", "SlashEvidenced", "SlashDisputed", "PayoutKeyAccepted",
        "ParticipantRegistered", "ParticipantSuspended", "ParticipantReinstated",
    }  # fmt: skip

    assert (
        {kind.__name__ for kind in DECISIONS} == {kind.__name__ for kind in get_args(AnyDecision)} == posting | silent
    )
    for event in SAMPLES:
        if type(event).__name__ in silent:
            assert isinstance(event, Decision)
            assert post(event) is None


def altered(decision: Decision, **members: Any) -> Decision:
    """Give the decision's data other numbers."""
    data = msgspec.structs.replace(decision.data, **members)  # type: ignore[attr-defined]
    return msgspec.structs.replace(decision, data=data)


@pytest.mark.parametrize(
    "decision",
    [
        altered(genesis({("external", ""): 20}), amount="21"),
        altered(genesis({("external", ""): 20}), amount="0"),
        altered(settle("K", "J", 101, BALANCED), escrow="102"),
        altered(settle("K", "J", 101, BALANCED), refund="0"),
        altered(settle("K", "J", 101, BALANCED), refund="2"),
        altered(settle("K", "J", 101, BALANCED, "consumer"), refund="2"),
        altered(settle("K", "J", 101, BALANCED, "consumer"), refund="102"),
        altered(fees(105), pool="11"),
        altered(fees(105), treasury="0"),
        altered(fees(105), fees="104"),
    ],
)
def test_a_decision_whose_numbers_do_not_balance_is_broken(decision: Decision) -> None:
    with pytest.raises(LedgerInvariantBroken, match=decision.id):
        post(decision)


@pytest.mark.parametrize(
    "decision",
    [
        payout("escrow", {("consumer:K", "escrow"): 5}),
        payout("stake", {("stake:bonded:node:A", "stake"): 5}),
        altered(payout("escrow", {("payable:supplier:A", "escrow"): 5}), amount="4"),
        altered(sweep("escrow", {("treasury:ops", "escrow"): 5}, "treasury"), amount="4"),
        altered(proposed("node", "A", 5), from_bonded="4"),
        altered(distributed("A", {"V1": 6}, 6), burned="5"),
        altered(rewards(LYING, {"V1": 1}, {}), carry_in="6"),
        altered(settle_waiting("K", "J", (100,), 40, 3), funding="consumer"),
        altered(upheld("node", "A", 5, {"fees": 1}), case="c2"),
        altered(
            rewards(LYING, {"V1": 1}, {}),
            credited=rewards(LYING, {"V2": 1}, {}).data.credited,
        ),
    ],
)
def test_a_decision_that_says_two_things_is_broken(decision: Decision) -> None:
    with pytest.raises(LedgerInvariantBroken, match=decision.id):
        post(decision)


@given(decisions() | network_decisions())
def test_every_entry_of_random_books_keeps_the_law(made: tuple[Decision, ...]) -> None:
    for decision in made:
        entry = post(decision)

        if entry is not None:
            check_entry(entry)
            assert all(posting.amount > 0 for posting in entry.postings)
            assert all(kind_of(posting.account) for posting in entry.postings)
            sides = [(posting.account, posting.vault, posting.side) for posting in entry.postings]
            assert len(set(sides)) == len(sides)
            assert entry.crosses_vaults == (type(decision).__name__ in CAUSED_BY_CHAIN)


# The numbers that a decision gives as a sum and in its parts.
TOLD_TWICE: dict[str, set[str]] = {
    "GenesisAllocated": {"amount", "lines.amount"},
    "EscrowFunded": {"amount", "holds.amount"},
    "JobSettled": {"escrow", "refund", "lines.gross", "lines.burn", "lines.fee", "lines.net", "waiting.hold"},
    "FeeAllocated": {"fees", "pool", "treasury"},
    "PayoutFinalized": {"amount", "lines.amount"},
    "SweepFinalized": {"amount", "lines.amount"},
    "SlashProposed": {"amount", "from_bonded", "from_tickets.amount"},
    "SlashReversed": {"amount", "returned.amount"},
    "SlashDistributed": {"amount", "burned", "paid.amount"},
    "ValidatorRewardsAllocated": {
        "pool", "carry", "carry_in", "weight", "lines.amount", "lines.weight", "withheld.amount", "withheld.weight",
        "drawn.amount", "credited.amount",
    },
}  # fmt: skip


def one_more(decision: Any) -> Iterator[Decision]:
    """Yield the decision with one unit more in each of the numbers that it tells twice, one at a time."""
    for name in sorted(TOLD_TWICE.get(type(decision).__name__, ())):
        first, _, member = name.partition(".")
        value = getattr(decision.data, first)
        if not member:
            yield altered(decision, **{first: str(int(value) + 1)})
            continue
        for place, line in enumerate(value):
            raised = msgspec.structs.replace(line, **{member: str(int(getattr(line, member)) + 1)})
            yield altered(decision, **{first: (*value[:place], raised, *value[place + 1 :])})


@given(decisions() | network_decisions())
def test_one_unit_more_in_any_number_that_is_told_twice_is_broken(made: tuple[Decision, ...]) -> None:
    for decision in made:
        for forged in one_more(decision):
            with pytest.raises(LedgerInvariantBroken, match=decision.id):
                post(forged)


def test_each_number_that_is_told_twice_was_raised() -> None:
    raised = {type(row[1]).__name__ for row in POSTED if list(one_more(row[1]))}

    assert raised == TOLD_TWICE.keys()


@given(network_decisions())
def test_random_books_of_a_network_stay_above_zero(made: tuple[Decision, ...]) -> None:
    books = Books()
    books.fold(made)

    books.digests("OMNI")
