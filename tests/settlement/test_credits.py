"""What lanes credit is the same one by one or many at once; and no cut has what belongs to the next."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from events.codec import encode
from events.columns import read_columns, split_lines
from events.decisions import AgreedLine, JobSettled, JobSettledData
from events.instant import format_instant
from settlement.credits import Credits

MINUTE = 60_000_000
parts = st.integers(0, 10**9) | st.integers(2**62, 2**65)
lines = st.tuples(st.sampled_from(["n-0", "n-1", "n-2"]), parts, parts, parts)
settlements = st.lists(st.tuples(st.integers(1, 6), st.lists(lines, max_size=3)), max_size=20)


def settled(agreed: list[tuple[str, int, int, int]]) -> JobSettled:
    """Make a settlement whose sums are not looked at here."""
    return JobSettled(
        id="0" * 64,
        source="settlement",
        subject="job",
        occurred_at=format_instant(0),
        key="c:job:1:1",
        schema_version=1,
        epoch=0,
        params_hash="0" * 64,
        data=JobSettledData(
            asset="OMNI",
            attempt=1,
            consumer="c",
            escrow="0",
            funding="escrow",
            lines=tuple(
                AgreedLine(node=node, gpu_seconds=1, price="1", gross="1", burn=str(burn), fee=str(fee), net=str(net))
                for node, burn, fee, net in agreed
            ),
            refund="0",
        ),
    )


@given(settlements, st.lists(st.integers(0, 7), min_size=1, max_size=4).map(sorted))
def test_the_sums_are_those_of_each_settlement(
    jobs: list[tuple[int, list[tuple[str, int, int, int]]]], stops: list[int]
) -> None:
    one_by_one, at_once = Credits(), Credits()
    events = [settled(agreed) for _, agreed in jobs]
    data = b"".join(encode(event) + b"\n" for event in events)
    columns = read_columns(data, *split_lines(data)).columns.get(JobSettled)
    cuts = np.array([cut * MINUTE for cut, _ in jobs], dtype=np.int64)

    for cut, event in zip(cuts.tolist(), events, strict=True):
        one_by_one.add_settled(cut, event.data)
    if columns is not None:
        items = columns.items("data.lines")
        at_once.add_many(cuts[items.parents], items)

    for stop in [*stops, 8]:
        assert taken(one_by_one, stop * MINUTE) == taken(at_once, stop * MINUTE)
    assert not any(taken(at_once, 99 * MINUTE))


def taken(credits: Credits, time: int) -> list[int]:
    credits.collect(time)
    suppliers = [f"payable:supplier:n-{number}" for number in range(4)]
    return [credits.pull(account) for account in (*suppliers, "burn:pending", "fee:accrued")]
