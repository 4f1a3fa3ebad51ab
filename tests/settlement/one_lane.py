"""A lane driven by itself, without logs: facts in, decisions out, and the money that they move, added up anew."""

from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from app.facts import Producer
from app.orders import sign
from chain.keys import Signer
from events.codec import decode, encode
from events.decisions import (
    DecisionRefused,
    DepositCredited,
    EscrowFunded,
    JobRefunded,
    JobSettled,
    SlashEvidenced,
    WithdrawalAccepted,
)
from events.event import Decision, Fact, decision_id
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
from events.instant import MICROSECONDS, format_instant, parse_instant
from events.orders import SpendAuthorized, WithdrawalOrdered
from events.stakes import SlashReversed, SlashReversedData, SlashUpheld, SlashUpheldData
from ledger.parameters import parameters_from_toml
from ledger.slash import case_id
from settlement.intake import Accepted
from settlement.jobs import Job
from settlement.lane import Lane
from settlement.output import Decided

__all__ = ["HOUR", "C", "K", "OneLane", "Said", "case_of", "digest", "quotes"]

PRESET = Path(__file__).resolve().parents[2] / "ledger" / "presets" / "omnisync.toml"
PARAMETERS = parameters_from_toml(PRESET.read_text("utf-8"))
PARAMS_HASH = "0" * 64
LAUNCH = parse_instant(PARAMETERS.launched_at)
HOUR = 3_600 * MICROSECONDS
K = Signer(b"k" * 32)
C = K.key
"""The consumer of all jobs."""

Said = list[Decision]


def digest(letter: str = "a") -> str:
    """Return some SHA-256."""
    return letter * 64


def quotes(*nodes: str, price: int = 3_600) -> tuple[Quote, ...]:
    """Quote for nodes: `a` and `a2` are both run by operator `a`."""
    return tuple(Quote(node=node, operator=node[0], price=str(price), minimum="0") for node in nodes)


def case_of(role: str, accused: str, attempt: int = 1, job: str = "j", consumer: str = C) -> str:
    """Name the case that a lane's evidence opens."""
    cause = {"node": "failed_challenge", "validator": "false_attestation"}[role]
    return case_id(role, accused, consumer, job, attempt, cause)


class OneLane:
    """Facts about one job at a time, of consumer `C`, said at `now`, which is network time as well."""

    def __init__(self, funds: int = 1_000_000) -> None:
        """Begin an hour after the launch, with money."""
        self.lane = Lane(0, PARAMETERS, PARAMS_HASH)
        self.job = "j"
        self.now = LAUNCH + HOUR
        self.decided: Said = []
        self.money: Counter[str] = Counter()
        self._producer = Producer("p")
        self._keys = count()
        self._nonces = count()
        if funds:
            self.take(self._producer.deposit(self.now, C, "OMNI", funds, "funds"))

    # --- facts ---

    def say(self, kind: type[Any], data: Any, subject: str = "", at: int | None = None, late: bool = False) -> Said:
        """Take a fact of today's version, about the job unless about another subject; return what is decided on it."""
        time = self.now if at is None else at
        fact = self._producer.fact(kind, time, subject or self.job, f"k{next(self._keys)}", data)
        return self.take(fact, late)

    def take(self, fact: Fact, late: bool = False) -> Said:
        """Take a fact."""
        return self._add(self.lane.take(Accepted(fact, parse_instant(fact.occurred_at), late), self.now))

    def authorize(self, maximum: int = 10**9, hours: int = 24, signer: Signer = K, **changed: Any) -> Said:
        """Let the job be paid, for some hours."""
        terms: dict[str, Any] = {"asset": "OMNI", "maximum": str(maximum)}
        return self.order(SpendAuthorized, self.job, signer, hours, **(terms | changed))

    def withdraw(self, amount: int, subject: str = C, **changed: Any) -> Said:
        """Take money out."""
        return self.order(WithdrawalOrdered, subject, K, 24, **({"asset": "OMNI", "amount": str(amount)} | changed))

    def order(self, kind: type[Any], subject: str, signer: Signer, hours: int, **terms: Any) -> Said:
        """Sign an order and say it."""
        envelope = {"cluster": "localnet", "expires_at": format_instant(self.now + hours * HOUR)}
        data = sign(kind, subject, signer, **({"nonce": next(self._nonces)} | envelope | terms))
        return self.say(kind, data, subject)

    def submit(self, nodes: int = 1, authority: Any = "owner", seconds: int = 3_600, consumer: str = C) -> Said:
        """Submit the job."""
        data = JobSubmittedData(
            asset="OMNI", authority=authority, consumer=consumer, gpu_seconds_max=seconds, nodes=nodes
        )
        return self.say(JobSubmitted, data)

    def dispatch(self, *nodes: str, attempt: int = 1, price: int = 3_600) -> Said:
        """Dispatch an attempt; at the default price a GPU-second costs one unit."""
        data = JobDispatchedData(attempt=attempt, consumer=C, quotes=quotes(*nodes, price=price))
        return self.say(JobDispatched, data)

    def begin(self, *nodes: str, authority: Any = "owner") -> None:
        """Authorize, submit and dispatch."""
        self.authorize()
        self.submit(len(nodes), authority)
        self.dispatch(*nodes)

    def duty(self, *validators: str, attempt: int = 1, at: int | None = None) -> Said:
        """Assign a duty."""
        data = DutyAssignedData(attempt=attempt, consumer=C, seed=digest("5"), validators=validators)
        return self.say(DutyAssigned, data, at=at)

    def result(self, node: str, result: str = "a", attempt: int = 1) -> Said:
        """Submit a result."""
        data = ResultSubmittedData(attempt=attempt, consumer=C, node=node, result=digest(result))
        return self.say(ResultSubmitted, data)

    def challenge(self, node: str, passed: bool = True, attempt: int = 1, consumer: str = C, **more: Any) -> Said:
        """Decide a challenge."""
        data = ChallengeResultRecordedData(
            attempt=attempt, consumer=consumer, node=node, passed=passed, reporter=more.pop("reporter", None)
        )
        return self.say(ChallengeResultRecorded, data, **more)

    def attest(self, validator: str, node: str, verdict: Any = "passed", attempt: int = 1, **more: Any) -> Said:
        """Answer a duty."""
        data = AttestationRecordedData(
            attempt=attempt,
            consumer=more.pop("consumer", C),
            node=node,
            validator=validator,
            verdict=verdict,
            reporter=more.pop("reporter", None),
        )
        return self.say(AttestationRecorded, data, **more)

    def claim(self, *nodes: str, attempt: int = 1) -> Said:
        """Claim a quorum."""
        return self.say(QuorumClaimed, QuorumClaimedData(agreeing=nodes, attempt=attempt, consumer=C))

    def usage(self, node: str, seconds: int = 3_600, attempt: int = 1, at: int | None = None) -> Said:
        """Meter a node."""
        data = UsageMeteredData(attempt=attempt, consumer=C, gpu_seconds=seconds, node=node)
        return self.say(UsageMetered, data, at=at)

    def redistribute(self, attempt: int = 1) -> Said:
        """Take the job from its nodes."""
        return self.say(JobRedistributed, JobRedistributedData(attempt=attempt, consumer=C, reason="wrong"))

    def fail(self, attempt: int = 1) -> Said:
        """Let the job fail."""
        return self.say(JobFailed, JobFailedData(attempt=attempt, consumer=C, reason="lost"))

    def cancel(self) -> Said:
        """Cancel the job."""
        return self.say(JobCancelled, JobCancelledData(consumer=C, reason="changed"))

    # --- time and verdicts ---

    def hear(self, case: str, upheld: bool, due: int, role: Any = "node") -> Decision:
        """Let the lane hear a verdict that is due at a time."""
        named: dict[str, Any] = {"amount": "0", "asset": "OMNI", "bond": "0", "case": case, "role": role}
        kind: type[Any] = SlashUpheld if upheld else SlashReversed
        data: Any = (
            SlashUpheldData(proposer="protocol", withheld=(), **named)
            if upheld
            else SlashReversedData(released=(), returned=(), **named)
        )
        verdict: Decision = kind(
            id=decision_id(kind.__name__, case),
            source="settlement",
            subject="accused",
            occurred_at=format_instant(due),
            key=case,
            schema_version=1,
            epoch=0,
            params_hash=PARAMS_HASH,
            data=data,
        )
        self.lane.hear(verdict, due)
        return verdict

    def judge(self, case: str, upheld: bool) -> Said:
        """Hear a verdict that is due an hour from now, and pass that time."""
        self.hear(case, upheld, self.now + HOUR)
        return self.wait(HOUR)

    def wait(self, microseconds: int) -> Said:
        """Let network time pass; return what is decided at its stops."""
        self.now += microseconds
        said: Said = []
        while (stop := self.lane.next_stop(self.now)) is not None:
            said += self._add(self.lane.stop_at(stop))
        return said

    # --- what it came to ---

    def refused(self, said: Said) -> str:
        """Return the reason of the one refusal."""
        (refusal,) = said
        assert isinstance(refusal, DecisionRefused)
        return refusal.data.reason

    def open_job(self) -> Job:
        """Return the job that the tests are about, while it is open."""
        job = self.lane.state.open_job(C, "j")
        assert job is not None
        return job

    def evidence(self) -> list[tuple[str, str]]:
        """Return role and accused of all evidence."""
        return [(d.data.role, d.subject) for d in self.decided if isinstance(d, SlashEvidenced)]

    def settlements(self) -> list[JobSettled]:
        """Return all settlements."""
        return [decision for decision in self.decided if isinstance(decision, JobSettled)]

    def _add(self, decided: Decided) -> Said:
        said: Said = []
        for line in decided.data.splitlines():
            decision = decode(line)
            assert isinstance(decision, Decision)
            assert encode(decision) == line
            assert decision.id not in {other.id for other in self.decided}
            self.decided.append(decision)
            said.append(decision)
            self._move(decision)
        assert self.lane.state.available.get(C, 0) == self.money["consumer"]
        return said

    def _move(self, decision: Decision) -> None:
        money = self.money
        match decision:
            case DepositCredited(data=data):
                money["consumer"] += int(data.amount)
            case WithdrawalAccepted(data=data):
                money["consumer"] -= int(data.amount)
                money["withdrawn"] += int(data.amount)
            case EscrowFunded(data=data):
                assert int(data.amount) == sum(int(hold.amount) for hold in data.holds)
                money["consumer"] -= int(data.amount)
                money["escrow"] += int(data.amount)
            case JobRefunded(data=data):
                money["consumer"] += int(data.amount)
                money["escrow"] -= int(data.amount)
            case JobSettled(data=data):
                gross = sum(int(line.gross) for line in data.lines)
                waiting = sum(int(line.hold) for line in data.waiting)
                assert int(data.escrow) == gross + waiting + int(data.refund)
                money["consumer"] += int(data.refund)
                money["escrow"] -= int(data.escrow) - waiting
                money["fee"] += sum(int(line.fee) for line in data.lines)
                money["burn"] += sum(int(line.burn) for line in data.lines)
                for line in data.lines:
                    assert int(line.gross) == int(line.burn) + int(line.fee) + int(line.net)
                    money[line.node] += int(line.net)
        assert all(amount >= 0 for amount in money.values())
