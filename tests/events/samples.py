"""One event of each type, with every optional member present: what the golden lines hold."""

from events.cloudevents import wrap
from events.codec import encode
from events.decisions import (
    AgreedLine,
    AllocatedLine,
    DecisionRefused,
    DecisionRefusedData,
    DepositCredited,
    DepositCreditedData,
    EpochClosed,
    EpochClosedData,
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
    LaneEpochClosed,
    LaneEpochClosedData,
    LaneTotal,
    LogPosition,
)
from events.event import Data, Decision, Event, Fact, decision_id, fact_id
from events.facts import (
    ChainFactDeclared,
    ChainFactDeclaredData,
    GenesisDeclared,
    GenesisDeclaredData,
    JobCancelled,
    JobCancelledData,
    JobDispatched,
    JobDispatchedData,
    JobFailed,
    JobFailedData,
    JobSubmitted,
    JobSubmittedData,
    NodeRegistered,
    NodeRegisteredData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    RecordRefused,
    RecordRefusedData,
    StreamMarked,
    StreamMarkedData,
    StreamRegistered,
    StreamRegisteredData,
    Terms,
    UsageMetered,
    UsageMeteredData,
)

__all__ = ["CANCELLED_V1", "SAMPLES", "cancelled", "enveloped"]

HASH = "aa" * 32
NOON = "2026-10-01T12:00:00.000000Z"
AMOUNT_MAX = "9" * 39
INTEGER_MAX = 2**53 - 1


def _fact(kind: type[Fact], subject: str, data: Data) -> Fact:
    members = {"id": fact_id("router-1", subject), "source": "router-1", "key": subject, "subject": subject}
    members |= {"occurred_at": NOON, "stream": "jobs", "causation_id": HASH, "correlation_id": "bb" * 32}
    return kind(**members, schema_version=kind.VERSION, data=data)  # type: ignore[call-arg]


def _decision(kind: type[Decision], subject: str, data: Data) -> Decision:
    members = {"id": decision_id(kind.__name__, subject), "source": "lane-0", "key": subject, "subject": subject}
    members |= {"occurred_at": NOON, "params_hash": HASH, "causation_id": HASH, "correlation_id": "bb" * 32}
    version = kind.VERSION
    return kind(**members, epoch=20_727, late=True, schema_version=version, data=data)  # type: ignore[call-arg]


SAMPLES: tuple[Event, ...] = (
    _fact(GenesisDeclared, "omnisync", GenesisDeclaredData(parameters='{"network":"omnisync"}', params_hash=HASH)),
    _fact(StreamRegistered, "jobs", StreamRegisteredData(since="0001-01-01T00:00:00.000000Z")),
    _fact(StreamMarked, "jobs", StreamMarkedData(until="9999-12-31T23:59:59.999999Z")),
    _fact(
        RecordRefused,
        "intake",
        RecordRefusedData(
            source='Über\u2028\x00\x7f\\"/😀',  # every way in which a text is written or escaped
            position=0,
            reason="not_json",
            detail="",
            raw="ew==",
            length=INTEGER_MAX,
            sha256=HASH,
        ),
    ),
    _fact(
        ChainFactDeclared, "K", ChainFactDeclaredData(effect="deposit", asset="OMNI", amount=AMOUNT_MAX, vault="escrow")
    ),
    _fact(
        NodeRegistered,
        "A",
        NodeRegisteredData(
            asset="OMNI",
            authority="declared",
            gpu_model="A100 80GB",
            gpus=8,
            minimum_price="9300000000",
            operator="op-a",
            supplier="A",
        ),
    ),
    _fact(
        JobSubmitted,
        "J",
        JobSubmittedData(asset="OMNI", authority="declared", consumer="K", gpu_seconds_max=3_600, nodes=3),
    ),
    _fact(
        JobDispatched,
        "J",
        JobDispatchedData(
            attempt=1,
            consumer="K",
            quotes=(Quote(node="A", operator="op-a", price="10000000000", minimum="9300000000"),),
            params_hash=HASH,
        ),
    ),
    _fact(
        UsageMetered,
        "J",
        UsageMeteredData(
            attempt=1,
            consumer="K",
            gpu_seconds=3_599,
            node="A",
            terms=Terms(
                asset="OMNI",
                authority="declared",
                gpu_seconds_max=3_600,
                minimum="0",
                operator="op-a",
                price="10000000000",
            ),
        ),
    ),
    _fact(QuorumClaimed, "J", QuorumClaimedData(agreeing=("A", "B"), attempt=1, consumer="K")),
    _fact(JobFailed, "J", JobFailedData(attempt=1, consumer="K", reason="out_of_memory")),
    _fact(JobCancelled, "J", JobCancelledData(consumer="K", reason="withdrawn")),
    _decision(
        DepositCredited, "K", DepositCreditedData(asset="OMNI", amount="100000000000", proof="declared", vault="escrow")
    ),
    _decision(
        EscrowFunded,
        "J",
        EscrowFundedData(
            asset="OMNI",
            amount="10000000000",
            attempt=1,
            consumer="K",
            holds=(Hold(node="A", price="10000000000", amount="10000000000"),),
        ),
    ),
    _decision(
        JobSettled,
        "J",
        JobSettledData(
            asset="OMNI",
            attempt=1,
            consumer="K",
            escrow="101",
            funding="escrow",
            lines=(AgreedLine(node="A", gpu_seconds=3_600, price="100", gross="100", burn="2", fee="5", net="93"),),
            refund="1",
        ),
    ),
    _decision(
        JobRefunded,
        "J",
        JobRefundedData(asset="OMNI", amount="0", attempt=0, cause="withdrawn", consumer="K", outcome="cancelled"),
    ),
    _decision(
        DecisionRefused, "J", DecisionRefusedData(detail="short by 1", reason="funds_insufficient", position="facts:7")
    ),
    _decision(
        LaneEpochClosed,
        "lane-0",
        LaneEpochClosedData(
            digest=HASH, events=7, lane=0, totals=(LaneTotal(asset="OMNI", vault="escrow", fee="5", burn="2"),)
        ),
    ),
    _decision(
        GenesisAllocated,
        "OMNI",
        GenesisAllocatedData(
            asset="OMNI",
            amount="30",
            lines=(
                AllocatedLine(account="vest:locked:team:foundation", amount="10", vault="vesting"),
                AllocatedLine(account="external", amount="20", vault=""),
            ),
        ),
    ),
    _decision(
        EpochClosed,
        "2026-10-01",
        EpochClosedData(
            starts_at="2026-10-01T00:00:00.000000Z",
            ends_at="2026-10-02T00:00:00.000000Z",
            positions=(LogPosition(log="ledger/lane-0", size=123),),
        ),
    ),
    _decision(
        FeeAllocated, "OMNI", FeeAllocatedData(asset="OMNI", fees="105", pool="10", treasury="95", vault="escrow")
    ),
)

CANCELLED_V1 = encode(SAMPLES[11]).replace(b',"reason":"withdrawn"', b"").replace(b'version":2', b'version":1')
"""How version 1 of `JobCancelled` was written: without a reason."""


def cancelled() -> bytes:
    """Return a short canonical line of today."""
    return encode(SAMPLES[11])


def enveloped(event: Event) -> bytes:
    """Return the event as a CloudEvents line."""
    return wrap(event, encode(event))
