"""Several projectors on one PostgreSQL database: what each loses, regains and must not write."""

import threading

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from events.decisions import (
    AllocatedLine,
    DepositCredited,
    DepositCreditedData,
    GenesisAllocated,
    GenesisAllocatedData,
    PayoutFinalized,
    PayoutFinalizedData,
    WithdrawalAccepted,
    WithdrawalAcceptedData,
)
from events.record import Basis
from ledger.errors import LedgerInvariantBroken
from projections import partitions
from projections.digest import digest_of_tables
from projections.position import history_of
from projections.project import ProjectionMoved, Projector
from projections.tables import checkpoint, history
from tests.projections.conftest import Opened
from tests.projections.story import Story, at
from tests.settlement.desk import Desk, MemoryLog, settled, tables_of
from tests.worlds import build_world


def desk_of(lanes: int = 2) -> Desk:
    return settled(build_world(3, jobs=40), batch=7, lanes=lanes)


def hand_over(projector: Projector, log: MemoryLog, limit: int | None = None) -> int:
    """Do as a consumer does: take the log up, and fold what comes, a few records at a time."""
    start = projector.take_up(log.name)
    records = [record for record in log.records if record.end > start][:limit]
    folded = 0
    for part in (records[n : n + 3] for n in range(0, len(records), 3)):
        folded += projector.fold(log.name, part)
        if not log.name.startswith("facts/"):
            projector.fold_history(log.name, part)
    return folded


def logs_of(desk: Desk) -> list[MemoryLog]:
    return [*desk.ledgers, desk.partitions[-1]]


def expected(desk: Desk) -> dict[str, str]:
    with tables_of(desk).connect() as connection:
        return digest_of_tables(connection)


def digests(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return digest_of_tables(connection)


@pytest.mark.slow
def test_projectors_that_share_the_logs_write_what_one_writes(opened: Opened) -> None:
    desk = desk_of()
    projectors = [Projector(opened(writable=True)) for _ in range(3)]

    for turn in range(1_000):
        logs = logs_of(desk)
        log = logs[turn % len(logs)]
        # Each time somebody else has the log, and nobody has told the one before.
        if not hand_over(projectors[turn % len(projectors)], log, 5) and turn > 200:
            break

    assert digests(opened()) == expected(desk)


@pytest.mark.slow
def test_projectors_that_meet_the_same_accounts_at_once_agree_on_their_ids(opened: Opened) -> None:
    desk = desk_of(lanes=3)
    failed = list[BaseException]()

    def follow(log: MemoryLog, engine: Engine) -> None:
        try:
            hand_over(Projector(engine), log)
        except BaseException as fault:  # noqa: BLE001
            failed.append(fault)

    threads = [threading.Thread(target=follow, args=(log, opened(writable=True))) for log in logs_of(desk)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert digests(opened()) == expected(desk)


def test_replayed_records_are_dropped_and_a_gap_is_no_batch(opened: Opened) -> None:
    desk = desk_of()
    projector = Projector(opened(writable=True))
    lane = desk.lanes[0]
    projector.take_up(lane.name)
    events = sum(record.header.count for record in lane.records[:4])

    assert projector.fold(lane.name, lane.records[:4]) == events
    assert projector.fold(lane.name, lane.records[:4]) == 0
    assert projector.fold(lane.name, lane.records[2:5]) == lane.records[4].header.count
    assert projector.fold_history(lane.name, lane.records[:5]) == events + lane.records[4].header.count
    assert projector.fold_history(lane.name, lane.records[:5]) == 0
    assert projector.positions() == dict.fromkeys((lane.name, history_of(lane.name)), lane.records[4].end)
    with pytest.raises(LedgerInvariantBroken, match=r"lane-0: a record at .* does not follow"):
        projector.fold(lane.name, lane.records[6:])


def test_projector_that_lost_a_log_writes_nothing_and_takes_it_up_anew(opened: Opened) -> None:
    desk = desk_of()
    lane = desk.lanes[0]
    first, second = Projector(opened(writable=True)), Projector(opened(writable=True))
    for projector in (first, second):
        projector.take_up(lane.name)
    hand_over(second, lane, 3)
    before = digests(opened())

    with pytest.raises(ProjectionMoved, match="lane-0: the checkpoint is no longer at 0"):
        first.fold(lane.name, lane.records[:2])
    with pytest.raises(ProjectionMoved, match="lane-0 is not taken up"):
        first.fold(lane.name, lane.records[:2])

    assert digests(opened()) == before
    assert first.take_up(lane.name) == lane.records[2].end
    assert first.fold(lane.name, lane.records) > 0


def test_who_takes_a_log_up_waits_for_the_batch_that_is_being_written(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = desk_of().lanes[0]
    former, taken = Projector(opened(writable=True)), list[int]()
    former.take_up(lane.name)
    former.fold(lane.name, lane.records[:1])
    written, go_on = threading.Event(), threading.Event()

    def hold(moment: str) -> None:
        if moment == "project.1-rows-written":
            written.set()
            assert go_on.wait(30)

    monkeypatch.setattr("projections.project.reach", hold)
    writing = threading.Thread(target=former.fold, args=(lane.name, lane.records[:3]))
    writing.start()
    assert written.wait(30)
    engine = opened(writable=True)
    taking = threading.Thread(target=lambda: taken.append(Projector(engine).take_up(lane.name)))
    taking.start()
    with opened().connect() as connection:
        here = "from pg_stat_activity where datname = current_database()"
        while not connection.execute(text(f"select count(*) {here} and wait_event_type = 'Lock'")).scalar_one():
            connection.rollback()
    assert taken == []
    go_on.set()
    for thread in (writing, taking):
        thread.join()

    # Of history nothing is written yet.
    assert taken == [0]
    with opened().connect() as connection:
        assert connection.execute(select(checkpoint.c.position)).scalar_one() == lane.records[2].end


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["project.1-rows-written", "project.3-history-written"])
def test_batch_whose_connection_is_lost_is_there_whole_or_not_at_all(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    desk = desk_of(1)
    projector, breaks = Projector(opened(writable=True)), [3]

    def lose(reached: str) -> None:
        breaks[0] -= reached == moment
        if breaks[0] == 0 and reached == moment:
            with opened(writable=True).connect() as connection:
                others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                connection.execute(text(f"select pg_terminate_backend(pid) {others}"))

    monkeypatch.setattr("projections.project.reach", lose)
    lost = 0
    for log in logs_of(desk):
        try:
            hand_over(projector, log)
        except DBAPIError:
            lost += 1
            hand_over(projector, log)

    assert lost == 1
    assert digests(opened()) == expected(desk)


def test_history_is_never_ahead_of_the_head(opened: Opened) -> None:
    lane = desk_of().lanes[0]
    projector = Projector(opened(writable=True))
    projector.take_up(lane.name)
    projector.fold(lane.name, lane.records[:2])

    with pytest.raises(AssertionError, match="lane-0: history would be ahead of the head"):
        projector.fold_history(lane.name, lane.records[:3])


def test_history_that_stopped_behind_the_head_goes_on(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desk_of()
    lane = desk.lanes[0]
    projector = Projector(opened(writable=True))
    projector.take_up(lane.name)
    with monkeypatch.context() as patch:
        patch.setattr("projections.project.upsert_rows", None)
        with pytest.raises(TypeError):
            hand_over(projector, lane, 3)

    assert projector.take_up(lane.name) == 0
    assert projector.positions() == {lane.name: lane.records[2].end}
    for log in logs_of(desk):
        hand_over(projector, log)

    assert digests(opened()) == expected(desk)


@pytest.mark.slow
def test_partitions_of_history_are_made_as_they_are_needed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "SIZE", 16)
    desk = desk_of()
    projectors = [Projector(opened(writable=True)) for _ in range(2)]
    for number, log in enumerate(logs_of(desk)):
        hand_over(projectors[number % 2], log)

    with opened().connect() as connection:
        found = connection.execute(text("select count(*) from pg_inherits where inhparent = 'history'::regclass"))
        last = connection.execute(select(history.c.sequence).order_by(history.c.sequence.desc())).scalars().first()
    assert last is not None
    assert found.scalar_one() > last // 16
    assert digests(opened()) == expected(desk)


# --- floors ---


def basis_of(log: MemoryLog) -> tuple[Basis, ...]:
    """Rest on all of a log."""
    return (Basis(log=log.name, start=0, end=log.end(), root=log.root().hex()),)


def flow(paid: int, spent: int = 60) -> Story:
    """Tell of a launch, a deposit of 100, a withdrawal in the lane, and the hub's payout, which rests on it."""
    story = Story()
    launch = AllocatedLine(account="external", amount="1000", vault="")
    owed = AllocatedLine(account="payable:withdrawal:K", amount=str(paid), vault="escrow")
    deposit = DepositCreditedData(asset="OMNI", amount="100", proof="declared", vault="escrow")
    withdrawn = WithdrawalAcceptedData(asset="OMNI", amount=str(spent))
    genesis = GenesisAllocatedData(asset="OMNI", amount="1000", lines=(launch,))
    payout = PayoutFinalizedData(asset="OMNI", amount=str(paid), lines=(owed,), proof="declared")
    story.write(story.hub, at(0), [(GenesisAllocated, "OMNI", genesis)])
    story.write(story.lane, at(0, 1), [(DepositCredited, "K", deposit)])
    story.write(story.lane, at(0, 2), [(WithdrawalAccepted, "K", withdrawn)])
    story.write(story.hub, at(0, 3), [(PayoutFinalized, "escrow", payout)], basis=basis_of(story.lane))
    return story


def test_lane_that_spends_what_it_has_not_is_stopped_and_rolled_back(opened: Opened) -> None:
    story = flow(60, spent=101)
    projector = Projector(opened(writable=True))
    projector.take_up("lane-0")
    projector.fold("lane-0", story.lane.records[:1])
    before = digests(opened())

    with pytest.raises(LedgerInvariantBroken, match="consumer:K in escrow stands at -1 base units of OMNI"):
        projector.fold("lane-0", story.lane.records)

    assert digests(opened()) == before


def test_account_of_the_hub_is_judged_once_the_lanes_have_come_so_far(opened: Opened) -> None:
    """The hub's log may be folded first: until the lane has followed, the hub's own sums say nothing."""
    story = flow(60)
    hub, lane = Projector(opened(writable=True)), Projector(opened(writable=True))

    assert hand_over(hub, story.hub) == 2
    assert hand_over(lane, story.lane) == 2
    assert hand_over(hub, story.hub) == 0
    hub.check_floors()


@pytest.mark.parametrize("first", ["lane", "hub"])
def test_payout_of_more_than_is_owed_is_stopped_and_rolled_back(opened: Opened, first: str) -> None:
    story = flow(61)
    projector = Projector(opened(writable=True))
    logs = [story.lane, story.hub] if first == "lane" else [story.hub, story.lane]
    for log in logs:
        projector.take_up(log.name)
    projector.fold(logs[0].name, logs[0].records)
    before = digests(opened())

    with pytest.raises(LedgerInvariantBroken, match="payable:withdrawal:K in escrow stands at -1 base units"):
        projector.fold(logs[1].name, logs[1].records)

    assert digests(opened()) == before


def test_what_two_projectors_have_folded_is_judged_as_a_whole(opened: Opened) -> None:
    story = flow(61)
    hub, lane = Projector(opened(writable=True)), Projector(opened(writable=True))
    hand_over(hub, story.hub)
    hand_over(lane, story.lane)

    with pytest.raises(LedgerInvariantBroken, match="payable:withdrawal:K"):
        hub.check_floors()
