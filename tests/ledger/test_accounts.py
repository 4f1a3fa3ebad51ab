"""The chart of accounts: each account of the rules has its home vault and its class."""

import pytest

from ledger.accounts import SupplyClass, consumer, escrow, kind_of, payable_supplier

CHART = [
    ("supply:issued", "", SupplyClass.ISSUED),
    ("supply:burned", "", SupplyClass.BURNED),
    ("external", "", SupplyClass.OUTSIDE),
    ("consumer:K", "escrow", SupplyClass.ESCROWED),
    ("escrow:J", "escrow", SupplyClass.ESCROWED),
    ("payable:supplier:A", "escrow", SupplyClass.OWED),
    ("fee:accrued", "fees", SupplyClass.HELD),
    ("validator_pool:current", "fees", SupplyClass.HELD),
    ("validator_pool:carry", "fees", SupplyClass.HELD),
    ("burn:pending", "", SupplyClass.PENDING_BURN),
    ("treasury:ops", "treasury", SupplyClass.HELD),
    ("fund:ecosystem", "fund", SupplyClass.HELD),
    ("reserve:emission", "vesting", SupplyClass.LOCKED),
    ("reserve:idle", "vesting", SupplyClass.LOCKED),
    ("vest:locked:team:foundation", "vesting", SupplyClass.LOCKED),
]


@pytest.mark.parametrize(("account", "home", "supply"), CHART)
def test_an_account_has_its_home_and_its_class(account: str, home: str, supply: SupplyClass) -> None:
    assert kind_of(account)[:2] == (home, supply)


@pytest.mark.parametrize(
    "account",
    [
        "",
        ":",
        "bank",
        "bank:K",
        "Consumer:K",
        " consumer:K",
        "supply",
        "supply:stolen",
        "fee:spent",
        "payable:K",
        "consumer",
        "consumer:",
        "consumer:a:b",
        "consumer:a b",
        "external:x",
        "supply:issued:x",
        "vest:locked:team",
        "consumer:" + "k" * 89,
        "consumer:k\n",
    ],
)
def test_an_account_that_is_not_in_the_chart_is_named(account: str) -> None:
    with pytest.raises(KeyError, match="is not in the chart of accounts"):
        kind_of(account)


def test_names_are_built_as_the_chart_spells_them() -> None:
    built = (consumer("K"), escrow("J"), payable_supplier("A"))

    assert built == ("consumer:K", "escrow:J", "payable:supplier:A")
    assert all(kind_of(account).home == "escrow" for account in built)


def test_accounts_that_have_an_owner_keep_a_row_per_entry() -> None:
    busy = {account for account, *_ in CHART if kind_of(account).busy}

    assert busy.isdisjoint({"consumer:K", "escrow:J", "payable:supplier:A", "vest:locked:team:foundation"})
    assert {"external", "fee:accrued", "burn:pending"} <= busy
