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
from tests.ledger.random_network import network_decisions

GOOD = Supply(
    asset="OMNI", issued=1_000, burned=489, locked=1, held=2, pending_burn=4, staked=8, unbonding=16, escrowed=32,
    owed=64, outside=128, disclosed=110, sunk=146,
)  # fmt: skip
# Amounts of which each sum tells its parts.
OF_EACH = {
    ("supply:burned", ""): 1,
    ("vest:locked:team:f", "vesting"): 10,
    ("reserve:emission", "vesting"): 20,
    ("fee:accrued", "escrow"): 100,
    ("validator_pool:current", "fees"): 200,
    ("validator_pool:carry", "escrow"): 1_000,
    ("validator_pool:withheld:c", "fees"): 2_000,
    ("treasury:ops", "treasury"): 300,
    ("fund:ecosystem", "fund"): 400,
    ("burn:pending", "escrow"): 10_000,
    ("burn:pending", "fees"): 20_000,
    ("consumer:K", "escrow"): 1_000_000,
    ("escrow:K:J", "escrow"): 2_000_000,
    ("payable:supplier:A", "escrow"): 100_000_000,
    ("payable:withdrawal:K", "escrow"): 200_000_000,
    ("payable:validator:V", "fees"): 300_000_000,
    ("payable:stake:O", "stake"): 400_000_000,
    ("payable:reporter:V", "stake"): 500_000_000,
    ("external", ""): 10_000_000_000,
    ("stake:bonded:node:A", "stake"): 10**12,
    ("stake:bonded:validator:V", "stake"): 2 * 10**12,
    ("slash:pending:c", "stake"): 3 * 10**12,
    ("bond:c", "stake"): 4 * 10**12,
    ("stake:unbonding:t", "stake"): 10**14,
    ("supply:sunk", ""): 10**15,
}


def measured(sums: dict[tuple[str, str], int], issued: int) -> Supply:
    items = [(Key("OMNI", account, vault), (3, amount + 3)) for (account, vault), amount in sums.items()]
    return measure_supply("OMNI", [*items, (Key("OMNI", "supply:issued", ""), (issued, 0))])


@given(decisions() | network_decisions(), st.integers(0, 60))
def test_classes_sum_to_the_total_at_every_point_of_random_books(made: tuple[Decision, ...], end: int) -> None:
    books = Books()
    books.fold(made[: end + 1])

    supply = books.supply("OMNI")

    parts = [amount for name, amount in asdict(supply).items() if name not in {"asset", "issued", "burned"}]
    assert sum(parts) == supply.total == supply.issued - supply.burned
    assert min(parts) >= 0
    assert supply.disclosed == supply.sunk == 0


def test_each_account_counts_in_its_class_wherever_it_lies() -> None:
    supply = measured(OF_EACH, sum(OF_EACH.values()))

    assert supply == Supply(
        asset="OMNI",
        issued=sum(OF_EACH.values()),
        burned=1,
        locked=30,
        held=4_000,
        pending_burn=30_000,
        staked=10**13,
        unbonding=10**14,
        escrowed=3_000_000,
        owed=1_500_000_000,
        outside=10_000_000_000,
        disclosed=0,
        sunk=10**15,
    )


def test_circulating_and_liquid_leave_out_what_the_protocol_holds() -> None:
    assert (GOOD.total, GOOD.circulating, GOOD.liquid) == (511, 248, 192)


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
    assert measure_supply("OMNI", []) == Supply("OMNI", *[0] * 12)


def test_the_digest_is_that_of_the_stated_lines() -> None:
    lines = (
        b"OMNI|burned|489\nOMNI|disclosed|110\nOMNI|escrowed|32\nOMNI|held|2\nOMNI|issued|1000\n"
        b"OMNI|locked|1\nOMNI|outside|128\nOMNI|owed|64\nOMNI|pending_burn|4\nOMNI|staked|8\n"
        b"OMNI|sunk|146\nOMNI|unbonding|16\n"
    )

    assert GOOD.digest() == sha256(lines).hexdigest()
