"""One event of each type, with every optional member present: what the golden lines hold.

The orders are signed by `OWNER`, the ruling by `FOUNDATION`, so that the golden lines also fix what is signed.
"""

from typing import Any

import msgspec

from app.orders import approve, sign
from chain.keys import Signer
from events import decisions, facts, orders, participants, stakes
from events.cloudevents import wrap
from events.codec import encode
from events.event import Data, Decision, Event, Fact, decision_id, fact_id

__all__ = ["CANCELLED_V1", "CLUSTER", "FOUNDATION", "OWNER", "SAMPLES", "cancelled", "enveloped", "sample"]

HASH = "aa" * 32
NOON = "2026-10-01T12:00:00.000000Z"
AMOUNT_MAX = "9" * 39
INTEGER_MAX = 2**53 - 1
CLUSTER = "localnet"
OWNER = Signer(bytes(range(32)))
FOUNDATION = (Signer(b"1" * 32), Signer(b"2" * 32))
CASE, TICKET = "ca" * 16, "7c" * 16
OF_ATTEMPT: dict[str, Any] = {"attempt": 1, "consumer": "K"}
OMNI = {"asset": "OMNI"}


def _data(kind: type[Event], members: dict[str, Any]) -> Data:
    data: Data = msgspec.convert(members, kind.__annotations__["data"])
    return data


def _envelope(kind: type[Event], data: Data, **members: Any) -> Any:
    both = {"occurred_at": NOON, "causation_id": HASH, "correlation_id": "bb" * 32}
    return kind(**both, **members, schema_version=kind.VERSION, data=data)  # type: ignore[call-arg]


def _fact(kind: type[Fact], subject: str, data: Data | None = None, /, **members: Any) -> Fact:
    said = _data(kind, members) if data is None else data
    source = {"id": fact_id("router-1", subject), "source": "router-1", "key": subject, "stream": "jobs"}
    fact: Fact = _envelope(kind, said, subject=subject, **source)
    return fact


def _order(kind: type[Fact], subject: str, /, **members: str | int) -> Fact:
    said = sign(kind, subject, OWNER, cluster=CLUSTER, expires_at="2026-10-31T12:00:00.000000Z", nonce=7, **members)
    return _fact(kind, subject, said)


def _decision(kind: type[Decision], subject: str, /, **members: Any) -> Decision:
    source = {"id": decision_id(kind.__name__, subject), "source": "lane-0", "key": subject, "params_hash": HASH}
    data = _data(kind, members)
    decision: Decision = _envelope(kind, data, subject=subject, epoch=20_727, late=True, **source)
    return decision


def _line(account: str, amount: str, vault: str) -> dict[str, str]:
    return {"account": account, "amount": amount, "vault": vault}


ABOUT_TIME_AND_CHAIN: tuple[Event, ...] = (
    _fact(facts.GenesisDeclared, "omnisync", parameters='{"network":"omnisync"}', params_hash=HASH),
    _fact(facts.StreamRegistered, "jobs", since="0001-01-01T00:00:00.000000Z"),
    _fact(facts.StreamMarked, "jobs", until="9999-12-31T23:59:59.999999Z"),
    _fact(
        facts.RecordRefused,
        "intake",
        source='Über\u2028\x00\x7f\\"/😀',  # every way in which a text is written or escaped
        position=0,
        reason="not_json",
        detail="",
        raw="ew==",
        length=INTEGER_MAX,
        sha256=HASH,
    ),
    _fact(
        facts.ChainFactDeclared,
        "escrow",
        **OMNI,
        amount=AMOUNT_MAX,
        effect="sweep",
        lines=[{"account": "treasury:ops", "amount": AMOUNT_MAX}],
        role="validator",  # no effect has all three of lines, role and to: the type allows what the hub refuses
        to="treasury",
        vault="escrow",
    ),
)

ABOUT_PARTICIPANTS: tuple[Event, ...] = (
    _fact(
        participants.NodeRegistered,
        "A",
        **OMNI,
        authority="stake",
        bandwidth_mbps=1_000,
        gpu_model="A100 80GB",
        gpus=8,
        minimum_price="9300000000",
        operator="op-a",
        owner=OWNER.key,
        supplier="A",
        vram_mib=81_920,
    ),
    _fact(
        participants.NodeUpdated,
        "A",
        bandwidth_mbps=100,
        gpu_model="A100 80GB",
        gpus=0,
        minimum_price="0",
        vram_mib=8_192,
    ),
    _fact(participants.NodeRetired, "A", reason="moved"),
    _fact(participants.ValidatorRegistered, "V1", operator="op-v", owner=OWNER.key),
    _fact(participants.ValidatorExited, "V1", reason="closed"),
    _fact(participants.SlashRuled, CASE, approve(CASE, "reversed", CLUSTER, FOUNDATION)),
)

ABOUT_JOBS: tuple[Event, ...] = (
    _fact(facts.JobSubmitted, "J", **OMNI, authority="declared", consumer="K", gpu_seconds_max=3_600, nodes=3),
    _fact(
        facts.JobDispatched,
        "J",
        **OF_ATTEMPT,
        quotes=[{"node": "A", "operator": "op-a", "price": "10000000000", "minimum": "9300000000"}],
        params_hash=HASH,
    ),
    _fact(
        facts.UsageMetered,
        "J",
        **OF_ATTEMPT,
        gpu_seconds=3_599,
        node="A",
        terms={
            "asset": "OMNI",
            "authority": "declared",
            "gpu_seconds_max": 3_600,
            "minimum": "0",
            "operator": "op-a",
            "price": "10000000000",
        },
    ),
    _fact(facts.QuorumClaimed, "J", **OF_ATTEMPT, agreeing=["A", "B"]),
    _fact(facts.JobFailed, "J", **OF_ATTEMPT, reason="out_of_memory"),
    _fact(facts.JobCancelled, "J", consumer="K", reason="withdrawn"),
    _fact(facts.JobRedistributed, "J", **OF_ATTEMPT, reason="challenge_failed"),
    _fact(facts.DutyAssigned, "J", **OF_ATTEMPT, seed="5e" * 32, validators=["V1", "V2"]),
    _fact(facts.ResultSubmitted, "J", **OF_ATTEMPT, node="A", result="4e" * 32),
    _fact(facts.ChallengeResultRecorded, "J", **OF_ATTEMPT, node="A", passed=False, proof="9f" * 32, reporter="V3"),
    _fact(facts.AttestationRecorded, "J", **OF_ATTEMPT, node="A", validator="V1", verdict="failed", reporter="V3"),
)

ORDERS: tuple[Fact, ...] = (
    _order(orders.SpendAuthorized, "J", **OMNI, maximum="30000000000"),
    _order(orders.WithdrawalOrdered, OWNER.key, **OMNI, amount=AMOUNT_MAX),
    _order(orders.UnstakeOrdered, "V1", **OMNI, amount="1", role="validator"),
    _order(orders.RebondOrdered, "V1", role="validator", ticket=TICKET),
    _order(orders.SlashDisputeFiled, CASE, evidence="ed" * 32),
    _order(
        orders.SlashReportFiled,
        "V1",
        accused="A",
        attempt=INTEGER_MAX,
        cause="offline",
        consumer="K",
        evidence="ed" * 32,
        job="J",
        role="node",
    ),
    _order(orders.PayoutKeyChanged, OWNER.key, payout_key=FOUNDATION[0].key),
)

BY_A_LANE: tuple[Event, ...] = (
    _decision(
        decisions.DepositCredited,
        "V1",
        **OMNI,
        amount="100000000000",
        proof="declared",
        role="validator",
        vault="stake",
    ),
    _decision(
        decisions.EscrowFunded,
        "J",
        **OMNI,
        **OF_ATTEMPT,
        amount="10000000000",
        holds=[{"node": "A", "price": "10000000000", "amount": "10000000000"}],
    ),
    _decision(
        decisions.JobSettled,
        "J",
        **OMNI,
        **OF_ATTEMPT,
        escrow="131",
        funding="escrow",
        lines=[
            {"node": "A", "gpu_seconds": 3_600, "price": "100", "gross": "100", "burn": "2", "fee": "5", "net": "93"}
        ],
        refund="1",
        waiting=[{"node": "B", "case": CASE, "hold": "30"}],
    ),
    _decision(
        decisions.JobRefunded,
        "J",
        **OMNI,
        amount="0",
        attempt=0,
        cause="withdrawn",
        consumer="K",
        outcome="cancelled",
    ),
    _decision(decisions.WithdrawalAccepted, OWNER.key, **OMNI, amount="1"),
    _decision(
        decisions.SlashEvidenced,
        "A",
        attempt=1,
        case=CASE,
        cause="failed_challenge",
        consumer="K",
        job="J",
        reporter="V3",
        role="node",
        verifiers=["V1", "V2"],
    ),
    _decision(decisions.DecisionRefused, "J", detail="short by 1", reason="funds_insufficient", position="facts:7"),
    _decision(
        decisions.LaneEpochClosed,
        "lane-0",
        digest=HASH,
        duties=[{"validator": "V1", "assigned": 10, "answered": 9}],
        events=7,
        lane=0,
        totals=[{"asset": "OMNI", "vault": "escrow", "fee": "5", "burn": "2"}],
    ),
)

BY_THE_HUB: tuple[Event, ...] = (
    _decision(
        decisions.GenesisAllocated,
        "OMNI",
        **OMNI,
        amount="30",
        lines=[_line("vest:locked:team:foundation", "10", "vesting"), _line("external", "20", "")],
    ),
    _decision(
        decisions.EpochClosed,
        "2026-10-01",
        starts_at="2026-10-01T00:00:00.000000Z",
        ends_at="2026-10-02T00:00:00.000000Z",
        positions=[{"log": "ledger/lane-0", "size": 123}],
        snapshot="5a" * 32,
    ),
    _decision(decisions.FeeAllocated, "OMNI", **OMNI, fees="105", pool="10", treasury="95", vault="escrow"),
    _decision(
        decisions.PayoutFinalized,
        "escrow",
        **OMNI,
        amount="93",
        lines=[_line("payable:supplier:A", "93", "escrow")],
        proof="declared",
    ),
    _decision(decisions.BurnFinalized, "escrow", **OMNI, amount="2", proof="declared", vault="escrow"),
    _decision(
        decisions.SweepFinalized,
        "escrow",
        **OMNI,
        amount="95",
        lines=[_line("treasury:ops", "95", "escrow")],
        proof="declared",
        to="treasury",
    ),
    _decision(decisions.PayoutKeyAccepted, OWNER.key, payout_key=FOUNDATION[0].key),
    _decision(
        stakes.ValidatorRewardsAllocated,
        "2026-10-01",
        **OMNI,
        carry="1",
        carry_in="2",
        credited=[
            _line("payable:validator:V1", "5", "escrow"),
            _line(f"validator_pool:withheld:{CASE}", "6", "escrow"),
        ],
        drawn=[_line("validator_pool:carry", "1", "escrow"), _line("validator_pool:current", "10", "escrow")],
        excluded=[
            {"answered": 0, "assigned": 1, "reason": "duties_unanswered", "validator": "V3", "weight": "40"},
        ],
        lines=[{"amount": "5", "answered": 9, "assigned": 10, "validator": "V1", "weight": "10"}],
        pool="12",
        snapshot="5a" * 32,
        weight="22",
        withheld=[{"amount": "6", "answered": 1, "assigned": 1, "case": CASE, "validator": "V2", "weight": "12"}],
    ),
)

ABOUT_STAKES: tuple[Event, ...] = (
    _decision(
        stakes.ParticipantRegistered,
        "A",
        active=False,
        minimum="500000000000",
        operator="op-a",
        owner=OWNER.key,
        role="node",
    ),
    _decision(
        stakes.ParticipantSuspended, "A", cause="stake", minimum="500000000000", role="node", stake="499999999999"
    ),
    _decision(stakes.ParticipantReinstated, "A", minimum="500000000000", role="node", stake="500000000000"),
    _decision(
        stakes.UnstakeRequested,
        "V1",
        **OMNI,
        amount="1",
        matures_at="2026-10-08T12:00:00.000000Z",
        role="validator",
        ticket=TICKET,
    ),
    _decision(stakes.UnbondingCancelled, "V1", **OMNI, amount="1", role="validator", ticket=TICKET),
    _decision(stakes.UnbondingMatured, "V1", **OMNI, amount="1", owner=OWNER.key, role="validator", ticket=TICKET),
    _decision(
        stakes.SlashProposed,
        "A",
        **OMNI,
        amount="25",
        attempt=1,
        basis="500",
        bond="100",
        bps=500,
        case=CASE,
        cause="failed_challenge",
        consumer="K",
        ends_at="2026-10-02T12:00:00.000000Z",
        from_bonded="20",
        from_tickets=[{"ticket": TICKET, "amount": "5"}],
        job="J",
        proposer="V1",
        reporter="V3",
        role="node",
        verifiers=["V1", "V2"],
    ),
    _decision(stakes.SlashDisputed, "A", case=CASE, ends_at="2026-10-08T12:00:00.000000Z"),
    _decision(
        stakes.SlashUpheld,
        "A",
        **OMNI,
        amount="25",
        bond="100",
        case=CASE,
        proposer="V1",
        role="node",
        withheld=[_line(f"validator_pool:withheld:{CASE}", "6", "escrow")],
    ),
    _decision(
        stakes.SlashReversed,
        "A",
        **OMNI,
        amount="25",
        bond="100",
        case=CASE,
        released=[_line("payable:validator:V2", "6", "escrow")],
        returned=[_line("stake:bonded:node:A", "20", "stake"), _line(f"stake:unbonding:{TICKET}", "5", "stake")],
        role="node",
    ),
    _decision(
        stakes.SlashDistributed,
        "A",
        **OMNI,
        amount="25",
        burned="13",
        case=CASE,
        paid=[{"id": "V1", "amount": "6"}, {"id": "V2", "amount": "6"}],
    ),
)

SAMPLES: tuple[Event, ...] = (
    *ABOUT_TIME_AND_CHAIN,
    *ABOUT_PARTICIPANTS,
    *ABOUT_JOBS,
    *ORDERS,
    *BY_A_LANE,
    *BY_THE_HUB,
    *ABOUT_STAKES,
)
_BY_TYPE: dict[type[Event], Event] = {type(event): event for event in SAMPLES}


def sample(kind: type[Event]) -> Event:
    """Return the sample of a type."""
    return _BY_TYPE[kind]


def cancelled() -> bytes:
    """Return a short canonical line of today."""
    return encode(sample(facts.JobCancelled))


CANCELLED_V1 = cancelled().replace(b',"reason":"withdrawn"', b"").replace(b'version":2', b'version":1')
"""How version 1 of `JobCancelled` was written: without a reason."""


def enveloped(event: Event) -> bytes:
    """Return the event as a CloudEvents line."""
    return wrap(event, encode(event))
