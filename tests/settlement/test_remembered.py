"""What ingest remembers between sessions changes no receipt and no log, whatever becomes of it."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from shutil import rmtree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.facts import UsageMetered
from events.record import Record
from settlement import remembered as remembered_module
from settlement.ingest import Partitions, Receipt, ingest
from settlement.lines import Chunk
from tests.networks import build_network
from tests.settlement.desk import Desk, MemoryLog, as_lines, no_clock
from tests.settlement.odd_facts import among, odd_facts

pytestmark = pytest.mark.slow


def session(desk: Desk, lines: list[bytes], cache: Path | None) -> list[Receipt]:
    """Ingest in a session of its own."""
    return list(ingest([Chunk.of(as_lines(lines))], "test", Partitions(desk.partitions, cache), no_clock))


def spoil(cache: Path, random: Random) -> None:
    """Do to a cache what may be done to it."""
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    if not files:
        return
    path, what = random.choice(files), random.randrange(5)
    if what == 0:
        rmtree(cache)
    elif what == 1:
        path.unlink()
    elif what == 2:
        data = bytearray(path.read_bytes() or b"x")
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(data)
    elif what == 3:
        path.write_bytes(path.read_bytes()[: random.randrange(path.stat().st_size + 1)])


@settings(max_examples=40, deadline=None)
@given(random=st.randoms(use_true_random=False), seed=st.integers(0, 10**6), least=st.sampled_from((1, 30)))
def test_sessions_with_a_cache_are_sessions_without(
    tmp_path_factory: pytest.TempPathFactory, random: Random, seed: int, least: int
) -> None:
    world = build_network(seed, jobs=8, periods=4)
    facts = world.facts()
    facts = among(facts, odd_facts(facts, random, 20), random)
    lines = [line.data for line in as_lines(facts)]
    with_cache, without = Desk(world.parameters, 2), Desk(world.parameters, 2)
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered_module, "SEALED_AFTER", least)
        for _ in range(5):
            start = random.randrange(len(lines))
            part = lines[start : start + random.randint(1, 120)]
            assert session(with_cache, part, cache) == session(without, part, None)
            if random.random() < 0.4:
                spoil(cache, random)

    assert [log.root() for log in with_cache.partitions] == [log.root() for log in without.partitions]


def test_a_later_session_reads_what_is_behind_the_seal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = build_network(2)
    desk, lines = Desk(world.parameters), [line.data for line in as_lines(world.facts())]
    monkeypatch.setattr(remembered_module, "SEALED_AFTER", 1)
    session(desk, lines[:-1], tmp_path)
    asked: list[int] = []
    read = MemoryLog.read

    def watched(log: MemoryLog, position: int = 0) -> Iterator[Record]:
        asked.append(position)
        return read(log, position)

    monkeypatch.setattr(MemoryLog, "read", watched)

    partitions = Partitions(desk.partitions, tmp_path)

    ends = [log.end() for log in desk.partitions]
    assert sorted(asked) == sorted([*ends, *(end - 1 for end in ends)])
    plain = Partitions(desk.partitions)
    for name, intake in partitions.intakes.items():
        assert intake.time.marks == plain.intakes[name].time.marks
        assert intake.time.network_time == plain.intakes[name].time.network_time
        assert intake.parameters == plain.intakes[name].parameters
        assert intake.params_hash == plain.intakes[name].params_hash
        assert len(intake.keys) == len(plain.intakes[name].keys)


def test_a_cache_of_another_log_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log lost its end, or is another one of the same length."""
    world = build_network(2)
    facts = list(world.facts())
    lines = [line.data for line in as_lines(facts)]
    place = next(place for place, fact in enumerate(facts) if type(fact) is UsageMetered)
    facts[place] = msgspec.structs.replace(facts[place], subject="another")
    changed = [line.data for line in as_lines(facts)]
    monkeypatch.setattr(remembered_module, "SEALED_AFTER", 1)

    for number, before in enumerate((lines[: len(lines) // 2], changed)):
        cache = tmp_path / str(number)
        sealed, other, plain = (Desk(world.parameters) for _ in range(3))
        session(sealed, lines, cache)
        session(other, before, None)
        session(plain, before, None)

        assert session(other, lines, cache) == session(plain, lines, None)
        assert [log.root() for log in other.partitions] == [log.root() for log in plain.partitions]
        assert [log.root() for log in other.partitions] != [log.root() for log in sealed.partitions]
