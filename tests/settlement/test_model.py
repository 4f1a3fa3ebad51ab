"""Random worlds: the books hold what a naive model holds, and the invariants of spec 2.4 hold on every fold."""

from collections import Counter

import pytest

from events.decisions import EpochClosed, FeeAllocated, JobSettled
from ledger.fold import Books
from tests.settlement.desk import Desk, money_of, settled
from tests.worlds import ASSET, Naive, build_world

BLOCKS = 10
WORLDS_PER_BLOCK = 20


def check_against_model(seed: int, jobs: int = 12, periods: int = 6) -> Desk:
    world = build_world(seed, jobs=jobs, periods=periods)
    naive = Naive(world.parameters).run(world.facts())
    desk = settled(world)

    assert desk.money() == money_of(naive), f"world {seed}"
    shares = {
        d.epoch: (int(d.data.pool), int(d.data.treasury)) for d in desk.decisions() if isinstance(d, FeeAllocated)
    }
    assert shares == {epoch: parts for epoch, parts in naive.closed.items() if any(parts)}, f"world {seed}"
    assert [d.epoch for d in desk.decisions() if isinstance(d, EpochClosed)] == list(naive.closed), f"world {seed}"
    return desk


@pytest.mark.parametrize("block", range(BLOCKS))
def test_books_hold_what_the_naive_model_holds(block: int) -> None:
    for seed in range(block * WORLDS_PER_BLOCK, (block + 1) * WORLDS_PER_BLOCK):
        check_against_model(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
def test_books_hold_what_the_naive_model_holds_in_larger_worlds(block: int) -> None:
    for seed in range(10_000 + block * WORLDS_PER_BLOCK, 10_000 + (block + 1) * WORLDS_PER_BLOCK):
        check_against_model(seed, jobs=90, periods=9)


def check_invariants(books: Books, finished: set[str]) -> None:
    """Σ per asset = 0 · only issued below zero · escrow of closed jobs = 0 · the supply's classes make its total."""
    sums: Counter[str] = Counter()
    for key, (debits, credits) in books.balances.items():
        sums[key.asset] += credits - debits
        assert credits >= debits or key.account == "supply:issued", key
        head, _, job = key.account.partition(":")
        assert head != "escrow" or job not in finished or credits == debits, key
    assert not any(sums.values())
    supply = books.supply(ASSET)
    classes = supply.locked + supply.held + supply.pending_burn + supply.escrowed + supply.owed + supply.outside
    assert supply.total == supply.issued - supply.burned == classes == 10**18


def test_invariants_hold_after_every_decision() -> None:
    for seed in range(20):
        desk = settled(build_world(seed))
        books = Books()
        finished: set[str] = set()
        decisions = desk.decisions()
        # The hub's genesis comes first, its closes last: what it allocates is what others spend.
        for decision in [d for d in decisions if type(d).__name__ == "GenesisAllocated"] + [
            d for d in decisions if type(d).__name__ != "GenesisAllocated"
        ]:
            books.fold([decision])
            if type(decision).__name__ in ("JobSettled", "JobRefunded"):
                finished.add(decision.subject)
            check_invariants(books, finished)


def test_lines_of_a_settlement_sum_to_its_escrow() -> None:
    for seed in range(50):
        for decision in settled(build_world(seed)).decisions():
            if isinstance(decision, JobSettled):
                data = decision.data
                assert int(data.escrow) == sum(int(line.gross) for line in data.lines) + int(data.refund)
                for line in data.lines:
                    assert int(line.gross) == int(line.burn) + int(line.fee) + int(line.net)


def test_fold_of_a_whole_is_the_fold_of_its_parts() -> None:
    for seed in range(20):
        desk = settled(build_world(seed))
        decisions = desk.decisions()
        for cut in (0, 1, len(decisions) // 2, len(decisions)):
            parts = Books()
            parts.fold(decisions[:cut])
            parts.fold(decisions[cut:])
            assert parts.digests(ASSET) == desk.digests()
