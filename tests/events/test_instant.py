"""Instants: one text per microsecond of the calendar, and no other text."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.instant import DAY, MICROSECONDS, day_of, format_instant, parse_instant, start_of_day

FIRST = (datetime(1, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
LAST = (datetime.max.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
GOOD = "2026-10-01T12:34:56.789012Z"


@given(st.integers(FIRST, LAST))
@example(FIRST)
@example(LAST)
@example(-1)
@example(0)
def test_every_microsecond_of_the_calendar_has_one_text(instant: int) -> None:
    text = format_instant(instant)

    assert len(text) == 27
    assert parse_instant(text) == instant


@given(st.datetimes())
def test_text_is_what_the_standard_library_writes(moment: datetime) -> None:
    instant = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001

    assert format_instant(instant) == moment.isoformat(timespec="microseconds") + "Z"


@given(st.integers(FIRST, LAST), st.integers(FIRST, LAST))
def test_text_sorts_as_time_does(first: int, second: int) -> None:
    assert (format_instant(first) < format_instant(second)) == (first < second)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00.000000Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-02T00:00:00.000001Z", DAY + 1),
        ("2000-02-29T00:00:00.000000Z", 951_782_400 * MICROSECONDS),
        ("2038-01-19T03:14:08.000000Z", 2**31 * MICROSECONDS),
        ("0001-01-01T00:00:00.000000Z", -62_135_596_800 * MICROSECONDS),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_800 * MICROSECONDS - 1),
    ],
)
def test_known_instants_are_read_to_the_microsecond(text: str, instant: int) -> None:
    assert parse_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-10-01",
        "2026-10-01T12:34:56Z",
        "2026-10-01T12:34:56.789Z",
        "2026-10-01T12:34:56.789012",
        "2026-10-01T12:34:56.7890123Z",
        "2026-10-01T12:34:56.789012z",
        "2026-10-01t12:34:56.789012Z",
        "2026-10-01 12:34:56.789012Z",
        "2026-10-01T12:34:56,789012Z",
        "2026-10-01T12:34:56.789012+00:00",
        "2026-10-01T12:34:56.7890+00:00"[:27],
        " 2026-10-01T12:34:56.78901Z",
        "2026-10-01T12:34:56.789012Z\n",
        "2026-10-01T12:34:56.78901Z\n",
        "+026-10-01T12:34:56.789012Z",
        "20261001  T12:34:56.789012Z",
        "2026-W40-4T12:34:56.789012Z",
        "2026-274  T12:34:56.789012Z",
        "0000-01-01T00:00:00.000000Z",
        "2026-00-01T00:00:00.000000Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-02-29T00:00:00.000000Z",
        "2026-04-31T00:00:00.000000Z",
        "2026-10-01T24:00:00.000000Z",
        "2026-10-01T23:60:00.000000Z",
        "2026-10-01T23:59:60.000000Z",
        "2026-10-01T12:34:56.78901٢Z",
        "٢٠٢٦-10-01T12:34:56.789012Z",
        "2026-10-01T12:34:56.\ud80089012Z",
    ],
)
def test_text_that_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_instant(text)


@given(st.integers(0, 26), st.characters())
def test_a_changed_character_is_refused_or_means_another_instant(place: int, character: str) -> None:
    text = GOOD[:place] + character + GOOD[place + 1 :]

    try:
        instant = parse_instant(text)
    except ValueError:
        return

    assert (instant == parse_instant(GOOD)) == (text == GOOD)
    assert format_instant(instant) == text


@given(st.integers(FIRST, LAST))
def test_a_day_holds_its_instants_and_no_other(instant: int) -> None:
    day = day_of(instant)

    assert start_of_day(day) <= instant < start_of_day(day + 1)
