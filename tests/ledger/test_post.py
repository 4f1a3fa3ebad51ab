"""What each decision means in debits and credits, leg by leg."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given

from events.catalogue import DECISIONS, AnyDecision
from events.event import Decision
from ledger.entry import Posting, Side, check_entry
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from tests.events.samples import SAMPLES
from tests.ledger.random_books import decisions, deposit, fees, fund, genesis, lines, refund, settle

Leg = tuple[str, str, int]
BALANCED = lines(100)
FREE = lines(0)

# Credits are above zero and debits below.
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
    ("escrow", fund("K", "J", 30), [("consumer:K", "escrow", -30), ("escrow:J", "escrow", 30)]),
    ("escrow of nothing", fund("K", "J", 0), []),
    (
        "settlement",
        settle("K", "J", 101, BALANCED),
        [
            ("escrow:J", "escrow", -101),
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
            ("escrow:J", "escrow", -200),
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
        [("escrow:J", "escrow", -1), ("payable:supplier:A", "escrow", 1)],
    ),
    ("settlement of no time", settle("K", "J", 5, FREE), [("escrow:J", "escrow", -5), ("consumer:K", "escrow", 5)]),
    ("settlement of no time at once", settle("K", "J", 5, FREE, "consumer"), []),
    ("settlement of nothing", settle("K", "J", 0, FREE), []),
    ("refund", refund("K", "J", 30), [("escrow:J", "escrow", -30), ("consumer:K", "escrow", 30)]),
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

    assert entry is None or entry.crosses_vaults == (type(decision).__name__ in {"GenesisAllocated", "DepositCredited"})


def test_each_type_of_decision_posts_or_is_known_to_move_nothing() -> None:
    posting = {type(row[1]).__name__ for row in POSTED}
    silent = {"DecisionRefused", "LaneEpochClosed", "EpochClosed"}

    assert (
        {kind.__name__ for kind in DECISIONS} == {kind.__name__ for kind in get_args(AnyDecision)} == posting | silent
    )
    for event in SAMPLES:
        if isinstance(event, Decision):
            assert (post(event) is None) == (type(event).__name__ in silent | {"JobRefunded"})


def altered(decision: Decision, **members: str) -> Decision:
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


@given(decisions())
def test_every_entry_of_random_books_keeps_the_law(made: tuple[Decision, ...]) -> None:
    for decision in made:
        entry = post(decision)

        if entry is not None:
            check_entry(entry)
            assert all(posting.amount > 0 for posting in entry.postings)
            assert len({posting.account for posting in entry.postings}) == len(entry.postings)
