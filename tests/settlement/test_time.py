"""Time is data: epochs close when every stream has passed them, and what is late changes no closed epoch."""

from collections import defaultdict
from collections.abc import Callable

import pytest

from app.facts import Producer
from events.decisions import (
    DepositCredited,
    EpochClosed,
    FeeAllocated,
    GenesisAllocated,
    JobSettled,
    LaneEpochClosed,
)
from events.event import Fact
from events.facts import Terms, UsageMetered, UsageMeteredData
from events.instant import DAY, MICROSECONDS, day_of, format_instant
from settlement.timekeeper import BEFORE_TIME, Timekeeper
from tests.networks import build_small_network
from tests.settlement.desk import Desk, day, settled
from tests.worlds import ASSET, LAUNCH, World, build_world, parameter_set

pytestmark = pytest.mark.slow

A, B = Producer("a"), Producer("b")
GRACE = 1800 * MICROSECONDS
FIRST = day_of(LAUNCH)


def whole_job(producer: Producer, job: str, occurred_at: int, gross: int = 100_000) -> Fact:
    terms = Terms(asset=ASSET, authority="declared", gpu_seconds_max=3600, minimum="0", operator="o", price=str(gross))
    data = UsageMeteredData(attempt=1, consumer="c", gpu_seconds=3600, node="n", terms=terms)
    return producer.fact(UsageMetered, occurred_at, job, job, data)


def opened() -> Desk:
    desk = Desk(parameter_set())
    desk.ingest([A.register(LAUNCH), B.register(LAUNCH), A.deposit(LAUNCH, "c", ASSET, 10**9, "d")])
    return desk


def closed(desk: Desk) -> list[int]:
    return [d.epoch - FIRST for d in desk.decisions() if isinstance(d, EpochClosed)]


def test_network_time_is_the_slowest_streams_mark_and_never_falls() -> None:
    time = Timekeeper()
    reached = [time.network_time]
    for stream, until in (("a", 10), ("b", 5), ("a", 20), ("b", 12), ("c", 3), ("c", 15)):
        time.mark(stream, until)
        reached.append(time.network_time)

    assert reached == [BEFORE_TIME, 10, 10, 10, 12, 12, 12]
    assert time.is_late("b", 11)
    assert not time.is_late("b", 12)
    assert not time.is_late("unknown", -1)


def test_epoch_closes_only_when_all_streams_have_passed_its_end_and_grace() -> None:
    desk = opened()
    steps = [
        (A.mark(day(5)), []),
        (B.mark(day(1)), []),
        (B.mark(day(1) + GRACE - 1), []),
        (B.mark(day(1) + GRACE), [0]),
        (B.mark(day(4)), [0, 1, 2]),
        (B.mark(day(9)), [0, 1, 2, 3]),
        (A.mark(day(9)), [0, 1, 2, 3, 4, 5, 6, 7]),
    ]
    for mark, expected in steps:
        desk.ingest([mark])
        desk.settle()
        assert closed(desk) == expected


def test_epochs_close_at_their_end_and_grace_whatever_the_mark_said() -> None:
    desk = opened()
    desk.ingest([A.mark(day(3)), B.mark(day(3))])
    desk.settle()

    times = [d.occurred_at for d in desk.decisions() if isinstance(d, LaneEpochClosed | EpochClosed)]
    assert times == [format_instant(day(n) + GRACE) for n in (1, 2)] * 2


def test_fact_belongs_to_the_day_on_which_it_occurred_while_that_day_is_open() -> None:
    desk = opened()
    desk.ingest([whole_job(A, "j2", day(2)), whole_job(A, "j1", day(2) - 1), whole_job(A, "j0", day(0))])
    desk.settle()

    assert {d.subject: d.epoch - FIRST for d in desk.decisions() if isinstance(d, JobSettled)} == {
        "j0": 0,
        "j1": 1,
        "j2": 2,
    }


def test_late_fact_goes_to_the_oldest_open_epoch_and_is_flagged() -> None:
    desk = opened()
    desk.ingest([A.mark(day(2)), B.mark(day(2))])  # epoch 0 is closed, epoch 1 stands in its grace
    desk.ingest([whole_job(A, "old", day(0, 1)), whole_job(A, "grace", day(1, 1)), whole_job(A, "now", day(2, 1))])
    desk.settle()

    settlements = {d.subject: (d.epoch - FIRST, d.late) for d in desk.decisions() if isinstance(d, JobSettled)}
    assert settlements == {"old": (1, True), "grace": (1, True), "now": (2, False)}


def test_late_is_told_by_the_facts_own_stream_alone() -> None:
    desk = opened()
    desk.ingest([A.mark(day(2)), whole_job(B, "b", day(0, 1)), whole_job(A, "a", day(0, 2))])
    desk.settle()

    assert {d.subject: d.late for d in desk.decisions() if isinstance(d, JobSettled)} == {"b": False, "a": True}


def test_deposit_behind_closed_epochs_is_credited_in_the_oldest_open_one() -> None:
    desk = opened()
    desk.ingest([A.mark(day(30)), B.mark(day(20))])
    desk.ingest([B.deposit(LAUNCH, "c", ASSET, 5, "late")])
    desk.settle()

    credited = [d for d in desk.decisions() if isinstance(d, DepositCredited)][-1]
    assert (credited.epoch - FIRST, credited.late) == (19, True)


def test_fees_are_split_once_per_epoch_on_the_networks_sum() -> None:
    """Three fees of 33 in one epoch: the pool gets a tenth of 99, not three tenths of 33."""
    desk = opened()
    desk.ingest([whole_job(A, f"j{n}", day(0, n), 660) for n in (1, 2, 3)] + [whole_job(B, "k", day(1, 1), 1_000)])
    desk.ingest([A.mark(day(5)), B.mark(day(5))])
    desk.settle()

    allocated = [
        (d.epoch - FIRST, d.data.fees, d.data.pool, d.data.treasury)
        for d in desk.decisions()
        if isinstance(d, FeeAllocated)
    ]
    assert allocated == [(0, "99", "9", "90"), (1, "50", "5", "45")]


def build_busy_world(seed: int) -> World:
    return build_world(seed, periods=8, jobs=30)


@pytest.mark.parametrize(("build", "step"), [(build_busy_world, 10), (build_small_network, 40)])
@pytest.mark.parametrize("seed", range(12))
def test_closed_epochs_totals_never_change_and_sum_to_what_was_settled(
    seed: int, build: Callable[[int], World], step: int
) -> None:
    world = build(seed)
    desk = Desk(world.parameters)
    seen: dict[int, tuple[int, int]] = {}
    facts = world.facts()
    for start in range(0, len(facts), step):
        desk.ingest(facts[start : start + step])
        desk.settle()
        sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for decision in desk.decisions():
            if isinstance(decision, JobSettled):
                for line in decision.data.lines:
                    sums[decision.epoch][0] += int(line.fee)
                    sums[decision.epoch][1] += int(line.burn)
        for decision in desk.decisions():
            if isinstance(decision, LaneEpochClosed):
                told = {(int(total.fee), int(total.burn)) for total in decision.data.totals} or {(0, 0)}
                assert told == {(sums[decision.epoch][0], sums[decision.epoch][1])}
                assert seen.setdefault(decision.epoch, *told) in told
            if isinstance(decision, FeeAllocated):
                assert int(decision.data.fees) == sums[decision.epoch][0]
                assert int(decision.data.pool) + int(decision.data.treasury) == sums[decision.epoch][0]


def test_a_lanes_epoch_digest_depends_on_its_decisions_and_not_on_their_order() -> None:
    world = build_world(11, calm=True, late=False)

    def digests(desk: Desk) -> list[str]:
        return [d.data.digest for d in desk.decisions() if isinstance(d, LaneEpochClosed)]

    plain = settled(world)
    assert digests(settled(world, chunk=1, batch=1)) == digests(plain) != []


def test_genesis_is_allocated_in_the_epoch_of_the_launch_before_any_stream() -> None:
    desk = Desk(parameter_set())
    desk.settle()

    (allocated,) = desk.decisions()
    assert isinstance(allocated, GenesisAllocated)
    assert allocated.epoch == FIRST
    assert sum(int(line.amount) for line in allocated.data.lines) == 10**18


def test_years_of_silence_close_every_day_between() -> None:
    desk = Desk(parameter_set())
    desk.ingest([A.register(LAUNCH + 400 * DAY)])
    desk.settle()

    assert closed(desk) == list(range(399))
