"""Balances: a fold of two growing sums per key, the floor at zero, and the digest."""

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Decision
from ledger.accounts import Key
from ledger.balances import Balances, digest_of_balances
from ledger.entry import Entry, Posting, Side
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from tests.ledger.random_books import decisions, deposit, fund, genesis

KEY = Key("OMNI", "consumer:K", "escrow")


def entries(made: Iterable[Decision]) -> list[Entry]:
    return [entry for decision in made if (entry := post(decision)) is not None]


def folded(made: Iterable[Entry], start: Balances | None = None) -> Balances:
    balances = Balances(dict(start.items())) if start else Balances()
    for entry in made:
        balances.fold(entry)
    return balances


@given(decisions())
def test_sums_are_those_of_a_naive_count(made: tuple[Decision, ...]) -> None:
    debits: Counter[Key] = Counter()
    credits: Counter[Key] = Counter()
    for entry in entries(made):
        for posting in entry.postings:
            key = Key(posting.asset, posting.account, posting.vault)
            (credits if posting.side is Side.CREDIT else debits)[key] += posting.amount

    balances = folded(entries(made))

    assert dict(balances.items()) == {key: (debits[key], credits[key]) for key in debits | credits}
    assert all(balances.net(key) == credits[key] - debits[key] for key in debits | credits)


@given(decisions(), st.integers(0, 40))
def test_a_fold_can_be_cut_anywhere(made: tuple[Decision, ...], place: int) -> None:
    whole = entries(made)

    first = folded(whole[:place])
    both = folded(whole[place:], first)

    assert dict(both.items()) == dict(folded(whole).items())
    assert both.digest() == folded(whole).digest()


@given(decisions(), st.data())
def test_the_digest_knows_no_order_of_entries(made: tuple[Decision, ...], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(entries(made)))

    assert folded(shuffled).digest() == folded(entries(made)).digest()


@given(decisions())
def test_books_in_which_nobody_overspends_pass_the_check(made: tuple[Decision, ...]) -> None:
    balances = Balances()
    for entry in entries(made):
        balances.fold(entry)
        balances.check()


@given(decisions())
def test_debits_and_credits_are_equal_over_all_accounts(made: tuple[Decision, ...]) -> None:
    balances = folded(entries(made))

    assert sum(debits for _, (debits, _) in balances.items()) == sum(credits for _, (_, credits) in balances.items())


def test_a_key_that_never_moved_stands_at_zero() -> None:
    assert Balances().net(KEY) == 0


def test_balances_that_were_kept_are_not_shared() -> None:
    kept = {KEY: (0, 5)}

    Balances(kept).fold(Entry(0, "e", (Posting("consumer:K", 1, "OMNI", Side.DEBIT, "escrow"),)))

    assert kept == {KEY: (0, 5)}


def test_only_issued_supply_may_be_below_zero() -> None:
    folded(entries([genesis({("external", ""): 5})])).check()


@pytest.mark.parametrize(
    ("made", "account"),
    [
        ([genesis({("external", ""): 5}), deposit("K", 6)], "external"),
        ([genesis({("external", ""): 5}), deposit("K", 5), fund("K", "J", 6)], "consumer:K"),
        ([fund("K", "J", 1)], "consumer:K"),
    ],
)
def test_any_other_account_below_zero_is_broken(made: list[Decision], account: str) -> None:
    balances = folded(entries(made))

    with pytest.raises(LedgerInvariantBroken, match=f"{account} in .* stands at -1 base units of OMNI"):
        balances.check()


def test_a_check_of_some_keys_looks_at_those() -> None:
    balances = folded(entries([fund("K", "J", 1)]))

    balances.check([Key("OMNI", "escrow:K:J", "escrow")])
    with pytest.raises(LedgerInvariantBroken):
        balances.check([KEY])


def test_money_of_another_vault_does_not_cover_a_balance() -> None:
    balances = Balances({KEY: (5, 0), KEY._replace(vault="fees"): (0, 5)})

    with pytest.raises(LedgerInvariantBroken):
        balances.check()


def test_the_digest_is_that_of_the_stated_lines() -> None:
    sums = {
        KEY: (1, 6),
        Key("OMNI", "supply:issued", ""): (5, 0),
        Key("OMNI", "escrow:K:J", "escrow"): (0, 0),
        Key("OMNI", "escrow:K:I", "escrow"): (7, 7),
    }

    expected = sha256(b"OMNI|consumer:K|escrow|1|6\nOMNI|escrow:K:I|escrow|7|7\nOMNI|supply:issued||5|0\n").hexdigest()
    assert Balances(sums).digest() == digest_of_balances(sums.items()) == expected


def test_the_digest_tells_an_account_that_moved_from_one_that_did_not() -> None:
    assert Balances({KEY: (5, 5)}).digest() != Balances().digest() == sha256(b"").hexdigest()
