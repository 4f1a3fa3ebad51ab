"""The first day of the worked quarter, unit by unit: genesis, a deposit, a hold, a settlement of three nodes, the fees.

K is a consumer; A, B, C are nodes at 10 OMNI per GPU-hour in a quorum of three. C dissents. The chain's part is
declared, and so are the verdicts. Rows are those of docs/rules.md, "A day worked through".
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.books import Books
from app.commands.write import load_preset
from app.facts import Producer, to_line
from events.event import Fact
from events.facts import (
    JobDispatched,
    JobDispatchedData,
    JobSubmitted,
    JobSubmittedData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, MICROSECONDS, parse_instant
from ledger.accounts import Key
from projections.read import read_balances, read_position, read_supply
from settlement.lines import Line
from settlement.verify import fold_books, verify_logs, verify_rows

DAY_0 = parse_instant("2026-10-01T00:00:00.000000Z")
DAY_1 = DAY_0 + DAY
AT_0105 = DAY_1 + 65 * 60 * MICROSECONDS
PRICE = "10000000000"


def story() -> Iterator[tuple[str, list[Fact]]]:
    """Yield the facts of each row."""
    router = Producer("router")
    yield "a1", []
    yield "b1", [router.register(DAY_0), router.deposit(DAY_0, "K", "OMNI", 100_000_000_000, "deposit")]
    submitted = JobSubmittedData(asset="OMNI", authority="declared", consumer="K", gpu_seconds_max=3_600, nodes=3)
    quotes = tuple(Quote(node=node, operator=f"of-{node}", price=PRICE, minimum="0") for node in "ABC")
    yield (
        "b2",
        [
            router.fact(JobSubmitted, DAY_1, "J", "J:submitted", submitted),
            router.fact(JobDispatched, DAY_1, "J", "J:1", JobDispatchedData(attempt=1, consumer="K", quotes=quotes)),
        ],
    )
    usage = [
        UsageMeteredData(attempt=1, consumer="K", gpu_seconds=seconds, node=node)
        for node, seconds in (("A", 3_600), ("B", 3_599), ("C", 3_600))
    ]
    claimed = QuorumClaimedData(agreeing=("A", "B"), attempt=1, consumer="K")
    yield (
        "c1",
        [
            *(router.fact(UsageMetered, AT_0105, "J", f"J:1:{data.node}", data) for data in usage),
            router.fact(QuorumClaimed, AT_0105, "J", "J:1:quorum", claimed),
        ],
    )
    yield "e1", list(router.marks(DAY_0, DAY_1 + 2 * DAY))


# Credits less debits of each (account, vault) that the row leaves other than the row before; base units of OMNI.
EXPECTED: dict[str, dict[tuple[str, str], int]] = {
    "a1": {
        ("supply:issued", ""): -1_000_000_000 * 10**9,
        ("vest:locked:team:foundation", "vesting"): 350 * 10**15,
        ("treasury:ops", "treasury"): 200 * 10**15,
        ("fund:ecosystem", "fund"): 150 * 10**15,
        ("external", ""): 300 * 10**15,
    },
    "b1": {("external", ""): 300 * 10**15 - 100_000_000_000, ("consumer:K", "escrow"): 100_000_000_000},
    "b2": {("consumer:K", "escrow"): 70_000_000_000, ("escrow:J", "escrow"): 30_000_000_000},
    "c1": {
        ("escrow:J", "escrow"): 0,
        ("payable:supplier:A", "escrow"): 9_300_000_000,
        ("payable:supplier:B", "escrow"): 9_297_416_667,
        ("burn:pending", "escrow"): 399_944_444,
        ("fee:accrued", "escrow"): 999_861_111,
        ("consumer:K", "escrow"): 80_002_777_778,
    },
    "e1": {
        ("fee:accrued", "escrow"): 0,
        ("validator_pool:current", "escrow"): 99_986_111,
        ("treasury:ops", "escrow"): 899_875_000,
    },
}


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Give empty books of the shipped parameter set."""
    books = Books(tmp_path)
    books.create(load_preset("omnisync"))
    return books


def settle(books: Books, facts: list[Fact]) -> None:
    """Take facts in and settle them."""
    lines = [Line(number, to_line(fact).rstrip(), 1) for number, fact in enumerate(facts, 1)]
    for receipt in books.ingest(iter([lines]), "quarter"):
        assert not receipt.refused, receipt.refused
    with books.settlers() as settlers:
        settlers.run()


def balances(books: Books) -> dict[tuple[str, str], int]:
    """Return the net of each account and vault."""
    with books.engine().connect() as connection:
        found = read_balances(connection, read_position(connection, None))
    assert {line.key.asset for line in found} == {"OMNI"}
    return {(line.key.account, line.key.vault): line.net for line in found}


def test_each_row_of_the_first_day_leaves_the_balances_that_the_walkthrough_states(books: Books) -> None:
    expected: dict[tuple[str, str], int] = {}
    for row, facts in story():
        settle(books, facts)

        expected |= EXPECTED[row]
        assert balances(books) == expected, row


def test_the_first_day_ends_with_the_supply_classes_of_the_walkthrough(books: Books) -> None:
    for _, facts in story():
        settle(books, facts)

    with books.engine().connect() as connection:
        supply = read_supply(connection, read_position(connection, None), "OMNI")

    assert supply.total == supply.issued == 10**18
    assert supply.pending_burn == 399_944_444
    assert supply.held == 350 * 10**15 + 999_861_111
    assert supply.escrowed == 80_002_777_778
    assert supply.owed == 9_300_000_000 + 9_297_416_667
    assert supply.outside == 300 * 10**15 - 100_000_000_000


def test_vault_escrow_holds_what_was_deposited_until_something_leaves_it(books: Books) -> None:
    for _, facts in story():
        settle(books, facts)

    escrow = sum(net for (_, vault), net in balances(books).items() if vault == "escrow")

    assert escrow == 100_000_000_000


def test_what_was_settled_can_be_derived_again(books: Books) -> None:
    for _, facts in story():
        settle(books, facts)

    assert verify_logs(books.facts(), [books.lane()], books.hub()).unsettled == 0
    rows, lag = verify_rows(books.engine(), books.facts(), books.ledgers())
    assert rows > 0
    assert lag == 0
    folded = fold_books(books.ledgers())
    assert folded.balances.net(Key("OMNI", "payable:supplier:B", "escrow")) == 9_297_416_667
