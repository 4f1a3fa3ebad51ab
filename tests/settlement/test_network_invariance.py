"""What may not matter to a whole network does not: lanes, batches, restarts, the order of threads between marks."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import encode
from events.decisions import DecisionRefused, EpochClosed, LaneEpochClosed
from tests.networks import build_network
from tests.settlement.desk import Desk, settled

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lives_in_small_batches")]

LANES = (1, 3, 8)
BATCHES = ((50, 1), (1, 7), (1_000, 1_000))
few = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 10**9)


def lines_of(desk: Desk) -> list[bytes]:
    """Return all decisions in order of their ids, but those that name lanes and those whose detail may."""
    named = LaneEpochClosed | EpochClosed | DecisionRefused
    decisions = sorted(desk.decisions(), key=lambda decision: decision.id)
    return [encode(decision) for decision in decisions if not isinstance(decision, named)]


def refused_of(desk: Desk) -> list[str]:
    return sorted(decision.id for decision in desk.decisions() if isinstance(decision, DecisionRefused))


@pytest.mark.parametrize("seed", range(8))
def test_lanes_chunks_and_batches_change_no_decision(seed: int) -> None:
    world = build_network(seed)
    plain = settled(world)
    for lanes, (chunk, batch) in zip(LANES, BATCHES, strict=True):
        other = settled(world, lanes=lanes, chunk=chunk, batch=batch)

        assert other.digests() == plain.digests(), (lanes, chunk, batch)
        assert lines_of(other) == lines_of(plain), (lanes, chunk, batch)
        assert refused_of(other) == refused_of(plain), (lanes, chunk, batch)


@few
@given(seed=seeds, lanes=st.sampled_from(LANES), order=st.randoms(use_true_random=False))
def test_threads_may_be_shuffled_between_marks(seed: int, lanes: int, order: Random) -> None:
    world = build_network(seed, jobs=15, periods=5, calm=True)

    shuffled, plain = settled(world, world.facts(order), lanes=lanes), settled(world)

    assert shuffled.digests() == plain.digests()
    assert lines_of(shuffled) == lines_of(plain)


@few
@given(seed=seeds, cuts=st.lists(st.floats(0, 1), max_size=4), lanes=st.sampled_from(LANES), batch=st.integers(1, 50))
def test_restarts_between_sessions_change_no_decision(seed: int, cuts: list[float], lanes: int, batch: int) -> None:
    world = build_network(seed, jobs=15, periods=5)
    facts = world.facts()
    places = [0, *sorted(int(cut * len(facts)) for cut in cuts), len(facts)]

    desk, plain = Desk(world.parameters, lanes), settled(world)
    for start, end in pairwise(places):
        desk.ingest(facts[start:end], chunk=11)
        desk.settle(batch)

    assert desk.verify().unsettled == 0
    assert desk.digests() == plain.digests()
    assert lines_of(desk) == lines_of(plain)


@few
@given(seed=seeds, order=st.randoms(use_true_random=False), again=st.integers(1, 40))
def test_duplicates_change_nothing_wherever_they_come(seed: int, order: Random, again: int) -> None:
    world = build_network(seed, jobs=15, periods=5)
    facts = world.facts()
    repeated = list(facts)
    for _ in range(again):
        source = order.randrange(len(facts))
        repeated.insert(order.randint(repeated.index(facts[source]) + 1, len(repeated)), facts[source])

    desk, once = settled(world, repeated), settled(world)

    assert lines_of(desk) == lines_of(once)
    assert [fact.id for fact in desk.kept()] == [fact.id for fact in once.kept()]
