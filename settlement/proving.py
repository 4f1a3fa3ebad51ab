"""The facts about a job's proof: duties, results, challenges, attestations (R8, R10).

Each handler is a ladder of refusals, after which the fact is kept. A decision follows only where facts are evidence:
`SlashEvidenced`, once per case. Challenges and attestations count for `slash.evidence_seconds` of network time after
their job is over, and for earlier attempts as long as for the job; duties and results only while the attempt runs.
"""

from events.decisions import SlashEvidenced, SlashEvidencedData
from events.facts import (
    AttestationRecorded,
    AttestationRecordedData,
    ChallengeResultRecorded,
    ChallengeResultRecordedData,
    DutyAssigned,
    ResultSubmitted,
)
from events.refusal import Reason, Refusal
from ledger.epoch import epoch_for
from ledger.slash import case_id
from settlement.intake import Accepted
from settlement.jobs import LaneState
from settlement.lane_writer import LaneWriter
from settlement.proof import Evidence

__all__ = ["Proving"]


class Proving:
    """One lane's handlers; `now` is the effective time of the fact."""

    def __init__(self, state: LaneState, writer: LaneWriter) -> None:
        """Begin on a lane's state."""
        self._state = state
        self._writer = writer

    def assign_duty(self, accepted: Accepted, fact: DutyAssigned) -> Refusal | None:
        """Oblige validators to answer, once per attempt; the duty counts in the epoch of the fact."""
        data = fact.data
        job = self._state.running(data.consumer, fact.subject, data.attempt)
        if isinstance(job, Refusal):
            return job
        proof = job.running_proof()
        if proof.duties:
            return Refusal(Reason.DUTY_EXISTS, f"attempt {data.attempt}: {', '.join(proof.duties)[:200]}")
        epoch = epoch_for(accepted.occurred_at, self._state.oldest_open)
        proof.duties = dict.fromkeys(data.validators, epoch)
        job.keep(data.attempt, proof)
        self._state.epoch_sum(epoch).assign(proof.duties)
        return None

    def submit_result(self, fact: ResultSubmitted) -> Refusal | None:
        """Keep the result of a node, once per attempt."""
        data = fact.data
        job = self._state.running(data.consumer, fact.subject, data.attempt)
        if isinstance(job, Refusal):
            return job
        proof = job.running_proof()
        if data.node not in proof.nodes:
            return Refusal(Reason.NODE_NOT_DISPATCHED, data.node)
        if data.node in proof.results:
            return Refusal(Reason.RESULT_EXISTS, f"{data.node} submitted {proof.results[data.node]}")
        proof.results[data.node] = data.result
        job.keep(data.attempt, proof)
        return None

    def challenge(self, accepted: Accepted, fact: ChallengeResultRecorded, now: int) -> Refusal | None:
        """Keep whether a node's challenge passed, once per attempt; where not, accuse it and who vouched for it."""
        data = fact.data
        job = self._state.accountable(data.consumer, fact.subject, now)
        if isinstance(job, Refusal):
            return job
        proof = job.proof_of(data.attempt)
        if proof is None:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{data.attempt} is not known")
        if data.node not in proof.nodes:
            return Refusal(Reason.NODE_NOT_DISPATCHED, data.node)
        if data.node in proof.challenges:
            return Refusal(Reason.CHALLENGE_EXISTS, f"{data.node}, passed: {proof.challenges[data.node]}".lower())
        job.keep(data.attempt, proof)
        self._accuse(accepted, data, proof.challenge(data.node, data.passed))
        return None

    def attest(self, accepted: Accepted, fact: AttestationRecorded, now: int) -> Refusal | None:
        """Keep a validator's word on a node, once per attempt; its first in an attempt answers its duty."""
        data = fact.data
        job = self._state.accountable(data.consumer, fact.subject, now)
        if isinstance(job, Refusal):
            return job
        proof = job.proof_of(data.attempt)
        if proof is None:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{data.attempt} is not known")
        if data.node not in proof.nodes:
            return Refusal(Reason.NODE_NOT_DISPATCHED, data.node)
        if data.validator not in proof.duties:
            return Refusal(Reason.DUTY_NOT_ASSIGNED, f"{data.validator} in attempt {data.attempt}")
        if data.validator in proof.attestations.get(data.node, {}):
            return Refusal(Reason.ATTESTATION_EXISTS, f"{data.validator} on {data.node}")
        epoch = proof.duties[data.validator]
        if data.validator not in proof.answered and epoch >= self._state.oldest_open:
            self._state.epoch_sum(epoch).answer(data.validator)
        self._accuse(accepted, data, proof.attest(data.validator, data.node, data.verdict == "passed"))
        return None

    def _accuse(
        self, accepted: Accepted, data: AttestationRecordedData | ChallengeResultRecordedData, found: list[Evidence]
    ) -> None:
        job_id = accepted.fact.subject
        for evidence in found:
            case = case_id(evidence.role, evidence.accused, data.consumer, job_id, data.attempt, evidence.cause)
            evidenced = SlashEvidencedData(
                attempt=data.attempt,
                case=case,
                cause=evidence.cause,
                consumer=data.consumer,
                job=job_id,
                reporter=data.reporter,
                role=evidence.role,
                verifiers=evidence.verifiers,
            )
            self._writer.answer(accepted, SlashEvidenced, case, evidenced, subject=evidence.accused)
