"""Jobs that arrive whole are settled alike one by one and many at once: the same bytes, the same state."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from app.facts import Producer
from events.codec import encode
from events.columns import read_columns, split_lines
from events.event import Fact
from events.facts import Terms, UsageMetered, UsageMeteredData
from events.hashing import hash_leaves
from events.instant import DAY, parse_instant
from ledger.parameters import parameters_from_toml
from settlement import life_run
from settlement.intake import Accepted, Run
from settlement.lane import Lane
from settlement.lane_run import LaneRuns
from settlement.output import Decided

START = parse_instant("2026-10-01T00:00:00.000000Z")
HASH = "ab" * 32
PRESET = Path(__file__).resolve().parents[2] / "ledger" / "presets" / "omnisync.toml"
PARAMETERS = parameters_from_toml(PRESET.read_text(encoding="utf-8"))

# A job that holds 100 base units and costs as much.
OF_100: dict[str, Any] = {
    "attempt": 1,
    "gpu_seconds": 3_600,
    "node": "n",
    "terms": {
        "asset": "OMNI",
        "authority": "declared",
        "gpu_seconds_max": 3_600,
        "minimum": "0",
        "operator": "op",
        "price": "100",
    },
}
names = st.sampled_from(["c-0", "c-1", "c-2"])
# Around zero, usual, around where products no longer fit, beyond 64 bits.
prices = st.integers(0, 10) | st.integers(10**6, 10**13) | st.integers(2**62, 2**64)
seconds = st.integers(0, 100_000) | st.sampled_from([2**48 - 1, 2**48, 2**53 - 1])


@st.composite
def usages(draw: st.DrawFn) -> tuple[str, str, dict[str, Any], int]:
    """Draw a whole job: consumer, job, what it says, when."""
    price = draw(prices)
    terms = {
        "asset": draw(st.sampled_from(["OMNI"] * 9 + ["SOL"])),
        "authority": "declared",
        "gpu_seconds_max": draw(seconds),
        "minimum": str(draw(st.sampled_from([0, price // 2, price * 93 // 100, price]))),
        "operator": "op",
        "price": str(price),
    }
    said = {
        "attempt": draw(st.sampled_from([1] * 9 + [2])),
        "gpu_seconds": draw(seconds),
        "node": draw(names),
        "terms": terms,
    }
    return draw(names), f"job-{draw(st.integers(0, 30))}", said, START + draw(st.integers(0, 3 * DAY))


def fact_of(number: int, usage: tuple[str, str, dict[str, Any], int]) -> Fact:
    consumer, job, said, time = usage
    data = UsageMeteredData(consumer=consumer, **(said | {"terms": Terms(**said["terms"])}))
    return Producer("test").fact(UsageMetered, time, job, f"usage:{number}", data)


def new_lane(money: list[int], oldest_open: int) -> Lane:
    lane = Lane(0, PARAMETERS, HASH)
    for number, amount in enumerate(money):
        lane.state.credit(f"c-{number}", amount)
    lane.state.oldest_open = oldest_open
    return lane


@given(
    st.lists(st.tuples(usages(), st.booleans()), min_size=8, max_size=40),
    st.lists(st.sampled_from([0, 10**6, 10**14, 2**63, 10**30]), min_size=3, max_size=3),
    st.integers(0, 2),
    st.integers(0, 40),
)
@example(
    [
        (
            ("c-0", f"job-{i}", OF_100, START),
            False,
        )
        for i in range(20)
    ],
    [1_500, 0, 0],
    0,
    9,
)
def test_many_at_once_are_as_one_by_one(jobs: list[Any], money: list[int], closed_days: int, cut: int) -> None:
    oldest = START // DAY + closed_days
    facts = [fact_of(number, usage) for number, (usage, _) in enumerate(jobs)]
    late = [one for _, one in jobs]
    one_by_one, at_once = new_lane(money, oldest), new_lane(money, oldest)
    data = b"".join(encode(fact) + b"\n" for fact in facts)
    runs = LaneRuns(at_once, PARAMETERS, HASH)
    times = [usage[3] for usage, _ in jobs]

    expected = b"".join(
        one_by_one.take(Accepted(fact, time, is_late), START).data
        for fact, time, is_late in zip(facts, times, late, strict=True)
    )
    batch = read_columns(data, *split_lines(data))
    # Two runs of one batch, as a mark would part them.
    cut = min(cut, len(facts))
    parts = [
        Run(0, cut, np.array(late[:cut], dtype=np.bool_)),
        Run(cut, len(facts), np.array(late[cut:], dtype=np.bool_)),
    ]
    with patch.object(life_run, "LIVES_MIN", 0):
        found = Decided.join([runs.take(batch, part, START) for part in parts])

    assert found.data == expected
    assert found.hashes is not None
    assert found.hashes.tobytes() == hash_leaves(expected, *split_lines(expected)).tobytes()
    one, other = one_by_one.state, at_once.state
    assert {k: v for k, v in one.available.items() if v} == {k: v for k, v in other.available.items() if v}
    assert [one.knows_job(c, j) for _, j, _, _ in (u for u, _ in jobs) for c in ("c-0", "c-1", "c-2")] == [
        other.knows_job(c, j) for _, j, _, _ in (u for u, _ in jobs) for c in ("c-0", "c-1", "c-2")
    ]
    assert one.epochs.keys() == other.epochs.keys()
    for epoch, total in one.epochs.items():
        assert (total.fee, total.burn, total.digest()) == (
            other.epochs[epoch].fee,
            other.epochs[epoch].burn,
            other.epochs[epoch].digest(),
        )


def test_a_consumer_whose_money_does_not_cover_all_has_what_it_covers() -> None:
    """Twenty jobs of 100 and money for fifteen: the rules decide one by one, and nobody else is held up."""
    facts = [fact_of(i, (f"c-{i % 2}", f"job-{i}", OF_100, START)) for i in range(40)]
    lane = new_lane([1_500, 10_000], START // DAY)
    data = b"".join(encode(fact) + b"\n" for fact in facts)

    run = Run(0, len(facts), np.zeros(40, dtype=np.bool_))
    with patch.object(life_run, "LIVES_MIN", 0):
        taken = LaneRuns(lane, PARAMETERS, HASH).take(read_columns(data, *split_lines(data)), run, START)
    lines = taken.data.splitlines()

    assert len(lines) == 40
    assert sum(b'"type":"JobSettled"' in line for line in lines) == 35
    assert sum(b"funds_insufficient" in line for line in lines) == 5
    assert (lane.state.available["c-0"], lane.state.available["c-1"]) == (0, 8_000)
