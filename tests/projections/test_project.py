"""Rows do not depend on how they were folded: in which batches, by columns or one by one, at once or after a stop."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from events.codec import encode
from events.decisions import (
    AgreedLine,
    DepositCredited,
    DepositCreditedData,
    EscrowFunded,
    EscrowFundedData,
    Hold,
    JobRefunded,
    JobRefundedData,
    JobSettled,
    JobSettledData,
    WaitingLine,
)
from events.event import Data, Decision, fact_id
from events.facts import RecordRefused, RecordRefusedData
from events.log import LogFault
from events.record import Header, Record
from ledger.errors import LedgerInvariantBroken
from projections import batch
from projections.database import open_sqlite
from projections.position import AtRefused, history_of
from projections.project import ProjectionMoved, Projector
from projections.read import read_balances, read_history, read_position
from projections.tables import METADATA, account, checkpoint, dead_letter, epoch_total, history, job
from settlement.verify import Finding, verify_rows
from tests.networks import build_small_network
from tests.projections.story import Story, at
from tests.settlement.desk import Desk, settled
from tests.worlds import World, build_world

Content = dict[str, list[tuple[object, ...]]]
WORLDS: dict[str, Callable[[], World]] = {
    "world": lambda: build_world(3, jobs=40),
    "network": lambda: build_small_network(2),
}


@pytest.fixture(scope="module", params=WORLDS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return settled(WORLDS[request.param](), batch=7, lanes=2)


def empty() -> Engine:
    engine = open_sqlite(None, writable=True)
    METADATA.create_all(engine)
    return engine


def projector(desk: Desk, engine: Engine) -> Projector:
    return Projector(engine, desk.partitions[-1], desk.ledgers)


def content_of(engine: Engine) -> Content:
    """Return all rows, with accounts by name, since their ids depend on what was folded first."""
    with engine.connect() as connection:
        names = {row.id: (row.asset, row.account, row.vault) for row in connection.execute(select(account))}
        content: Content = {}
        for table in METADATA.sorted_tables:
            ids = {"id"} if table is account else {"account_id"}
            rows = connection.execute(select(table)).mappings()
            content[table.name] = sorted(
                (tuple(names[row[name]] if name in ids else row[name] for name in row) for row in rows), key=repr
            )
    return content


def whole(desk: Desk) -> Content:
    engine = empty()
    projector(desk, engine).run_whole()
    return content_of(engine)


def test_rows_by_columns_are_those_of_decisions_one_by_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    by_columns = whole(desk)
    assert all(by_columns[table.name] for table in (account, history, job, epoch_total, dead_letter))

    for kinds in ("VECTOR_KINDS", "_ROWS_ALONE"):
        monkeypatch.setattr(batch, kinds, frozenset())

    assert whole(desk) == by_columns


@given(
    details=st.lists(
        st.sampled_from(["plain", 'a "quoted" \\ word', "ä", "zero \0", "", "two\nlines"]), min_size=1, max_size=20
    ),
    position=st.integers(1, 2**40),
)
def test_refused_lines_are_rows_whatever_they_hold(details: list[str], position: int) -> None:
    facts = [
        RecordRefused(
            id=fact_id("intake", f"{n}"),
            source="intake",
            stream="intake",
            subject="intake",
            occurred_at="2026-01-01T00:00:00.000000Z",
            key=f"{n}",
            schema_version=1,
            data=RecordRefusedData(
                source=f"file-{n}",
                position=position + n,
                reason="not_json",
                detail=detail,
                raw="AA==",
                length=1,
                sha256="0" * 64,
            ),
        )
        for n, detail in enumerate(details)
    ]
    engine = empty()
    running = Projector(engine)
    running.take_up("facts/hub")

    running.fold("facts/hub", [Record(Header(sequence=0, count=len(facts), recorded_at=""), list(map(encode, facts)))])

    with engine.connect() as connection:
        rows = connection.execute(select(dead_letter).order_by(dead_letter.c.sequence)).all()
    assert [tuple(row) for row in rows] == [
        ("facts/hub", n + 1, f"file-{n}", f"line {position + n}", "not_json", detail.replace("\0", "\ufffd"), "AA==")
        for n, detail in enumerate(details)
    ]


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events_max=st.integers(1, 60),
    part=st.integers(1, 60),
    steps=st.lists(st.sampled_from(["run", "catch_up", "run_whole", "stop"]), max_size=6),
)
def test_rows_do_not_depend_on_batches_passes_and_stops(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, events_max: int, part: int, steps: list[str]
) -> None:
    wanted = whole(desk)
    engine = empty()

    with monkeypatch.context() as patch:
        patch.setattr(batch, "EVENTS_MAX", events_max)
        patch.setattr(batch, "_PART_EVENTS", part)
        running = projector(desk, engine)
        for step in steps:
            if step == "stop":
                running = projector(desk, engine)
            else:
                getattr(running, step)()
        running.run()
        projector(desk, engine).catch_up()

    assert content_of(engine) == wanted


def test_what_was_written_stays_where_the_next_cannot_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, wanted, lane = empty(), whole(desk), desk.lanes[0]
    sound = lane.records[:3]

    def read(position: int = 0) -> Iterator[Record]:
        yield from sound
        raise LogFault("the disk")

    with monkeypatch.context() as patch:
        patch.setattr(batch, "EVENTS_MAX", 1)
        patch.setattr(lane, "read", read)
        running = projector(desk, engine)
        with pytest.raises(LogFault, match="the disk"):
            running.run_whole()
    with engine.connect() as connection:
        ends = {row.log: row.position for row in connection.execute(select(checkpoint))}
    assert ends[lane.name] == ends[history_of(lane.name)] == sound[-1].end
    with pytest.raises(ProjectionMoved, match="not taken up"):
        running.run_whole()
    projector(desk, engine).run_whole()

    assert content_of(engine) == wanted


def test_who_is_overtaken_writes_nothing(desk: Desk) -> None:
    engine, wanted = empty(), whole(desk)
    slow = projector(desk, engine)
    projector(desk, engine).run_whole()

    with pytest.raises(ProjectionMoved, match="another projector runs"):
        slow.run_whole()

    assert content_of(engine) == wanted


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_history_goes_on_from_its_own_position_behind_the_head(desk: Desk, cut: int) -> None:
    """The logs grow between the passes: after a stop, history finds its sums in its own rows, not in the balances."""
    engine, wanted = empty(), whole(desk)
    shorter = Desk(WORLDS["world"]().parameters, lanes=2)
    for log, source in zip((shorter.hub, *shorter.lanes), desk.ledgers, strict=True):
        log.records = source.records[: cut * len(source.records) // 6]
    projector(shorter, engine).run_whole()

    projector(desk, engine).run()
    with engine.connect() as connection:
        ends = {row.log: row.position for row in connection.execute(select(checkpoint))}
    assert all(ends.get(history_of(log.name), 0) <= ends[log.name] for log in desk.ledgers)
    rows, lag = verify_rows(engine, desk.partitions[-1], desk.ledgers)
    assert (rows > 0, lag) == (True, 0)
    projector(desk, engine).catch_up()

    assert content_of(engine) == wanted


def test_head_answers_before_history_and_history_says_how_far_it_is(desk: Desk) -> None:
    engine = empty()
    running = projector(desk, engine)
    running.run()
    head = {log.name: log.end() for log in desk.ledgers}
    token = ",".join(f"{log}:{end}" for log, end in head.items())
    earlier = f"hub:{desk.hub.records[1].end}"

    with engine.connect() as connection:
        assert read_position(connection, None) == read_position(connection, token) == head
        assert read_balances(connection, head)
        assert read_position(connection, None, history=True) == dict.fromkeys(head, 0)
        for refused, of_history in ((earlier, False), (token, True)):
            with pytest.raises(AtRefused, match="not reached by history"):
                read_position(connection, refused, history=of_history)
    over = iter((False, True))
    assert running.catch_up(is_over=lambda: next(over)) > 0
    with engine.connect() as connection:
        behind = read_position(connection, None, history=True)
    assert behind != head
    assert any(behind.values())
    assert running.catch_up() > 0

    with engine.connect() as connection:
        assert read_position(connection, token, history=True) == head
        assert read_position(connection, earlier)["hub"] == desk.hub.records[1].end


def test_changed_history_is_found_where_the_head_is_ahead_of_it(desk: Desk) -> None:
    engine = empty()
    running = projector(desk, engine)
    running.run_whole()
    with engine.begin() as connection:
        connection.execute(job.update().values(gpu_seconds=7))

    with pytest.raises(Finding, match=r"table job, row .*: column gpu_seconds"):
        verify_rows(engine, desk.partitions[-1], desk.ledgers)


# --- amounts beyond 2^63, and jobs that come in several batches ---

HUGE = 10**38


def deposit(amount: int) -> DepositCreditedData:
    return DepositCreditedData(asset="OMNI", amount=str(amount), proof="declared", vault="escrow")


def line(node: str, net: int) -> AgreedLine:
    return AgreedLine(node=node, gpu_seconds=60, price="1", gross=str(net), burn="0", fee="0", net=str(net))


def life_of_a_job(unit: int) -> Story:
    """Tell of two attempts, the second settled in two parts, and of a job that arrives whole."""
    story, funded = Story(), cast(Any, {"asset": "OMNI", "consumer": "K"})
    story.write(story.lane, at(0), [(DepositCredited, "K", deposit(100 * unit))])

    def fund(attempt: int) -> EscrowFundedData:
        holds = (Hold(node="A", price="1", amount=str(4 * unit)), Hold(node="B", price="1", amount=str(3 * unit)))
        return EscrowFundedData(amount=str(7 * unit), attempt=attempt, holds=holds, **funded)

    back = JobRefundedData(amount=str(7 * unit), attempt=1, cause="node_lost", outcome="redistributed", **funded)
    first = JobSettledData(
        attempt=2,
        escrow=str(7 * unit),
        funding="escrow",
        lines=(line("A", 3 * unit),),
        refund=str(unit),
        waiting=(WaitingLine(node="B", case="c", hold=str(3 * unit)),),
        **funded,
    )
    later = JobSettledData(
        attempt=2, escrow=str(3 * unit), funding="escrow", lines=(line("B", 2 * unit),), refund=str(unit), **funded
    )
    at_once = JobSettledData(
        attempt=1, escrow=str(5 * unit), funding="consumer", lines=(line("A", 5 * unit),), refund="0", **funded
    )
    told: list[tuple[type[Decision], str, Data]] = [
        (EscrowFunded, "j", fund(1)),
        (JobRefunded, "j", back),
        (EscrowFunded, "j", fund(2)),
        (JobSettled, "whole", at_once),
        (JobSettled, "j", first),
        (JobSettled, "j", later),
    ]
    for n, decision in enumerate(told):
        story.write(story.lane, at(0, 1, n), [decision])
    return story


@pytest.mark.parametrize("events_max", [1, 2, 100])
@pytest.mark.parametrize("unit", [1, 2**60, 2**63, HUGE // 100])
def test_a_job_is_the_sum_of_its_settlements(unit: int, events_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "EVENTS_MAX", events_max)
    story = life_of_a_job(unit)

    engine = story.engine()

    with engine.connect() as connection:
        jobs = {row.id: row for row in connection.execute(select(job))}
        (total,) = connection.execute(select(epoch_total)).all()
        position = read_position(connection, None)
        nets = {line.key.account: line.net for line in read_balances(connection, position)}
        moved = list(read_history(connection, position, "consumer:K"))
    told = jobs["j"]
    assert (told.status, told.cause, told.attempt, told.escrow) == ("settled", "", 2, 7 * unit)
    assert (told.gpu_seconds, told.net, told.refund, told.waiting) == (120, 5 * unit, 2 * unit, 0)
    assert (jobs["whole"].net, jobs["whole"].escrow) == (5 * unit, 5 * unit)
    assert (total.settled, total.net) == (2, 10 * unit)
    assert nets["escrow:K:j"] == 0
    assert nets["consumer:K"] == moved[-1].balance == 90 * unit
    assert verify_rows(engine, story.facts, [story.hub, story.lane])[1] == 0


def test_decision_whose_numbers_do_not_balance_stops_the_projector() -> None:
    story = Story()
    story.write(story.lane, at(0), [(DepositCredited, "K", deposit(100))])
    unsound = JobSettledData(
        asset="OMNI", attempt=1, consumer="K", escrow="9", funding="consumer", lines=(line("A", 5),), refund="0"
    )
    story.write(story.lane, at(0, 1), [(JobSettled, "j", unsound)])

    with pytest.raises(LedgerInvariantBroken, match="escrow without what waits is 9 base units"):
        story.engine()
