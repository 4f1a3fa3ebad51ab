"""D14: an epoch is a UTC day; it closes a grace behind its end, and a late fact falls into the oldest open one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.instant import DAY, parse_instant
from ledger.epoch import closes_at, epoch_for

OCT_1 = 20_727
instants = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
epochs = st.integers(0, 2_932_896)


@pytest.mark.parametrize(
    ("epoch", "grace", "time"),
    [
        (OCT_1, 1_800, "2026-10-02T00:30:00.000000Z"),
        (OCT_1, 0, "2026-10-02T00:00:00.000000Z"),
        (OCT_1 - 1, 86_400, "2026-10-02T00:00:00.000000Z"),
        (0, 1, "1970-01-02T00:00:01.000000Z"),
    ],
)
def test_an_epoch_closes_a_grace_behind_its_day(epoch: int, grace: int, time: str) -> None:
    assert closes_at(epoch, grace) == parse_instant(time)


@pytest.mark.parametrize(
    ("occurred_at", "oldest_open", "epoch"),
    [
        ("2026-10-01T00:00:00.000000Z", OCT_1, OCT_1),
        ("2026-10-01T23:59:59.999999Z", OCT_1, OCT_1),
        ("2026-10-02T00:00:00.000000Z", OCT_1, OCT_1 + 1),
        ("2026-09-30T23:59:59.999999Z", OCT_1, OCT_1),
        ("2026-01-01T00:00:00.000000Z", OCT_1, OCT_1),
        ("2026-12-31T00:00:00.000000Z", OCT_1, OCT_1 + 91),
        ("1969-12-31T23:59:59.999999Z", 0, 0),
    ],
)
def test_worked_examples(occurred_at: str, oldest_open: int, epoch: int) -> None:
    assert epoch_for(parse_instant(occurred_at), oldest_open) == epoch


@given(instants, epochs)
def test_no_fact_falls_into_a_closed_epoch(occurred_at: int, oldest_open: int) -> None:
    epoch = epoch_for(occurred_at, oldest_open)

    assert epoch >= oldest_open
    assert epoch == oldest_open or epoch * DAY <= occurred_at < (epoch + 1) * DAY


@given(epochs, st.integers(0, 31_622_400))
def test_epochs_close_one_day_apart_and_never_before_their_end(epoch: int, grace: int) -> None:
    assert closes_at(epoch + 1, grace) - closes_at(epoch, grace) == DAY
    assert closes_at(epoch, grace) >= (epoch + 1) * DAY
