"""Four days of a small network as hand-made decisions: what the read models must make of them is known by heart.

Fees and shares of day 1 are those of the quarter that is worked through in the golden test.

day 0   V1 10,000, V2 20,000, V3 33,333, V5 9,000, node C 500 OMNI; K deposits 100
day 1   K's job J; cases c-node (C), c-v2 (V2, reported by V3); V4 joins at noon
day 2   both cases stand; V1 adds 100 OMNI, accuses V3 (c-v3), which objects; V4 unstakes 1,000; a sweep; V1 is paid
day 3   c-v3 falls, what it held back is V3's; V4 bonds again; V1 leaves duties; job W settles with a line that waits
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from events.codec import encode
from events.decisions import (
    AgreedLine,
    AllocatedLine,
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
    LogPosition,
    PayoutFinalized,
    PayoutFinalizedData,
    SweepFinalized,
    SweepFinalizedData,
    WaitingLine,
)
from events.event import Data, Decision, decision_id
from events.instant import DAY, day_of, format_instant, parse_instant
from events.record import Basis
from events.stakes import (
    ExcludedLine,
    ParticipantRegistered,
    ParticipantRegisteredData,
    ParticipantReinstated,
    ParticipantReinstatedData,
    ParticipantSuspended,
    ParticipantSuspendedData,
    RewardLine,
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
    UnbondingCancelled,
    UnbondingCancelledData,
    UnstakeRequested,
    UnstakeRequestedData,
    ValidatorRewardsAllocated,
    ValidatorRewardsAllocatedData,
    WithheldLine,
)
from ledger import accounts
from ledger.rewards import share_pool
from projections.database import open_sqlite
from projections.project import Projector
from projections.tables import METADATA
from tests.settlement.desk import EVIDENCE, MemoryLog

__all__ = ["OMNI", "OWNER", "Story", "at", "told"]

OMNI = 10**9
LAUNCH = parse_instant("2026-10-01T00:00:00.000000Z")
OWNER = "4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi"
OTHER = "8qbHbw2BbbTHBW1sbeqakYXVKRQM8Ne7pLK7m6CVfeR"
MINIMUM = {"validator": 10_000 * OMNI, "node": 500 * OMNI}
HASH = "aa" * 32


def at(day: int, hour: int = 0, minute: int = 0) -> int:
    """Return a moment of the story in microseconds."""
    return LAUNCH + day * DAY + (hour * 60 + minute) * (DAY // 1_440)


@dataclass(frozen=True)
class Duties:
    """How many duties of a validator were answered, of how many."""

    answered: int
    assigned: int


class Story:
    """Three logs, and a record for each batch of decisions."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.facts, self.hub, self.lane = MemoryLog("facts/hub"), MemoryLog("hub"), MemoryLog("lane-0")

    def engine(self) -> Engine:
        """Project all of it into empty tables."""
        engine = open_sqlite(None, writable=True)
        METADATA.create_all(engine)
        self.project(engine)
        return engine

    def project(self, engine: Engine) -> None:
        """Fold what is new, as a process that has just started."""
        Projector(engine, self.facts, [self.hub, self.lane]).run_whole()

    def write(
        self,
        log: MemoryLog,
        now: int,
        decisions: Sequence[tuple[type[Decision], str, Data]],
        epoch: int | None = None,
        basis: tuple[Basis, ...] = (),
    ) -> None:
        """Append a record of decisions that fall at one moment, in its day's epoch or another."""
        lines = []
        for number, (kind, subject, data) in enumerate(decisions):
            id = decision_id(kind.__name__, f"{log.name}:{log.end()}:{number}")
            lines.append(
                encode(
                    kind(  # type: ignore[call-arg]
                        id=id,
                        source=log.name,
                        key=id,
                        subject=subject,
                        occurred_at=format_instant(now),
                        schema_version=kind.VERSION,
                        epoch=day_of(now) if epoch is None else epoch,
                        params_hash=HASH,
                        data=data,
                    )
                )
            )
        log.append(lines, EVIDENCE, format_instant(now), basis)

    def close(
        self,
        day: int,
        fees: int,
        drawn: Sequence[tuple[str, str, int]],
        weights: dict[str, int],
        excluded: dict[str, tuple[str, int]],
        waiting: dict[str, str] | None = None,
        duties: dict[str, Duties] | None = None,
    ) -> None:
        """Close a day: `drawn` names account, vault and amount of what is shared; `excluded` reason and weight."""
        start, duties = at(day), duties or {}
        epoch = EpochClosedData(
            starts_at=format_instant(start),
            ends_at=format_instant(start + DAY),
            positions=(LogPosition(log="ledger/lane-0", size=self.lane.end()),),
            snapshot=HASH,
        )
        decisions: list[tuple[type[Decision], str, Data]] = [(EpochClosed, format_instant(start)[:10], epoch)]
        if fees:
            pool = fees // 10
            split = FeeAllocatedData(
                asset="OMNI", fees=str(fees), pool=str(pool), treasury=str(fees - pool), vault="escrow"
            )
            decisions.append((FeeAllocated, "OMNI", split))
        rewards = _rewards(drawn, weights, excluded, waiting or {}, duties)
        decisions.append((ValidatorRewardsAllocated, format_instant(start)[:10], rewards))
        self.write(self.hub, at(day + 1, 0, 30), decisions, day_of(start))


def _rewards(
    drawn: Sequence[tuple[str, str, int]],
    weights: dict[str, int],
    excluded: dict[str, tuple[str, int]],
    waiting: dict[str, str],
    duties: dict[str, Duties],
) -> ValidatorRewardsAllocatedData:
    pool = sum(amount for _, _, amount in drawn)
    shared = share_pool(pool, weights, waiting)
    none = Duties(0, 0)

    def counts(id: str) -> dict[str, int]:
        return {"answered": duties.get(id, none).answered, "assigned": duties.get(id, none).assigned}

    credited = [(accounts.payable("validator", id), amount) for id, amount in shared.shares]
    credited += [(accounts.withheld(line.case), line.amount) for line in shared.withheld]
    carry_in = sum(amount for account, _, amount in drawn if account == accounts.POOL_CARRY)
    credited.append((accounts.POOL_CARRY, shared.carry))
    moved = _net(drawn, credited)
    return ValidatorRewardsAllocatedData(
        asset="OMNI",
        carry=str(shared.carry),
        carry_in=str(carry_in),
        credited=tuple(AllocatedLine(account=name, amount=str(n), vault=v) for (name, v), n in moved.items() if n > 0),
        drawn=tuple(AllocatedLine(account=name, amount=str(-n), vault=v) for (name, v), n in moved.items() if n < 0),
        excluded=tuple(
            ExcludedLine(reason=reason, validator=id, weight=str(weight), **counts(id))
            for id, (reason, weight) in sorted(excluded.items())
        ),
        lines=tuple(
            RewardLine(amount=str(amount), validator=id, weight=str(weights[id]), **counts(id))
            for id, amount in shared.shares
        ),
        pool=str(pool),
        snapshot=HASH,
        weight=str(sum(weights.values())),
        withheld=tuple(
            WithheldLine(amount=str(n), case=case, validator=id, weight=str(weights[id]), **counts(id))
            for case, id, n in shared.withheld
        ),
    )


def _net(drawn: Sequence[tuple[str, str, int]], credited: list[tuple[str, int]]) -> dict[tuple[str, str], int]:
    """Fill what is credited from what is drawn, in order; what leaves a place and comes back to it is left out."""
    moved: dict[tuple[str, str], int] = {}
    rest = list(drawn)
    for account, amount in credited:
        due = amount
        while due:
            source, vault, held = rest.pop(0)
            part = min(due, held)
            moved[source, vault] = moved.get((source, vault), 0) - part
            moved[account, vault] = moved.get((account, vault), 0) + part
            due -= part
            if held > part:
                rest.insert(0, (source, vault, held - part))
    return moved


def told() -> Story:
    """Tell all four days."""
    story = Story()
    _day_0(story)
    _day_1(story)
    _day_2(story)
    _day_3(story)
    return story


def _stake(role: str, id: str, amount: int) -> tuple[type[Decision], str, Data]:
    data = DepositCreditedData(asset="OMNI", amount=str(amount), proof="declared", vault="stake", role=role)  # type: ignore[arg-type]
    return DepositCredited, id, data


def _register(role: str, id: str, owner: str, active: bool = True) -> tuple[type[Decision], str, Data]:
    data = ParticipantRegisteredData(
        active=active,
        minimum=str(MINIMUM[role]),
        operator=f"op-{id}",
        owner=owner,
        role=role,  # type: ignore[arg-type]
    )
    return ParticipantRegistered, id, data


def _day_0(story: Story) -> None:
    genesis = GenesisAllocatedData(
        asset="OMNI",
        amount=str(10**9 * OMNI),
        lines=(
            AllocatedLine(account="vest:locked:team:foundation", amount=str(35 * 10**7 * OMNI), vault="vesting"),
            AllocatedLine(account="external", amount=str(65 * 10**7 * OMNI), vault=""),
        ),
    )
    story.write(story.hub, at(0), [(GenesisAllocated, "OMNI", genesis)])
    stakes = {"V1": 10_000, "V2": 20_000, "V3": 33_333, "V5": 9_000}
    joined = [_stake("validator", id, amount * OMNI) for id, amount in stakes.items()]
    joined += [
        _register("validator", id, OWNER if id == "V1" else OTHER, amount >= 10_000) for id, amount in stakes.items()
    ]
    story.write(story.hub, at(0, 1), [*joined, _stake("node", "C", 500 * OMNI), _register("node", "C", OWNER)])
    deposit = DepositCreditedData(asset="OMNI", amount=str(100 * OMNI), proof="declared", vault="escrow")
    story.write(story.lane, at(0, 2), [(DepositCredited, "K", deposit)])
    absent = dict.fromkeys(stakes, ("not_active_all_epoch", 0))
    story.close(0, 0, [], {}, absent)


def _line(node: str, seconds: int, gross: int) -> AgreedLine:
    burn, fee = gross * 200 // 10_000, gross * 500 // 10_000
    return AgreedLine(
        node=node,
        gpu_seconds=seconds,
        price=str(10 * OMNI),
        gross=str(gross),
        burn=str(burn),
        fee=str(fee),
        net=str(gross - burn - fee),
    )


def _held(story: Story, now: int, job: str, nodes: Sequence[str]) -> None:
    holds = tuple(Hold(node=node, price=str(10 * OMNI), amount=str(10 * OMNI)) for node in nodes)
    amount = str(10 * OMNI * len(nodes))
    data = EscrowFundedData(asset="OMNI", amount=amount, attempt=1, consumer="K", holds=holds)
    story.write(story.lane, now, [(EscrowFunded, job, data)])


def _day_1(story: Story) -> None:
    _held(story, at(1), "J", "ABC")
    settled = JobSettledData(
        asset="OMNI",
        attempt=1,
        consumer="K",
        escrow=str(30 * OMNI),
        funding="escrow",
        lines=(_line("A", 3_600, 10 * OMNI), _line("B", 3_599, 9_997_222_222)),
        refund="10002777778",
    )
    story.write(story.lane, at(1, 1, 5), [(JobSettled, "J", settled)])
    node = _proposal("c-node", "node", 500, 25 * OMNI, "failed_challenge", at(2, 1, 6))
    story.write(story.hub, at(1, 1, 6), [(SlashProposed, "C", node)])
    accused = _proposal("c-v2", "validator", 20_000, 2_000 * OMNI, "false_attestation", at(2, 12), reporter="V3")
    late = [_stake("validator", "V4", 10_000 * OMNI), _register("validator", "V4", OTHER)]
    story.write(story.hub, at(1, 12), [*late, (SlashProposed, "V2", accused)])
    story.close(
        1,
        999_861_111,
        [(accounts.POOL_CURRENT, "escrow", 99_986_111)],
        {"V1": 10_000 * OMNI, "V2": 20_000 * OMNI, "V3": 33_333 * OMNI},
        {"V4": ("not_active_all_epoch", 0), "V5": ("not_active_all_epoch", 9_000 * OMNI)},
        {"V2": "c-v2"},
        {"V1": Duties(3, 3), "V3": Duties(2, 2)},
    )


def _proposal(
    case: str, role: str, basis: int, amount: int, cause: str, ends_at: int, reporter: str | None = None, **bonded: str
) -> SlashProposedData:
    terms = {"proposer": "protocol", "bond": "0"} | bonded
    return SlashProposedData(
        amount=str(amount),
        asset="OMNI",
        attempt=1,
        basis=str(basis * OMNI),
        bps=amount * 10_000 // (basis * OMNI),
        case=case,
        cause=cause,
        consumer="K",
        ends_at=format_instant(ends_at),
        from_bonded=str(amount),
        from_tickets=(),
        job="J",
        role=role,  # type: ignore[arg-type]
        verifiers=() if reporter else ("V1", "V3"),
        reporter=reporter,
        **terms,
    )


def _upheld(
    case: str, role: str, accused: str, amount: int, paid: dict[str, int], withheld: int = 0
) -> list[tuple[type[Decision], str, Data]]:
    lines = (AllocatedLine(account=accounts.withheld(case), amount=str(withheld), vault="fees"),) if withheld else ()
    upheld = SlashUpheldData(
        amount=str(amount),
        asset="OMNI",
        bond="0",
        case=case,
        proposer="protocol",
        role=role,  # type: ignore[arg-type]
        withheld=lines,
    )
    distributed = SlashDistributedData(
        amount=str(amount),
        asset="OMNI",
        burned=str(amount - sum(paid.values())),
        case=case,
        paid=tuple(SlashPayment(id=id, amount=str(part)) for id, part in paid.items()),
    )
    return [(SlashUpheld, accused, upheld), (SlashDistributed, accused, distributed)]


def _day_2(story: Story) -> None:
    suspended = ParticipantSuspendedData(cause="stake", minimum=str(500 * OMNI), role="node", stake=str(475 * OMNI))
    halves = {"V1": 6_250_000_000, "V3": 6_250_000_000}
    outcome = _upheld("c-node", "node", "C", 25 * OMNI, halves)
    story.write(story.hub, at(2, 1, 6), [*outcome, (ParticipantSuspended, "C", suspended)])
    owed = {
        accounts.payable("validator", "V1"): 15_787_363,
        accounts.payable("validator", "V3"): 52_624_019,
        accounts.withheld("c-v2"): 31_574_727,
        accounts.POOL_CARRY: 2,
    }
    lines = tuple(AllocatedLine(account=name, amount=str(n), vault="escrow") for name, n in owed.items())
    sweep = SweepFinalizedData(asset="OMNI", amount="99986111", lines=lines, proof="declared", to="fees")
    line = AllocatedLine(account=accounts.payable("validator", "V1"), amount="15787363", vault="fees")
    paid = PayoutFinalizedData(asset="OMNI", amount="15787363", lines=(line,), proof="declared")
    story.write(story.hub, at(2, 2), [(SweepFinalized, "escrow", sweep), (PayoutFinalized, "fees", paid)])
    story.write(
        story.hub,
        at(2, 12),
        _upheld("c-v2", "validator", "V2", 2_000 * OMNI, {"V3": 1_000 * OMNI}, withheld=31_574_727),
    )
    accused = _proposal(
        "c-v3", "validator", 33_333, 3_333_300_000_000, "false_attestation", at(9, 13), "V1",
        proposer="V1", bond=str(100 * OMNI),
    )  # fmt: skip
    story.write(story.hub, at(2, 13), [_stake("validator", "V1", 100 * OMNI), (SlashProposed, "V3", accused)])
    disputed = SlashDisputedData(case="c-v3", ends_at=format_instant(at(9, 14)))
    order = UnstakeRequestedData(
        asset="OMNI",
        amount=str(1_000 * OMNI),
        matures_at=format_instant(at(9, 14)),
        role="validator",
        ticket="t-v4",
    )
    stopped = ParticipantSuspendedData(
        cause="stake", minimum=str(10_000 * OMNI), role="validator", stake=str(9_000 * OMNI)
    )
    story.write(
        story.hub,
        at(2, 14),
        [(SlashDisputed, "V3", disputed), (UnstakeRequested, "V4", order), (ParticipantSuspended, "V4", stopped)],
    )
    story.close(
        2,
        0,
        [(accounts.POOL_CARRY, "fees", 31_574_729)],
        {"V1": 10_000 * OMNI, "V3": 33_333 * OMNI},
        {
            "V2": ("case_upheld", 18_000 * OMNI),
            "V4": ("not_active_all_epoch", 9_000 * OMNI),
            "V5": ("not_active_all_epoch", 9_000 * OMNI),
        },
        {"V3": "c-v3"},
    )


def _day_3(story: Story) -> None:
    share = 31_574_729 * 33_333 // 43_333
    reversal = SlashReversedData(
        amount="3333300000000",
        asset="OMNI",
        bond=str(100 * OMNI),
        case="c-v3",
        released=(AllocatedLine(account=accounts.payable("validator", "V3"), amount=str(share), vault="fees"),),
        returned=(AllocatedLine(account="stake:bonded:validator:V3", amount="3333300000000", vault="stake"),),
        role="validator",
    )
    back = UnbondingCancelledData(asset="OMNI", amount=str(1_000 * OMNI), role="validator", ticket="t-v4")
    again = ParticipantReinstatedData(minimum=str(10_000 * OMNI), role="validator", stake=str(10_000 * OMNI))
    story.write(
        story.hub,
        at(3, 9),
        [(SlashReversed, "V3", reversal), (UnbondingCancelled, "V4", back), (ParticipantReinstated, "V4", again)],
    )
    _held(story, at(3, 9, 30), "W", "AB")
    settled = JobSettledData(
        asset="OMNI",
        attempt=1,
        consumer="K",
        escrow=str(20 * OMNI),
        funding="escrow",
        lines=(_line("A", 3_600, 10 * OMNI),),
        refund="0",
        waiting=(WaitingLine(node="B", case="c-b", hold=str(10 * OMNI)),),
    )
    late = JobSettledData(
        asset="OMNI",
        attempt=1,
        consumer="K",
        escrow=str(10 * OMNI),
        funding="escrow",
        lines=(_line("B", 1_800, 5 * OMNI),),
        refund=str(5 * OMNI),
    )
    story.write(story.lane, at(3, 10), [(JobSettled, "W", settled)])
    story.write(story.lane, at(3, 11), [(JobSettled, "W", late)])
    _held(story, at(3, 12), "R", "A")
    moved = JobRefundedData(
        asset="OMNI", amount=str(10 * OMNI), attempt=1, cause="no_answer", consumer="K", outcome="redistributed"
    )
    story.write(story.lane, at(3, 13), [(JobRefunded, "R", moved)])
    story.close(
        3,
        750_000_000,
        [(accounts.POOL_CARRY, "fees", 1), (accounts.POOL_CURRENT, "escrow", 75_000_000)],
        {"V2": 18_000 * OMNI, "V3": 33_333 * OMNI},
        {
            "V1": ("duties_unanswered", 10_000 * OMNI),
            "V4": ("not_active_all_epoch", 9_000 * OMNI),
            "V5": ("not_active_all_epoch", 9_000 * OMNI),
        },
        duties={"V1": Duties(4, 5)},
    )
