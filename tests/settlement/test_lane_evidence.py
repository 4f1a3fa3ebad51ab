"""What a lane's facts are evidence of, against whom, on whose word, and how long they count (R8, R10)."""

from typing import Any

import pytest

from events.decisions import SlashEvidenced
from events.instant import DAY
from events.refusal import Reason
from tests.settlement.one_lane import HOUR, PARAMETERS, OneLane, case_of

WINDOW = PARAMETERS.slash.evidence_seconds * 1_000_000
NODE_A, VALIDATOR_V = ("node", "a"), ("validator", "v")


def watched(*nodes: str) -> OneLane:
    """A running job with duties for u, v and w."""
    lane = OneLane()
    lane.begin(*(nodes or ("a", "b", "c")))
    lane.duty("u", "v", "w")
    return lane


def evidence(said: Any) -> list[SlashEvidenced]:
    assert all(isinstance(decision, SlashEvidenced) for decision in said)
    return list(said)


def test_failed_challenge_is_evidence_against_its_node() -> None:
    lane = watched()

    (found,) = evidence(lane.challenge("a", passed=False, reporter="r"))

    assert (found.subject, found.key) == ("a", case_of("node", "a"))
    assert found.data.case == found.key
    assert (found.data.role, found.data.cause, found.data.job, found.data.attempt) == (
        "node",
        "failed_challenge",
        "j",
        1,
    )
    assert (found.data.reporter, found.data.verifiers) == ("r", ())


def test_passed_challenge_is_no_evidence_even_where_validators_attested_failure() -> None:
    lane = watched()
    lane.attest("v", "a", "failed")

    assert lane.challenge("a") == []
    assert lane.attest("w", "a", "failed") == []


def test_verifiers_are_those_who_attested_the_failure_before_in_the_order_of_ids() -> None:
    lane = watched()
    lane.attest("w", "a", "failed")
    lane.attest("u", "a", "failed")
    lane.attest("v", "b", "failed")

    (found,) = evidence(lane.challenge("a", passed=False))

    assert found.data.verifiers == ("u", "w")
    assert lane.attest("v", "a", "failed") == []


@pytest.mark.parametrize("attested_first", [True, False])
def test_false_attestation_is_evidence_whichever_comes_second(attested_first: bool) -> None:
    lane = watched()
    lane.attest("u", "a", "failed")

    if attested_first:
        assert lane.attest("v", "a", "passed", reporter="x") == []
        node, validator = evidence(lane.challenge("a", passed=False, reporter="y"))
        assert (node.subject, node.data.verifiers, node.data.reporter) == ("a", ("u",), "y")
    else:
        evidence(lane.challenge("a", passed=False, reporter="x"))
        (validator,) = evidence(lane.attest("v", "a", "passed", reporter="y"))

    assert (validator.subject, validator.data.role) == ("v", "validator")
    assert (validator.data.cause, validator.key) == ("false_attestation", case_of("validator", "v"))
    assert (validator.data.verifiers, validator.data.reporter) == (("u",), "y")


def test_all_false_attestations_of_a_challenge_come_in_the_order_of_ids() -> None:
    lane = watched()
    for validator in "wvu":
        lane.attest(validator, "a", "passed")

    lane.challenge("a", passed=False)

    assert lane.evidence() == [NODE_A, ("validator", "u"), VALIDATOR_V, ("validator", "w")]


def test_validator_is_accused_once_of_however_many_nodes_in_an_attempt() -> None:
    lane = watched()
    lane.attest("v", "a", "passed")
    lane.attest("v", "b", "passed")
    lane.challenge("a", passed=False)
    lane.challenge("b", passed=False)
    lane.challenge("c", passed=False)
    lane.attest("v", "c", "passed")

    assert lane.evidence() == [NODE_A, VALIDATOR_V, ("node", "b"), ("node", "c")]


def test_evidence_against_declared_jobs_counts_like_any() -> None:
    lane = OneLane()
    lane.submit(1, "declared")
    lane.dispatch("a")
    lane.duty("v")
    lane.attest("v", "a")

    lane.challenge("a", passed=False)

    assert lane.evidence() == [NODE_A, VALIDATOR_V]


# --- after an attempt, after the job ---


def test_facts_about_an_earlier_attempt_are_evidence_while_the_job_goes_on() -> None:
    lane = watched("a")
    lane.redistribute()
    lane.dispatch("b", attempt=2)
    lane.wait(30 * DAY)

    lane.challenge("a", passed=False)
    lane.attest("v", "a")

    assert lane.evidence() == [NODE_A, VALIDATOR_V]
    assert lane.refused(lane.challenge("a", attempt=2)) == Reason.NODE_NOT_DISPATCHED
    assert lane.refused(lane.challenge("b", attempt=1)) == Reason.NODE_NOT_DISPATCHED
    assert lane.refused(lane.challenge("b", attempt=3)) == Reason.ATTEMPT_OUT_OF_ORDER


def test_attempt_of_which_nothing_was_said_can_be_accused_after_its_redistribution() -> None:
    lane = OneLane()
    lane.begin("a")
    lane.redistribute()

    lane.challenge("a", passed=False)

    assert lane.evidence() == [NODE_A]


def end_by_payment(lane: OneLane) -> None:
    lane.challenge("b", attempt=2)
    lane.attest("u", "b", attempt=2)
    assert lane.usage("b", attempt=2)


ENDS = {"paid": end_by_payment, "failed": lambda lane: lane.fail(2), "cancelled": OneLane.cancel}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_facts_about_a_job_that_is_over_count_until_its_window_has_passed(end: Any) -> None:
    lane = watched("a")
    lane.redistribute()
    lane.dispatch("b", attempt=2)
    lane.duty("u", attempt=2)
    end(lane)

    lane.wait(WINDOW - 1)
    lane.challenge("a", passed=False)
    lane.attest("v", "a")
    assert lane.evidence() == [NODE_A, VALIDATOR_V]

    lane.wait(1)
    assert lane.refused(lane.attest("w", "a")) == Reason.JOB_CLOSED
    lane.wait(DAY)
    assert lane.refused(lane.attest("w", "a")) == Reason.JOB_CLOSED
    assert lane.lane.state.ended == {}


def test_window_runs_from_the_effective_time_of_what_closed_the_job() -> None:
    """A late fact closes a job when it comes, not when it occurred."""
    lane = watched("a")
    lane.challenge("a")
    lane.attest("v", "a")
    occurred_at = lane.now
    lane.wait(DAY)
    lane.usage("a", at=occurred_at)

    lane.wait(WINDOW - 1)
    assert lane.attest("w", "a", "failed") == []
    lane.wait(1)
    assert lane.refused(lane.attest("u", "a")) == Reason.JOB_CLOSED


def test_fact_that_occurs_beyond_the_window_is_too_late_before_network_time_is_there() -> None:
    lane = watched("a")
    lane.fail()

    assert lane.refused(lane.challenge("a", at=lane.now + WINDOW)) == Reason.JOB_CLOSED
    assert lane.challenge("a", at=lane.now + WINDOW - 1) == []


def test_job_that_is_over_takes_no_more_duties_and_results_and_pays_nobody() -> None:
    lane = watched("a")
    lane.usage("a")
    lane.fail()

    assert lane.refused(lane.duty("x")) == Reason.JOB_CLOSED
    assert lane.refused(lane.result("a")) == Reason.JOB_CLOSED
    assert lane.challenge("a") == []
    assert lane.attest("v", "a") == []
    assert lane.settlements() == []


def test_job_without_any_proof_is_closed_at_once() -> None:
    for prepare in (lambda lane: None, lambda lane: (lane.redistribute(), lane.dispatch("a", attempt=2))):
        lane = OneLane()
        lane.begin("a")
        prepare(lane)
        lane.fail(lane.open_job().attempt)

        assert lane.refused(lane.challenge("a", passed=False)) == Reason.JOB_CLOSED
        assert lane.lane.state.ended == {}


def test_refused_proof_leaves_no_trace() -> None:
    lane = OneLane()
    lane.begin("a")

    lane.refused(lane.challenge("z"))
    lane.refused(lane.attest("v", "a"))
    lane.refused(lane.result("z"))

    assert lane.open_job().proofs is None


def test_declared_job_costs_no_proof() -> None:
    lane = OneLane()
    lane.submit(1, "declared")
    lane.dispatch("a")
    job = lane.open_job()
    lane.usage("a")

    assert job.proofs is None
    assert (lane.lane.state.ended, lane.lane.state.spends) == ({}, {})


# --- refusals ---


def test_proof_of_what_was_not_dispatched_is_refused() -> None:
    lane = OneLane()
    assert lane.refused(lane.challenge("a")) == Reason.JOB_UNKNOWN
    assert lane.refused(lane.duty("v")) == Reason.JOB_UNKNOWN
    assert lane.refused(lane.result("a")) == Reason.JOB_UNKNOWN
    assert lane.refused(lane.attest("v", "a")) == Reason.JOB_UNKNOWN
    assert lane.refused(lane.redistribute()) == Reason.JOB_UNKNOWN
    lane.submit()
    assert lane.refused(lane.challenge("a")) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.refused(lane.duty("v")) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.refused(lane.result("a")) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.refused(lane.attest("v", "a")) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.refused(lane.redistribute()) == Reason.ATTEMPT_OUT_OF_ORDER


def test_each_word_is_said_once() -> None:
    lane = watched("a")
    lane.result("a")
    lane.challenge("a")
    lane.attest("v", "a")

    assert lane.refused(lane.duty("x")) == Reason.DUTY_EXISTS
    assert lane.refused(lane.result("a", "b")) == Reason.RESULT_EXISTS
    assert lane.refused(lane.challenge("a", passed=False)) == Reason.CHALLENGE_EXISTS
    assert lane.refused(lane.attest("v", "a", "failed")) == Reason.ATTESTATION_EXISTS


def test_refusals_of_an_attestation_in_their_order() -> None:
    lane = watched("a")

    assert lane.refused(lane.attest("x", "z", consumer="d", attempt=2)) == Reason.JOB_UNKNOWN
    assert lane.refused(lane.attest("x", "z", attempt=2)) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.refused(lane.attest("x", "z")) == Reason.NODE_NOT_DISPATCHED
    assert lane.refused(lane.attest("x", "a")) == Reason.DUTY_NOT_ASSIGNED
    assert lane.attest("v", "a") == []
    lane.fail()
    assert lane.refused(lane.challenge("a", consumer="d")) == Reason.JOB_UNKNOWN
    lane.wait(2 * WINDOW)
    assert lane.refused(lane.challenge("a", consumer="d")) == Reason.JOB_UNKNOWN
    assert lane.refused(lane.challenge("a")) == Reason.JOB_CLOSED


def test_duty_of_one_attempt_is_none_in_the_next() -> None:
    lane = watched("a")
    lane.redistribute()
    lane.dispatch("a", attempt=2)

    assert lane.refused(lane.attest("v", "a", attempt=2)) == Reason.DUTY_NOT_ASSIGNED
    assert lane.duty("x", attempt=2) == []
    assert lane.refused(lane.duty("x", attempt=1)) == Reason.ATTEMPT_OUT_OF_ORDER
    assert lane.wait(HOUR) == []
