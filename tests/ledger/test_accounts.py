"""The chart of accounts: each account of the rules has its home vault and its class."""

import pytest

from ledger.accounts import (
    SupplyClass,
    bond,
    bonded,
    consumer,
    escrow,
    kind_of,
    payable,
    payable_supplier,
    slash_pending,
    unbonding,
    withheld,
)

CHART = [
    ("supply:issued", "", SupplyClass.ISSUED),
    ("supply:burned", "", SupplyClass.BURNED),
    ("external", "", SupplyClass.OUTSIDE),
    ("consumer:K", "escrow", SupplyClass.ESCROWED),
    ("escrow:K:J", "escrow", SupplyClass.ESCROWED),
    ("supply:sunk", "", SupplyClass.SUNK),
    ("payable:supplier:A", "escrow", SupplyClass.OWED),
    ("payable:withdrawal:K", "escrow", SupplyClass.OWED),
    ("payable:validator:V1", "fees", SupplyClass.OWED),
    ("payable:stake:O", "stake", SupplyClass.OWED),
    ("payable:reporter:V1", "stake", SupplyClass.OWED),
    ("stake:bonded:node:A", "stake", SupplyClass.STAKED),
    ("stake:bonded:validator:V1", "stake", SupplyClass.STAKED),
    ("stake:unbonding:t1", "stake", SupplyClass.UNBONDING),
    ("slash:pending:c1", "stake", SupplyClass.STAKED),
    ("bond:c1", "stake", SupplyClass.STAKED),
    ("validator_pool:withheld:c1", "fees", SupplyClass.HELD),
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
        "escrow:J",
        "escrow:K:J:1",
        "payable:bank:K",
        "payable:stake",
        "stake:A",
        "stake:bonded:A",
        "stake:bonded:node:A:B",
        "stake:unbonding",
        "slash:c1",
        "slash:pending",
        "bond",
        "bond:c1:c2",
        "validator_pool:c1",
        "validator_pool:withheld",
        "validator_pool:carry:c1",
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
    built = (consumer("K"), escrow("K", "J"), payable_supplier("A"), payable("supplier", "A"))

    assert built == ("consumer:K", "escrow:K:J", "payable:supplier:A", "payable:supplier:A")
    assert all(kind_of(account).home == "escrow" for account in built)
    staked = (bonded("node", "A"), unbonding("t1"), slash_pending("c1"), bond("c1"))
    assert staked == ("stake:bonded:node:A", "stake:unbonding:t1", "slash:pending:c1", "bond:c1")
    assert all(kind_of(account).home == "stake" for account in staked)
    assert kind_of(withheld("c1")) == kind_of("validator_pool:withheld:c1")


def test_accounts_that_have_an_owner_keep_a_row_per_entry() -> None:
    busy = {account for account, *_ in CHART if kind_of(account).busy}

    assert busy.isdisjoint({"consumer:K", "escrow:K:J", "payable:supplier:A", "vest:locked:team:foundation"})
    assert not {account for account in busy if account.startswith(("stake:", "slash:", "bond:", "payable:"))}
    assert {"external", "fee:accrued", "burn:pending"} <= busy
