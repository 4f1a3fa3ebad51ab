"""Random worlds: the books hold what a naive model holds, and the invariants of spec 2.4 hold on every fold."""

from collections import Counter
from functools import cache
from random import Random
from typing import Any

import pytest

from events.codec import decode
from events.decisions import EpochClosed, FeeAllocated, JobSettled
from events.event import Decision
from events.stakes import SlashDistributed, SlashReversed, SlashUpheld, ValidatorRewardsAllocated
from ledger.fold import Books
from tests.naive.told import reasons, told
from tests.networks import NETWORKS, build_network
from tests.settlement.desk import Desk, money_of, settled
from tests.settlement.live import differences
from tests.worlds import ASSET, World, build_world, naive_of

pytestmark = pytest.mark.usefixtures("lives_in_small_batches")

BLOCKS = 10
WORLDS_PER_BLOCK = 20
SHARE = 30
LANES, BATCHES = (1, 3, 8), (1, 7, 1_000, 10_000)
# The rest is left to `make test`.
BLOCKS_QUICK = 2
QUICK_BLOCKS = [*range(BLOCKS_QUICK), *(pytest.param(n, marks=pytest.mark.slow) for n in range(BLOCKS_QUICK, BLOCKS))]


@cache
def desk_of(build: Any, seed: int) -> Desk:
    """Settle a world once for all tests that only read what was decided."""
    return settled(build(seed))


def check_sums(decisions: list[Decision]) -> None:
    """The lines of a settlement sum to its escrow; the parts of every decision about stakes sum to its whole."""
    for decision in decisions:
        if isinstance(decision, JobSettled):
            job = decision.data
            spent = sum(int(line.gross) for line in job.lines)
            assert int(job.escrow) == spent + int(job.refund) + sum(int(line.hold) for line in job.waiting)
            for line in job.lines:
                assert int(line.gross) == int(line.burn) + int(line.fee) + int(line.net)
        match decision:
            case ValidatorRewardsAllocated(data=data):
                shared = sum(int(line.amount) for line in data.lines + data.withheld)
                assert shared + int(data.carry) == int(data.pool)
                assert int(data.weight) == sum(int(line.weight) for line in data.lines + data.withheld)
                for vault in {line.vault for line in data.drawn + data.credited}:
                    drawn = sum(int(line.amount) for line in data.drawn if line.vault == vault)
                    assert drawn == sum(int(line.amount) for line in data.credited if line.vault == vault)
            case SlashDistributed(data=data):
                assert int(data.amount) == int(data.burned) + sum(int(payment.amount) for payment in data.paid)
            case SlashReversed(data=data):
                assert int(data.amount) == sum(int(line.amount) for line in data.returned)
            case SlashUpheld(data=data):
                assert all(int(line.amount) for line in data.withheld)


def check_against_model(world: World) -> Desk:
    naive, desk = naive_of(world), settled(world)

    assert desk.money() == money_of(naive), f"world {world.seed}"
    decisions = desk.decisions()
    check_sums(decisions)
    assert len({decision.id for decision in decisions}) == len(decisions), f"world {world.seed}"
    assert told(decisions) == naive.decided, differences(told(decisions), naive.decided)
    assert reasons(decisions) == naive.refused, f"world {world.seed}"
    shares = {d.epoch: (int(d.data.pool), int(d.data.treasury)) for d in decisions if isinstance(d, FeeAllocated)}
    assert shares == {epoch: parts for epoch, parts in naive.closed.items() if any(parts)}, f"world {world.seed}"
    assert [d.epoch for d in decisions if isinstance(d, EpochClosed)] == list(naive.closed), f"world {world.seed}"
    return desk


@pytest.mark.parametrize("block", QUICK_BLOCKS)
def test_books_hold_what_the_naive_model_holds(block: int) -> None:
    for seed in range(block * WORLDS_PER_BLOCK, (block + 1) * WORLDS_PER_BLOCK):
        check_against_model(build_world(seed))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
def test_books_of_whole_networks_hold_what_the_naive_model_holds(block: int) -> None:
    each = NETWORKS // BLOCKS
    for seed in range(block * each, (block + 1) * each):
        world = build_network(seed)
        digests = check_against_model(world).digests()

        # Twelve networks in a row have each number of lanes with each size.
        lanes, batch = LANES[seed % len(LANES)], BATCHES[seed % len(BATCHES)]
        assert settled(world, lanes=lanes, batch=batch).digests() == digests, (seed, lanes, batch)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
def test_shuffles_between_marks_change_no_digest_of_any_network(block: int) -> None:
    each = NETWORKS // BLOCKS
    for seed in range(block * each, (block + 1) * each):
        world = build_network(seed, jobs=15, periods=5, calm=True)
        shuffled = settled(world, world.facts(Random(seed)), lanes=LANES[seed % len(LANES)])

        assert shuffled.digests() == settled(world).digests(), seed


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
def test_books_hold_what_the_naive_model_holds_in_larger_worlds(block: int) -> None:
    for seed in range(10_000 + block * WORLDS_PER_BLOCK, 10_000 + (block + 1) * WORLDS_PER_BLOCK):
        check_against_model(build_world(seed, jobs=90, periods=9))
        if seed % 5 == 0:
            check_against_model(build_network(seed, jobs=72, periods=12))


@pytest.mark.slow
def test_networks_contain_what_they_are_for() -> None:
    """At least so many in a hundred have each of these."""
    seen: Counter[str] = Counter()
    for seed in range(NETWORKS):
        world = build_network(seed)
        naive = naive_of(world)
        seen.update(features(naive.decided))
        seen.update(["refused"] * bool(naive.refused) + ["late"] * bool(naive.late))
    wanted = ("refused", "late", "withdrawn", "slashed", "reversed", "redistributed", "withheld", "disputed", "waited")
    lacking = {name: seen[name] for name in wanted if seen[name] * 100 < SHARE * NETWORKS}
    assert not lacking, seen


def features(decided: "Counter[tuple[Any, ...]]") -> set[str]:
    """Name what befell a network."""
    found = set()
    for kind, *said in decided:
        match kind:
            case "WithdrawalAccepted":
                found.add("withdrawn")
            case "SlashDistributed" if said[1]:
                found.add("slashed")
            case "SlashReversed" if said[1]:
                found.add("reversed")
            case "JobRefunded" if said[2] == "redistributed":
                found.add("redistributed")
            case "ValidatorRewardsAllocated" if any(share for _, _, share in said[5]):
                found.add("withheld")
            case "SlashDisputed":
                found.add("disputed")
            case "JobSettled" if said[5]:
                found.add("waited")
    return found


def check_invariants(books: Books, finished: set[str], closed_cases: set[str]) -> None:
    """Σ per asset = 0 · only issued below zero · nothing left of what is over · the supply's classes make its total."""
    sums: Counter[str] = Counter()
    burned = 0
    for key, (debits, credits) in books.balances.items():
        sums[key.asset] += credits - debits
        assert credits >= debits or key.account == "supply:issued", key
        head, _, last = key.account.rpartition(":")
        assert key.account not in finished or credits == debits, key
        over = head in {"slash:pending", "bond", "validator_pool:withheld"} and last in closed_cases
        assert not over or credits == debits, key
        if key.account == "supply:burned":
            burned += credits - debits
    assert not any(sums.values())
    supply = books.supply(ASSET)
    parts = (
        supply.locked + supply.held + supply.pending_burn + supply.staked + supply.unbonding + supply.escrowed,
        supply.owed + supply.outside,
    )
    assert supply.burned == burned
    assert supply.total == supply.issued - supply.burned == sum(parts) == 10**18 - burned


def in_order(desk: Desk) -> list[Decision]:
    """Merge the logs as they can have been written: by network time, the lanes' records before the hub's."""
    records = [
        (record.header.network_time or "", number, record.sequence, record)
        for number, log in enumerate([*desk.lanes, desk.hub])
        for record in log.records
    ]
    opening = [line for line in records if line[3] is desk.hub.records[0]]
    rest = sorted((line for line in records if line[3] is not desk.hub.records[0]), key=lambda line: line[:3])
    read = [decode(line) for *_, record in opening + rest for line in record.lines]
    return [event for event in read if isinstance(event, Decision)]


@pytest.mark.parametrize("build", [build_world, pytest.param(build_network, marks=pytest.mark.slow)])
def test_invariants_hold_after_every_decision(build: Any) -> None:
    for seed in range(20):
        desk = desk_of(build, seed)
        books = Books()
        finished: set[str] = set()
        closed_cases: set[str] = set()
        waiting: Counter[str] = Counter()
        burned = 0
        for decision in in_order(desk):
            books.fold([decision])
            if isinstance(decision, JobSettled):
                account = f"escrow:{decision.data.consumer}:{decision.subject}"
                waiting[account] += len(decision.data.waiting) - (not decision.key.endswith(":1"))
                finished |= set() if waiting[account] else {account}
            if isinstance(decision, SlashDistributed | SlashReversed):
                closed_cases.add(decision.data.case)
            check_invariants(books, finished, closed_cases)
            assert books.supply(ASSET).burned >= burned
            burned = books.supply(ASSET).burned


@pytest.mark.parametrize("build", [build_world, pytest.param(build_network, marks=pytest.mark.slow)])
def test_fold_of_a_whole_is_the_fold_of_its_parts(build: Any) -> None:
    for seed in range(20):
        desk = desk_of(build, seed)
        decisions = desk.decisions()
        for cut in (0, 1, len(decisions) // 2, len(decisions)):
            parts = Books()
            parts.fold(decisions[:cut])
            parts.fold(decisions[cut:])
            assert parts.digests(ASSET) == desk.digests()
