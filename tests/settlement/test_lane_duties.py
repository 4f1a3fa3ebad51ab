"""What a lane says of an epoch: the duties of validators, and fee and burn of late settlements as well (D14, D16)."""

from events.decisions import JobSettled, LaneEpochClosed
from events.instant import DAY, day_of
from tests.settlement.one_lane import HOUR, LAUNCH, OneLane, Said, case_of

FIRST = day_of(LAUNCH)


def closes(said: Said) -> list[LaneEpochClosed]:
    return [decision for decision in said if isinstance(decision, LaneEpochClosed)]


def counts(closed: LaneEpochClosed) -> list[tuple[str, int, int]]:
    return [(duty.validator, duty.assigned, duty.answered) for duty in closed.data.duties]


def running() -> OneLane:
    lane = OneLane()
    lane.begin("a", "b", "c")
    return lane


def test_duties_are_counted_by_validator_in_the_order_of_ids() -> None:
    lane = running()
    lane.duty("w", "u", "v")
    lane.attest("u", "a")
    lane.attest("w", "b", "failed")

    (closed,) = closes(lane.wait(DAY))

    assert counts(closed) == [("u", 1, 1), ("v", 1, 0), ("w", 1, 1)]


def test_first_attestation_of_an_attempt_answers_the_duty_and_no_other_does() -> None:
    lane = running()
    lane.duty("v")
    lane.attest("v", "a")
    lane.attest("v", "b")
    lane.attest("v", "c", "failed")

    (closed,) = closes(lane.wait(DAY))

    assert counts(closed) == [("v", 1, 1)]


def test_each_attempt_is_a_duty_of_its_own() -> None:
    lane = running()
    lane.duty("v")
    lane.redistribute()
    lane.dispatch("a", "b", "c", attempt=2)
    lane.duty("v", attempt=2)
    lane.attest("v", "a", attempt=2)

    (closed,) = closes(lane.wait(DAY))

    assert counts(closed) == [("v", 2, 1)]


def test_validator_named_twice_has_one_duty() -> None:
    lane = running()
    lane.duty("v", "v")

    (closed,) = closes(lane.wait(DAY))

    assert counts(closed) == [("v", 1, 0)]


def test_duty_is_answered_in_the_epoch_in_which_it_was_assigned_while_that_is_open() -> None:
    lane = running()
    lane.duty("u", "v")
    assert lane.wait(23 * HOUR) == []
    assert day_of(lane.now) == FIRST + 1
    lane.attest("v", "a")

    first, second = closes(lane.wait(2 * DAY))
    assert (first.epoch, counts(first)) == (FIRST, [("u", 1, 0), ("v", 1, 1)])
    assert (second.epoch, counts(second)) == (FIRST + 1, [])


def test_answer_to_a_closed_epoch_counts_nowhere() -> None:
    lane = running()
    lane.duty("v")
    lane.wait(DAY)
    lane.attest("v", "a")

    (closed,) = closes(lane.wait(DAY))

    assert counts(closed) == []


def test_late_duty_counts_in_the_oldest_open_epoch() -> None:
    lane = running()
    lane.wait(DAY)
    lane.duty("v", at=LAUNCH)
    lane.attest("v", "a")

    (closed,) = closes(lane.wait(DAY))

    assert (closed.epoch, counts(closed)) == (FIRST + 1, [("v", 1, 1)])


def test_duty_is_answered_after_the_job_is_over() -> None:
    lane = running()
    lane.duty("v")
    lane.fail()
    lane.attest("v", "a", "failed")

    (closed,) = closes(lane.wait(DAY))

    assert counts(closed) == [("v", 1, 1)]


def waiting() -> OneLane:
    lane = running()
    for node in "abc":
        lane.result(node)
        lane.challenge(node, passed=node != "c")
        lane.usage(node)
    lane.claim("a", "b", "c")
    return lane


def test_fee_and_burn_of_a_late_settlement_count_in_the_epoch_in_which_it_is_made() -> None:
    lane = waiting()
    lane.hear(case_of("node", "c"), False, lane.now + 30 * HOUR)

    first, settled, second = lane.wait(2 * DAY)

    assert isinstance(first, LaneEpochClosed)
    assert isinstance(settled, JobSettled)
    assert isinstance(second, LaneEpochClosed)
    assert [(t.fee, t.burn, t.vault) for t in first.data.totals] == [("360", "144", "escrow")]
    assert settled.epoch == second.epoch == FIRST + 1
    assert [(t.fee, t.burn, t.vault) for t in second.data.totals] == [("180", "72", "escrow")]
    assert second.data.events == 1


def test_verdict_due_at_the_close_is_carried_out_before_it_and_belongs_to_the_next_epoch() -> None:
    lane = waiting()
    close = LAUNCH + DAY + HOUR // 2
    lane.hear(case_of("node", "c"), False, close)

    settled, closed = lane.wait(close - lane.now)

    assert isinstance(settled, JobSettled)
    assert (settled.epoch, closed.epoch, settled.occurred_at) == (FIRST + 1, FIRST, closed.occurred_at)


def test_stops_are_due_verdicts_and_closes_up_to_the_limit() -> None:
    lane = waiting()
    close = LAUNCH + DAY + HOUR // 2
    assert lane.lane.next_stop(close - 1) is None
    assert lane.lane.next_stop(close) == close
    lane.hear(case_of("node", "c"), True, lane.now + HOUR)

    assert lane.lane.next_stop(close) == lane.now + HOUR
    assert lane.lane.next_stop(lane.now + HOUR - 1) is None
    assert [type(d).__name__ for d in lane.wait(DAY)] == ["JobSettled", "LaneEpochClosed"]
