"""One hub by itself: facts and lanes' decisions go in, cuts are made, decisions come out; nothing is stored.

`money` is folded from what comes out, and from what lanes credited, by nobody but this module.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, cast

from app.facts import Producer
from app.orders import approve, sign
from chain.keys import Signer
from events.codec import decode
from events.decisions import (
    AgreedLine,
    DutyCount,
    JobSettled,
    JobSettledData,
    LaneEpochClosed,
    LaneEpochClosedData,
    LaneTotal,
    SlashEvidenced,
    SlashEvidencedData,
    WithdrawalAccepted,
    WithdrawalAcceptedData,
)
from events.event import Decision, Role, decision_id
from events.facts import ChainFactDeclared, ChainFactDeclaredData, DeclaredLine, GenesisDeclared
from events.instant import DAY, MICROSECONDS, format_instant
from events.orders import (
    PayoutKeyChanged,
    RebondOrdered,
    SlashDisputeFiled,
    SlashReportFiled,
    UnstakeOrdered,
)
from events.participants import (
    NodeRegistered,
    NodeRegisteredData,
    NodeRetired,
    NodeRetiredData,
    NodeUpdated,
    NodeUpdatedData,
    SlashRuled,
    ValidatorExited,
    ValidatorExitedData,
    ValidatorRegistered,
    ValidatorRegisteredData,
)
from ledger.entry import Side
from ledger.epoch import closes_at
from ledger.post import post
from ledger.slash import accusation_id, case_id
from settlement.hub import Hub
from settlement.intake import Accepted
from settlement.output import Decided
from tests.worlds import CLUSTER, FOUNDATION, LAUNCH, genesis_of, parameter_set, signer_of

__all__ = ["EPOCH", "HOUR", "MINUTE", "OneHub", "case_of", "kinds"]

MINUTE = 60 * MICROSECONDS
HOUR = 60 * MINUTE
EPOCH = LAUNCH // DAY
PARAMS_HASH = "0" * 64
HASH = "e" * 64


def case_of(
    accused: str, role: Role = "validator", cause: str = "false_attestation", job: str = "j", consumer: str = "c"
) -> str:  # fmt: skip
    """Name a case of the first attempt."""
    return case_id(role, accused, consumer, job, 1, cause)


def kinds(decisions: Iterable[Decision]) -> list[str]:
    """Name the types."""
    return [type(decision).__name__ for decision in decisions]


class OneHub:
    """A hub whose lanes close each epoch in time; minimum stakes are 500 and 10,000 units, a bond is 100."""

    def __init__(self, lanes: int = 1, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Open the books at the launch."""
        self.parameters = parameter_set(settings=settings)
        self.hub = Hub(lanes, self.parameters, PARAMS_HASH)
        self.lanes = lanes
        self.now = LAUNCH
        self.epoch = EPOCH
        self.money: Counter[tuple[str, str]] = Counter()
        self.decided: list[Decision] = []
        self.lines: list[bytes] = []
        # By epoch: duties (assigned, answered) by validator, told by the first lane, and the fees it counted.
        self.duties: defaultdict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
        self.fees: Counter[int] = Counter()
        self._keys, self._nonces, self._sizes = count(1), count(1), count(1)
        self._producer = Producer("desk")
        self._add(self.hub.open_books(cast(GenesisDeclared, genesis_of(self.parameters))))

    # --- facts ---

    def say(self, kind: type[Any], subject: str, data: Any, at: int | None = None) -> str:
        """Give a fact that occurs now, or at a time that is not before; return its id."""
        time = self.now if at is None else at
        fact = self._producer.fact(kind, time, subject, f"k{next(self._keys)}", data)
        self.hub.take_fact(Accepted(fact, time, False), max(time, self.now))
        return fact.id

    def validator(self, id: str, stake: int = 10_000) -> None:
        """Register a validator with a stake."""
        self.say(ValidatorRegistered, id, ValidatorRegisteredData(operator=f"o-{id}", owner=signer_of(id).key))
        if stake:
            self.bond("validator", id, stake)

    def node(self, id: str, stake: int = 500, **changed: Any) -> None:
        """Register a node with a stake."""
        members: dict[str, Any] = {
            "asset": "OMNI", "authority": "stake", "gpu_model": "g", "gpus": 1, "minimum_price": "0", "operator": "o",
            "supplier": "s", "bandwidth_mbps": 100, "owner": signer_of(id).key, "vram_mib": 8_192,
        }  # fmt: skip
        self.say(NodeRegistered, id, NodeRegisteredData(**(members | changed)))
        if stake:
            self.bond("node", id, stake)

    def update(self, id: str, vram_mib: int = 8_192, bandwidth_mbps: int = 100) -> None:
        """Change a node's hardware."""
        data = NodeUpdatedData(
            bandwidth_mbps=bandwidth_mbps, gpu_model="g", gpus=1, minimum_price="0", vram_mib=vram_mib
        )
        self.say(NodeUpdated, id, data)

    def retire(self, role: Role, id: str) -> None:
        """Let a participant go."""
        if role == "node":
            self.say(NodeRetired, id, NodeRetiredData(reason="gone"))
        else:
            self.say(ValidatorExited, id, ValidatorExitedData(reason="gone"))

    def bond(self, role: Role, id: str, amount: int) -> None:
        """Declare a stake."""
        self.declare("stake", id, amount, "stake", role=role)

    def declare(self, effect: Any, subject: str, amount: int, vault: str, *lines: tuple[str, int], **more: Any) -> str:
        """Declare what happened on a chain."""
        data = ChainFactDeclaredData(
            **({"asset": "OMNI"} | more),
            effect=effect,
            amount=str(amount),
            vault=vault,
            lines=tuple(DeclaredLine(account=account, amount=str(part)) for account, part in lines),
        )
        return self.say(ChainFactDeclared, subject, data)

    # --- orders and rulings ---

    def order(self, kind: type[Any], subject: str, by: str, at: int | None = None, **members: Any) -> str:
        """Have an owner order something."""
        time = self.now if at is None else at
        envelope: dict[str, Any] = {
            "cluster": CLUSTER,
            "expires_at": format_instant(time + DAY),
            "nonce": next(self._nonces),
        }
        return self.say(kind, subject, sign(kind, subject, signer_of(by), **(envelope | members)), at)

    def unstake(self, id: str, amount: int, role: Role = "validator", **more: Any) -> str:
        """Take stake out; return the ticket."""
        members: dict[str, Any] = {"asset": "OMNI", "amount": str(amount), "role": role}
        return self.order(UnstakeOrdered, id, **({"by": id} | members | more))[:32]

    def rebond(self, id: str, ticket: str, role: Role = "validator", **more: Any) -> str:
        """Take a ticket back."""
        return self.order(RebondOrdered, id, **({"by": id, "role": role, "ticket": ticket} | more))

    def report(self, by: str, accused: str, role: Role = "validator", **more: Any) -> str:
        """Accuse somebody; return the case."""
        members: dict[str, Any] = {
            "accused": accused, "attempt": 1, "cause": "false_attestation", "consumer": "c", "evidence": HASH,
            "job": "j", "role": role,
        }  # fmt: skip
        return accusation_id(self.order(SlashReportFiled, by, **({"by": by} | members | more)))

    def dispute(self, case: str, by: str, at: int | None = None) -> str:
        """Object."""
        return self.order(SlashDisputeFiled, case, by, at)

    def rule(self, case: str, verdict: Any, signers: Iterable[Signer] = FOUNDATION[:2]) -> str:
        """Rule on a case."""
        return self.say(SlashRuled, case, approve(case, verdict, CLUSTER, signers))

    def change_key(self, owner: str, subject: str | None = None) -> str:
        """Name another key to be paid at."""
        key = signer_of(owner).key
        return self.order(PayoutKeyChanged, subject or key, owner, payout_key=signer_of("new").key)

    # --- what lanes decide ---

    def evidence(self, accused: str, role: Role = "validator", job: str = "j", consumer: str = "c", **more: Any) -> str:
        """Have a lane find evidence; return the case."""
        cause = more.pop("cause", "failed_challenge" if role == "node" else "false_attestation")
        case = case_of(accused, role, cause, job, consumer)
        data = SlashEvidencedData(
            attempt=1, case=case, cause=cause, consumer=consumer, job=job, role=role,
            **({"verifiers": (), "reporter": None} | more),
        )  # fmt: skip
        self._hear(SlashEvidenced, case, accused, data)
        return case

    def settle(self, node: str, net: int, burn: int = 0, fee: int = 0) -> None:
        """Have a lane settle a job of one node."""
        gross = str(net + burn + fee)
        line = AgreedLine(node=node, gpu_seconds=1, price="1", gross=gross, burn=str(burn), fee=str(fee), net=str(net))
        data = JobSettledData(
            asset="OMNI", attempt=1, consumer="c", escrow=gross, funding="escrow", lines=(line,), refund="0"
        )
        self.fees[self.now // DAY] += fee
        self._hear(JobSettled, f"job{next(self._keys)}", "job", data)
        for account, amount in ((f"payable:supplier:{node}", net), ("burn:pending", burn), ("fee:accrued", fee)):
            self.money[account, "escrow"] += amount

    def withdraw(self, owner: str, amount: int) -> None:
        """Have a lane owe a consumer its money."""
        data = WithdrawalAcceptedData(asset="OMNI", amount=str(amount))
        self._hear(WithdrawalAccepted, f"w{next(self._keys)}", owner, data)
        self.money[f"payable:withdrawal:{owner}", "escrow"] += amount

    def _hear(self, kind: type[Any], key: str, subject: str, data: Any) -> None:
        """Give a lane's decision as the hub hears it."""
        decision: Any = self._decision(kind, key, subject, data, self.now)
        self.hub.take_decision(decision, self.now, next(self._sizes))

    def _decision(self, kind: type[Any], key: str, subject: str, data: Any, time: int) -> Decision:
        decision: Decision = kind(
            id=decision_id(kind.__name__, key), source="settlement", subject=subject, occurred_at=format_instant(time),
            key=key, schema_version=kind.VERSION, epoch=self.epoch, params_hash=PARAMS_HASH, data=data,
        )  # fmt: skip
        return decision

    # --- time ---

    def go(self, to: int) -> list[Decision]:
        """Make each cut up to a time and pass it; return what was decided."""
        before = len(self.decided)
        while (cut := self.hub.next_cut(to)) is not None:
            if cut == closes_at(self.epoch, self.parameters.epoch.grace_seconds):
                self._close_lanes(cut)
            self._add(self.hub.cut(cut))
        self.now = to
        return self.decided[before:]

    def tick(self) -> list[Decision]:
        """Go on to the next minute."""
        return self.go((self.now // MINUTE + 1) * MINUTE)

    def close(self) -> list[Decision]:
        """Go on to the close of the oldest open epoch."""
        return self.go(closes_at(self.epoch, self.parameters.epoch.grace_seconds))

    def _close_lanes(self, time: int) -> None:
        for lane in range(self.lanes):
            duties = self.duties.pop(self.epoch, {})
            fee = self.fees.pop(self.epoch, 0)
            data = LaneEpochClosedData(
                digest=HASH,
                events=0,
                lane=lane,
                totals=(LaneTotal(asset="OMNI", vault="escrow", fee=str(fee), burn="0"),) if fee else (),
                duties=tuple(
                    DutyCount(validator=id, assigned=assigned, answered=answered)
                    for id, (assigned, answered) in sorted(duties.items())
                ),
            )
            closed: Any = self._decision(LaneEpochClosed, f"{lane}:{self.epoch}", f"lane-{lane}", data, time)
            self.hub.take_decision(closed, time, 100 + lane)
        self.epoch += 1

    def _add(self, decided: Decided) -> None:
        lines = decided.data.splitlines()
        self.lines += lines
        for line in lines:
            decision = decode(line)
            assert isinstance(decision, Decision)
            self.decided.append(decision)
            entry = post(decision)
            for posting in entry.postings if entry else ():
                sign_ = 1 if posting.side is Side.CREDIT else -1
                self.money[posting.account, posting.vault] += sign_ * posting.amount
                assert self.money[posting.account, posting.vault] >= 0 or posting.account == "supply:issued"

    # --- what came of it ---

    def bonded(self, id: str, role: Role = "validator") -> int:
        """Return a bonded stake."""
        return self.money[f"stake:bonded:{role}:{id}", "stake"]

    def reason(self, fact: str) -> str | None:
        """Return why a fact was refused, if it was; it stands once in the log, or was granted."""
        found = [
            cast(Any, decision).data.reason
            for decision in self.decided
            if type(decision).__name__ == "DecisionRefused" and decision.causation_id == fact
        ]
        assert len(found) <= 1
        return str(found[0]) if found else None

    def last(self, kind: type[Any]) -> Any:
        """Return the last decision of a type."""
        return next(decision for decision in reversed(self.decided) if isinstance(decision, kind))
