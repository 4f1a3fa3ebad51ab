"""What owners, the foundation and the desk report: money that comes and goes, orders, rulings.

Each call tells a fact and plans in the model of stakes what must follow from it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from app.facts import Producer
from app.network.actors import Cast, Consumer, Node, Owner, Validator
from app.network.reports import Reports, Told
from app.network.stakes import OpenCase, Stakes, Verdict
from app.orders import approve
from events.event import Fact
from events.facts import ChainFactDeclared, ChainFactDeclaredData, DeclaredLine
from events.orders import (
    RebondOrdered,
    SlashDisputeFiled,
    SlashReportFiled,
    UnstakeOrdered,
    WithdrawalOrdered,
)
from events.participants import SlashRuled
from ledger.parameters import Parameters
from ledger.slash import accusation_id

__all__ = ["Desk"]

Actor = Node | Validator


class Desk:
    """The stream `desk`."""

    def __init__(self, parameters: Parameters, reports: Reports, stakes: Stakes, cast: Cast) -> None:
        """Begin with nothing told."""
        self.producer = Producer("desk")
        self.sums: defaultdict[str, int] = defaultdict(int)
        self._asset = parameters.unit.asset
        self._cluster = parameters.chain.cluster
        self._bond = int(parameters.slash.bond)
        self._reports, self._stakes, self._cast = reports, stakes, cast
        self._number = 0

    # --- declared in place of the chain ---

    def deposit(self, at: int, consumer: Consumer, amount: int, **others: Any) -> Told:
        """Declare a consumer's money."""
        if "refused" not in others:
            self.sums["deposited"] += amount
        members = {"effect": "deposit", "asset": self._asset, "amount": str(amount), "vault": "escrow"}
        refused = others.pop("refused", None)
        return self._declare(at, consumer.id, members | others, refused)

    def stake(self, at: int, actor: Actor, amount: int, arrives: int | None = None) -> Told:
        """Declare a stake."""
        members = {"effect": "stake", "asset": self._asset, "amount": str(amount), "vault": "stake"}
        told = self._declare(at, actor.id, members | {"role": actor.role}, None, arrives)
        self._stakes.deposit(told, actor.role, actor.id, amount)
        self.sums["staked"] += amount
        return told

    def pay(self, at: int, vault: str, lines: Sequence[tuple[str, int]], refused: str | None = None) -> None:
        """Declare a payout of accounts in a vault; those with nothing are left out."""
        paid = [(account, amount) for account, amount in lines if amount]
        if not paid:
            return
        if refused is None:
            self.sums["paid_out"] += sum(amount for _, amount in paid)
        self._move(at, "payout", vault, paid, None, refused)

    def burn(self, at: int, vault: str, amount: int) -> None:
        """Declare a burn of what was due in a vault."""
        if amount:
            self.sums["burned"] += amount
            members = {"effect": "burn", "asset": self._asset, "amount": str(amount), "vault": vault}
            self._declare(at, vault, members, None)

    def sweep(self, at: int, vault: str, to: str, account: str, amount: int) -> None:
        """Declare that an account's money was moved to its home."""
        if amount:
            self.sums["swept"] += amount
            self._move(at, "sweep", vault, [(account, amount)], to, None)

    # --- orders ---

    def order(
        self, at: int, owner: Owner, kind: type[Fact], subject: str, said: Mapping[str, Any], *,
        refused: str | None = None, arrives: int | None = None,
    ) -> Told:  # fmt: skip
        """Tell an owner's order."""
        fact = owner.order(self.producer, kind, at, subject, **said)
        return self._reports.tell(fact, arrives, refused)

    def unstake(self, at: int, actor: Actor, amount: int, arrives: int | None = None) -> str:
        """Take stake out; return the ticket."""
        members = {"asset": self._asset, "amount": str(amount), "role": actor.role}
        told = self.order(at, actor.owner, UnstakeOrdered, actor.id, members, arrives=arrives)
        return self._stakes.unstake(told, actor.role, actor.id, amount)

    def rebond(self, at: int, actor: Actor, ticket: str) -> None:
        """Take an unstaking back."""
        members = {"role": actor.role, "ticket": ticket}
        told = self.order(at, actor.owner, RebondOrdered, actor.id, members)
        self._stakes.rebond(told, actor.role, actor.id, ticket)

    def withdraw(self, at: int, consumer: Consumer, amount: int, refused: str | None = None) -> None:
        """Ask money back."""
        assert consumer.owner is not None
        members = {"asset": self._asset, "amount": str(amount)}
        self.order(at, consumer.owner, WithdrawalOrdered, consumer.id, members, refused=refused)
        if refused is None:
            self.sums["withdrawn"] += amount

    # --- slashes ---

    def dispute(self, at: int, owner: Owner, case: str, refused: str | None = None) -> None:
        """Dispute a case."""
        told = self.order(at, owner, SlashDisputeFiled, case, {}, refused=refused)
        if refused is None:
            self._stakes.dispute(told, case)

    def rule(self, at: int, case: str, verdict: Verdict, keys: int = 2, refused: str | None = None) -> None:
        """Rule on a case with so many of the foundation's keys."""
        data = approve(case, verdict, self._cluster, self._cast.foundation[:keys])
        fact = self.producer.fact(SlashRuled, at, case, f"ruling:{case}:{at}", data)
        told = self._reports.tell(fact, None, refused)
        if refused is None:
            self._stakes.rule(told, case, verdict)

    def report(
        self,
        at: int,
        by: Validator,
        accused: Actor,
        about: tuple[Consumer, str],
        cause: str,
        *,
        plot: str,
        guilty: bool,
    ) -> str:
        """Let a validator accuse a participant about the first attempt of a consumer's job; return the case."""
        consumer, job = about
        members = {
            "accused": accused.id, "attempt": 1, "cause": cause, "consumer": consumer.id, "evidence": "e1" * 32,
            "job": job, "role": accused.role,
        }  # fmt: skip
        told = self.order(at, by.owner, SlashReportFiled, by.id, members)
        case = accusation_id(told.fact.id)
        planned = OpenCase(case, accused.role, accused.id, job, 1, cause, plot, guilty, reporter=by.id, proposer=by.id)
        self._stakes.accuse(told, planned)
        if not guilty:
            # It will lose the bond, and shall be able to accuse again.
            self.stake(at, by, self._bond)
        return case

    def _move(
        self, at: int, effect: str, vault: str, lines: list[tuple[str, int]], to: str | None, refused: str | None
    ) -> None:
        declared = tuple(DeclaredLine(account=account, amount=str(amount)) for account, amount in sorted(lines))
        whole = str(sum(amount for _, amount in lines))
        members = {"effect": effect, "asset": self._asset, "amount": whole, "vault": vault, "lines": declared, "to": to}
        self._declare(at, vault, members, refused)

    def _declare(
        self, at: int, subject: str, members: dict[str, Any], refused: str | None, arrives: int | None = None
    ) -> Told:
        self._number += 1
        key = f"{members['effect']}:{self._number}"
        fact = self.producer.fact(ChainFactDeclared, at, subject, key, ChainFactDeclaredData(**members))
        return self._reports.tell(fact, arrives, refused)
