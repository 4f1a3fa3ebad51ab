"""When a job of owner authority is released, who is paid, and what waits for a verdict (D18–D21)."""

from itertools import permutations
from typing import Any

import pytest

from events.decisions import JobRefunded, JobSettled, SlashEvidenced
from events.refusal import Reason
from tests.settlement.one_lane import HOUR, C, OneLane, case_of


def settled(said: Any) -> JobSettled:
    (decision,) = [d for d in said if isinstance(d, JobSettled)]
    return decision


def quorum_of_three(failed: str = "") -> OneLane:
    """Three nodes with one result; all is there but the usage, of which each hold allows 3,600 units."""
    lane = OneLane()
    lane.begin("a", "b", "c")
    for node in "abc":
        lane.result(node)
        lane.challenge(node, passed=node not in failed)
    lane.claim("a", "b", "c")
    return lane


def use(lane: OneLane, a: int = 1_000, b: int = 1_000, c: int = 1_000) -> JobSettled:
    lane.usage("a", a)
    lane.usage("b", b)
    return settled(lane.usage("c", c))


# --- one node ---

STEPS = {
    "duty+attestation": lambda lane: (lane.duty("v"), lane.attest("v", "a"))[1],
    "challenge": lambda lane: lane.challenge("a"),
    "usage": lambda lane: lane.usage("a", 100),
}


@pytest.mark.parametrize("order", list(permutations(STEPS)), ids=" ".join)
def test_job_of_one_node_is_released_once_all_is_there_in_whatever_order(order: tuple[str, ...]) -> None:
    lane = OneLane()
    lane.begin("a")

    *early, last = order
    for step in early:
        assert STEPS[step](lane) == []
    decision = settled(STEPS[last](lane))

    assert [(line.node, line.gross) for line in decision.data.lines] == [("a", "100")]
    assert (decision.data.refund, decision.key) == ("3500", f"{C}:j:1:1")
    assert lane.money["escrow"] == 0


def test_failed_challenge_never_releases_a_job_of_one_node() -> None:
    lane = OneLane()
    lane.begin("a")
    lane.duty("v", "w")

    lane.challenge("a", passed=False)
    lane.attest("v", "a", "passed")
    lane.usage("a")

    assert lane.settlements() == []
    assert lane.money["escrow"] == 3_600


def test_attestation_of_failure_does_not_release_and_a_second_validator_may() -> None:
    lane = OneLane()
    lane.begin("a")
    lane.duty("v", "w")
    lane.challenge("a")
    lane.usage("a")

    assert lane.attest("v", "a", "failed") == []
    assert settled(lane.attest("w", "a", "passed")).data.lines


def test_declared_jobs_are_released_on_usage_and_on_their_quorum_alone() -> None:
    one = OneLane()
    one.submit(1, "declared")
    one.dispatch("a")
    assert settled(one.usage("a")).data.waiting == ()

    three = OneLane()
    three.submit(3, "declared")
    three.dispatch("a", "b", "c")
    three.challenge("a", passed=False)
    three.claim("a", "b")
    three.usage("b")
    decision = settled(three.usage("a"))
    assert ([line.node for line in decision.data.lines], decision.data.waiting) == (["a", "b"], ())


# --- several nodes ---


def test_quorum_needs_the_same_result_of_every_agreeing_node() -> None:
    lane = OneLane()
    lane.begin("a", "b", "c")

    assert lane.refused(lane.claim("a", "b")) == Reason.RESULTS_DIFFER
    lane.result("a")
    assert lane.refused(lane.claim("a", "b")) == Reason.RESULTS_DIFFER
    lane.result("b", "b")
    assert lane.refused(lane.claim("a", "b")) == Reason.RESULTS_DIFFER
    lane.result("c")
    assert lane.refused(lane.claim("a", "b", "c")) == Reason.RESULTS_DIFFER
    assert lane.claim("a", "c") == []


def test_each_paid_node_needs_a_decided_challenge_and_a_dissenter_none() -> None:
    lane = OneLane()
    lane.begin("a", "b", "c")
    lane.result("a")
    lane.result("b")
    lane.claim("a", "b")
    lane.usage("a", 100)
    lane.usage("b", 100)

    assert lane.challenge("a") == []
    decision = settled(lane.challenge("b"))

    assert [line.node for line in decision.data.lines] == ["a", "b"]
    assert decision.data.refund == str(3 * 3_600 - 200)


def test_one_node_per_operator_is_paid_and_needs_a_challenge() -> None:
    lane = OneLane()
    lane.begin("a", "a2", "b")
    for node in ("a", "a2", "b"):
        lane.result(node)
        lane.usage(node, 100)
    lane.challenge("b")

    lane.claim("a", "a2", "b")

    assert lane.challenge("a2", passed=False) != []
    assert [line.node for line in settled(lane.challenge("a")).data.lines] == ["a", "b"]


# --- lines that wait ---


def test_line_of_a_node_with_a_failed_challenge_waits_with_its_whole_hold() -> None:
    lane = quorum_of_three(failed="c")

    decision = use(lane)

    assert [line.node for line in decision.data.lines] == ["a", "b"]
    assert [(w.node, w.case, w.hold) for w in decision.data.waiting] == [("c", case_of("node", "c"), "3600")]
    assert (decision.data.escrow, decision.data.refund) == ("10800", "5200")
    assert lane.money["escrow"] == 3_600


def test_upheld_case_refunds_the_hold_that_waited() -> None:
    lane = quorum_of_three(failed="c")
    use(lane)
    verdict = lane.hear(case_of("node", "c"), True, lane.now + HOUR)

    late = settled(lane.wait(HOUR))

    assert (late.data.lines, late.data.escrow, late.data.refund, late.data.waiting) == ((), "3600", "3600", ())
    assert (late.key, late.subject, late.causation_id) == (f"{C}:j:1:2", "j", verdict.id)
    assert (lane.money["escrow"], lane.money["c"]) == (0, 0)


def test_reversed_case_pays_what_was_metered_bound_by_the_median_of_all_paid_nodes() -> None:
    lane = quorum_of_three(failed="c")
    use(lane, 1_000, 1_000, 3_000)

    late = settled(lane.judge(case_of("node", "c"), False))

    (line,) = late.data.lines
    assert (line.node, line.gpu_seconds, line.gross, late.data.refund) == ("c", 2_000, "2000", "1600")
    assert (line.burn, line.fee, line.net) == ("40", "100", "1860")
    assert lane.money["escrow"] == 0


def test_waiting_line_counts_in_the_median_of_the_others() -> None:
    lane = quorum_of_three(failed="c")

    decision = use(lane, 3_000, 3_000, 10)

    assert [line.gpu_seconds for line in decision.data.lines] == [3_000, 3_000]
    assert [line.gpu_seconds for line in use(quorum_of_three(failed="bc"), 3_000, 10, 10).data.lines] == [20]


@pytest.mark.parametrize("first", ["b", "c"])
@pytest.mark.parametrize("upheld", [(True, True), (True, False), (False, True), (False, False)])
def test_two_lines_wait_each_for_its_own_verdict(first: str, upheld: tuple[bool, bool]) -> None:
    lane = quorum_of_three(failed="bc")
    use(lane)
    assert lane.money["escrow"] == 7_200

    verdicts = dict(zip("bc", upheld, strict=True))
    second = "c" if first == "b" else "b"
    keys = [settled(lane.judge(case_of("node", node), verdicts[node])).key for node in (first, second)]

    assert keys == [f"{C}:j:1:2", f"{C}:j:1:3"]
    assert [lane.money[node] for node in "bc"] == [0 if verdicts[node] else 930 for node in "bc"]
    assert lane.money["escrow"] == 0


def test_verdicts_due_at_once_are_carried_out_by_case_in_whatever_order_they_were_heard() -> None:
    said = []
    for order in (("b", "c"), ("c", "b")):
        lane = quorum_of_three(failed="bc")
        use(lane)
        for node in order:
            lane.hear(case_of("node", node), node == "b", lane.now + HOUR)
        said.append(lane.wait(HOUR))

    assert said[0] == said[1]
    assert len(said[0]) == 2


def test_all_lines_may_wait() -> None:
    decision = use(quorum_of_three(failed="abc"))

    assert (decision.data.lines, len(decision.data.waiting), decision.data.refund) == ((), 3, "0")


@pytest.mark.parametrize("upheld", [True, False])
def test_verdict_that_came_before_the_release_decides_the_line_at_once(upheld: bool) -> None:
    lane = quorum_of_three(failed="c")
    assert lane.judge(case_of("node", "c"), upheld) == []

    decision = use(lane)

    assert decision.data.waiting == ()
    assert [line.node for line in decision.data.lines] == (["a", "b"] if upheld else ["a", "b", "c"])
    assert lane.money["escrow"] == 0


def test_verdict_is_carried_out_when_it_is_due_and_once() -> None:
    lane = quorum_of_three(failed="c")
    use(lane)
    lane.hear(case_of("node", "c"), True, lane.now + HOUR)

    assert lane.wait(HOUR - 1) == []
    assert len(lane.wait(1)) == 1
    assert lane.judge(case_of("node", "c"), False) == []


def test_verdicts_on_validators_and_on_other_lanes_cases_move_nothing() -> None:
    lane = quorum_of_three(failed="c")
    use(lane)

    assert lane.judge(case_of("node", "c", job="elsewhere"), True) == []
    lane.hear(case_of("node", "c"), True, lane.now + HOUR, role="validator")
    assert lane.wait(HOUR) == []
    assert lane.money["escrow"] == 3_600


def test_evidence_stands_before_the_settlement_that_it_completes() -> None:
    lane = OneLane()
    lane.begin("a", "b", "c")
    for node in "abc":
        lane.result(node)
        lane.usage(node)
    lane.challenge("a")
    lane.challenge("b")
    lane.claim("a", "b", "c")

    evidenced, decision = lane.challenge("c", passed=False)

    assert isinstance(evidenced, SlashEvidenced)
    assert isinstance(decision, JobSettled)
    assert evidenced.data.case == decision.data.waiting[0].case


# --- attempts ---


def test_redistribution_releases_the_hold_and_the_next_attempt_holds_anew() -> None:
    lane = OneLane(funds=3_600)
    lane.begin("a")

    (refunded,) = lane.redistribute()

    assert isinstance(refunded, JobRefunded)
    assert (refunded.data.outcome, refunded.data.cause, refunded.key) == (
        "redistributed",
        "wrong",
        f"{C}:j:1:redistributed",
    )
    assert lane.money["consumer"] == 3_600
    assert lane.refused(lane.usage("a")) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.refused(lane.redistribute()) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.refused(lane.dispatch("b")) == Reason.ATTEMPT_OUT_OF_ORDER
    lane.dispatch("b", attempt=2)
    assert lane.money["escrow"] == 3_600


def test_what_was_proven_of_one_attempt_is_nothing_to_the_next() -> None:
    lane = OneLane()
    lane.begin("a")
    lane.duty("v")
    lane.challenge("a")
    lane.attest("v", "a")
    lane.redistribute()
    lane.dispatch("a", attempt=2)

    assert lane.usage("a", attempt=2) == []
    lane.challenge("a", attempt=2)
    lane.duty("w", attempt=2)
    assert settled(lane.attest("w", "a", attempt=2)).key == f"{C}:j:2:1"


def test_redistribution_of_the_last_attempt_ends_the_job() -> None:
    lane = OneLane()
    lane.begin("a")
    for attempt in (1, 2):
        lane.redistribute(attempt)
        lane.dispatch("a", attempt=attempt + 1)

    (refunded,) = lane.redistribute(3)

    assert isinstance(refunded, JobRefunded)
    assert (refunded.data.outcome, refunded.data.cause, refunded.data.amount) == ("failed", "wrong", "3600")
    assert refunded.key == f"{C}:j:3:failed"
    assert lane.refused(lane.dispatch("a", attempt=4)) == Reason.JOB_CLOSED


def test_job_between_two_attempts_can_fail_and_be_cancelled_with_nothing_to_give_back() -> None:
    for end in (OneLane.fail, OneLane.cancel):
        lane = OneLane()
        lane.begin("a")
        lane.usage("a")
        lane.redistribute()

        (refunded,) = end(lane)

        assert isinstance(refunded, JobRefunded)
        assert refunded.data.amount == "0"
        assert lane.refused(lane.dispatch("a", attempt=2)) == Reason.JOB_CLOSED


def test_verdict_on_one_attempt_leaves_the_line_of_another_waiting() -> None:
    lane = OneLane()
    lane.begin("a", "b", "c")
    lane.challenge("c", passed=False)
    lane.redistribute()
    lane.dispatch("a", "b", "c", attempt=2)
    for node in "abc":
        lane.result(node, attempt=2)
        lane.challenge(node, passed=node != "c", attempt=2)
        lane.usage(node, attempt=2)
    decision = settled(lane.claim("a", "b", "c", attempt=2))
    assert [w.case for w in decision.data.waiting] == [case_of("node", "c", 2)]

    assert lane.judge(case_of("node", "c", 1), True) == []
    assert settled(lane.judge(case_of("node", "c", 2), False)).key == f"{C}:j:2:2"
