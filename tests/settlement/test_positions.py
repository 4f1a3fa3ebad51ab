"""Answers for the past are those of a fold of the logs up to there; what is not reached yet is refused."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from sqlalchemy import Connection

from app.facts import Producer
from events.codec import decode
from events.decisions import DepositCredited
from events.event import Decision
from events.instant import DAY, format_instant
from ledger.fold import Books
from projections.position import AtRefused, format_position, parse_position
from projections.read import read_balances, read_history, read_position, read_supply
from tests.networks import build_small_network
from tests.settlement.desk import Desk, day, settled, tables_of
from tests.worlds import ASSET, LAUNCH, World, build_world, parameter_set

pytestmark = pytest.mark.slow


def fold_prefix(desk: Desk, position: dict[str, int]) -> dict[tuple[str, str], tuple[int, int]]:
    """Fold what lies before a position, event by event."""
    books = Books()
    for log in (desk.hub, desk.lane):
        for record in log.read():
            for sequence, line in record.events():
                event = decode(line)
                assert isinstance(event, Decision)
                if sequence < position.get(log.name, 0):
                    books.fold([event])
    return {(key.account, key.vault): sums for key, sums in books.balances.items()}


def balances_at(connection: Connection, position: dict[str, int]) -> dict[tuple[str, str], tuple[int, int]]:
    return {
        (line.key.account, line.key.vault): (line.debits, line.credits) for line in read_balances(connection, position)
    }


@pytest.mark.parametrize(("build", "every"), [(build_world, 1), (build_small_network, 9)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_balances_at_record_boundaries_equal_the_fold_of_the_prefix(
    seed: int, build: Callable[[int], World], every: int
) -> None:
    desk = settled(build(seed), chunk=10, batch=5)
    lane_ends = [0, *(record.end for record in desk.lane.records)][::every]
    hub_ends = [0, *(record.end for record in desk.hub.records)]

    with tables_of(desk).connect() as connection:
        for lane_end in lane_ends:
            for hub_end in {hub_ends[0], hub_ends[len(hub_ends) // 2], hub_ends[-1]}:
                position = read_position(connection, f"lane-0:{lane_end},hub:{hub_end}")
                assert position == {"lane-0": lane_end, "hub": hub_end}
                assert balances_at(connection, position) == fold_prefix(desk, position)


def test_position_within_a_record_stands_for_the_records_before_it() -> None:
    desk = settled(build_world(1), batch=10)
    first, second = desk.lane.records[:2]

    with tables_of(desk).connect() as connection:
        for size in range(first.end, second.end):
            assert read_position(connection, f"lane-0:{size}") == {"lane-0": first.end, "hub": 0}
        assert read_position(connection, "lane-0:0") == {"lane-0": 0, "hub": 0}
        assert balances_at(connection, read_position(connection, "hub:0,lane-0:0")) == {}


def test_position_is_written_as_it_is_read() -> None:
    assert format_position(parse_position("hub:4,lane-0:10,lane-1:3")) == "lane-0:10,lane-1:3,hub:4"


@pytest.mark.parametrize(
    "at",
    ["lane-0", "lane-0:", ":5", "lane-0:x", "lane-0:-1", "lane-0:1,", "", "lane-0:٣", "lane-0:1.5", "yesterday", ","],
)
def test_what_is_no_position_and_no_time_is_refused(at: str) -> None:
    desk = settled(build_world(1))

    with tables_of(desk).connect() as connection, pytest.raises(AtRefused, match="neither a position"):
        read_position(connection, at)


@pytest.mark.parametrize("at", ["0999-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "lane-0:" + "9" * 5_000])
def test_whatever_is_asked_for_is_answered_or_refused(at: str) -> None:
    desk = settled(build_world(1))

    with tables_of(desk).connect() as connection, suppress(AtRefused):
        assert read_position(connection, at)["lane-0"] == 0


@pytest.mark.parametrize("at", ["lane-0:100000", "hub:100000", "lane-1:0", "facts/0:1", f"lane-0:{10**30}"])
def test_position_that_is_not_reached_is_refused(at: str) -> None:
    desk = settled(build_world(1))

    with tables_of(desk).connect() as connection, pytest.raises(AtRefused, match="is not reached"):
        read_position(connection, at)


HALF_HOUR = DAY // 48


def three_days() -> Desk:
    """On day n the owner `c` deposits n + 1; the streams mark each midnight."""
    a, b = Producer("a"), Producer("b")
    desk = Desk(parameter_set())
    desk.ingest([a.register(LAUNCH), b.register(LAUNCH)])
    for n in range(3):
        desk.ingest([a.deposit(day(n, 2), "c", ASSET, n + 1, f"d{n}")])
        desk.ingest([a.mark(day(n + 1))])
        desk.settle()
        desk.ingest([b.mark(day(n + 1))])
        desk.settle()
    return desk


@pytest.mark.parametrize(
    ("at", "held"),
    [
        (day(0) - 1, 0),
        (day(0), 0),
        (day(0) + 1, 1),  # network time jumps from day 0 to day 1: what was decided until then is in
        (day(1), 1),
        (day(1) + 1, 3),
        (day(2), 3),
        (day(2) + 1, 6),
        (day(2) + HALF_HOUR, 6),  # the last stop: epoch 1 closes; no decision stands at a later time
    ],
)
def test_a_time_stands_for_the_position_at_which_network_time_reached_it(at: int, held: int) -> None:
    desk = three_days()

    with tables_of(desk).connect() as connection:
        position = read_position(connection, format_instant(at))
        moved = balances_at(connection, position).get(("consumer:c", "escrow"), (0, 0))

    assert moved == (0, held)


@pytest.mark.parametrize("at", [format_instant(day(2) + HALF_HOUR + 1), "2026-10-05", "2027-01-01T00:00:00+02:00"])
def test_time_that_the_books_have_not_reached_is_refused(at: str) -> None:
    desk = three_days()

    with tables_of(desk).connect() as connection, pytest.raises(AtRefused, match="is not reached"):
        read_position(connection, at)


def test_times_in_other_zones_are_the_same_instant() -> None:
    desk = three_days()

    with tables_of(desk).connect() as connection:
        texts = ("2026-10-02T00:00:00Z", "2026-10-02", "2026-10-02T02:00:00+02:00", "2026-10-01T19:00:00-05:00")
        assert len({str(read_position(connection, at)) for at in texts}) == 1


@pytest.mark.parametrize("build", [build_world, build_small_network])
def test_history_ends_at_the_position_and_its_running_balance_is_that_of_the_fold(
    build: Callable[[int], World],
) -> None:
    desk = settled(build(2), batch=7)
    accounts = {account for account, _ in desk.money()} - {"supply:issued"}

    with tables_of(desk).connect() as connection:
        for record in desk.lane.records[:: max(1, len(desk.lane.records) // 5)]:
            position = read_position(connection, f"lane-0:{record.end},hub:{desk.hub.end()}")
            balances = balances_at(connection, position)
            for name in accounts:
                movements = {move.key.vault: move for move in read_history(connection, position, name)}
                for vault, move in movements.items():
                    debits, credits = balances[name, vault]
                    assert move.balance == credits - debits


@pytest.mark.parametrize("build", [build_world, build_small_network])
def test_supply_at_any_position_keeps_its_identity(build: Callable[[int], World]) -> None:
    desk = settled(build(4), batch=3)
    hub_ends = [record.end for record in desk.hub.records]

    with tables_of(desk).connect() as connection:
        for record in desk.lane.records:
            for hub_end in {hub_ends[0], hub_ends[len(hub_ends) // 2], hub_ends[-1]}:
                supply = read_supply(connection, {"lane-0": record.end, "hub": hub_end}, ASSET)
                assert supply.total == supply.issued - supply.burned
                assert supply.issued == 10**18


def test_deposits_are_in_the_position_of_their_decision() -> None:
    desk = three_days()

    sequences = [
        sequence
        for record in desk.lane.records
        for sequence, line in record.events()
        if isinstance(decode(line), DepositCredited)
    ]
    with tables_of(desk).connect() as connection:
        for number, sequence in enumerate(sequences, 1):
            held = balances_at(connection, {"lane-0": sequence + 1})["consumer:c", "escrow"]
            assert held == (0, number * (number + 1) // 2)
