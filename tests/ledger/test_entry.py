"""The law of entries, and the bytes by which an entry is hashed."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.entry import Entry, Posting, Side, canonical_bytes, check_entry, digest_of_entries
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from tests.ledger.random_books import lines, settle
from tests.strategies import integers

EVENT = "ab" * 32


def posting(signed: int, account: str = "consumer:K", asset: str = "OMNI", vault: str = "escrow") -> Posting:
    """Build a credit from a number above zero and a debit from one below."""
    return Posting(account, abs(signed), asset, Side.CREDIT if signed > 0 else Side.DEBIT, vault)


def entry(*postings: Posting, crosses_vaults: bool = False) -> Entry:
    return Entry(20_727, EVENT, postings, crosses_vaults)


KEPT = {
    "one to one": entry(posting(-5), posting(5, "escrow:K:J")),
    "one to many": entry(posting(-5), posting(2, "a"), posting(3, "b")),
    "two assets, each balanced": entry(
        posting(-5), posting(5, "a"), posting(-7, asset="USDC"), posting(7, "a", "USDC")
    ),
    "two vaults, each balanced": entry(posting(-5), posting(5), posting(-7, vault="fees"), posting(7, vault="fees")),
    "39 digits": entry(posting(1 - 10**39), posting(10**39 - 1)),
    "nothing": entry(),
    "across vaults, by a chain fact": entry(posting(-5, vault=""), posting(5), crosses_vaults=True),
    "out of many vaults, by a chain fact": entry(
        posting(-5, vault="fees"), posting(-1), posting(6, vault=""), crosses_vaults=True
    ),
}
BROKEN = {
    "one leg": entry(posting(5)),
    "short by one": entry(posting(-5), posting(4)),
    "over by one": entry(posting(-5), posting(6)),
    "two debits": entry(posting(-5), posting(-5)),
    "balanced only over assets": entry(posting(-5), posting(5, asset="USDC")),
    "balanced only over vaults": entry(posting(-5, vault="escrow"), posting(5, vault="fees")),
    "balanced only with no vault": entry(posting(-5, vault=""), posting(5)),
    "two vaults crosswise": entry(
        posting(-5), posting(4), posting(1, vault="fees"), posting(-1, vault="fees"), posting(1, vault="")
    ),
    "chain fact over assets": entry(posting(-5), posting(5, asset="USDC"), crosses_vaults=True),
    "chain fact short by one": entry(posting(-5, vault=""), posting(4), crosses_vaults=True),
    "zero": entry(posting(-5), posting(5), Posting("consumer:K", 0, "OMNI", Side.CREDIT, "escrow")),
    "below zero": entry(
        Posting("a", -5, "OMNI", Side.DEBIT, "escrow"), Posting("b", -5, "OMNI", Side.CREDIT, "escrow")
    ),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_an_entry_that_sums_to_zero_per_asset_and_vault_keeps_the_law(kept: Entry) -> None:
    check_entry(kept)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_an_entry_that_does_not_breaks_it(broken: Entry) -> None:
    with pytest.raises(LedgerInvariantBroken, match=EVENT):
        check_entry(broken)


def test_the_fault_names_amount_asset_and_vault() -> None:
    broken = entry(posting(-1_000_000), posting(999_999))

    with pytest.raises(LedgerInvariantBroken, match=r"are -1 base units of OMNI in vault 'escrow'"):
        check_entry(broken)


@given(st.lists(st.tuples(st.sampled_from("abc"), integers(1, 2**64)), min_size=1, max_size=8), st.integers(1, 9))
def test_a_unit_too_much_anywhere_is_found(legs: list[tuple[str, int]], over: int) -> None:
    credits = [posting(amount, account) for account, amount in legs]
    total = sum(amount for _, amount in legs)

    check_entry(entry(*credits, posting(-total)))
    with pytest.raises(LedgerInvariantBroken):
        check_entry(entry(*credits, posting(-total - over)))


def test_canonical_bytes_are_those_of_the_stated_form() -> None:
    written = canonical_bytes(entry(posting(5, "escrow:K:J"), posting(-5)))

    assert written == (
        b'{"epoch":20727,"event":"' + EVENT.encode() + b'","postings":['
        b'{"account":"consumer:K","amount":"5","asset":"OMNI","side":"debit","vault":"escrow"},'
        b'{"account":"escrow:K:J","amount":"5","asset":"OMNI","side":"credit","vault":"escrow"}]}'
    )


def test_a_posting_without_vault_says_so() -> None:
    assert b'"vault":""' in canonical_bytes(entry(posting(-5, vault="")))


@given(st.permutations(range(5)))
def test_canonical_bytes_do_not_depend_on_the_order_of_postings(order: list[int]) -> None:
    settled = post(settle("K", "J", 101, lines(100)))
    assert settled is not None

    shuffled = settled._replace(postings=tuple(settled.postings[place] for place in order))

    assert canonical_bytes(shuffled) == canonical_bytes(settled)


@given(integers(1))
def test_canonical_bytes_are_canonical_json_with_amounts_as_text(amount: int) -> None:
    written = canonical_bytes(entry(posting(-amount), posting(amount, "a")))

    members = json.loads(written)
    assert json.dumps(members, sort_keys=True, separators=(",", ":")).encode() == written
    assert {leg["amount"] for leg in members["postings"]} == {str(amount)}


def test_no_two_entries_of_these_have_the_same_bytes() -> None:
    every = [*KEPT.values(), *BROKEN.values()]

    assert len({canonical_bytes(each) for each in every}) == len({(each.postings) for each in every})


@given(st.lists(st.binary(max_size=8)))
def test_digest_of_entries_knows_no_order_but_counts_each(written: list[bytes]) -> None:
    hashes = [sha256(each).digest() for each in written]

    assert digest_of_entries(hashes[::-1]) == digest_of_entries(hashes)
    assert digest_of_entries(hashes) == sha256(b"".join(sorted(hashes))).hexdigest()
    assert digest_of_entries([*hashes, sha256(b"more").digest()]) != digest_of_entries(hashes)
