"""A batch that is judged in runs meets the verdicts that it meets line by line, and leaves the same behind."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import decode, encode
from events.columns import read_columns, split_lines
from events.event import Event, Fact
from events.instant import parse_instant
from events.refusal import Refusal
from settlement import intake as intake_module
from settlement.heads import Heads
from settlement.intake import Accepted, Intake, Known, Run, Verdict, content_digest, key_of
from tests.events.mutants import mutants
from tests.networks import build_network
from tests.settlement.desk import settled
from tests.settlement.odd_facts import among, odd_facts
from tests.worlds import build_world, genesis_of

pytestmark = pytest.mark.slow

seeds = st.integers(0, 10**9)


def story(seed: int, network: bool) -> list[bytes]:
    """Return canonical and other lines of one partition, the genesis somewhere near the beginning."""
    random = Random(seed)
    world = (build_network if network else build_world)(seed)
    facts = list(world.facts())
    facts.insert(random.choice((0, 0, 0, 2)), genesis_of(world.parameters))
    lines = [encode(fact) for fact in among(facts, odd_facts(facts, random, random.choice((0, 3, 30))), random)]
    decisions = [encode(decision) for decision in settled(build_world(seed, jobs=2, periods=2)).decisions()]
    odd = [*mutants(seed, lines, random.choice((0, 3, 30))), *random.sample(decisions, min(3, len(decisions)))]
    return among(lines, odd, random)


def heads_of(lines: list[bytes]) -> Heads:
    """Read the heads of lines."""
    data = b"".join(line + b"\n" for line in lines)
    return Heads.of(read_columns(data, *split_lines(data)), len(lines), lambda line: decode(lines[line]))


def one_by_one(intake: Intake, lines: list[bytes], position: int) -> list[Verdict]:
    """Judge and take in line by line."""
    known: Known = {}
    verdicts = []
    for sequence, line in enumerate(lines, position):
        event = decode(line)
        if isinstance(event, Event):
            known |= intake.keys.find([key_of(event)])
        verdicts.append(intake.admit(event, sequence, known))
    return verdicts


def in_runs(intake: Intake, lines: list[bytes], position: int) -> tuple[list[Verdict], int]:
    """Judge and take in by runs; count the lines in runs."""
    heads = heads_of(lines)
    known: Known = {}
    verdicts: list[Verdict] = []
    fast = 0
    for part in intake.runs(heads, known):
        if isinstance(part, Run):
            assert part.start == len(verdicts)
            intake.take_in_many(heads, part.start, part.end, np.arange(part.start, part.end) + position)
            fast += part.end - part.start
            for line, late in zip(range(part.start, part.end), part.late.tolist(), strict=True):
                fact = decode(lines[line])
                assert isinstance(fact, Fact)
                verdicts.append(Accepted(fact, int(heads.occurred_at[line]), late))
        else:
            assert part == len(verdicts)
            verdicts.append(intake.admit(decode(lines[part]), position + part, known))
    return verdicts, fast


def state_of(intake: Intake, lines: list[bytes]) -> object:
    """Return what an intake remembers."""
    keys = [key_of(event) for event in map(decode, lines) if isinstance(event, Event)]
    return intake.keys.find(keys), intake.time.marks, intake.time.network_time, intake.params_hash, len(intake.keys)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, network=st.booleans(), size=st.sampled_from((1, 7, 40, 10_000)), run=st.sampled_from((1, 2, 8)))
def test_a_batch_in_runs_is_the_batch_line_by_line(seed: int, network: bool, size: int, run: int) -> None:
    lines = story(seed, network)
    slow, quick = Intake(), Intake()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake_module, "RUN_MIN", run)
        for start in range(0, len(lines), size):
            batch, position = lines[start : start + size], 2 * start
            assert in_runs(quick, batch, position)[0] == one_by_one(slow, batch, position)
            assert state_of(quick, batch) == state_of(slow, batch)

    assert state_of(quick, lines) == state_of(slow, lines)


def test_most_of_a_calm_batch_is_taken_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "RUN_MIN", 1)
    world = build_network(3, calm=True, late=False)
    lines = [encode(fact) for fact in (genesis_of(world.parameters), *world.facts())]

    _, fast = in_runs(Intake(), lines, 1)

    assert fast > len(lines) // 2


@settings(max_examples=30, deadline=None)
@given(seed=seeds, network=st.booleans())
def test_heads_are_what_intake_reads_of_each_line(seed: int, network: bool) -> None:
    lines = story(seed, network)
    heads = heads_of(lines)

    for line, data in enumerate(lines):
        event = decode(data)
        if heads.plain[line]:
            assert isinstance(event, Fact)
            assert heads.keys[line].tobytes() == key_of(event)
            assert heads.contents[line].tobytes() == content_digest(event)
            assert heads.occurred_at[line] == parse_instant(event.occurred_at)
            assert heads.names[heads.streams[line]] == event.stream
            assert line not in heads.others
        else:
            assert heads.others[line] == event
            key = bytes(16) if isinstance(event, Refusal) else key_of(event)
            assert heads.keys[line].tobytes() == key
