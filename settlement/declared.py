"""What is declared to have happened on a chain with the hub's accounts: payouts, burns, sweeps.

    payout    each line, a payable @vault → external             burn    burn:pending@vault → supply:burned
    sweep     each line @vault → the same account @to, which is its home vault

Nothing moves unless all of it is there.
"""

from collections import defaultdict

from events.decisions import (
    AllocatedLine,
    BurnFinalized,
    BurnFinalizedData,
    PayoutFinalized,
    PayoutFinalizedData,
    SweepFinalized,
    SweepFinalizedData,
)
from events.facts import ChainFactDeclared, ChainFactDeclaredData
from events.refusal import Reason, Refusal
from ledger.accounts import BURN_PENDING, FEE_ACCRUED, kind_of
from settlement.hub_writer import HubWriter

__all__ = ["Declared"]


class Declared:
    """Each handler is a ladder of refusals, then one decision."""

    def __init__(self, asset: str, writer: HubWriter) -> None:
        """Move one asset alone."""
        self._asset = asset
        self._writer = writer

    def pay(self, fact: ChainFactDeclared, _now: int) -> Refusal | None:
        """Pay out what is owed."""
        data = fact.data
        if refusal := self._check_lines(data):
            return refusal
        if data.to is not None or not all(line.account.startswith("payable:") for line in data.lines):
            return Refusal(Reason.EFFECT_MALFORMED, "a payout leaves payables, for nowhere of ours")
        if refusal := self._check_held(data):
            return refusal
        paid = PayoutFinalizedData(asset=data.asset, amount=data.amount, lines=_lines(data), proof="declared")
        self._writer.write(PayoutFinalized, fact.id, data.vault, paid)
        return None

    def burn(self, fact: ChainFactDeclared, _now: int) -> Refusal | None:
        """Burn what waits to be burned (R2)."""
        data = fact.data
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        if data.lines or data.role is not None or data.to is not None or data.amount == "0":
            return Refusal(Reason.EFFECT_MALFORMED, f"a burn takes something of {BURN_PENDING} alone")
        held = self._writer.holdings.held(BURN_PENDING, data.vault)
        if int(data.amount) > held:
            return Refusal(Reason.BALANCE_INSUFFICIENT, f"{data.amount} of {held} in {BURN_PENDING}")
        burned = BurnFinalizedData(asset=data.asset, amount=data.amount, proof="declared", vault=data.vault)
        self._writer.write(BurnFinalized, fact.id, data.vault, burned)
        return None

    def sweep(self, fact: ChainFactDeclared, _now: int) -> Refusal | None:
        """Bring money to its home vault."""
        data = fact.data
        if refusal := self._check_lines(data):
            return refusal
        if not data.to or data.to == data.vault or not all(_home(line.account) == data.to for line in data.lines):
            return Refusal(Reason.EFFECT_MALFORMED, "a sweep leads from one vault to another, the home of each line")
        if any(line.account == FEE_ACCRUED for line in data.lines):
            # The close of an epoch shares them in the vault in which its lanes have told them.
            return Refusal(Reason.EFFECT_MALFORMED, f"{FEE_ACCRUED} is shared where it lies, and swept behind that")
        if refusal := self._check_held(data):
            return refusal
        swept = SweepFinalizedData(
            asset=data.asset, amount=data.amount, lines=_lines(data), proof="declared", to=data.to
        )
        self._writer.write(SweepFinalized, fact.id, data.vault, swept)
        return None

    def _check_lines(self, data: ChainFactDeclaredData) -> Refusal | None:
        if data.asset != self._asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        total = sum(int(line.amount) for line in data.lines)
        if total != int(data.amount):
            return Refusal(Reason.EFFECT_MALFORMED, f"{data.amount}, its lines come to {total}")
        if not total or data.role is not None:
            return Refusal(Reason.EFFECT_MALFORMED, "something moves, and nobody has a role in it")
        strangers = [line.account for line in data.lines if _home(line.account) is None]
        if strangers:
            return Refusal(Reason.EFFECT_MALFORMED, f"{strangers[0]} is no account"[:300])
        return None

    def _check_held(self, data: ChainFactDeclaredData) -> Refusal | None:
        wanted: defaultdict[str, int] = defaultdict(int)
        for line in data.lines:
            wanted[line.account] += int(line.amount)
        for account, amount in wanted.items():
            held = self._writer.holdings.held(account, data.vault)
            if amount > held:
                return Refusal(Reason.BALANCE_INSUFFICIENT, f"{amount} of {held} in {account}"[:300])
        return None


def _lines(data: ChainFactDeclaredData) -> tuple[AllocatedLine, ...]:
    return tuple(AllocatedLine(account=line.account, amount=line.amount, vault=data.vault) for line in data.lines)


def _home(account: str) -> str | None:
    try:
        return kind_of(account).home
    except KeyError:
        return None
