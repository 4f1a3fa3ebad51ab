"""The naive lanes: deposits, jobs, their proofs, and what returns from the hub."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from events.event import Fact, decision_id
from events.facts import (
    AttestationRecorded,
    ChainFactDeclared,
    ChallengeResultRecorded,
    DutyAssigned,
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobRedistributed,
    JobSubmitted,
    QuorumClaimed,
    ResultSubmitted,
    UsageMetered,
)
from events.instant import DAY, MICROSECONDS, parse_instant
from events.orders import SpendAuthorized, WithdrawalOrdered
from events.refusal import Reason
from tests.naive.purse import Purse, Refused

__all__ = ["JOB_FACTS", "Attempt", "Evidence", "Jobs", "case_of", "lowest_price"]

JOB_FACTS = (
    JobSubmitted, JobDispatched, JobRedistributed, JobFailed, JobCancelled, DutyAssigned, ResultSubmitted,
    ChallengeResultRecorded, AttestationRecorded, QuorumClaimed, UsageMetered, SpendAuthorized, WithdrawalOrdered,
)  # fmt: skip


@dataclass(slots=True)
class Attempt:
    """One attempt: per node (operator, price, hold), and all that was said about it."""

    nodes: dict[str, tuple[str, int, int]]
    used: dict[str, int] = field(default_factory=dict)
    agreed: list[str] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    challenges: dict[str, bool] = field(default_factory=dict)
    duty: tuple[str, ...] = ()
    duty_epoch: int = 0
    said: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    """A job, for ever: `running` is the attempt that holds money."""

    consumer: str
    owned: bool
    size: int
    seconds_max: int
    number: int = 0
    running: Attempt | None = None
    attempts: dict[int, Attempt] = field(default_factory=dict)
    over_at: int | None = None
    waiting: dict[str, tuple[str, int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a lane tells the hub."""

    id: str
    case: str
    role: str
    accused: str
    cause: str
    consumer: str
    job: str
    verifiers: tuple[str, ...]
    reporter: str | None


def case_of(role: str, accused: str, consumer: str, job: str, attempt: int, cause: str) -> str:
    """Name a case."""
    return sha256(f"{role}|{accused}|{consumer}|{job}|{attempt}|{cause}".encode()).hexdigest()[:32]


def lowest_price(minimum: int, burn_bps: int, fee_bps: int) -> int:
    """Return the least gross price of which the minimum is left."""
    kept = 10_000 - burn_bps - fee_bps
    return (minimum * 10_000 + kept - 1) // kept


class Jobs:
    """All lanes at once."""

    def __init__(self, purse: Purse) -> None:
        """Begin without jobs."""
        self.purse = purse
        self.jobs: dict[tuple[str, str], Job] = {}
        self.fees: Counter[int] = Counter()
        self.assigned: Counter[tuple[int, str]] = Counter()
        self.answered: Counter[tuple[int, str]] = Counter()
        self.evidence: list[tuple[int, int, Evidence]] = []
        self.returns: list[tuple[int, str, bool]] = []
        self.verdicts: dict[str, bool] = {}
        self._cases: set[str] = set()
        self._spends: dict[tuple[str, str], tuple[int, int]] = {}
        self._effective = self._occurred_at = 0

    def take(self, fact: Fact, data: Any, occurred_at: int) -> None:
        """Decide on a fact at once."""
        self._occurred_at = occurred_at
        self._effective = max(occurred_at, self.purse.now)
        try:
            _HANDLERS[type(fact)](self, fact, data)
        except Refused as refused:
            self.purse.refused[fact.id] = refused.reason

    def next_stop(self) -> int:
        """Return when the next verdict returns, or the next epoch closes."""
        return min([due for due, _, _ in self.returns] + [self.purse.closes_at(self.purse.epoch)])

    def stop(self, time: int) -> None:
        """Carry out the verdicts that are due; that the epoch closes is the hub's to say."""
        due = sorted((case, upheld) for when, case, upheld in self.returns if when == time)
        self.returns = [line for line in self.returns if line[0] != time]
        self._occurred_at = self._effective = time
        for case, upheld in due:
            self.verdicts[case] = upheld
            for (consumer, name), job in self.jobs.items():
                for node, (waits_on, hold, gross) in sorted(job.waiting.items()):
                    if waits_on == case:
                        del job.waiting[node]
                        self._pay_line(name, job, node, 0 if upheld else gross)
                        spent = 0 if upheld else gross
                        self._return(name, job, hold - spent)
                        self.purse.say("JobSettled", name, consumer, hold, spent, hold - spent, 0)

    # --- money of consumers ---

    def _deposit(self, fact: Fact, data: Any) -> None:
        self._check_asset(data)
        if data.amount == "0":
            raise Refused(Reason.AMOUNT_IS_ZERO)
        if int(data.amount) > int(self.purse.rules.unit.cap):
            raise Refused(Reason.AMOUNT_ABOVE_CAP)
        self.purse.move(("external", ""), (f"consumer:{fact.subject}", "escrow"), int(data.amount))

    def _withdraw(self, fact: Fact, data: Any) -> None:
        self._check_owner(fact, data, fact.subject)
        self._check_asset(data)
        if data.amount == "0":
            raise Refused(Reason.AMOUNT_IS_ZERO)
        if int(data.amount) > self._available(data.owner):
            raise Refused(Reason.FUNDS_INSUFFICIENT)
        self._send(f"consumer:{data.owner}", f"payable:withdrawal:{data.owner}", int(data.amount))
        self.purse.say("WithdrawalAccepted", data.owner, int(data.amount))

    def _authorize(self, fact: Fact, data: Any) -> None:
        self._check_owner(fact, data, data.owner)
        self._check_asset(data)
        self._spends[data.owner, fact.subject] = int(data.maximum), parse_instant(data.expires_at)

    # --- jobs ---

    def _submit(self, fact: Fact, data: Any) -> None:
        if (data.consumer, fact.subject) in self.jobs:
            raise Refused(Reason.JOB_EXISTS)
        self._check_asset(data)
        owned = data.authority == "owner"
        self.jobs[data.consumer, fact.subject] = Job(data.consumer, owned, data.nodes, data.gpu_seconds_max)

    def _dispatch(self, fact: Fact, data: Any) -> None:
        job = self._open(fact, data)
        if job.running is not None or data.attempt != job.number + 1:
            raise Refused(Reason.ATTEMPT_OUT_OF_ORDER)
        if data.attempt > self.purse.rules.job.attempts_max:
            raise Refused(Reason.ATTEMPT_OUT_OF_ORDER)
        if len({quote.node for quote in data.quotes}) != job.size or len(data.quotes) != job.size:
            raise Refused(Reason.NODES_DIFFER)
        job.number = data.attempt
        for quote in data.quotes:
            self._check_price(quote)
        nodes = {
            quote.node: (quote.operator, int(quote.price), -(-int(quote.price) * job.seconds_max // 3600))
            for quote in data.quotes
        }
        total = sum(hold for _, _, hold in nodes.values())
        if job.owned:
            self._check_spend(job.consumer, fact.subject, total)
        if total > self._available(job.consumer):
            raise Refused(Reason.FUNDS_INSUFFICIENT)
        job.running = job.attempts[data.attempt] = Attempt(nodes)
        self.purse.move((f"consumer:{job.consumer}", "escrow"), (_escrow(fact.subject, job), "escrow"), total)

    def _check_spend(self, consumer: str, name: str, total: int) -> None:
        if (consumer, name) not in self._spends:
            raise Refused(Reason.SPEND_NOT_AUTHORIZED)
        maximum, expires_at = self._spends[consumer, name]
        if self._effective > expires_at:
            raise Refused(Reason.ORDER_EXPIRED)
        if total > maximum:
            raise Refused(Reason.SPEND_ABOVE_MAXIMUM)

    def _use(self, fact: Fact, data: Any) -> None:
        if data.terms is not None:
            self._whole(fact, data)
            return
        job, attempt = self._running(fact, data)
        if data.node not in attempt.nodes:
            raise Refused(Reason.NODE_NOT_DISPATCHED)
        if data.node in attempt.used:
            raise Refused(Reason.USAGE_EXISTS)
        attempt.used[data.node] = data.gpu_seconds
        self._release(fact.subject, job)

    def _whole(self, fact: Fact, data: Any) -> None:
        terms = data.terms
        if (data.consumer, fact.subject) in self.jobs:
            raise Refused(Reason.JOB_EXISTS)
        self._check_asset(terms)
        if data.attempt != 1:
            raise Refused(Reason.ATTEMPT_OUT_OF_ORDER)
        self._check_price(terms)
        hold = -(-int(terms.price) * terms.gpu_seconds_max // 3600)
        if hold > self._available(data.consumer):
            raise Refused(Reason.FUNDS_INSUFFICIENT)
        attempt = Attempt({data.node: (terms.operator, int(terms.price), hold)}, used={data.node: data.gpu_seconds})
        job = Job(data.consumer, False, 1, terms.gpu_seconds_max, 1, attempt, {1: attempt})
        self.jobs[data.consumer, fact.subject] = job
        self.purse.move((f"consumer:{job.consumer}", "escrow"), (_escrow(fact.subject, job), "escrow"), hold)
        self._release(fact.subject, job)

    def _claim(self, fact: Fact, data: Any) -> None:
        job, attempt = self._running(fact, data)
        if attempt.agreed:
            raise Refused(Reason.QUORUM_EXISTS)
        if not set(data.agreeing) <= set(attempt.nodes) or len(set(data.agreeing)) != len(data.agreeing):
            raise Refused(Reason.NODE_NOT_DISPATCHED)
        voters: dict[str, str] = {}
        for node, (operator, _, _) in attempt.nodes.items():
            if node in data.agreeing:
                voters.setdefault(operator, node)
        if 3 * len(voters) < 2 * job.size:
            raise Refused(Reason.QUORUM_NOT_REACHED)
        if job.owned and len({attempt.results.get(node, node) for node in data.agreeing}) != 1:
            raise Refused(Reason.RESULTS_DIFFER)
        if job.owned and not set(data.agreeing) <= set(attempt.results):
            raise Refused(Reason.RESULTS_DIFFER)
        attempt.agreed = list(voters.values())
        self._release(fact.subject, job)

    def _fail(self, fact: Fact, data: Any) -> None:
        job = self._open(fact, data)
        if data.attempt != job.number:
            raise Refused(Reason.ATTEMPT_OUT_OF_ORDER)
        self._end(fact.subject, job, "failed")

    def _cancel(self, fact: Fact, data: Any) -> None:
        job = self._open(fact, data)
        if job.running is not None and job.running.used:
            raise Refused(Reason.USAGE_EXISTS)
        self._end(fact.subject, job, "cancelled")

    def _redistribute(self, fact: Fact, data: Any) -> None:
        job, _ = self._running(fact, data)
        if data.attempt == self.purse.rules.job.attempts_max:
            self._end(fact.subject, job, "failed")
        else:
            self._give_back(fact.subject, job, "redistributed")

    # --- proofs ---

    def _assign(self, fact: Fact, data: Any) -> None:
        _, attempt = self._running(fact, data)
        if attempt.duty:
            raise Refused(Reason.DUTY_EXISTS)
        attempt.duty = tuple(sorted(set(data.validators)))
        attempt.duty_epoch = max(self._occurred_at // DAY, self.purse.epoch)
        for validator in attempt.duty:
            self.assigned[attempt.duty_epoch, validator] += 1

    def _submit_result(self, fact: Fact, data: Any) -> None:
        _, attempt = self._running(fact, data)
        if data.node not in attempt.nodes:
            raise Refused(Reason.NODE_NOT_DISPATCHED)
        if data.node in attempt.results:
            raise Refused(Reason.RESULT_EXISTS)
        attempt.results[data.node] = data.result

    def _challenge(self, fact: Fact, data: Any) -> None:
        job, attempt = self._remembered(fact, data)
        if data.node not in attempt.nodes:
            raise Refused(Reason.NODE_NOT_DISPATCHED)
        if data.node in attempt.challenges:
            raise Refused(Reason.CHALLENGE_EXISTS)
        attempt.challenges[data.node] = data.passed
        if not data.passed:
            self._accuse("node", data.node, "failed_challenge", fact, data, attempt)
            for (validator, node), verdict in sorted(attempt.said.items()):
                if node == data.node and verdict == "passed":
                    self._accuse("validator", validator, "false_attestation", fact, data, attempt)
        self._release(fact.subject, job)

    def _attest(self, fact: Fact, data: Any) -> None:
        job, attempt = self._remembered(fact, data)
        if data.node not in attempt.nodes:
            raise Refused(Reason.NODE_NOT_DISPATCHED)
        if data.validator not in attempt.duty:
            raise Refused(Reason.DUTY_NOT_ASSIGNED)
        if (data.validator, data.node) in attempt.said:
            raise Refused(Reason.ATTESTATION_EXISTS)
        first = all(validator != data.validator for validator, _ in attempt.said)
        attempt.said[data.validator, data.node] = data.verdict
        if first and attempt.duty_epoch >= self.purse.epoch:
            self.answered[attempt.duty_epoch, data.validator] += 1
        if data.verdict == "passed" and attempt.challenges.get(data.node) is False:
            self._accuse("validator", data.validator, "false_attestation", fact, data, attempt)
        self._release(fact.subject, job)

    def _accuse(self, role: str, accused: str, cause: str, fact: Fact, data: Any, attempt: Attempt) -> None:
        case = case_of(role, accused, data.consumer, fact.subject, data.attempt, cause)
        if case not in self._cases:
            self._cases.add(case)
            told = {validator for (validator, node), v in attempt.said.items() if node == data.node and v == "failed"}
            id = decision_id("SlashEvidenced", case)
            evidence = Evidence(
                id, case, role, accused, cause, data.consumer, fact.subject, tuple(sorted(told)), data.reporter
            )
            self.evidence.append((self._effective, self._occurred_at, evidence))
            self.purse.say(
                "SlashEvidenced", accused, case, data.consumer, fact.subject, tuple(sorted(told)), data.reporter
            )

    # --- release ---

    def _release(self, name: str, job: Job) -> None:
        attempt = job.running
        if attempt is None:
            return
        paid = list(attempt.nodes) if job.size == 1 else attempt.agreed
        if not paid or any(node not in attempt.used for node in paid):
            return
        if job.owned and any(node not in attempt.challenges for node in paid):
            return
        if job.owned and job.size == 1:
            passed = any(verdict == "passed" for (_, node), verdict in attempt.said.items() if node == paid[0])
            if not passed or not attempt.challenges[paid[0]]:
                return
        self._settle(name, job, attempt, paid)

    def _settle(self, name: str, job: Job, attempt: Attempt, paid: list[str]) -> None:
        median = sorted(attempt.used[node] for node in paid)[(len(paid) - 1) // 2]
        escrow = self.purse.money[_escrow(name, job), "escrow"]
        spent = kept = 0
        for node in paid:
            _, price, hold = attempt.nodes[node]
            gross = min(price * min(attempt.used[node], 2 * median) // 3600, hold)
            case = case_of("node", node, job.consumer, name, job.number, "failed_challenge")
            if job.owned and attempt.challenges.get(node) is False:
                upheld = self.verdicts.get(case)
                if upheld is None:
                    job.waiting[node] = case, hold, gross
                    kept += hold
                    continue
                gross = 0 if upheld else gross
            spent += gross
            self._pay_line(name, job, node, gross)
        refund = escrow - spent - kept
        self._return(name, job, refund)
        self.purse.say("JobSettled", name, job.consumer, escrow, spent, refund, kept)
        job.running, job.over_at = None, self._effective

    def _pay_line(self, name: str, job: Job, node: str, gross: int) -> None:
        rules = self.purse.rules.job
        burn, fee = gross * rules.burn_bps // 10_000, gross * rules.fee_bps // 10_000
        self._send(_escrow(name, job), "burn:pending", burn)
        self._send(_escrow(name, job), "fee:accrued", fee)
        self._send(_escrow(name, job), f"payable:supplier:{node}", gross - burn - fee)
        self.fees[max(self._occurred_at // DAY, self.purse.epoch)] += fee

    def _give_back(self, name: str, job: Job, outcome: str) -> None:
        held = self.purse.money[_escrow(name, job), "escrow"]
        self._return(name, job, held)
        self.purse.say("JobRefunded", name, job.consumer, outcome, held)
        job.running = None

    def _return(self, name: str, job: Job, amount: int) -> None:
        self.purse.move((_escrow(name, job), "escrow"), (f"consumer:{job.consumer}", "escrow"), amount)

    def _end(self, name: str, job: Job, outcome: str) -> None:
        self._give_back(name, job, outcome)
        job.over_at = self._effective

    # --- what the handlers share ---

    def _send(self, source: str, target: str, amount: int) -> None:
        self.purse.send(source, target, amount, self._effective)

    def _available(self, consumer: str) -> int:
        return self.purse.money[f"consumer:{consumer}", "escrow"]

    def _check_asset(self, data: Any) -> None:
        if data.asset != self.purse.rules.unit.asset:
            raise Refused(Reason.ASSET_UNKNOWN)

    def _check_owner(self, fact: Fact, data: Any, owner: str) -> None:
        if data.owner != owner:
            raise Refused(Reason.OWNER_DIFFERS)
        self.purse.check_order("lane", fact, data, self._effective)

    def _check_price(self, quote: Any) -> None:
        rules = self.purse.rules.job
        if int(quote.price) < lowest_price(int(quote.minimum), rules.burn_bps, rules.fee_bps):
            raise Refused(Reason.PRICE_BELOW_MINIMUM)

    def _known(self, fact: Fact, data: Any) -> Job:
        if (data.consumer, fact.subject) not in self.jobs:
            raise Refused(Reason.JOB_UNKNOWN)
        return self.jobs[data.consumer, fact.subject]

    def _open(self, fact: Fact, data: Any) -> Job:
        job = self._known(fact, data)
        if job.over_at is not None:
            raise Refused(Reason.JOB_CLOSED)
        return job

    def _running(self, fact: Fact, data: Any) -> tuple[Job, Attempt]:
        job = self._open(fact, data)
        if job.running is None or data.attempt != job.number:
            raise Refused(Reason.ATTEMPT_OUT_OF_ORDER)
        return job, job.running

    def _remembered(self, fact: Fact, data: Any) -> tuple[Job, Attempt]:
        """Find the attempt that a proof is about; of a job that is over, only while it counts as evidence."""
        job = self._known(fact, data)
        if job.over_at is not None:
            until = job.over_at + self.purse.rules.slash.evidence_seconds * MICROSECONDS
            proven = any(a.results or a.challenges or a.duty for a in job.attempts.values())
            if not proven or self._effective >= until:
                raise Refused(Reason.JOB_CLOSED)
        if data.attempt not in job.attempts:
            raise Refused(Reason.ATTEMPT_OUT_OF_ORDER)
        return job, job.attempts[data.attempt]


def _escrow(name: str, job: Job) -> str:
    return f"escrow:{job.consumer}:{name}"


_HANDLERS: dict[type[Fact], Callable[[Jobs, Fact, Any], None]] = {
    ChainFactDeclared: Jobs._deposit,
    WithdrawalOrdered: Jobs._withdraw,
    SpendAuthorized: Jobs._authorize,
    JobSubmitted: Jobs._submit,
    JobDispatched: Jobs._dispatch,
    JobRedistributed: Jobs._redistribute,
    JobFailed: Jobs._fail,
    JobCancelled: Jobs._cancel,
    UsageMetered: Jobs._use,
    QuorumClaimed: Jobs._claim,
    DutyAssigned: Jobs._assign,
    ResultSubmitted: Jobs._submit_result,
    ChallengeResultRecorded: Jobs._challenge,
    AttestationRecorded: Jobs._attest,
}
