"""From a snapshot or from the first fact, the logs are the same; and what cannot be used is not.

A settler that goes on from a snapshot goes on as the one that wrote it: the same records, byte for byte.
"""

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random
from shutil import copytree, rmtree
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.event import Fact
from settlement import settle as settle_module
from settlement import snapshot as snapshot_module
from settlement.output import DecisionsDiffer, Output
from settlement.settle import BATCH_DECISIONS, HubSettler, LaneSettler, Settlement
from settlement.snapshot import Mark, Snapshots, State
from tests.networks import build_network
from tests.settlement.desk import Desk, no_clock
from tests.worlds import World, build_world

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lives_in_small_batches")]

LANES = (1, 3, 8)
few = settings(max_examples=6, deadline=None)
seeds = st.integers(0, 10**9)


def snapshots_of(desk: Desk, folder: Path) -> Snapshots:
    return Snapshots(folder, [*desk.partitions, *desk.ledgers])


def start(desk: Desk, folder: Path) -> Settlement:
    """Start the settlers of a desk from what the folder holds."""
    snapshots = snapshots_of(desk, folder)
    states = snapshots.load()
    count = len(desk.lanes)
    lanes = [
        LaneSettler(number, count, facts, desk.hub, Output(lane, no_clock), folder / lane.name, states.get(lane.name))
        for number, (facts, lane) in enumerate(zip(desk.partitions[:-1], desk.lanes, strict=True))
    ]
    hub = HubSettler(desk.partitions[-1], desk.lanes, Output(desk.hub, no_clock), folder / "hub", states.get("hub"))
    return Settlement(lanes, hub, _nothing, snapshots)


def settle(desk: Desk, folder: Path, batch: int = BATCH_DECISIONS) -> None:
    """Settle all that is there, as a process that starts, and rests at its end."""
    settlement = start(desk, folder)
    settlement.run(batch)
    settlement.snapshot(1)


def same_logs(one: Desk, other: Desk) -> None:
    for log, twin in zip(one.ledgers, other.ledgers, strict=True):
        assert log.records == twin.records, log.name
        assert log.root() == twin.root()


def decided(desk: Desk) -> list[list[bytes]]:
    """Return each log's decisions; of the hub's closes not the lanes' positions, which are where records end."""
    found = []
    for log in desk.ledgers:
        lines = [line for record in log.records for line in record.lines]
        found.append([line for line in lines if b'"type":"EpochClosed"}' not in line])
    return found


def cut(desk: Desk, ends: dict[str, int]) -> Desk:
    """Return a desk whose logs end at these positions."""
    other = Desk(desk.parameters, len(desk.lanes), opened=False)
    for log, twin in zip([*desk.partitions, *desk.ledgers], [*other.partitions, *other.ledgers], strict=True):
        for record in log.records:
            if record.end <= ends.get(log.name, log.end()):
                twin.append(record.data, no_clock(), record.header.network_time, record.header.basis)
        assert twin.records == log.records[: len(twin.records)]
    return other


def in_pieces(world: World, cuts: list[float]) -> Iterator[list[Fact]]:
    facts = world.facts()
    places = [0, *sorted(int(cut * len(facts)) for cut in cuts), len(facts)]
    for begin, end in pairwise(places):
        yield list(facts[begin:end])


@few
@given(seed=seeds, cuts=st.lists(st.floats(0, 1), max_size=5), lanes=st.sampled_from(LANES), batch=st.integers(1, 80))
def test_settlers_that_start_from_snapshots_are_settlers_that_never_stopped(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[float], lanes: int, batch: int
) -> None:
    world, folder = build_network(seed, jobs=15, periods=5), tmp_path_factory.mktemp("cache")
    restarted, running = Desk(world.parameters, lanes), Desk(world.parameters, lanes)
    lasting = running.settlement()
    for piece in in_pieces(world, cuts):
        for desk in (restarted, running):
            desk.ingest(piece, chunk=11)
        assert not restarted.hub.records or snapshots_of(restarted, folder).load()
        settle(restarted, folder, batch)
        lasting.run(batch)

    same_logs(restarted, running)
    assert restarted.verify().unsettled == 0


@pytest.mark.parametrize(("seed", "lanes", "chunk"), [(1, 1, 200), (2, 3, 200), (3, 8, 200), (4, 1, 5), (5, 3, 5)])
def test_from_a_snapshot_at_any_turn_the_logs_come_out_the_same(
    seed: int, lanes: int, chunk: int, tmp_path: Path
) -> None:
    """Between two turns settlers pause anywhere, within a record of facts too; what is behind may be lost or not."""
    random, world = Random(seed), build_network(seed, jobs=12, periods=4)
    desk, folder = Desk(world.parameters, lanes), tmp_path / "cache"
    desk.ingest(world.facts(), chunk=chunk)
    settlement, taken = start(desk, folder), list[Path]()
    for settler in settlement._settlers:
        settler.batch = 20
    while settlement._take_turns():
        settlement.snapshot(1)
        if random.random() < 0.6:
            taken.append(tmp_path / f"turn {len(taken)}")
            copytree(folder, taken[-1])
    settlement.run(20)

    within = 0
    for copy in taken:
        # A first reading of a copy says how far the logs were then.
        looked = copytree(copy, tmp_path / "looked at")
        states = snapshots_of(desk, looked).load()
        within += any(state["_taken"] for state in states.values())
        short = cut(desk, {name: state["output"].end for name, state in states.items()})
        rmtree(looked)
        whole = cut(desk, {})
        for other, cache in ((short, copy), (whole, copytree(copy, tmp_path / "whole"))):
            assert [log.end() for log in other.ledgers] != [0] * len(other.ledgers) or not states
            start(other, cache).run(20)
            same_logs(other, desk)
        rmtree(tmp_path / "whole")
    assert len(taken) > 2
    assert within


def test_while_there_is_more_to_do_snapshots_are_written_behind_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = build_network(2, jobs=8, periods=3)
    desk, plain = Desk(world.parameters), Desk(world.parameters)
    for one in (desk, plain):
        one.ingest(world.facts())
    kept: list[int] = []
    keep = Snapshots.keep

    def watched(snapshots: Snapshots, marks: Sequence[Mark], states: Mapping[str, State]) -> None:
        kept.append(sum(mark.end for mark in marks))
        keep(snapshots, marks, states)

    monkeypatch.setattr(Snapshots, "keep", watched)
    monkeypatch.setattr(settle_module, "BATCHES_PER_COMMIT", 1)
    monkeypatch.setattr(settle_module, "WHILE_RUNNING", 50)

    start(desk, tmp_path).run(10)
    plain.settlement().run(10)

    assert len(kept) > 2
    assert all(later - earlier >= 50 for earlier, later in pairwise(kept))
    same_logs(desk, plain)


@few
@given(
    seed=seeds,
    cuts=st.lists(st.floats(0, 1), min_size=2, max_size=6),
    lanes=st.sampled_from(LANES),
    random=st.randoms(),
)
def test_whatever_becomes_of_the_folder_the_decisions_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[float], lanes: int, random: Random
) -> None:
    world, folder = build_network(seed, jobs=15, periods=5), tmp_path_factory.mktemp("cache")
    desk, plain = Desk(world.parameters, lanes), Desk(world.parameters, lanes)
    for piece in in_pieces(world, cuts):
        for one in (desk, plain):
            one.ingest(piece, chunk=11)
        settle(desk, folder)
        plain.settle()
        if random.random() < 0.7:
            spoil(folder, random)

    assert decided(desk) == decided(plain)
    assert desk.digests() == plain.digests()
    assert desk.verify().unsettled == 0


def spoil(folder: Path, random: Random) -> None:
    """Do to a folder what may be done to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, what = random.choice(files), random.randrange(4)
    if what == 0:
        rmtree(folder)
    elif what == 1:
        path.unlink()
    elif what == 2:
        data = bytearray(path.read_bytes() or b"x")
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(data)
    else:
        os.truncate(path, random.randrange(path.stat().st_size + 1))


# --- what is not used ---


@pytest.fixture
def desk() -> Desk:
    world = build_world(4)
    desk = Desk(world.parameters, 2)
    desk.ingest(world.facts()[:60])
    return desk


@pytest.fixture
def cache(desk: Desk, tmp_path: Path) -> Path:
    """Give a folder with two snapshots of the desk."""
    folder = tmp_path / "cache"
    settle(desk, folder)
    desk.ingest(build_world(4).facts())
    settle(desk, folder)
    assert len(names_in(folder)) == 2
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("snapshot-*"))


def taken_up(desk: Desk, folder: Path) -> int:
    """Return how far the facts of the first lane were taken in by the states that are loaded."""
    states = snapshots_of(desk, folder).load()
    position: int = states["lane-0"]["_position"] if states else 0
    return position


def test_the_newest_snapshot_is_used_and_two_are_kept(desk: Desk, cache: Path) -> None:
    before = names_in(cache)
    assert taken_up(desk, cache) == desk.facts.end()
    desk.ingest(build_world(5).facts())

    settle(desk, cache)

    assert names_in(cache)[0] == before[1]
    assert len(names_in(cache)) == 2
    # Nothing was done since: no other is written.
    written = (cache / names_in(cache)[1]).stat()
    settle(desk, cache)
    assert (cache / names_in(cache)[1]).stat().st_ino == written.st_ino


@pytest.mark.parametrize("place", [0, 20, 300, -100, -1])
def test_a_damaged_snapshot_gives_way_to_the_one_before(place: int, desk: Desk, cache: Path) -> None:
    older, newer = names_in(cache)
    data = bytearray((cache / newer).read_bytes())
    data[place] ^= 4
    (cache / newer).write_bytes(data)

    assert 0 < taken_up(desk, cache) < desk.facts.end()
    assert names_in(cache) == [older]
    settle(desk, cache)
    assert taken_up(desk, cache) == desk.facts.end()


@pytest.mark.parametrize("size", [0, 10, 64, 500])
def test_a_short_snapshot_gives_way_to_the_one_before(size: int, desk: Desk, cache: Path) -> None:
    os.truncate(cache / names_in(cache)[1], size)

    assert 0 < taken_up(desk, cache) < desk.facts.end()


def test_a_snapshot_whose_keys_are_damaged_gives_way_to_the_one_before(desk: Desk, cache: Path) -> None:
    newest = max((cache / "lane-0" / "keys").glob("*.run"))
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")

    assert 0 < taken_up(desk, cache) < desk.facts.end()


def test_a_snapshot_that_other_code_wrote_is_not_used(desk: Desk, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "code_digest", lambda: "0" * 64)

    assert taken_up(desk, cache) == 0
    assert names_in(cache) == []


def test_a_snapshot_of_other_logs_is_not_used(desk: Desk, cache: Path) -> None:
    other = Desk(build_world(6).parameters, 2)
    other.ingest(build_world(6).facts())
    other.settle()
    assert taken_up(other, cache) == 0


def test_a_snapshot_of_other_lanes_is_not_used(desk: Desk, cache: Path) -> None:
    assert taken_up(Desk(desk.parameters, 1), cache) == 0


@pytest.mark.parametrize("log", ["lane-1", "hub", "facts/0"])
def test_a_snapshot_behind_a_cut_is_not_used(log: str, desk: Desk, cache: Path) -> None:
    """A log was cut back by a record: the snapshot before it is still good."""
    [whole] = [one for one in (*desk.partitions, *desk.ledgers) if one.name == log]
    shorter = cut(desk, {log: whole.records[-1].sequence})

    assert 0 < taken_up(shorter, copytree(cache, cache.with_name("copy"))) < desk.facts.end()
    start(shorter, cache)


def test_forgotten_snapshots_are_gone(desk: Desk, cache: Path) -> None:
    snapshots_of(desk, cache).forget()

    assert taken_up(desk, cache) == 0


def test_what_was_left_half_written_is_removed(desk: Desk, cache: Path) -> None:
    (cache / "snapshot-1.part").write_bytes(b"half")

    assert taken_up(desk, cache) == desk.facts.end()
    assert len(names_in(cache)) == 2


@pytest.mark.parametrize("call", [(os.system, ("true",)), (getattr, ((), "count")), (pickle.loads, (b"N.",))])
def test_a_body_makes_nothing_but_states(call: object, desk: Desk, cache: Path) -> None:
    """Even behind right digests."""

    class Forged:
        def __reduce__(self) -> Any:
            return call

    newest = cache / names_in(cache)[1]
    header = newest.read_bytes().partition(b"\n")[0] + b"\n"
    data = header + pickle.dumps({"lane-0": Forged()})
    newest.write_bytes(data + sha256(data).hexdigest().encode())

    assert 0 < taken_up(desk, cache) < desk.facts.end()


def test_a_body_binds_methods_of_ours_alone() -> None:
    with pytest.raises(pickle.UnpicklingError, match="dict has no method pop"):
        snapshot_module._bind({}, "pop")


def test_where_no_snapshot_can_be_written_settlement_goes_on(
    desk: Desk, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    before = names_in(cache)
    desk.ingest(build_world(5).facts())
    monkeypatch.setattr(os, "fsync", full)

    settle(desk, cache)

    assert "no snapshot was written: No space left on device" in caplog.text
    assert [name for name in names_in(cache) if not name.endswith(".part")] == before
    assert desk.verify().unsettled == 0


def test_a_snapshot_is_due_after_so_much_and_later_where_it_is_large(
    desk: Desk, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = snapshots_of(desk, cache)
    snapshots.load()
    last = int(names_in(cache)[1].removeprefix("snapshot-"))
    assert snapshots.is_due(last + 10, 10)
    assert not snapshots.is_due(last + 10, 11)
    monkeypatch.setattr(snapshot_module, "_PART_BYTES", (cache / names_in(cache)[1]).stat().st_size)
    assert snapshots.is_due(last + 10, 5)
    assert not snapshots.is_due(last + 10, 6)


def test_what_lies_behind_the_snapshot_is_compared(desk: Desk, cache: Path) -> None:
    """A decision that the facts do not lead to stops the start, as without a snapshot."""
    desk.lane.append([desk.lane.records[0].lines[0]], no_clock(), basis=())

    with pytest.raises(DecisionsDiffer, match="lane-0: event"):
        start(desk, cache).run()


def _nothing() -> None:
    """What is in memory cannot be made durable."""
