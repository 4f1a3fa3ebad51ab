"""Slash cases: from evidence or accusation to the verdict, and what each freezes and sets free (R8, R10, D10–D12).

    evidence      a lane's facts show a fault            silence upholds it
    accusation    a validator says so, against a bond    silence reverses it

A ruling of the foundation decides either at any time. The accused's owner may dispute once, within the window, and so
gains time for a ruling.

A **deed** is (role, accused, consumer, job, attempt, cause), and costs once. Evidence of a deed opens the deed's own
case. Where an accusation of it is open, or was upheld, that case takes nothing; and silence now upholds the accusation,
for no silence frees one against whom there is evidence that anybody can recompute. An accusation that fell shields
nobody: evidence that comes later counts in full.

    frozen = from bonded + from tickets = Σ returned, or Σ paid + burned
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from events.decisions import AllocatedLine, SlashEvidenced
from events.event import Role
from events.instant import MICROSECONDS, format_instant
from events.orders import SlashDisputeFiled, SlashReportFiled
from events.participants import SlashRuled
from events.refusal import Reason, Refusal
from events.stakes import (
    SlashDisputed,
    SlashDisputedData,
    SlashDistributed,
    SlashDistributedData,
    SlashPayment,
    SlashProposed,
    SlashProposedData,
    SlashReversed,
    SlashReversedData,
    SlashUpheld,
    SlashUpheldData,
    TicketPart,
)
from ledger.accounts import VAULT_STAKE, bonded, payable, unbonding, withheld
from ledger.parameters import Parameters
from ledger.slash import Case, Taken, accusation_id, case_id, distribute, take_case
from settlement.hub_writer import HubWriter
from settlement.orders import check_approvals
from settlement.participants import Participant, Participants

__all__ = ["PROTOCOL", "Cases", "OpenCase"]

PROTOCOL = "protocol"
"""The proposer of a case that rests on evidence."""


class Deed(NamedTuple):
    """What somebody is accused of, by whom, and who is rewarded if it is so; `id` is the same for all its cases."""

    id: str
    case: str
    cause: str
    consumer: str
    job: str
    attempt: int
    proposer: str
    reporter: str | None
    verifiers: tuple[str, ...]


@dataclass(slots=True)
class OpenCase:
    """A case that is not decided; base units, and microseconds since 1970."""

    deed: Deed
    accused: Participant
    taken: Taken
    bond: int
    proposed_at: int
    ends_at: int
    evidenced: bool
    disputed: bool = False

    @property
    def id(self) -> str:
        """Its name."""
        return self.deed.case


class Cases:
    """All cases. Open ones are kept in the order in which they were proposed, of closed ones no more than the name."""

    def __init__(
        self,
        parameters: Parameters,
        writer: HubWriter,
        participants: Participants,
        schedule: Callable[[int, str], None],
    ) -> None:
        """Begin without a case; `schedule(time, case)` sees to it that `end` is called when the time has come."""
        self._rules = parameters.slash
        self._costs: dict[str, int] = parameters.slash.bps.model_dump()
        self._asset = parameters.unit.asset
        self._cluster = parameters.chain.cluster
        self._foundation = parameters.foundation
        self._writer = writer
        self._participants = participants
        self._schedule = schedule
        self._open: dict[str, OpenCase] = {}
        self._closed: set[str] = set()
        # By deed: the accusation that is open, or was upheld.
        self._accused: dict[str, str] = {}
        # What the slashes of the present cut are reckoned from, by role and id.
        self._bases: dict[tuple[Role, str], int] = {}

    def begin_cut(self) -> None:
        """Reckon slashes anew."""
        self._bases.clear()

    def oldest_open(self, role: Role, latest: int) -> dict[str, str]:
        """Name by accused the oldest of the open cases that were proposed at `latest` at the latest."""
        oldest: dict[str, str] = {}
        for case in self._open.values():
            if case.accused.role == role and case.proposed_at <= latest:
                oldest.setdefault(case.accused.id, case.id)
        return oldest

    # --- handlers ---

    def dispute(self, fact: SlashDisputeFiled, now: int) -> Refusal | None:
        """Let the accused's owner object, once, before the window ends."""
        case = self._find(fact.subject)
        if isinstance(case, Refusal):
            return case
        if refusal := self._participants.check_owner(case.accused, fact, now):
            return refusal
        if case.disputed:
            return Refusal(Reason.CASE_NOT_DISPUTABLE, f"{case.id} is disputed")
        if now >= case.ends_at:
            return Refusal(Reason.CASE_NOT_DISPUTABLE, f"its window ended at {format_instant(case.ends_at)}")
        case.disputed = True
        case.ends_at = self._writer.cut + self._rules.ruling_seconds * MICROSECONDS
        disputed = SlashDisputedData(case=case.id, ends_at=format_instant(case.ends_at))
        self._writer.write(SlashDisputed, case.id, case.accused.id, disputed)
        self._schedule(case.ends_at, case.id)
        return None

    def rule(self, fact: SlashRuled, _now: int) -> Refusal | None:
        """Let the foundation decide an open case."""
        keys, needed = self._foundation.keys, self._foundation.approvals
        if refusal := check_approvals(fact, keys, needed, self._cluster):
            return refusal
        case = self._find(fact.subject)
        if isinstance(case, Refusal):
            return case
        self._decide(case, fact.data.verdict == "upheld")
        return None

    def end(self, id: str) -> None:
        """Decide a case as silence does, if its time has come and it is not decided."""
        case = self._open.get(id)
        if case is not None and case.ends_at <= self._writer.cut:
            self._decide(case, case.evidenced)

    def take_evidence(self, evidence: SlashEvidenced, _now: int) -> None:
        """Open the case that a lane's facts show, and stand behind an open accusation of the same deed."""
        data = evidence.data
        assert data.case not in self._open
        assert data.case not in self._closed
        accusation = self._accused.get(data.case)
        if accusation in self._open:
            self._open[accusation].evidenced = True
        bps = 0 if accusation is not None else self._bps(data.cause)
        verifiers, case = data.verifiers, data.case
        deed = Deed(case, case, data.cause, data.consumer, data.job, data.attempt, PROTOCOL, data.reporter, verifiers)
        accused = self._participants.of(data.role, evidence.subject)
        self._propose(deed, bps, accused, 0, self._rules.window_seconds)

    def report(self, fact: SlashReportFiled, now: int) -> Refusal | None:
        """Open a case on a validator's word, for which it posts a bond."""
        data = fact.data
        reporter = self._participants.authorized("validator", fact, now)
        if isinstance(reporter, Refusal):
            return reporter
        if reporter.suspension is not None:
            return Refusal(Reason.PARTICIPANT_SUSPENDED, f"{reporter.id}: {reporter.suspension}")
        accused = self._participants.find(data.role, data.accused)
        if isinstance(accused, Refusal):
            return accused
        if accused.owner == reporter.owner:
            return Refusal(Reason.ACCUSER_IS_ACCUSED, f"{accused.id} and {reporter.id} are of one owner")
        if not self._bps(data.cause):
            return Refusal(Reason.CAUSE_NOT_SLASHED, data.cause)
        of = case_id(data.role, data.accused, data.consumer, data.job, data.attempt, data.cause)
        if of in self._open or of in self._closed or of in self._accused:
            return Refusal(Reason.CASE_EXISTS, self._accused.get(of, of))
        bond = int(self._rules.bond)
        if bond > self._participants.bonded(reporter):
            return Refusal(Reason.STAKE_INSUFFICIENT, f"a bond of {bond}, {self._participants.bonded(reporter)} bonded")
        case = self._accused[of] = accusation_id(fact.id)
        deed = Deed(of, case, data.cause, data.consumer, data.job, data.attempt, reporter.id, reporter.id, ())
        # What one accuser posts is no less at stake in a case against itself in the same cut.
        self._basis(reporter)
        self._propose(deed, self._bps(data.cause), accused, bond, self._rules.ruling_seconds)
        return None

    # --- steps ---

    def _find(self, id: str) -> OpenCase | Refusal:
        case = self._open.get(id)
        if case is None:
            return Refusal(Reason.CASE_CLOSED if id in self._closed else Reason.CASE_UNKNOWN, id)
        return case

    def _bps(self, cause: str) -> int:
        return self._costs.get(cause, 0)

    def _basis(self, who: Participant) -> int:
        """Return what a slash is reckoned from: once per cut, before that cut's slashes."""
        return self._bases.setdefault((who.role, who.id), self._participants.stake(who).total)

    def _propose(self, deed: Deed, bps: int, accused: Participant, bond: int, seconds: int) -> None:
        basis, levels = self._basis(accused), self._participants.stake(accused)
        taken, _ = take_case(levels, Case(deed.case, bps), basis)
        ends_at = self._writer.cut + seconds * MICROSECONDS
        proposed = SlashProposedData(
            amount=str(taken.amount),
            asset=self._asset,
            attempt=deed.attempt,
            basis=str(basis),
            bond=str(bond),
            bps=bps,
            case=deed.case,
            cause=deed.cause,
            consumer=deed.consumer,
            ends_at=format_instant(ends_at),
            from_bonded=str(taken.from_bonded),
            from_tickets=tuple(TicketPart(ticket=part.id, amount=str(part.amount)) for part in taken.from_tickets),
            job=deed.job,
            proposer=deed.proposer,
            role=accused.role,
            verifiers=deed.verifiers,
            reporter=deed.reporter,
        )
        self._writer.write(SlashProposed, deed.case, accused.id, proposed)
        evidenced = deed.proposer == PROTOCOL
        self._open[deed.case] = OpenCase(deed, accused, taken, bond, self._writer.cut, ends_at, evidenced)
        self._freeze(self._open[deed.case], 1)
        self._schedule(ends_at, deed.case)

    def _decide(self, case: OpenCase, upheld: bool) -> None:
        del self._open[case.id]
        self._closed.add(case.id)
        if upheld:
            self._uphold(case)
        else:
            self._reverse(case)
            if case.deed.proposer != PROTOCOL:
                del self._accused[case.deed.id]
        self._freeze(case, -1)
        self._participants.look(case.accused)
        if case.bond:
            self._participants.look(self._participants.of("validator", case.deed.proposer))

    def _uphold(self, case: OpenCase) -> None:
        deed, accused, amount = case.deed, case.accused, case.taken.amount
        name = withheld(case.id)
        upheld = SlashUpheldData(
            amount=str(amount),
            asset=self._asset,
            bond=str(case.bond),
            case=case.id,
            proposer=deed.proposer,
            role=accused.role,
            withheld=tuple(_line(name, part, vault) for vault, part in self._writer.holdings.vaults(name).items()),
        )
        self._writer.write(SlashUpheld, case.id, accused.id, upheld)
        paid, burned = distribute(amount, self._rules.reward_bps, deed.reporter, deed.verifiers)
        distributed = SlashDistributedData(
            amount=str(amount),
            asset=self._asset,
            burned=str(burned),
            case=case.id,
            paid=tuple(SlashPayment(id=reward.receiver, amount=str(reward.amount)) for reward in paid),
        )
        self._writer.write(SlashDistributed, case.id, accused.id, distributed)
        accused.upheld.append(self._writer.cut)

    def _reverse(self, case: OpenCase) -> None:
        accused, waiting = case.accused, self._writer.holdings.vaults(withheld(case.id))
        released = payable("validator", accused.id)
        if waiting:
            assert accused.role == "validator"
            other = self.oldest_open("validator", self._writer.cut).get(accused.id)
            released = released if other is None else withheld(other)
        fallen = SlashReversedData(
            amount=str(case.taken.amount),
            asset=self._asset,
            bond=str(case.bond),
            case=case.id,
            released=tuple(_line(released, part, vault) for vault, part in waiting.items()),
            returned=self._returned(case),
            role=accused.role,
        )
        self._writer.write(SlashReversed, case.id, accused.id, fallen)

    def _returned(self, case: OpenCase) -> tuple[AllocatedLine, ...]:
        """Say where what was frozen goes back to: of a ticket that is no longer open, to its owner."""
        accused, returned = case.accused, dict[str, int]()
        if case.taken.from_bonded:
            returned[bonded(accused.role, accused.id)] = case.taken.from_bonded
        for part in case.taken.from_tickets:
            assert accused.owner is not None
            open_still = self._participants.is_open(part.id)
            account = unbonding(part.id) if open_still else payable("stake", accused.owner)
            returned[account] = returned.get(account, 0) + part.amount
        return tuple(_line(account, amount, VAULT_STAKE) for account, amount in returned.items())

    def _freeze(self, case: OpenCase, sign: int) -> None:
        """Count what of bonded stake a case has frozen; of a ticket it earned nothing before either."""
        case.accused.frozen += sign * case.taken.from_bonded
        if case.bond:
            self._participants.of("validator", case.deed.proposer).frozen += sign * case.bond


def _line(account: str, amount: int, vault: str) -> AllocatedLine:
    return AllocatedLine(account=account, amount=str(amount), vault=vault)
