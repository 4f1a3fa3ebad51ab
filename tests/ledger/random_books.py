"""Builds decisions as settlement would: small ones by hand, and whole random books in which nobody overspends."""

from typing import Any

from hypothesis import strategies as st

from events.decisions import (
    AgreedLine,
    AllocatedLine,
    DepositCredited,
    DepositCreditedData,
    EscrowFunded,
    EscrowFundedData,
    FeeAllocated,
    FeeAllocatedData,
    GenesisAllocated,
    GenesisAllocatedData,
    Hold,
    JobRefunded,
    JobRefundedData,
    JobSettled,
    JobSettledData,
)
from events.event import Data, Decision, decision_id
from ledger.split import split_gross
from ledger.waterfall import share_fees

__all__ = ["decide", "decisions", "deposit", "fees", "fund", "genesis", "lines", "refund", "settle"]

EPOCH = 20_727
OWNERS = ("K", "L")
NODES = ("A", "B", "C")


def decide(kind: type[Any], subject: str, key: object, data: Data) -> Any:
    """Build a decision of a kind."""
    return kind(
        id=decision_id(kind.__name__, f"{subject}:{key}"),
        source="lane-0",
        subject=subject,
        occurred_at="2026-10-01T00:00:00.000000Z",
        key=f"{subject}:{key}",
        schema_version=kind.VERSION,
        epoch=EPOCH,
        params_hash="ab" * 32,
        data=data,
    )


def genesis(allocated: dict[tuple[str, str], int], amount: int | None = None) -> GenesisAllocated:
    """Allocate the first supply by (account, vault)."""
    shares = tuple(AllocatedLine(account=a, vault=v, amount=str(n)) for (a, v), n in allocated.items())
    total = sum(allocated.values()) if amount is None else amount
    event: GenesisAllocated = decide(
        GenesisAllocated, "OMNI", 0, GenesisAllocatedData(asset="OMNI", amount=str(total), lines=shares)
    )
    return event


def deposit(owner: str, amount: int, key: object = 0, asset: str = "OMNI", role: Any = None) -> DepositCredited:
    """Credit a deposit to a consumer, or a stake to a participant."""
    vault = "stake" if role else "escrow"
    data = DepositCreditedData(asset=asset, amount=str(amount), proof="declared", vault=vault, role=role)
    event: DepositCredited = decide(DepositCredited, owner, key, data)
    return event


def fund(owner: str, job: str, amount: int) -> EscrowFunded:
    """Hold an amount for a job."""
    hold = Hold(node="A", price=str(amount), amount=str(amount))
    data = EscrowFundedData(asset="OMNI", amount=str(amount), attempt=1, consumer=owner, holds=(hold,))
    event: EscrowFunded = decide(EscrowFunded, job, 1, data)
    return event


def lines(*gross: int) -> tuple[AgreedLine, ...]:
    """Split the gross of each node at 200 and 500 bps."""
    agreed = []
    for node, paid in zip(NODES, gross, strict=False):
        burn, fee, net = map(str, split_gross(paid, 200, 500))
        row = AgreedLine(node=node, gpu_seconds=1, price="1", gross=str(paid), burn=burn, fee=fee, net=net)
        agreed.append(row)
    return tuple(agreed)


def settle(owner: str, job: str, escrow: int, agreed: tuple[AgreedLine, ...], funding: Any = "escrow") -> JobSettled:
    """Release a job's payment; the rest goes back."""
    back = escrow - sum(int(line.gross) for line in agreed)
    data = JobSettledData(
        asset="OMNI", attempt=1, consumer=owner, escrow=str(escrow), funding=funding, lines=agreed, refund=str(back)
    )
    event: JobSettled = decide(JobSettled, job, 1, data)
    return event


def refund(owner: str, job: str, amount: int) -> JobRefunded:
    """Return what was held."""
    data = JobRefundedData(
        asset="OMNI", amount=str(amount), attempt=1, cause="withdrawn", consumer=owner, outcome="cancelled"
    )
    event: JobRefunded = decide(JobRefunded, job, 1, data)
    return event


def fees(accrued: int, key: object = 0) -> FeeAllocated:
    """Share an epoch's fees."""
    pool, treasury = share_fees(accrued, 1_000)
    data = FeeAllocatedData(asset="OMNI", fees=str(accrued), pool=str(pool), treasury=str(treasury), vault="escrow")
    event: FeeAllocated = decide(FeeAllocated, "OMNI", key, data)
    return event


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Decision, ...]:
    """Draw books: a genesis, and then up to a dozen jobs and closes, each within what its owner has."""
    outside = draw(st.integers(0, 2**70))
    made: list[Decision] = [genesis({("external", ""): outside, ("treasury:ops", "treasury"): draw(st.integers(0, 9))})]
    owned, accrued = dict.fromkeys(OWNERS, 0), 0
    for number in range(draw(st.integers(0, 12))):
        owner, job = draw(st.sampled_from(OWNERS)), f"J{number}"
        way = draw(st.sampled_from(["deposit", "refunded", "settled", "at once", "close"]))
        if way == "deposit":
            amount = draw(st.integers(0, outside))
            outside, owned[owner] = outside - amount, owned[owner] + amount
            made.append(deposit(owner, amount, number))
        elif way == "close":
            made.append(fees(accrued, number))
            accrued = 0
        else:
            held = draw(st.integers(0, owned[owner]))
            first = draw(st.integers(0, held))
            agreed = lines(first, draw(st.integers(0, held - first)))
            if way != "at once":
                made.append(fund(owner, job, held))
            if way == "refunded":
                made.append(refund(owner, job, held))
                continue
            made.append(settle(owner, job, held, agreed, "consumer" if way == "at once" else "escrow"))
            owned[owner] -= sum(int(line.gross) for line in agreed)
            accrued += sum(int(line.fee) for line in agreed)
    return tuple(made)
