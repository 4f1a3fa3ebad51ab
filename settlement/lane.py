"""A lane: turns the facts about its consumers and their jobs into decisions.

Owns `consumer:*` and `escrow:*`; elsewhere it only credits, and debits `external` alone. It reads no clock, no
other lane and no projection: what it decides is a function of its facts in their order. Each handler is a ladder of
refusals followed by one decision; a refused fact moves nothing and is answered by `DecisionRefused`.

    per job      escrow = Σ gross + refund
    per consumer available ≥ 0
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from events.codec import encode
from events.decisions import (
    AgreedLine,
    DecisionRefused,
    DecisionRefusedData,
    DepositCredited,
    DepositCreditedData,
    EscrowFunded,
    EscrowFundedData,
    Hold,
    JobRefunded,
    JobRefundedData,
    JobSettled,
    JobSettledData,
    LaneEpochClosed,
    LaneEpochClosedData,
    LaneTotal,
)
from events.event import Decision, Fact, decision_id
from events.facts import (
    ChainFactDeclared,
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobSubmitted,
    QuorumClaimed,
    Quote,
    Terms,
    UsageMetered,
)
from events.instant import day_of, format_instant, parse_instant
from events.merkle import leaf_hash
from events.refusal import Reason, Refusal
from ledger.accounts import VAULT_ESCROW
from ledger.epoch import closes_at, epoch_for
from ledger.metering import bound_seconds, hold_for, price_usage
from ledger.parameters import Parameters
from ledger.price import quote_price
from ledger.quorum import paid_nodes
from ledger.split import split_gross
from settlement.intake import Accepted
from settlement.jobs import EpochSum, Job, LaneState

__all__ = ["SOURCE", "Lane"]

SOURCE = "settlement"


class Lane:
    """One lane's decisions. `take` and `pass_time` return canonical lines in the order of the log."""

    def __init__(self, number: int, parameters: Parameters, params_hash: str) -> None:
        """Begin before the first fact behind the genesis."""
        self.number = number
        self.state = LaneState(oldest_open=day_of(parse_instant(parameters.launched_at)))
        self._parameters = parameters
        self._params_hash = params_hash
        self._asset = parameters.unit.asset
        self._lines: list[bytes] = []

    def take(self, accepted: Accepted) -> list[bytes]:
        """Decide on a fact."""
        handler = _HANDLERS.get(type(accepted.fact))
        if handler is not None:
            refusal = handler(self, accepted, accepted.fact)
            if refusal is not None:
                self._emit(accepted, DecisionRefused, accepted.fact.id, _refused(refusal))
        return self._give()

    def refuse_unreadable(self, position: str, refusal: Refusal) -> list[bytes]:
        """Answer a line that intake refuses although it stands in the facts log; it has no time of its own."""
        data = DecisionRefusedData(detail=refusal.detail[:300], reason=refusal.reason, position=position)
        epoch = self.state.oldest_open
        self._append(
            DecisionRefused(
                id=decision_id("DecisionRefused", position),
                source=SOURCE,
                subject="intake",
                occurred_at=format_instant(closes_at(epoch - 1, 0)),
                key=position,
                schema_version=1,
                epoch=epoch,
                params_hash=self._params_hash,
                data=data,
            )
        )
        return self._give()

    def pass_time(self, network_time: int) -> list[bytes]:
        """Close each epoch that network time has passed, oldest first."""
        grace_seconds = self._parameters.epoch.grace_seconds
        while closes_at(self.state.oldest_open, grace_seconds) <= network_time:
            self._close_epoch(self.state.oldest_open, grace_seconds)
            self.state.oldest_open += 1
        return self._give()

    # --- handlers: a ladder of refusals, then one decision ---

    def _deposit(self, accepted: Accepted, fact: ChainFactDeclared) -> Refusal | None:
        data = fact.data
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        if data.amount == "0":
            return Refusal(Reason.AMOUNT_IS_ZERO, "a deposit is above zero")
        if int(data.amount) > int(self._parameters.unit.cap):
            return Refusal(Reason.AMOUNT_ABOVE_CAP, f"{data.amount}, there can be {self._parameters.unit.cap}")
        self.state.credit(fact.subject, int(data.amount))
        self._emit(
            accepted,
            DepositCredited,
            # Keys are scoped by their source, ids are not: so each chain fact posts once.
            fact.id,
            DepositCreditedData(asset=data.asset, amount=data.amount, proof="declared", vault=data.vault),
        )
        return None

    def _submit(self, accepted: Accepted, fact: JobSubmitted) -> Refusal | None:
        data = fact.data
        if self.state.knows_job(fact.subject):
            return Refusal(Reason.JOB_EXISTS, fact.subject)
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        self.state.jobs[fact.subject] = Job(
            consumer=data.consumer, nodes=data.nodes, gpu_seconds_max=data.gpu_seconds_max
        )
        return None

    def _dispatch(self, accepted: Accepted, fact: JobDispatched) -> Refusal | None:
        data = fact.data
        job = self._job(fact.subject, data.consumer)
        if isinstance(job, Refusal):
            return job
        if job.funded or data.attempt != job.attempt + 1:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{data.attempt} after {job.attempt}")
        if data.attempt > self._parameters.job.attempts_max:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{data.attempt} is beyond the last")
        if len({quote.node for quote in data.quotes}) != job.nodes or len(data.quotes) != job.nodes:
            return Refusal(Reason.NODES_DIFFER, f"expected {job.nodes} distinct nodes")
        if data.params_hash not in (None, self._params_hash):
            return Refusal(Reason.PARAMETERS_DIFFER, f"in force are {self._params_hash}")
        # From here on the attempt is used up: a retry is a new one.
        job.attempt = data.attempt
        for quote in data.quotes:
            if refusal := self._below_minimum(quote):
                return refusal
        holds = tuple(
            Hold(
                node=quote.node,
                price=quote.price,
                amount=str(hold_for(int(quote.price), job.gpu_seconds_max)),
            )
            for quote in data.quotes
        )
        amount = sum(int(hold.amount) for hold in holds)
        if refusal := self._debit(job.consumer, amount):
            return refusal
        job.fund(data.quotes, holds)
        funded = EscrowFundedData(
            asset=self._asset,
            amount=str(amount),
            attempt=data.attempt,
            consumer=job.consumer,
            holds=holds,
        )
        self._emit(accepted, EscrowFunded, f"{fact.subject}:{data.attempt}", funded)
        return None

    def _usage(self, accepted: Accepted, fact: UsageMetered) -> Refusal | None:
        data = fact.data
        if data.terms is not None:
            return self._whole_job(accepted, fact, data.terms)
        job = self._running(fact.subject, data.consumer, data.attempt)
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
        if self.state.knows_job(fact.subject):
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
        job.fund((quote,), (Hold(node=data.node, price=terms.price, amount=str(hold)),))
        job.usage[data.node] = data.gpu_seconds
        self._settle(accepted, fact.subject, job, (data.node,), "consumer")
        return None

    def _quorum(self, accepted: Accepted, fact: QuorumClaimed) -> Refusal | None:
        data = fact.data
        job = self._running(fact.subject, data.consumer, data.attempt)
        if isinstance(job, Refusal):
            return job
        if job.agreeing:
            return Refusal(Reason.QUORUM_EXISTS, ", ".join(job.agreeing)[:200])
        strangers = [node for node in data.agreeing if node not in job.quotes]
        if strangers or len(set(data.agreeing)) != len(data.agreeing):
            return Refusal(Reason.NODE_NOT_DISPATCHED, ", ".join(data.agreeing)[:200])
        paid = paid_nodes(data.agreeing, {node: quote.operator for node, quote in job.quotes.items()})
        if not paid:
            return Refusal(Reason.QUORUM_NOT_REACHED, f"{len(data.agreeing)} of {job.nodes}")
        job.agreeing = paid
        self._release_when_ready(accepted, fact.subject, job)
        return None

    def _fail(self, accepted: Accepted, fact: JobFailed) -> Refusal | None:
        job = self._job(fact.subject, fact.data.consumer)
        if isinstance(job, Refusal):
            return job
        if fact.data.attempt != job.attempt:
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{fact.data.attempt}, at {job.attempt}")
        self._refund(accepted, fact.subject, job, "failed", fact.data.reason)
        return None

    def _cancel(self, accepted: Accepted, fact: JobCancelled) -> Refusal | None:
        job = self._job(fact.subject, fact.data.consumer)
        if isinstance(job, Refusal):
            return job
        if job.usage:
            return Refusal(Reason.USAGE_EXISTS, "a job that ran cannot be cancelled")
        self._refund(accepted, fact.subject, job, "cancelled", fact.data.reason)
        return None

    # --- what the handlers share ---

    def _job(self, job_id: str, consumer: str) -> Job | Refusal:
        job = self.state.jobs.get(job_id)
        if job is None:
            known = self.state.knows_job(job_id)
            return Refusal(Reason.JOB_CLOSED if known else Reason.JOB_UNKNOWN, job_id)
        if job.consumer != consumer:
            return Refusal(Reason.JOB_OF_ANOTHER_CONSUMER, f"{job_id} is not {consumer}'s")
        return job

    def _running(self, job_id: str, consumer: str, attempt: int) -> Job | Refusal:
        job = self._job(job_id, consumer)
        if isinstance(job, Job) and (not job.funded or attempt != job.attempt):
            return Refusal(Reason.ATTEMPT_OUT_OF_ORDER, f"{attempt} is not running")
        return job

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

    def _release_when_ready(self, accepted: Accepted, job_id: str, job: Job) -> None:
        agreeing = tuple(job.quotes) if job.nodes == 1 else job.agreeing
        if agreeing and all(node in job.usage for node in agreeing):
            self._settle(accepted, job_id, job, agreeing, "escrow")

    def _settle(self, accepted: Accepted, job_id: str, job: Job, agreeing: tuple[str, ...], funding: Any) -> None:
        rules, lines, spent = self._parameters.job, [], 0
        for node, seconds in zip(agreeing, bound_seconds([job.usage[node] for node in agreeing]), strict=True):
            hold = job.holds[node]
            gross = price_usage(int(hold.price), seconds, int(hold.amount))
            parts = split_gross(gross, rules.burn_bps, rules.fee_bps)
            spent += gross
            lines.append(
                AgreedLine(
                    node=node,
                    gpu_seconds=seconds,
                    price=hold.price,
                    gross=str(gross),
                    burn=str(parts.burn),
                    fee=str(parts.fee),
                    net=str(parts.net),
                )
            )
        refund = job.escrow - spent
        self.state.credit(job.consumer, refund)
        self.state.close(job_id)
        settled = JobSettledData(
            asset=self._asset,
            attempt=job.attempt,
            consumer=job.consumer,
            escrow=str(job.escrow),
            funding=funding,
            lines=tuple(lines),
            refund=str(refund),
        )
        # The 1 counts the settlements of the attempt: a line that waits for a verdict is settled by a later one.
        self._emit(accepted, JobSettled, f"{job_id}:{job.attempt}:1", settled)

    def _refund(self, accepted: Accepted, job_id: str, job: Job, outcome: Any, cause: str) -> None:
        self.state.credit(job.consumer, job.escrow)
        self.state.close(job_id)
        refunded = JobRefundedData(
            asset=self._asset,
            amount=str(job.escrow),
            attempt=job.attempt,
            cause=cause,
            consumer=job.consumer,
            outcome=outcome,
        )
        self._emit(accepted, JobRefunded, f"{job_id}:{job.attempt}", refunded)

    def _emit(self, accepted: Accepted, kind: type[Any], key: str, data: Any) -> None:
        fact: Fact = accepted.fact
        name = kind.__name__
        self._append(
            kind(
                id=decision_id(name, key),
                source=SOURCE,
                subject=fact.subject,
                occurred_at=fact.occurred_at,
                key=key,
                schema_version=kind.VERSION,
                causation_id=fact.id,
                epoch=epoch_for(accepted.occurred_at, self.state.oldest_open),
                params_hash=self._params_hash,
                late=accepted.late,
                data=data,
            )
        )

    def _append(self, decision: Decision) -> None:
        line = encode(decision)
        self.state.epoch_sum(decision.epoch).include(decision, leaf_hash(line))
        self._lines.append(line)

    def _give(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        return lines

    def _close_epoch(self, epoch: int, grace_seconds: int) -> None:
        total = self.state.epochs.pop(epoch, None) or EpochSum()
        key = f"{self.number}:{epoch}"
        totals = (LaneTotal(asset=self._asset, vault=VAULT_ESCROW, fee=str(total.fee), burn=str(total.burn)),)
        closed = LaneEpochClosed(
            id=decision_id("LaneEpochClosed", key),
            source=SOURCE,
            subject=f"lane-{self.number}",
            occurred_at=format_instant(closes_at(epoch, grace_seconds)),
            key=key,
            schema_version=1,
            epoch=epoch,
            params_hash=self._params_hash,
            data=LaneEpochClosedData(
                digest=sha256(b"".join(sorted(total.leaves))).hexdigest(),
                events=len(total.leaves),
                lane=self.number,
                totals=totals if total.fee or total.burn else (),
            ),
        )
        self._lines.append(encode(closed))


def _refused(refusal: Refusal) -> DecisionRefusedData:
    return DecisionRefusedData(detail=refusal.detail[:300], reason=refusal.reason)


_HANDLERS: dict[type[Fact], Callable[[Lane, Accepted, Any], Refusal | None]] = {
    ChainFactDeclared: Lane._deposit,
    JobSubmitted: Lane._submit,
    JobDispatched: Lane._dispatch,
    UsageMetered: Lane._usage,
    QuorumClaimed: Lane._quorum,
    JobFailed: Lane._fail,
    JobCancelled: Lane._cancel,
}
