"""The number of lanes changes no balance and no decision; partitions may stand apart, and settlers may wait."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.facts import Producer
from events.codec import encode
from events.decisions import DecisionRefused, EpochClosed, LaneEpochClosed
from events.event import Fact
from events.hashing import Digests
from events.instant import DAY, MICROSECONDS, parse_instant
from events.participants import NodeRegistered
from events.record import Basis, Record
from events.refusal import Reason
from settlement.cuts import cut_behind
from settlement.output import DecisionsDiffer, Output
from settlement.routing import lane_of
from settlement.settle import HubSettler, LaneSettler, Standing
from settlement.timekeeper import BEFORE_TIME
from tests.settlement.desk import Desk, MemoryLog, day, no_clock, settled
from tests.worlds import ASSET, LAUNCH, build_world, parameter_set

SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))]

LANES = (1, 3, 8)
few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 10**9)
P = Producer("p")


def ids_of(desk: Desk) -> list[str]:
    """Return the ids of all decisions but those that name lanes, in order."""
    return sorted(d.id for d in desk.decisions() if not isinstance(d, LaneEpochClosed | EpochClosed))


@pytest.mark.parametrize("seed", SEEDS)
def test_number_of_lanes_changes_no_digest_and_no_id(seed: int) -> None:
    world = build_world(seed, jobs=25, periods=7)
    desks = [settled(world, lanes=lanes) for lanes in LANES]

    assert len({desk.digests() for desk in desks}) == 1
    assert ids_of(desks[0]) == ids_of(desks[1]) == ids_of(desks[2])
    for desk in desks:
        assert desk.verify().unsettled == 0
        closed = [d.epoch for d in desk.decisions() if isinstance(d, EpochClosed)]
        assert closed == [d.epoch for d in desks[0].decisions() if isinstance(d, EpochClosed)]


@pytest.mark.slow
@few
@given(seed=seeds, lanes=st.sampled_from((1, 2, 5)), parts=st.integers(1, 9), order=st.randoms(use_true_random=False))
def test_sessions_of_ingest_and_settlement_verify_at_any_time_and_come_to_the_same(
    seed: int, lanes: int, parts: int, order: Random
) -> None:
    world = build_world(seed)
    facts = world.facts()
    desk = Desk(world.parameters, lanes)
    settlement = desk.settlement()
    step = len(facts) // parts + 1

    for start in range(0, len(facts), step):
        desk.ingest(facts[start : start + step], chunk=11)
        desk.verify()
        if order.random() < 0.5:
            desk.settle(batch=order.choice((1, 5, 1_000)))
            assert desk.verify().unsettled == 0
            settlement = desk.settlement()
        elif order.random() < 0.5:
            settlement.run()  # goes on where it stood
    desk.settle()

    assert desk.verify().unsettled == 0
    assert desk.digests() == settled(world).digests()


@pytest.mark.parametrize("seed", range(3))
def test_settlers_come_to_the_same_in_steps_of_cuts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leaps over empty cuts, as settlers in processes of their own would go."""
    world = build_world(seed)
    leaping = settled(world, lanes=2)
    monkeypatch.setattr(HubSettler, "leap", lambda _hub, _time: False)

    stepping = settled(world, lanes=2)

    for log, other in zip(leaping.ledgers, stepping.ledgers, strict=True):
        assert [record.lines for record in log.read()] == [record.lines for record in other.read()]
        assert [r.header.network_time for r in log.read()] == [r.header.network_time for r in other.read()]


class Broken(Exception):
    """The process dies here."""


class FailingLog(MemoryLog):
    """Dies instead of appending for the n-th time from now on."""

    left = 10**9

    def append(
        self,
        lines: Sequence[bytes] | bytes,
        recorded_at: str,
        network_time: str | None = None,
        basis: tuple[Basis, ...] = (),
        hashes: Digests | None = None,
    ) -> Record:
        self.left -= 1
        if self.left == 0:
            raise Broken
        return super().append(lines, recorded_at, network_time, basis, hashes)


def fragile(desk: Desk) -> Desk:
    for log in (*desk.partitions, *desk.ledgers):
        log.__class__ = FailingLog
    return desk


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_crash_between_the_appends_of_partitions_loses_and_doubles_nothing(seed: int, lanes: int) -> None:
    order = Random(f"partitions {seed}")
    world = build_world(seed)
    facts = world.facts()
    desk = fragile(Desk(world.parameters, lanes))
    start = 0
    while start < len(facts):
        part = facts[start : start + 20]
        failing = order.choice(desk.partitions[1:])
        assert isinstance(failing, FailingLog)
        failing.left = order.choice((1, 10**9))
        try:
            desk.ingest(part, chunk=20)
            start += 20
        except Broken:
            # Partitions stand apart: what can be settled, is; nothing is taken back when the batch comes again.
            desk.settle()
            desk.verify()
        failing.left = 10**9
    desk.settle()

    undisturbed = settled(world, chunk=20, lanes=lanes)
    assert desk.verify().unsettled == 0
    assert desk.digests() == undisturbed.digests()
    assert [event.id for event in desk.kept()] == [event.id for event in undisturbed.kept()]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_crash_of_a_settler_at_any_append_leaves_what_verifies_and_goes_on(seed: int, lanes: int) -> None:
    order = Random(f"settlers {seed}")
    world = build_world(seed)
    desk = fragile(Desk(world.parameters, lanes))
    desk.ingest(world.facts())
    for _ in range(6):
        failing = order.choice(desk.ledgers)
        assert isinstance(failing, FailingLog)
        failing.left = order.randint(1, 4)
        try:
            desk.settle(batch=order.choice((1, 10)))
        except Broken:
            desk.verify()
        failing.left = 10**9
    desk.settle()

    assert desk.verify().unsettled == 0
    assert desk.digests() == settled(world).digests()


def test_key_that_another_partition_knows_with_other_content_is_a_conflict() -> None:
    desk = Desk(parameter_set(), 3)
    owner = next(f"c{n}" for n in range(99) if lane_of(f"c{n}", 3) != lane_of("c", 3))
    first, other = (P.deposit(LAUNCH, name, ASSET, 5, "k") for name in ("c", owner))
    node = next(f for seed in range(50) for f in build_world(seed).facts() if isinstance(f, NodeRegistered))
    of_the_hub = P.fact(NodeRegistered, LAUNCH, "n", "k", node.data)

    (receipt,) = desk.ingest([P.register(LAUNCH), first, other, of_the_hub, first])

    assert [line.refusal.reason for line in receipt.refused] == [Reason.KEY_CONFLICT] * 2
    assert (receipt.accepted, receipt.duplicates) == (2, 1)
    (receipt,) = desk.ingest([other, of_the_hub, first])
    assert [line.refusal.reason for line in receipt.refused] == [Reason.KEY_CONFLICT] * 2
    desk.settle()
    assert desk.money()["consumer:c", "escrow"] == 5
    assert ("consumer:" + owner, "escrow") not in desk.money()


def test_receipt_names_what_each_partition_holds() -> None:
    desk = Desk(parameter_set(), 2)

    (receipt,) = desk.ingest([P.register(LAUNCH), P.deposit(LAUNCH, "c", ASSET, 5, "k")])

    assert receipt.position == ",".join(f"{log.name}:{log.end()}" for log in desk.partitions)
    assert receipt.position.endswith(f",facts/hub:{desk.partitions[-1].end()}")


def lone_lane(facts: Sequence[Fact]) -> LaneSettler:
    desk = Desk(parameter_set())
    desk.ingest(facts)
    return LaneSettler(0, 1, desk.facts, desk.hub, Output(desk.lane, no_clock))


def test_lane_is_ahead_of_the_hub_by_the_time_of_a_return_at_most() -> None:
    lane = lone_lane([P.register(LAUNCH), P.mark(day(3))])
    ahead = parameter_set().epoch.return_seconds * MICROSECONDS

    assert lane.advance(Standing(LAUNCH, 0))
    assert lane.standing().passed == LAUNCH + ahead
    assert lane.quiet_until() == day(1) + 1800 * MICROSECONDS
    assert not lane.advance(Standing(LAUNCH, 0))
    for passed in (day(1), day(2), day(3) - ahead - 1):
        assert lane.advance(Standing(passed, 0))
        assert lane.standing().passed == passed + ahead
    assert lane.advance(Standing(day(3) - ahead, 0))
    assert lane.standing().passed == lane.quiet_until() == day(3)
    lane.advance(Standing(day(9), 0))
    assert lane.standing().passed == day(3)


def test_hub_waits_for_the_slowest_lane() -> None:
    desk = Desk(parameter_set(), 2)
    desk.ingest([P.register(LAUNCH), P.mark(day(2))])
    hub = HubSettler(desk.partitions[-1], desk.lanes, Output(desk.hub, no_clock))

    assert hub.standing().passed == BEFORE_TIME
    assert hub.advance([Standing(day(2), 0), Standing(LAUNCH + 7, 0)])
    assert hub.standing().passed == LAUNCH + 7
    assert not hub.advance([Standing(day(2), 0), Standing(LAUNCH + 7, 0)])


def test_hub_that_lacks_decisions_is_named_beside_the_lane_that_built_on_them() -> None:
    desk = settled(build_world(3), lanes=2)
    records = desk.hub.records
    desk.hub.__init__("hub")  # type: ignore[misc]
    desk.hub.append(records[0].lines, "2026-11-01T00:00:00.000000Z")

    with pytest.raises(DecisionsDiffer, match=r"^lane-\d: event \d+: the facts lead to nothing.*missing from hub$"):
        desk.verify()


@given(st.integers(LAUNCH, LAUNCH + 3 * DAY), st.sampled_from((1, 60, 3_600)), st.sampled_from((0, 1_801, 3 * 86_400)))
def test_first_cut_behind_a_time_is_the_least_of_all_cuts_above_it(time: int, width: int, grace: int) -> None:
    parameters = parameter_set()
    rules = parameters.epoch.model_copy(update={"cut_seconds": width, "grace_seconds": grace})

    found = cut_behind(time, parameters.model_copy(update={"epoch": rules}))

    closes = [day(n) + grace * MICROSECONDS for n in range(-5, 6)]
    regular = time - time % (width * MICROSECONDS) + width * MICROSECONDS
    assert found == min(moment for moment in (regular, *closes) if moment > time)
    assert parse_instant(parameters.launched_at) == LAUNCH


def test_fact_in_a_partition_that_is_not_its_own_is_refused_there() -> None:
    """A log's producers may append past `ingest`; a deposit in two lanes would count twice."""
    desk = Desk(parameter_set(), 3)
    desk.ingest([P.register(LAUNCH)])
    deposit = encode(P.deposit(LAUNCH + 1, "c", ASSET, 7, "k"))
    for partition in desk.partitions:
        partition.append([deposit], no_clock())
    desk.ingest([P.mark(day(1))])

    desk.settle()

    own = f"facts/{lane_of('c', 3)}"
    refused = [d.data for d in desk.decisions() if isinstance(d, DecisionRefused)]
    said = {(data.position or "").partition(":")[0]: data.reason for data in refused}
    assert said == {log.name: Reason.FACT_MISROUTED for log in desk.partitions if log.name != own}
    assert desk.money()["consumer:c", "escrow"] == 7
