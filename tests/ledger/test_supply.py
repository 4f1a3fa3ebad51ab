"""Supply: each token counts in one class, and the classes sum to what exists."""

from dataclasses import asdict, replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Decision
from ledger.accounts import Key
from ledger.errors import LedgerInvariantBroken
from ledger.fold import Books
from ledger.supply import Supply, measure_supply
from tests.ledger.random_books import decisions

GOOD = Supply(asset="OMNI", issued=100, burned=9, locked=1, held=2, pending_burn=4, escrowed=8, owed=16, outside=60)
# Amounts of which each sum tells its parts.
OF_EACH = {
    ("supply:burned", ""): 1,
    ("vest:locked:team:f", "vesting"): 10,
    ("reserve:emission", "vesting"): 20,
    ("fee:accrued", "escrow"): 100,
    ("validator_pool:current", "fees"): 200,
    ("treasury:ops", "treasury"): 300,
    ("fund:ecosystem", "fund"): 400,
    ("burn:pending", "escrow"): 10_000,
    ("burn:pending", "fees"): 20_000,
    ("consumer:K", "escrow"): 1_000_000,
    ("escrow:J", "escrow"): 2_000_000,
    ("payable:supplier:A", "escrow"): 100_000_000,
    ("external", ""): 10_000_000_000,
}


def measured(sums: dict[tuple[str, str], int], issued: int) -> Supply:
    items = [(Key("OMNI", account, vault), (3, amount + 3)) for (account, vault), amount in sums.items()]
    return measure_supply("OMNI", [*items, (Key("OMNI", "supply:issued", ""), (issued, 0))])


@given(decisions(), st.integers(0, 40))
def test_classes_sum_to_the_total_at_every_point_of_random_books(made: tuple[Decision, ...], end: int) -> None:
    books = Books()
    books.fold(made[: end + 1])

    supply = books.supply("OMNI")

    parts = (supply.locked, supply.held, supply.pending_burn, supply.escrowed, supply.owed, supply.outside)
    assert sum(parts) == supply.total == supply.issued - supply.burned
    assert min(parts) >= 0


def test_each_account_counts_in_its_class_wherever_it_lies() -> None:
    supply = measured(OF_EACH, sum(OF_EACH.values()))

    assert supply == Supply(
        asset="OMNI",
        issued=sum(OF_EACH.values()),
        burned=1,
        locked=30,
        held=1_000,
        pending_burn=30_000,
        escrowed=3_000_000,
        owed=100_000_000,
        outside=10_000_000_000,
    )


def test_circulating_and_liquid_leave_out_what_the_protocol_holds() -> None:
    assert (GOOD.total, GOOD.circulating, GOOD.liquid) == (91, 84, 76)


@pytest.mark.parametrize("name", [name for name in asdict(GOOD) if name != "asset"])
@pytest.mark.parametrize("by", [1, -1])
def test_a_unit_too_much_or_too_little_in_any_class_is_broken(name: str, by: int) -> None:
    with pytest.raises(LedgerInvariantBroken, match=r"supply of OMNI: the classes sum to \d+, issued - burned is \d+"):
        replace(GOOD, **{name: getattr(GOOD, name) + by})


def test_another_asset_is_not_counted() -> None:
    other = (Key("USDC", "external", ""), (7, 0)), (Key("USDC", "consumer:K", "escrow"), (0, 7))
    items = [(Key("OMNI", "supply:issued", ""), (5, 0)), (Key("OMNI", "external", ""), (0, 5)), *other]

    assert measure_supply("OMNI", items) == measure_supply("OMNI", items[:2])
    assert measure_supply("OMNI", items).total == 5


def test_an_asset_that_is_not_issued_here_exists_to_no_amount() -> None:
    items = [(Key("USDC", "external", ""), (7, 0)), (Key("USDC", "consumer:K", "escrow"), (0, 7))]

    assert measure_supply("USDC", items).total == 0


def test_nothing_was_issued_at_first() -> None:
    assert measure_supply("OMNI", []) == Supply("OMNI", 0, 0, 0, 0, 0, 0, 0, 0)


def test_the_digest_is_that_of_the_stated_lines() -> None:
    lines = (
        b"OMNI|burned|9\nOMNI|escrowed|8\nOMNI|held|2\nOMNI|issued|100\n"
        b"OMNI|locked|1\nOMNI|outside|60\nOMNI|owed|16\nOMNI|pending_burn|4\n"
    )

    assert GOOD.digest() == sha256(lines).hexdigest()
