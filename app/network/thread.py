"""One job's reports, in their order, and what follows from them.

A thread tells facts and keeps beside them what the rules must make of each: holds, evidence, duties, the release. It is
written from the rules, for itself.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from app.facts import Producer
from app.network.actors import MINUTE, Consumer, Node, Validator
from app.network.desk import Desk
from app.network.reports import Reports, Told
from app.network.stakes import OpenCase, Stakes
from events.event import Fact, Role
from events.facts import (
    AttestationRecorded,
    AttestationRecordedData,
    ChallengeResultRecorded,
    ChallengeResultRecordedData,
    DutyAssigned,
    DutyAssignedData,
    JobCancelled,
    JobCancelledData,
    JobDispatched,
    JobDispatchedData,
    JobFailed,
    JobFailedData,
    JobRedistributed,
    JobRedistributedData,
    JobSubmitted,
    JobSubmittedData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    ResultSubmitted,
    ResultSubmittedData,
    UsageMetered,
    UsageMeteredData,
)
from events.orders import SpendAuthorized
from ledger.metering import bound_seconds, hold_for, price_usage
from ledger.slash import case_id

__all__ = ["Duties", "Outcome", "PaidLine", "Shared", "Thread"]

GOOD, BAD = "5" * 64, "bad0" * 16


class PaidLine(NamedTuple):
    """What a node's work costs, once it is released, base units; `case` where it waits for one."""

    node: str
    gross: int
    told: Told
    case: str | None


@dataclass(slots=True)
class Outcome:
    """How a job ended: settled, failed or cancelled, and its lines."""

    job: str
    consumer: Consumer
    plot: str
    ending: str = "open"
    redistributed: int = 0
    lines: list[PaidLine] = field(default_factory=list)


class Duties:
    """Duties by epoch and validator: [assigned, answered]."""

    def __init__(self) -> None:
        """Begin without duties."""
        self.sums: defaultdict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])

    def assign(self, told: Told, validators: Sequence[Validator]) -> None:
        """Count a duty of each."""
        for validator in validators:
            self.sums[told.epoch, validator.id][0] += 1

    def answer(self, epoch: int, validator: str) -> None:
        """Count an answer."""
        self.sums[epoch, validator][1] += 1


@dataclass(slots=True)
class Shared:
    """What all threads tell to."""

    asset: str
    reports: Reports
    stakes: Stakes
    desk: Desk
    duties: Duties


@dataclass(slots=True)
class _Attempt:
    number: int
    nodes: list[Node]
    holds: dict[str, int]
    duty: Told | None = None
    answered: set[str] = field(default_factory=set)
    words: dict[tuple[str, str], str] = field(default_factory=dict)
    challenges: dict[str, bool] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)


class Thread:
    """Tells one job."""

    def __init__(self, shared: Shared, router: Producer, consumer: Consumer, number: int, at: int, plot: str) -> None:
        """Begin at a time; nothing is told yet."""
        self.job = f"job-{number:06d}"
        self.consumer = consumer
        self.at = at
        self.delay = 0
        self.seconds_max = 0
        self.guilty = True
        self.outcome = Outcome(self.job, consumer, plot)
        self._shared, self._router = shared, router
        self._attempt: _Attempt | None = None

    @property
    def attempt(self) -> _Attempt:
        """The attempt that runs."""
        assert self._attempt is not None
        return self._attempt

    # --- from submission to dispatch ---

    def authorize(self, maximum: int, refused: str | None = None, **others: Any) -> None:
        """Let the consumer's owner authorise the spending; declared consumers have no key and need none."""
        if self.consumer.owner is not None:
            members = {"asset": self._shared.asset, "maximum": str(maximum)} | others
            desk, self.at = self._shared.desk, self.at + MINUTE
            desk.order(self.at, self.consumer.owner, SpendAuthorized, self.job, members, refused=refused)

    def submit(self, nodes: int, seconds_max: int) -> None:
        """Ask for compute."""
        self.seconds_max = seconds_max
        data = JobSubmittedData(
            asset=self._shared.asset,
            authority="declared" if self.consumer.owner is None else "owner",
            consumer=self.consumer.id,
            gpu_seconds_max=seconds_max,
            nodes=nodes,
        )
        self._say(JobSubmitted, "submitted", data)

    def escrow_for(self, nodes: Sequence[Node]) -> int:
        """Return what an attempt on nodes holds."""
        return sum(hold_for(node.price, self.seconds_max) for node in nodes)

    def dispatch(self, nodes: Sequence[Node], refused: str | None = None, below: int = 0) -> None:
        """Place the job; `below` is taken off each price."""
        number = 1 if self._attempt is None else self._attempt.number + 1
        quotes = tuple(
            Quote(node=node.id, operator=node.operator, price=str(node.price - below), minimum=str(node.minimum))
            for node in nodes
        )
        data = JobDispatchedData(attempt=number, consumer=self.consumer.id, quotes=quotes)
        key = f"{number}:dispatched" if refused is None else f"{number}:dispatched:{refused}"
        self._say(JobDispatched, key, data, refused=refused)
        holds = {node.id: hold_for(node.price, self.seconds_max) for node in nodes}
        if refused is None:
            self.consumer.need += sum(holds.values())
        # Some refusals use the attempt up; who is refused otherwise does not go on.
        self._attempt = _Attempt(number, list(nodes), holds)

    # --- the proof ---

    def draw(self, validators: Sequence[Validator]) -> None:
        """Give validators a duty on the attempt."""
        attempt = self.attempt
        seed = sha256(f"{self.job}|{attempt.number}".encode()).hexdigest()
        names = tuple(validator.id for validator in validators)
        data = DutyAssignedData(attempt=attempt.number, consumer=self.consumer.id, seed=seed, validators=names)
        attempt.duty = self._say(DutyAssigned, f"{attempt.number}:duty", data)
        self._shared.duties.assign(attempt.duty, validators)

    def result(self, node: Node, good: bool = True) -> None:
        """Let a node submit a result."""
        number = self.attempt.number
        data = ResultSubmittedData(
            attempt=number, consumer=self.consumer.id, node=node.id, result=GOOD if good else BAD
        )
        self._say(ResultSubmitted, f"{number}:result:{node.id}", data)

    def challenge(self, node: Node, passed: bool, reporter: str | None = None) -> Told:
        """Decide a node's challenge."""
        attempt = self.attempt
        data = ChallengeResultRecordedData(
            attempt=attempt.number, consumer=self.consumer.id, node=node.id, passed=passed, proof="c0" * 32,
            reporter=reporter,
        )  # fmt: skip
        told = self._say(ChallengeResultRecorded, f"{attempt.number}:challenge:{node.id}", data)
        attempt.challenges[node.id] = passed
        if not passed:
            self._evidence(told, "node", node.id, "failed_challenge", node.id, reporter)
            for (validator, about), word in sorted(attempt.words.items()):
                if about == node.id and word == "passed":
                    self._evidence(told, "validator", validator, "false_attestation", node.id, reporter)
        return told

    def attest(
        self, validator: Validator, node: Node, passed: bool, reporter: str | None = None, refused: str | None = None
    ) -> Told:
        """Record a validator's word on a node."""
        attempt = self.attempt
        word: Literal["passed", "failed"] = "passed" if passed else "failed"
        data = AttestationRecordedData(
            attempt=attempt.number, consumer=self.consumer.id, node=node.id, validator=validator.id, verdict=word,
            reporter=reporter,
        )  # fmt: skip
        key = f"{attempt.number}:word:{node.id}:{validator.id}" + ("" if refused is None else f":{refused}")
        told = self._say(AttestationRecorded, key, data, refused=refused)
        if refused is not None:
            return told
        if validator.id not in attempt.answered:
            attempt.answered.add(validator.id)
            duty = attempt.duty
            assert duty is not None
            # A duty is answered while its epoch is open.
            if self._shared.reports.epoch(duty.occurred_at, told.arrives) == duty.epoch:
                self._shared.duties.answer(duty.epoch, validator.id)
        if passed and attempt.challenges.get(node.id) is False:
            self._evidence(told, "validator", validator.id, "false_attestation", node.id, reporter)
        attempt.words[validator.id, node.id] = word
        return told

    def _evidence(self, told: Told, role: Role, accused: str, cause: str, node: str, reporter: str | None) -> None:
        case = self.case(role, accused, cause)
        words = self.attempt.words.items()
        verifiers = tuple(sorted(who for (who, about), word in words if about == node and word == "failed"))
        self._shared.stakes.accuse(
            told,
            OpenCase(
                case, role, accused, self.job, self.attempt.number, cause, self.outcome.plot, self.guilty,
                verifiers, reporter,
            ),
        )  # fmt: skip

    def case(self, role: Role, accused: str, cause: str) -> str:
        """Name a case about the running attempt."""
        return case_id(role, accused, self.consumer.id, self.job, self.attempt.number, cause)

    # --- the end ---

    def usage(self, node: Node, gpu_seconds: int, refused: str | None = None) -> Told:
        """Meter what a node ran."""
        number = self.attempt.number
        data = UsageMeteredData(attempt=number, consumer=self.consumer.id, gpu_seconds=gpu_seconds, node=node.id)
        key = f"{number}:{node.id}" + ("" if refused is None else f":{refused}")
        told = self._say(UsageMetered, key, data, refused=refused)
        if refused is None:
            self.attempt.usage[node.id] = gpu_seconds
        return told

    def claim(self, nodes: Sequence[Node], refused: str | None = None) -> Told:
        """Claim that nodes agree."""
        number = self.attempt.number
        agreeing = tuple(node.id for node in nodes)
        data = QuorumClaimedData(agreeing=agreeing, attempt=number, consumer=self.consumer.id)
        key = f"{number}:quorum" + ("" if refused is None else f":{refused}")
        return self._say(QuorumClaimed, key, data, refused=refused)

    def release(self, told: Told, nodes: Sequence[Node]) -> None:
        """Say that with a fact just told these nodes' work is released, or waits for the cases against them."""
        attempt = self.attempt
        self.outcome.ending = "settled"
        seconds = bound_seconds([attempt.usage[node.id] for node in nodes])
        for node, used in zip(nodes, seconds, strict=True):
            gross = price_usage(node.price, used, attempt.holds[node.id])
            failed = attempt.challenges.get(node.id) is False
            case = self.case("node", node.id, "failed_challenge") if failed else None
            self.outcome.lines.append(PaidLine(node.id, gross, told, case))

    def redistribute(self, reason: str, last: bool = False) -> None:
        """Take the job from its nodes; with the last attempt it is over."""
        number = self.attempt.number
        data = JobRedistributedData(attempt=number, consumer=self.consumer.id, reason=reason)
        self._say(JobRedistributed, f"{number}:redistributed", data)
        if last:
            self.outcome.ending = "failed"
        else:
            self.outcome.redistributed += 1

    def fail(self, reason: str) -> None:
        """End the job without a result."""
        number = self.attempt.number
        data = JobFailedData(attempt=number, consumer=self.consumer.id, reason=reason)
        self._say(JobFailed, f"{number}:failed", data)
        self.outcome.ending = "failed"

    def cancel(self, reason: str) -> None:
        """Withdraw the job before it has run."""
        self._say(JobCancelled, "cancelled", JobCancelledData(consumer=self.consumer.id, reason=reason))
        self.outcome.ending = "cancelled"

    def wait(self, time: int) -> None:
        """Let time pass."""
        self.at += time

    def _say(self, kind: type[Fact], key: str, data: Any, *, refused: str | None = None) -> Told:
        self.at += MINUTE // 2
        fact = self._router.fact(kind, self.at, self.job, f"{self.job}:{key}", data)
        return self._shared.reports.tell(fact, self.at + self.delay, refused)
