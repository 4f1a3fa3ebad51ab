"""A lane: turns the facts about its consumers and their jobs into decisions.

Owns `consumer:*` and `escrow:*`; elsewhere it only credits, and debits `external` alone. It reads no clock, no
other lane and no projection: what it decides is a function of its facts in their order, and of the hub's verdicts.
Each handler is a ladder of refusals followed by one decision; a refused fact moves nothing and is answered by
`DecisionRefused`.

    per job      escrow = Σ gross + Σ hold of waiting lines + refund
    per consumer available ≥ 0
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from events.decisions import (
    AgreedLine,
    DepositCredited,
    DepositCreditedData,
    EscrowFunded,
    EscrowFundedData,
    Hold,
    JobRefunded,
    JobRefundedData,
    JobSettled,
    JobSettledData,
    WaitingLine,
    WithdrawalAccepted,
    WithdrawalAcceptedData,
)
from events.event import Decision, Fact, decision_key
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
    Quote,
    ResultSubmitted,
    Terms,
    UsageMetered,
)
from events.instant import MICROSECONDS, day_of, parse_instant
from events.orders import SpendAuthorized, WithdrawalOrdered
from events.refusal import Reason, Refusal
from events.stakes import SlashReversed, SlashUpheld
from ledger.accounts import VAULT_ESCROW
from ledger.epoch import closes_at
from ledger.metering import hold_for
from ledger.parameters import Parameters
from ledger.price import quote_price
from ledger.quorum import is_backed, is_proven, paid_nodes
from settlement.intake import Accepted
from settlement.jobs import Job, LaneState, Spend, Withheld
from settlement.keys import KeySet
from settlement.lane_writer import SOURCE, LaneWriter
from settlement.orders import OrderBook
from settlement.output import Decided
from settlement.proving import Proving
from settlement.release import Parted, part_lines, price_lines
from settlement.timekeeper import BEFORE_TIME

__all__ = ["SOURCE", "Lane"]


class Lane:
    """One lane's decisions, in the order of the log.

    Between two network times the settler asks for each `next_stop` in turn and makes it by `stop_at`.
    """

    def __init__(self, number: int, parameters: Parameters, params_hash: str, closed: KeySet | None = None) -> None:
        """Begin before the first fact behind the genesis; `closed` shall hold the digests of closed jobs."""
        self.number = number
        oldest_open = day_of(parse_instant(parameters.launched_at))
        self.state = LaneState(oldest_open=oldest_open, closed=KeySet() if closed is None else closed)
        self._parameters = parameters
        self._params_hash = params_hash
        self._asset = parameters.unit.asset
        self.writer = LaneWriter(number, self._asset, params_hash, self.state)
        self._proving = Proving(self.state, self.writer)
        self._orders = OrderBook(parameters.chain.cluster)
        self._network_time = BEFORE_TIME
        # Verdicts on nodes: when each is due, its case, its id, whether it upholds the case.
        self._returns: list[tuple[int, str, str, bool]] = []

    def take(self, accepted: Accepted, network_time: int) -> Decided:
        """Decide on a fact that came when the partition's network time was this."""
        self.decide(accepted, network_time)
        return self.give()

    def decide(self, accepted: Accepted, network_time: int) -> None:
        """Decide, and leave what was decided for `give`."""
        handler = _HANDLERS.get(type(accepted.fact))
        if handler is not None:
            self._network_time = network_time
            refusal = handler(self, accepted, accepted.fact)
            if refusal is not None:
                self.writer.refuse(accepted, refusal)

    def lacks(self, consumer: str, amount: int) -> Refusal:
        """Tell why a dispatch is refused that asks for so much, which its consumer has not at its turn."""
        refusal = self._debit(consumer, amount)
        assert refusal is not None
        return refusal

    def give(self) -> Decided:
        """Hand over what was decided."""
        return self.writer.give()

    def refuse_unreadable(self, position: str, refusal: Refusal) -> Decided:
        """Answer a line that intake refuses although it stands in the facts log."""
        self.writer.refuse_unreadable(position, refusal)
        return self.writer.give()

    def hear(self, verdict: Decision, due: int) -> None:
        """Keep a verdict of the hub until network time passes `due`; any lane hears all verdicts, in any order."""
        assert isinstance(verdict, SlashUpheld | SlashReversed)
        if verdict.data.role == "node":
            heappush(self._returns, (due, verdict.data.case, verdict.id, isinstance(verdict, SlashUpheld)))

    def next_stop(self, limit: int) -> int | None:
        """Return when the next return is due or the next epoch closes, at most `limit`."""
        stop = closes_at(self.state.oldest_open, self._parameters.epoch.grace_seconds)
        if self._returns:
            stop = min(stop, self._returns[0][0])
        return stop if stop <= limit else None

    def stop_at(self, time: int) -> Decided:
        """Carry out the returns due at a time, then close the epoch that closes then."""
        while self._returns and self._returns[0][0] <= time:
            _, case, verdict_id, upheld = heappop(self._returns)
            self._carry_out(time, case, verdict_id, upheld)
        carried_out = self.give()
        grace_seconds = self._parameters.epoch.grace_seconds
        if closes_at(self.state.oldest_open, grace_seconds) == time:
            self.writer.close_epoch(self.state.oldest_open, grace_seconds)
            self.state.oldest_open += 1
            self.state.forget(time)
            self._orders.forget(time)
        return Decided.join((carried_out, self.give()))

    # --- handlers: a ladder of refusals, then one decision ---

    def _deposit(self, accepted: Accepted, fact: ChainFactDeclared) -> Refusal | None:
        data = fact.data
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        if data.amount == "0":
            return Refusal(Reason.AMOUNT_IS_ZERO, "a deposit is above zero")
        if int(data.amount) > int(self._parameters.unit.cap):
            return Refusal(Reason.AMOUNT_ABOVE_CAP, f"{data.amount}, there can be {self._parameters.unit.cap}")
        if data.effect != "deposit" or data.vault != VAULT_ESCROW or data.lines or data.role or data.to is not None:
            return Refusal(Reason.EFFECT_MALFORMED, f"a deposit lies in {VAULT_ESCROW}, for its subject alone")
        self.state.credit(fact.subject, int(data.amount))
        self.writer.answer(
            accepted,
            DepositCredited,
            # Keys are scoped by their source, ids are not: so each chain fact posts once.
            fact.id,
            DepositCreditedData(asset=data.asset, amount=data.amount, proof="declared", vault=data.vault),
        )
        return None

    def _withdraw(self, accepted: Accepted, fact: WithdrawalOrdered) -> Refusal | None:
        data = fact.data
        if data.owner != fact.subject:
            return Refusal(Reason.OWNER_DIFFERS, f"{data.owner} is not {fact.subject}")
        if refusal := self._orders.check(fact, self._now(accepted)):
            return refusal
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        if data.amount == "0":
            return Refusal(Reason.AMOUNT_IS_ZERO, "a withdrawal is above zero")
        if refusal := self._debit(fact.subject, int(data.amount)):
            return refusal
        withdrawn = WithdrawalAcceptedData(asset=data.asset, amount=data.amount)
        self.writer.answer(accepted, WithdrawalAccepted, fact.id, withdrawn)
        return None

    def _authorize(self, accepted: Accepted, fact: SpendAuthorized) -> Refusal | None:
        """Keep a consumer's word; it may come before its job, and a later one takes its place."""
        data = fact.data
        if refusal := self._orders.check(fact, self._now(accepted)):
            return refusal
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        self.state.spends[data.owner, fact.subject] = Spend(int(data.maximum), parse_instant(data.expires_at))
        return None

    def _submit(self, accepted: Accepted, fact: JobSubmitted) -> Refusal | None:
        data = fact.data
        if self.state.knows_job(data.consumer, fact.subject):
            return Refusal(Reason.JOB_EXISTS, fact.subject)
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        self.state.jobs[data.consumer, fact.subject] = Job.of(data)
        return None

    def _dispatch(self, accepted: Accepted, fact: JobDispatched) -> Refusal | None:
        data = fact.data
        job = self.state.find(data.consumer, fact.subject)
        if isinstance(job, Refusal):
            return job
        if job.funded or data.attempt != job.attempt + 1:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{data.attempt} after {job.attempt}")
        if data.attempt > self._parameters.job.attempts_max:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{data.attempt} is beyond the last")
        quotes = {quote.node: quote for quote in data.quotes}
        if len(quotes) != job.nodes or len(data.quotes) != job.nodes:
            return Refusal(Reason.NODES_DIFFER, f"expected {job.nodes} distinct nodes")
        if data.params_hash not in (None, self._params_hash):
            return Refusal(Reason.PARAMETERS_DIFFER, f"in force are {self._params_hash}")
        # From here on the attempt is used up: a retry is a new one.
        job.attempt = data.attempt
        for quote in data.quotes:
            if refusal := self._below_minimum(quote):
                return refusal
        holds = job.holds_for(quotes)
        amount = sum(holds.values())
        if job.owned and (refusal := self._beyond_spend(accepted, fact.subject, job, amount)):
            return refusal
        if refusal := self._debit(job.consumer, amount):
            return refusal
        job.fund(quotes, holds)
        funded = EscrowFundedData(
            asset=self._asset,
            amount=str(amount),
            attempt=data.attempt,
            consumer=job.consumer,
            holds=tuple([Hold(node=node, price=quotes[node].price, amount=str(hold)) for node, hold in holds.items()]),
        )
        self.writer.answer(accepted, EscrowFunded, decision_key(job.consumer, fact.subject, data.attempt), funded)
        return None

    def _usage(self, accepted: Accepted, fact: UsageMetered) -> Refusal | None:
        data = fact.data
        if data.terms is not None:
            return self._whole_job(accepted, fact, data.terms)
        job = self.state.running(data.consumer, fact.subject, data.attempt)
        if isinstance(job, Refusal):
            return job
        if data.node not in job.quotes:
            return Refusal(Reason.NODE_NOT_DISPATCHED, data.node)
        if data.node in job.usage:
            return Refusal(Reason.USAGE_EXISTS, f"{data.node} metered {job.usage[data.node]} s")
        job.usage[data.node] = data.gpu_seconds
        self._release_when_ready(accepted, fact.subject, job)
        return None

    def _whole_job(self, accepted: Accepted, fact: UsageMetered, terms: Terms) -> Refusal | None:
        """Settle a job that arrives in one fact: what is held would be released at once, so it never is."""
        data = fact.data
        if self.state.knows_job(data.consumer, fact.subject):
            return Refusal(Reason.JOB_EXISTS, fact.subject)
        if terms.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, terms.asset)
        if data.attempt != 1:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{data.attempt}, expected 1")
        quote = Quote(node=data.node, operator=terms.operator, price=terms.price, minimum=terms.minimum)
        if refusal := self._below_minimum(quote):
            return refusal
        hold = hold_for(int(terms.price), terms.gpu_seconds_max)
        if refusal := self._debit(data.consumer, hold):
            return refusal
        job = Job(consumer=data.consumer, nodes=1, gpu_seconds_max=terms.gpu_seconds_max, attempt=1)
        job.fund({data.node: quote}, {data.node: hold})
        job.usage[data.node] = data.gpu_seconds
        self._settle(accepted, fact.subject, job, (data.node,), "consumer")
        return None

    def _quorum(self, accepted: Accepted, fact: QuorumClaimed) -> Refusal | None:
        data = fact.data
        job = self.state.running(data.consumer, fact.subject, data.attempt)
        if isinstance(job, Refusal):
            return job
        if job.agreeing:
            return Refusal(Reason.QUORUM_EXISTS, ", ".join(job.agreeing)[:200])
        strangers = [node for node in data.agreeing if node not in job.quotes]
        if strangers or len(set(data.agreeing)) != len(data.agreeing):
            return Refusal(Reason.NODE_NOT_DISPATCHED, ", ".join(data.agreeing)[:200])
        paid = paid_nodes(data.agreeing, job.operators())
        if not paid:
            return Refusal(Reason.QUORUM_NOT_REACHED, f"{len(data.agreeing)} of {job.nodes}")
        if job.owned and not is_backed(data.agreeing, job.running_proof().results):
            return Refusal(Reason.RESULTS_DIFFER, f"{', '.join(data.agreeing)[:200]}: not one result of all")
        job.agreeing = paid
        self._release_when_ready(accepted, fact.subject, job)
        return None

    def _fail(self, accepted: Accepted, fact: JobFailed) -> Refusal | None:
        job = self.state.find(fact.data.consumer, fact.subject)
        if isinstance(job, Refusal):
            return job
        if fact.data.attempt != job.attempt:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{fact.data.attempt}, at {job.attempt}")
        self._refund(accepted, fact.subject, job, "failed", fact.data.reason)
        self._close(accepted, fact.subject, job)
        return None

    def _cancel(self, accepted: Accepted, fact: JobCancelled) -> Refusal | None:
        job = self.state.find(fact.data.consumer, fact.subject)
        if isinstance(job, Refusal):
            return job
        if job.usage:
            return Refusal(Reason.USAGE_EXISTS, "a job that ran cannot be cancelled")
        self._refund(accepted, fact.subject, job, "cancelled", fact.data.reason)
        self._close(accepted, fact.subject, job)
        return None

    def _redistribute(self, accepted: Accepted, fact: JobRedistributed) -> Refusal | None:
        data = fact.data
        job = self.state.running(data.consumer, fact.subject, data.attempt)
        if isinstance(job, Refusal):
            return job
        if data.attempt >= self._parameters.job.attempts_max:
            self._refund(accepted, fact.subject, job, "failed", data.reason)
            self._close(accepted, fact.subject, job)
            return None
        self._refund(accepted, fact.subject, job, "redistributed", data.reason)
        # That a job was taken from its nodes makes what is said of them matter.
        job.keep_running()
        job.leave()
        return None

    # --- handlers: the proof that a job was computed ---

    def _assign_duty(self, accepted: Accepted, fact: DutyAssigned) -> Refusal | None:
        return self._proving.assign_duty(accepted, fact)

    def _submit_result(self, _accepted: Accepted, fact: ResultSubmitted) -> Refusal | None:
        return self._proving.submit_result(fact)

    def _challenge(self, accepted: Accepted, fact: ChallengeResultRecorded) -> Refusal | None:
        refusal = self._proving.challenge(accepted, fact, self._now(accepted))
        if refusal is None:
            self._go_on(accepted, fact.data.consumer, fact.subject)
        return refusal

    def _attest(self, accepted: Accepted, fact: AttestationRecorded) -> Refusal | None:
        refusal = self._proving.attest(accepted, fact, self._now(accepted))
        if refusal is None:
            self._go_on(accepted, fact.data.consumer, fact.subject)
        return refusal

    def _go_on(self, accepted: Accepted, consumer: str, job_id: str) -> None:
        """Release a job that waited for this proof alone; one that is over has nothing to release."""
        job = self.state.open_job(consumer, job_id)
        if job is not None:
            self._release_when_ready(accepted, job_id, job)

    # --- what the handlers share ---

    def _below_minimum(self, quote: Quote) -> Refusal | None:
        rules = self._parameters.job
        lowest = quote_price(int(quote.minimum), rules.burn_bps, rules.fee_bps)
        if int(quote.price) < lowest:
            return Refusal(Reason.PRICE_BELOW_MINIMUM, f"{quote.node}: {quote.price}, lowest {lowest}")
        return None

    def _debit(self, consumer: str, amount: int) -> Refusal | None:
        available = self.state.available.get(consumer, 0)
        if amount > available:
            return Refusal(
                Reason.FUNDS_INSUFFICIENT,
                f"{consumer} has {available}, needed {amount} base units of {self._asset}",
            )
        self.state.available[consumer] = available - amount
        return None

    def _now(self, accepted: Accepted) -> int:
        """Return the effective time of a fact."""
        return max(accepted.occurred_at, self._network_time)

    def _beyond_spend(self, accepted: Accepted, job_id: str, job: Job, amount: int) -> Refusal | None:
        spend = self.state.spends.get((job.consumer, job_id))
        if spend is None:
            return Refusal(Reason.SPEND_NOT_AUTHORIZED, f"{job_id} by {job.consumer}")
        if self._now(accepted) > spend.expires_at:
            return Refusal(Reason.ORDER_EXPIRED, f"the authorization of {job_id}")
        if amount > spend.maximum:
            return Refusal(Reason.SPEND_ABOVE_MAXIMUM, f"{amount}, authorized {spend.maximum}")
        return None

    def _release_when_ready(self, accepted: Accepted, job_id: str, job: Job) -> None:
        paid = tuple(job.quotes) if job.nodes == 1 else job.agreeing
        if not paid or not all(map(job.usage.__contains__, paid)):
            return
        if job.owned:
            proof = job.running_proof()
            if not is_proven(job.nodes, paid, proof.challenges, proof.attested()):
                return
        self._settle(accepted, job_id, job, paid, "escrow")

    def _settle(self, accepted: Accepted, job_id: str, job: Job, paid: tuple[str, ...], funding: Any) -> None:
        lines, kept = price_lines(job, paid, self._parameters.job)
        waiting: tuple[WaitingLine, ...] = ()
        if job.owned:
            lines, waiting, kept = self._part(job_id, job, lines)
        refund = job.escrow - kept
        self.state.credit(job.consumer, refund)
        settled = JobSettledData(
            asset=self._asset,
            attempt=job.attempt,
            consumer=job.consumer,
            escrow=str(job.escrow),
            funding=funding,
            lines=lines,
            refund=str(refund),
            waiting=waiting,
        )
        # The 1 counts the settlements of the attempt: a line that waits for a verdict is settled by a later one.
        self.writer.answer(accepted, JobSettled, decision_key(job.consumer, job_id, job.attempt, 1), settled)
        self._close(accepted, job_id, job)

    def _part(self, job_id: str, job: Job, lines: tuple[AgreedLine, ...]) -> Parted:
        """Keep the lines that wait for a verdict; return them and those that are paid."""
        parted = part_lines(job_id, job, lines, self.state.verdicts)
        withheld = Withheld(job_id, job.attempt, job.consumer)
        for waiting in parted.waiting:
            line = next(line for line in lines if line.node == waiting.node)
            withheld.lines[waiting.case] = int(waiting.hold), line
            self.state.waiting[waiting.case] = withheld
        return parted

    def _carry_out(self, time: int, case: str, verdict_id: str, upheld: bool) -> None:
        """Settle the line that waited for a verdict: nothing is paid where it is upheld, all is due where it is not."""
        self.state.verdicts[case] = upheld
        withheld = self.state.waiting.pop(case, None)
        if withheld is None:
            return
        hold, line = withheld.lines.pop(case)
        lines = () if upheld else (line,)
        refund = hold - sum(int(line.gross) for line in lines)
        self.state.credit(withheld.consumer, refund)
        withheld.settlements += 1
        settled = JobSettledData(
            asset=self._asset,
            attempt=withheld.attempt,
            consumer=withheld.consumer,
            escrow=str(hold),
            funding="escrow",
            lines=lines,
            refund=str(refund),
        )
        key = decision_key(withheld.consumer, withheld.job, withheld.attempt, withheld.settlements)
        self.writer.carry_out(time, verdict_id, JobSettled, key, withheld.job, settled)

    def _refund(self, accepted: Accepted, job_id: str, job: Job, outcome: Any, cause: str) -> None:
        """Give back what is held; an attempt may end so, and the job with it."""
        self.state.credit(job.consumer, job.escrow)
        refunded = JobRefundedData(
            asset=self._asset,
            amount=str(job.escrow),
            attempt=job.attempt,
            cause=cause,
            consumer=job.consumer,
            outcome=outcome,
        )
        self.writer.answer(accepted, JobRefunded, decision_key(job.consumer, job_id, job.attempt, outcome), refunded)

    def _close(self, accepted: Accepted, job_id: str, job: Job) -> None:
        """Let a job go; what is known of its proof stays as long as it may be evidence."""
        self.state.close(job.consumer, job_id)
        if job.owned:
            self.state.spends.pop((job.consumer, job_id), None)
        if job.proofs is not None and any(proof.says_something() for proof in job.proofs.values()):
            job.keep_running()
            job.leave()
            job.until = self._now(accepted) + self._parameters.slash.evidence_seconds * MICROSECONDS
            self.state.ended[job.consumer, job_id] = job


_HANDLERS: dict[type[Fact], Callable[[Lane, Accepted, Any], Refusal | None]] = {
    ChainFactDeclared: Lane._deposit,
    WithdrawalOrdered: Lane._withdraw,
    SpendAuthorized: Lane._authorize,
    JobSubmitted: Lane._submit,
    JobDispatched: Lane._dispatch,
    UsageMetered: Lane._usage,
    QuorumClaimed: Lane._quorum,
    JobFailed: Lane._fail,
    JobCancelled: Lane._cancel,
    JobRedistributed: Lane._redistribute,
    DutyAssigned: Lane._assign_duty,
    ResultSubmitted: Lane._submit_result,
    ChallengeResultRecorded: Lane._challenge,
    AttestationRecorded: Lane._attest,
}
