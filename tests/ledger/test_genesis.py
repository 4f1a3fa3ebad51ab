"""D22: the whole first supply goes to named accounts, to the unit, each in its home vault."""

from importlib import resources

from hypothesis import given
from hypothesis import strategies as st

from ledger.accounts import kind_of
from ledger.fold import Books
from ledger.genesis import GenesisLine, allocate_genesis
from ledger.parameters import Allocation, Parameters, parameters_from_toml
from tests.ledger.random_books import genesis
from tests.strategies import integers

OMNISYNC = parameters_from_toml((resources.files("ledger") / "presets" / "omnisync.toml").read_text("utf-8"))
ACCOUNTS = (
    "external",
    "treasury:ops",
    "fund:ecosystem",
    "reserve:emission",
    "vest:locked:team:a",
    "vest:locked:team:b",
)


def allocated(amounts: dict[str, int]) -> Parameters:
    lines = tuple(Allocation(account=account, amount=str(amount)) for account, amount in amounts.items())
    return OMNISYNC.model_copy(update={"genesis": lines})


def test_the_shipped_genesis() -> None:
    assert allocate_genesis(OMNISYNC) == (
        GenesisLine("vest:locked:team:foundation", "vesting", 350_000_000_000_000_000),
        GenesisLine("treasury:ops", "treasury", 200_000_000_000_000_000),
        GenesisLine("fund:ecosystem", "fund", 150_000_000_000_000_000),
        GenesisLine("external", "", 300_000_000_000_000_000),
    )


@given(st.dictionaries(st.sampled_from(ACCOUNTS), integers(0, 2**128), min_size=1))
def test_lines_are_those_of_the_set_in_its_order_at_home(amounts: dict[str, int]) -> None:
    lines = allocate_genesis(allocated(amounts))

    assert [(line.account, line.amount) for line in lines] == list(amounts.items())
    assert all(line.vault == kind_of(line.account).home for line in lines)


@given(st.dictionaries(st.sampled_from(ACCOUNTS), integers(0, 2**128), min_size=1))
def test_what_is_allocated_is_the_supply(amounts: dict[str, int]) -> None:
    lines = allocate_genesis(allocated(amounts))
    books = Books()

    books.fold([genesis({(line.account, line.vault): line.amount for line in lines})])

    supply = books.supply("OMNI")
    assert supply.issued == supply.total == sum(amounts.values())
    assert supply.burned == supply.pending_burn == supply.owed == 0
    books.digests("OMNI")
