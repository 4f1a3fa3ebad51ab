"""What may not matter does not: batches, restarts, duplicates, the order of independent jobs and streams."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.settlement.desk import Desk, settled
from tests.worlds import build_world

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lives_in_small_batches")]

seeds = st.integers(0, 10**9)
few = settings(max_examples=25, deadline=None)


def test_sizes_of_chunks_and_batches_change_no_digest() -> None:
    for seed in range(8):
        world = build_world(seed)
        expected = settled(world).digests()
        for chunk, batch in ((1, 1), (1, 10_000), (2, 3), (7, 1), (1_000, 1), (1_000, 5), (13, 10_000)):
            assert settled(world, chunk=chunk, batch=batch).digests() == expected, (seed, chunk, batch)


@few
@given(seed=seeds, cuts=st.lists(st.floats(0, 1), max_size=6), batch=st.integers(1, 50))
def test_restarts_between_sessions_change_no_digest_and_no_decision_of_a_lane(
    seed: int, cuts: list[float], batch: int
) -> None:
    world = build_world(seed)
    facts = world.facts()
    places = [0, *sorted(int(cut * len(facts)) for cut in cuts), len(facts)]
    whole = settled(world)

    desk = Desk(world.parameters)
    for start, end in pairwise(places):
        desk.ingest(facts[start:end], chunk=11)
        desk.settle(batch)

    assert desk.digests() == whole.digests()
    assert _lane_lines(desk) == _lane_lines(whole)


@few
@given(seed=seeds, order=st.randoms(use_true_random=False))
def test_jobs_may_be_shuffled_between_marks(seed: int, order: Random) -> None:
    world = build_world(seed, calm=True)

    assert settled(world, world.facts(order)).digests() == settled(world).digests()


@few
@given(seed=seeds, order=st.randoms(use_true_random=False))
def test_independent_streams_may_interleave_marks_and_all(seed: int, order: Random) -> None:
    world = build_world(seed, calm=True, late=False)

    assert settled(world, world.interleaved(order)).digests() == settled(world).digests()


@few
@given(seed=seeds, order=st.randoms(use_true_random=False), again=st.integers(1, 40))
def test_duplicates_change_nothing_wherever_they_come(seed: int, order: Random, again: int) -> None:
    world = build_world(seed)
    facts = world.facts()
    repeated = list(facts)
    for _ in range(again):
        source = order.randrange(len(facts))
        place = order.randint(repeated.index(facts[source]) + 1, len(repeated))
        repeated.insert(place, facts[source])

    desk, once = settled(world, repeated), settled(world)

    assert desk.digests() == once.digests()
    assert [fact.id for fact in desk.kept()] == [fact.id for fact in once.kept()]


def test_settling_again_appends_nothing() -> None:
    world = build_world(3)
    desk = settled(world)
    ends = desk.lane.end(), desk.hub.end()

    assert desk.settle() == 0
    assert desk.ingest(world.facts())[-1].accepted == 0
    assert desk.settle() == 0
    assert (desk.lane.end(), desk.hub.end()) == ends


@pytest.mark.parametrize("seed", range(3))
def test_later_facts_leave_the_decisions_on_earlier_ones_as_they_were(seed: int) -> None:
    world = build_world(seed)
    facts = world.facts()
    lines = _lane_lines(settled(world))

    for end in range(0, len(facts), 7):
        part = _lane_lines(settled(world, facts[:end]))
        assert part == lines[: len(part)]


def test_every_decision_says_on_which_facts_it_rests() -> None:
    """A basis names what was new since the record before: ends and roots are those of the log it rests on."""
    world = build_world(5)
    desk = Desk(world.parameters)
    facts = world.facts()
    for start in range(0, len(facts), 20):
        desk.ingest(facts[start : start + 20], chunk=5)
        desk.settle(batch=4)
    roots = {record.end: record.header.root for record in desk.facts.records}

    ends = []
    for record in desk.lane.records:
        (basis,) = record.header.basis
        assert roots[basis.end] == basis.root
        assert basis.start <= basis.end
        ends.append(basis.end)
    assert ends == sorted(ends)


def _lane_lines(desk: Desk) -> list[bytes]:
    return [line for record in desk.lane.records for line in record.lines]


def test_decisions_have_distinct_ids() -> None:
    for seed in range(30):
        ids = [decision.id for decision in settled(build_world(seed)).decisions()]
        assert len(set(ids)) == len(ids), f"world {seed}"
