"""A lane as one would first write it down: everything is kept for ever, and looked through each time.

It knows one consumer, prices at which a GPU-second costs one unit, and facts in the order of time; it shares no rule
with the product. What it says of each step are plain tuples, the same as `told` makes of the product's decisions.
"""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from events.decisions import (
    DecisionRefused,
    DepositCredited,
    EscrowFunded,
    JobRefunded,
    JobSettled,
    LaneEpochClosed,
    SlashEvidenced,
    WithdrawalAccepted,
)
from events.event import Decision

__all__ = ["DAY", "HOUR", "NaiveLane", "Told", "case_of", "told"]

HOUR = 3_600_000_000
DAY = 24 * HOUR
EVIDENCE = 2 * DAY
ATTEMPTS = 3
HOLD = 3_600
Told = tuple[Any, ...]


def told(decision: Decision) -> Told:
    """Say what a decision says."""
    match decision:
        case DecisionRefused(data=data):
            return "refused", data.reason
        case DepositCredited(data=data):
            return "deposited", int(data.amount)
        case WithdrawalAccepted(data=data):
            return "withdrawn", int(data.amount)
        case EscrowFunded(data=data):
            return "funded", decision.key, int(data.amount)
        case JobRefunded(data=data):
            return "refunded", decision.key, int(data.amount)
        case SlashEvidenced(data=data):
            return "evidence", decision.subject, data.case, data.verifiers
        case JobSettled(data=data):
            lines = [(line.node, int(line.gross), int(line.net)) for line in data.lines]
            return "settled", decision.key, lines, int(data.refund), [line.node for line in data.waiting]
        case LaneEpochClosed(data=data):
            duties = [(duty.validator, duty.assigned, duty.answered) for duty in data.duties]
            totals = [(int(total.fee), int(total.burn)) for total in data.totals]
            return "closed", decision.epoch, totals, duties
    raise AssertionError(decision)


@dataclass
class Attempt:
    """All that was said of an attempt."""

    nodes: tuple[str, ...]
    used: dict[str, int] = field(default_factory=dict)
    agreed: list[str] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)
    words: dict[tuple[str, str], str] = field(default_factory=dict)
    duty: tuple[str, ...] = ()
    duty_epoch: int = 0


@dataclass
class Job:
    """A job, open until `over_at`."""

    owned: bool
    size: int
    attempts: dict[int, Attempt] = field(default_factory=dict)
    number: int = 0
    running: bool = False
    over_at: int | None = None
    # By case: the node that waits, and what it would be paid.
    waiting: dict[str, tuple[str, int]] = field(default_factory=dict)
    settlements: int = 0


class NaiveLane:
    """Each method says what is decided."""

    def __init__(self, now: int, funds: int, consumer: str) -> None:
        self.now, self.funds, self.consumer = now, funds, consumer
        self.epoch = now // DAY
        self.jobs: dict[str, Job] = {}
        self.words: dict[str, tuple[int, int]] = {}
        self.verdicts: dict[str, bool] = {}
        self.due: list[tuple[int, str, bool]] = []
        self.fees: Counter[int] = Counter()
        self.burns: Counter[int] = Counter()
        self.assigned: Counter[tuple[int, str]] = Counter()
        self.answered: Counter[tuple[int, str]] = Counter()
        self.cases: set[str] = set()

    # --- money and time ---

    def authorize(self, job: str, maximum: int, hours: int) -> list[Told]:
        self.words[job] = maximum, self.now + hours * HOUR
        return []

    def withdraw(self, amount: int) -> list[Told]:
        if amount == 0 or amount > self.funds:
            return [("refused", "funds_insufficient" if amount else "amount_is_zero")]
        self.funds -= amount
        return [("withdrawn", amount)]

    def wait(self, time: int) -> list[Told]:
        self.now += time
        said: list[Told] = []
        while True:
            close = (self.epoch + 1) * DAY + HOUR // 2
            stop, case, upheld = min(self.due, default=(close + 1, "", False))
            if min(stop, close) > self.now:
                return said
            if stop <= close:
                self.due.remove((stop, case, upheld))
                said += self._return(stop, case, upheld)
            else:
                said.append(self._close())

    def _close(self) -> Told:
        epoch, self.epoch = self.epoch, self.epoch + 1
        totals = [(self.fees[epoch], self.burns[epoch])] if self.fees[epoch] or self.burns[epoch] else []
        names = sorted(name for day, name in self.assigned if day == epoch)
        # An authorization that has expired is forgotten, unless its job is open: there it is told from none.
        self.words = {
            job: (maximum, until)
            for job, (maximum, until) in self.words.items()
            if until >= self.epoch * DAY + HOUR // 2 or not self._not_open(job)
        }
        return "closed", epoch, totals, [(n, self.assigned[epoch, n], self.answered[epoch, n]) for n in names]

    def _return(self, time: int, case: str, upheld: bool) -> list[Told]:
        self.verdicts[case] = upheld
        for name, job in self.jobs.items():
            if case in job.waiting:
                node, gross = job.waiting.pop(case)
                paid = [] if upheld else [self._pay(node, gross, time)]
                job.settlements += 1
                refund = HOLD - sum(line[1] for line in paid)
                self.funds += refund
                return [("settled", self._key(name, job.number, job.settlements), paid, refund, [])]
        return []

    # --- the job ---

    def submit(self, name: str, size: int, owned: bool) -> list[Told]:
        if name in self.jobs:
            return [("refused", "job_exists")]
        self.jobs[name] = Job(owned, size)
        return []

    def dispatch(self, name: str, number: int, nodes: tuple[str, ...]) -> list[Told]:
        if fault := self._not_open(name):
            return [("refused", fault)]
        job = self.jobs[name]
        if job.running or number != job.number + 1 or number > ATTEMPTS:
            return [("refused", "attempt_out_of_order")]
        if len(nodes) != job.size:
            return [("refused", "nodes_differ")]
        job.number, amount = number, HOLD * len(nodes)
        if job.owned and (fault := self._unspendable(name, amount)):
            return [("refused", fault)]
        if amount > self.funds:
            return [("refused", "funds_insufficient")]
        self.funds -= amount
        job.running, job.attempts[number] = True, Attempt(nodes)
        return [("funded", self._key(name, number), amount)]

    def _unspendable(self, name: str, amount: int) -> str:
        if name not in self.words:
            return "spend_not_authorized"
        maximum, until = self.words[name]
        return "order_expired" if self.now > until else "spend_above_maximum" if amount > maximum else ""

    def end(self, name: str, how: str, number: int) -> list[Told]:
        """End the job or its attempt: how is failed, cancelled or redistributed."""
        if fault := self._not_open(name):
            return [("refused", fault)]
        job = self.jobs[name]
        if how != "cancelled" and (number != job.number or (how == "redistributed" and not job.running)):
            return [("refused", "attempt_out_of_order")]
        if how == "cancelled" and job.running and job.attempts[job.number].used:
            return [("refused", "usage_exists")]
        if how == "redistributed" and number == ATTEMPTS:
            how = "failed"
        amount = HOLD * job.size if job.running else 0
        self.funds += amount
        job.running = False
        if how != "redistributed":
            self._over(name)
        return [("refunded", self._key(name, job.number, how), amount)]

    def use(self, name: str, number: int, node: str, seconds: int) -> list[Told]:
        if fault := self._not_running(name, number) or self._stranger(name, number, node):
            return [("refused", fault)]
        used = self.jobs[name].attempts[number].used
        if node in used:
            return [("refused", "usage_exists")]
        used[node] = seconds
        return self._release(name)

    def claim(self, name: str, number: int, nodes: tuple[str, ...]) -> list[Told]:
        if fault := self._not_running(name, number):
            return [("refused", fault)]
        job, attempt = self.jobs[name], self.jobs[name].attempts[number]
        if attempt.agreed:
            return [("refused", "quorum_exists")]
        if not set(nodes) <= set(attempt.nodes):
            return [("refused", "node_not_dispatched")]
        first = {node[0]: node for node in reversed(attempt.nodes) if node in nodes}
        if len(first) < {1: 1, 3: 2}[job.size]:
            return [("refused", "quorum_not_reached")]
        results = {attempt.results.get(node, f"none of {node}") for node in nodes}
        if job.owned and (len(results) > 1 or not results <= set(attempt.results.values())):
            return [("refused", "results_differ")]
        attempt.agreed = [node for node in attempt.nodes if node in first.values()]
        return self._release(name)

    # --- its proof ---

    def assign(self, name: str, number: int, validators: tuple[str, ...]) -> list[Told]:
        if fault := self._not_running(name, number):
            return [("refused", fault)]
        attempt = self.jobs[name].attempts[number]
        if attempt.duty:
            return [("refused", "duty_exists")]
        attempt.duty, attempt.duty_epoch = validators, max(self.epoch, self.now // DAY)
        self.assigned.update((attempt.duty_epoch, name) for name in validators)
        return []

    def submit_result(self, name: str, number: int, node: str, result: str) -> list[Told]:
        if fault := self._not_running(name, number) or self._stranger(name, number, node):
            return [("refused", fault)]
        results = self.jobs[name].attempts[number].results
        if node in results:
            return [("refused", "result_exists")]
        results[node] = result
        return []

    def challenge(self, name: str, number: int, node: str, passed: bool) -> list[Told]:
        if fault := self._gone(name, number) or self._stranger(name, number, node):
            return [("refused", fault)]
        attempt = self.jobs[name].attempts[number]
        if node in attempt.passed:
            return [("refused", "challenge_exists")]
        attempt.passed[node] = passed
        return self._evidence(name, number, node) + self._release(name)

    def attest(self, name: str, number: int, validator: str, node: str, verdict: str) -> list[Told]:
        if fault := self._gone(name, number) or self._stranger(name, number, node):
            return [("refused", fault)]
        attempt = self.jobs[name].attempts[number]
        if validator not in attempt.duty:
            return [("refused", "duty_not_assigned")]
        if (validator, node) in attempt.words:
            return [("refused", "attestation_exists")]
        if attempt.duty_epoch >= self.epoch and validator not in {who for who, _ in attempt.words}:
            self.answered[attempt.duty_epoch, validator] += 1
        attempt.words[validator, node] = verdict
        return self._evidence(name, number, node) + self._release(name)

    def _evidence(self, name: str, number: int, node: str) -> list[Told]:
        """Look through all that was said of a node; tell what was not told before."""
        attempt = self.jobs[name].attempts[number]
        if attempt.passed.get(node) is not False:
            return []
        doubters = tuple(
            sorted(who for (who, about), word in attempt.words.items() if (about, word) == (node, "failed"))
        )
        liars = sorted(who for (who, about), word in attempt.words.items() if (about, word) == (node, "passed"))
        accused = [("node", node, "failed_challenge")] + [("validator", who, "false_attestation") for who in liars]
        said: list[Told] = []
        for role, who, cause in accused:
            case = case_of(role, who, self.consumer, name, number, cause)
            if case not in self.cases:
                self.cases.add(case)
                said.append(("evidence", who, case, doubters))
        return said

    # --- release ---

    def _release(self, name: str) -> list[Told]:
        job = self.jobs[name]
        if not job.running:
            return []
        attempt = job.attempts[job.number]
        paid = list(attempt.nodes) if job.size == 1 else attempt.agreed
        ready = paid and set(paid) <= set(attempt.used)
        if job.owned:
            ready = ready and set(paid) <= set(attempt.passed)
        if job.owned and job.size == 1:
            ready = ready and attempt.passed[paid[0]] and "passed" in attempt.words.values()
        return [self._settle(name, job, attempt, paid)] if ready else []

    def _settle(self, name: str, job: Job, attempt: Attempt, paid: list[str]) -> Told:
        lines, refund = [], HOLD * job.size
        times = sorted(attempt.used[node] for node in paid)
        for node in paid:
            gross = min(attempt.used[node], 2 * times[(len(paid) - 1) // 2], HOLD)
            case = case_of("node", node, self.consumer, name, job.number, "failed_challenge")
            upheld = False if not job.owned or attempt.passed[node] else self.verdicts.get(case)
            if upheld is None:
                job.waiting[case] = node, gross
                refund -= HOLD
            elif not upheld:
                lines.append(self._pay(node, gross, self.now))
                refund -= gross
        self.funds += refund
        job.running, job.settlements = False, 1
        self._over(name)
        return "settled", self._key(name, job.number, 1), lines, refund, [node for node, _ in job.waiting.values()]

    def _pay(self, node: str, gross: int, time: int) -> tuple[str, int, int]:
        fee, burn, epoch = gross * 5 // 100, gross * 2 // 100, max(self.epoch, time // DAY)
        self.fees[epoch] += fee
        self.burns[epoch] += burn
        return node, gross, gross - fee - burn

    def _over(self, name: str) -> None:
        self.jobs[name].over_at = self.now
        if self.jobs[name].owned:
            self.words.pop(name, None)

    def _key(self, name: str, *parts: int | str) -> str:
        return ":".join(map(str, (self.consumer, name, *parts)))

    # --- why not ---

    def _not_open(self, name: str) -> str:
        if name not in self.jobs:
            return "job_unknown"
        return "" if self.jobs[name].over_at is None else "job_closed"

    def _not_running(self, name: str, number: int) -> str:
        if fault := self._not_open(name):
            return fault
        return "" if self.jobs[name].running and self.jobs[name].number == number else "attempt_out_of_order"

    def _gone(self, name: str, number: int) -> str:
        if name not in self.jobs:
            return "job_unknown"
        job = self.jobs[name]
        if job.over_at is not None:
            silent = not any(a.duty or a.results or a.passed for a in job.attempts.values())
            if silent or self.now >= job.over_at + EVIDENCE:
                return "job_closed"
        return "" if number in job.attempts else "attempt_out_of_order"

    def _stranger(self, name: str, number: int, node: str) -> str:
        return "" if node in self.jobs[name].attempts[number].nodes else "node_not_dispatched"


def case_of(role: str, accused: str, consumer: str, job: str, attempt: int, cause: str) -> str:
    """Name a case."""
    return sha256(f"{role}|{accused}|{consumer}|{job}|{attempt}|{cause}".encode()).hexdigest()[:32]
