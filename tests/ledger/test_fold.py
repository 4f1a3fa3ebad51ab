"""The scalar fold: decisions to books, in any portions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import decode, encode
from events.event import Decision
from ledger.accounts import Key
from ledger.errors import LedgerInvariantBroken
from ledger.fold import Books
from ledger.post import post
from tests.ledger.random_books import decisions, deposit, fees, fund, genesis, lines, refund, settle

DAY = (
    genesis({("external", ""): 1_000}),
    deposit("K", 300),
    fund("K", "J", 101),
    settle("K", "J", 101, lines(100)),
    fund("K", "I", 50),
    refund("K", "I", 50),
    settle("K", "H", 120, lines(100), "consumer"),
    fees(10),
)


def folded(*portions: tuple[Decision, ...]) -> Books:
    books = Books()
    for portion in portions:
        books.fold(portion)
    return books


def test_a_day_worked_out() -> None:
    books = folded(DAY)

    held = {key.account: books.balances.net(key) for key, _ in books.balances.items()}
    assert held == {
        "supply:issued": -1_000,
        "external": 700,
        "consumer:K": 100,
        "escrow:K:J": 0,
        "escrow:K:I": 0,
        "payable:supplier:A": 186,
        "burn:pending": 4,
        "fee:accrued": 0,
        "validator_pool:current": 1,
        "treasury:ops": 9,
    }
    assert books.entries() == len(DAY)
    assert books.balances.net(Key("OMNI", "treasury:ops", "treasury")) == 0


@given(decisions(), st.integers(0, 40))
def test_a_fold_can_be_cut_anywhere(made: tuple[Decision, ...], place: int) -> None:
    assert folded(made[:place], made[place:]).digests("OMNI") == folded(made).digests("OMNI")


@given(decisions())
def test_what_was_written_and_read_folds_to_the_same_digests(made: tuple[Decision, ...]) -> None:
    read = [decode(encode(decision)) for decision in made]

    assert read == list(made)
    assert folded(tuple(event for event in read if isinstance(event, Decision))).digests("OMNI") == folded(
        made
    ).digests("OMNI")


@given(decisions())
def test_only_decisions_that_move_money_are_counted(made: tuple[Decision, ...]) -> None:
    assert folded(made).entries() == sum(post(decision) is not None for decision in made)


@given(decisions())
def test_escrows_of_finished_jobs_are_empty(made: tuple[Decision, ...]) -> None:
    balances = folded(made).balances

    assert all(balances.net(key) == 0 for key, _ in balances.items() if key.account.startswith("escrow:"))


def test_digests_of_books_below_zero_are_not_given() -> None:
    books = folded((genesis({("external", ""): 1}), deposit("K", 2)))

    with pytest.raises(LedgerInvariantBroken):
        books.digests("OMNI")


def test_a_decision_folded_twice_is_seen_in_both_digests() -> None:
    once, twice = folded(DAY).digests("OMNI"), folded(DAY, (deposit("K", 1),)).digests("OMNI")

    assert once.balances != twice.balances
    assert once.entries != twice.entries
    assert once.supply != twice.supply
