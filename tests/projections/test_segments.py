"""Sealed segments say what the log says, at every position; what is damaged, missing or stale is never believed."""

import random
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from events.codec import decode, encode
from events.decisions import DepositCredited, DepositCreditedData
from events.event import Decision
from events.filelog import FileLog
from events.log import Log, LogDamaged
from ledger.accounts import Key, kind_of
from ledger.errors import LedgerInvariantBroken
from ledger.fold import Books
from ledger.post import post
from projections.lookup import BalanceReader
from projections.past import Past
from projections.position import AtRefused, history_of
from projections.read import AccountUnknown, Balance, read_balances, read_history, read_position
from projections.replay import Held, Replayed, add_up, replay
from projections.sealing import seal
from projections.segments import REACHED_ROWS, Segment, SegmentUnusable, join_key
from projections.statement import read_statement
from projections.tables import account, checkpoint, history
from tests.ledger.random_books import decide
from tests.ledger.test_vectors import DECISIONS
from tests.networks import build_small_network
from tests.projections.story import OWNER, told
from tests.settlement.desk import Desk, settled, tables_of
from tests.worlds import ASSET, World, build_world

pytestmark = pytest.mark.slow

HEAD_BYTES = len("segment 1 0123456789 ") + 64 + 1
SEQUENCE_0 = f"{0:020}"


def spool(log: Log, folder: Path, file_bytes: int) -> FileLog:
    """Write a log again into small files; return it to be read."""
    copy = FileLog(folder / log.name, log.name, writable=True, segment_bytes_max=file_bytes)
    for record in log.read():
        header = record.header
        written = copy.append(record.data, header.recorded_at, header.network_time, header.basis)
        assert written.header.root == header.root
    copy.close()
    return FileLog(folder / log.name, log.name)


def spool_desk(desk: Desk, folder: Path) -> list[FileLog]:
    return [spool(desk.hub, folder / "ledger", 2_000), spool(desk.lane, folder / "ledger", 20_000)]


def seal_all(logs: Iterable[FileLog], folder: Path, **options: Any) -> dict[str, str]:
    """Seal; return why each segment was made that was made."""
    return {
        f"{log.name}/{sealed.path.name}": sealed.made
        for log in logs
        for sealed in seal(log, folder, **options)
        if sealed.made
    }


def fold(logs: Iterable[Log]) -> Books:
    books = Books()
    for log in logs:
        for record in log.read():
            events = [decode(line) for line in record.lines]
            books.fold([event for event in events if isinstance(event, Decision)])
    return books


def sums_of_prefix(log: Log, size: int) -> dict[Key, tuple[int, int]]:
    books = Books()
    for record in log.read():
        for sequence, line in record.events():
            event = decode(line)
            assert isinstance(event, Decision)
            if sequence < size:
                books.fold([event])
    return dict(books.balances.items())


@pytest.fixture(scope="module")
def desk() -> Desk:
    """Settle so many jobs that some accounts move often."""
    return settled(build_world(2, jobs=120, periods=12), chunk=10, batch=5)


# --- replay ---


def nets_of(replayed: Replayed) -> dict[Key, int]:
    return {key: credits - debits for key, (debits, credits) in replayed.sums.items() if credits != debits}


@pytest.mark.parametrize("build", [build_world, build_small_network])
@pytest.mark.parametrize("unfinished", [False, True])
def test_replay_is_the_scalar_fold(build: Callable[[int], World], unfinished: bool, tmp_path: Path) -> None:
    logs = spool_desk(settled(build(2), chunk=10, batch=5), tmp_path)
    folded = fold(logs)

    nothing = replay(Past(tmp_path / "segments", logs))
    seal_all(logs, tmp_path / "segments", unfinished=unfinished)
    past = Past(tmp_path / "segments", logs)
    sealed = replay(past)

    assert nothing.sums == sealed.sums == dict(folded.balances.items())
    assert add_up(past) == Held(nets_of(sealed), sealed.segments, sealed.sealed, sealed.tail)
    assert nothing.digest() == sealed.digest() == folded.balances.digest()
    assert nothing.segments == 0 < sealed.segments
    assert nothing.tail == sealed.sealed + sealed.tail
    assert (sealed.tail == 0) == unfinished
    assert past.faults == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(DECISIONS, min_size=1, max_size=6), min_size=1, max_size=12), st.integers(1, 4_000))
def test_any_decisions_at_any_position(batches: list[list[Decision]], file_bytes: int) -> None:
    for decision in (decision for batch in batches for decision in batch):
        try:
            post(decision)
        except LedgerInvariantBroken:
            assume(False)
    with TemporaryDirectory() as name:
        folder = Path(name)
        writer = FileLog(folder / "lane-0", "lane-0", writable=True, segment_bytes_max=file_bytes)
        ends = [
            writer.append([encode(event) for event in batch], "2026-10-01T00:00:00.000000Z").end for batch in batches
        ]
        writer.close()
        log = FileLog(folder / "lane-0", "lane-0")
        seal_all([log], folder / "segments", unfinished=True)
        past = Past(folder / "segments", [log])

        assert past.faults == []
        assert past.end("lane-0") == ends[-1]
        assert replay(past).sums == sums_of_prefix(log, ends[-1])
        assert add_up(past).nets == nets_of(replay(past))
        for size in (0, ends[0], ends[len(ends) // 2], ends[-1]):
            expected = sums_of_prefix(log, size)
            for key in replay(past).sums:
                assert past.sums_at("lane-0", key, size) == expected.get(key, (0, 0))
                moved = list(past.movements("lane-0", key, 0, size))
                assert tuple(sum(move[side] for move in moved) for side in (1, 2)) == expected.get(key, (0, 0))
                assert [move.sequence for move in moved] == sorted({move.sequence for move in moved})


@pytest.mark.parametrize("large", [False, True])
def test_a_side_with_many_rows_is_summed_at_each_of_them(tmp_path: Path, large: bool) -> None:
    order = random.Random(4)
    writer = FileLog(tmp_path / "lane-0", "lane-0", writable=True)
    for number in range(40):
        lines = []
        for place in range(5):
            amount = order.randrange(1, 2**64 if large else 2**63)
            data = DepositCreditedData(asset="OMNI", amount=str(amount), proof="declared", vault="escrow")
            lines.append(encode(decide(DepositCredited, order.choice("KL"), f"{number}.{place}", data)))
        writer.append(lines, "2026-10-01T00:00:00.000000Z")
    writer.close()
    log = FileLog(tmp_path / "lane-0", "lane-0")
    seal_all([log], tmp_path / "segments", unfinished=True)
    past = Past(tmp_path / "segments", [log])
    assert sorted(np.diff(past.segments("lane-0")[0].array("sides")))[-2] > 2 * REACHED_ROWS

    for record in log.read():
        expected = sums_of_prefix(log, record.end)
        assert {key: past.sums_at("lane-0", key, record.end) for key in expected} == expected


def test_accounts_are_numbered_as_they_appear(tmp_path: Path, desk: Desk) -> None:
    log = spool(desk.lane, tmp_path, 10**9)
    seal_all([log], tmp_path / "segments", unfinished=True)
    appeared: dict[bytes, None] = {}
    for record in log.read():
        for line in record.lines:
            event = decode(line)
            assert isinstance(event, Decision)
            entry = post(event)
            keys = () if entry is None else (Key(leg.asset, leg.account, leg.vault) for leg in entry.postings)
            appeared |= dict.fromkeys(sorted(join_key(key) for key in keys))

    assert Past(tmp_path / "segments", [log]).segments("lane-0")[0].names() == list(appeared)


# --- the past ---


def positions_of(connection: Connection, order: random.Random) -> dict[str, int]:
    ends = {log: [0] for log in read_position(connection, None)}
    for log, end in connection.exec_driver_sql("SELECT log, end FROM record"):
        ends[log].append(end)
    return {log: order.choice(choices) for log, choices in ends.items()}


def answer(ask: Callable[..., list[Balance]], *question: Any) -> list[Balance] | str:
    try:
        return ask(*question)
    except AccountUnknown as unknown:
        return str(unknown)


@pytest.mark.parametrize("dropped", [False, True])
def test_the_reader_and_the_tables_say_the_same_at_random_positions(desk: Desk, tmp_path: Path, dropped: bool) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments")
    past = Past(tmp_path / "segments", logs)
    order = random.Random(1)
    engine = tables_of(desk)
    with engine.connect() as connection, tables_of(desk).connect() as whole:
        if dropped:
            for log in logs:
                row = history.c.log == log.name, history.c.sequence < past.end(log.name)
                assert connection.execute(delete(history).where(*row)).rowcount > 0
        reader = BalanceReader(engine, past)
        head = read_position(whole, None)
        names = sorted({line.key.account for line in read_balances(whole, head)})
        for name in names:
            assert reader.now(name) == (head, read_balances(whole, head, name))
        for _ in range(200):
            position, name = positions_of(whole, order), order.choice(names)
            expected = answer(read_balances, whole, position, name)
            assert answer(reader.at, name, position) == expected
            assert answer(read_balances, connection, position, name, past) == expected
        for _ in range(5):
            position = positions_of(whole, order)
            assert read_balances(connection, position, None, past) == read_balances(whole, position)
        with pytest.raises(AccountUnknown, match="nobody"):
            reader.now("consumer:nobody")
        reader.close()


@pytest.mark.parametrize("behind", [False, True])
def test_a_reader_finds_accounts_that_came_after_it_asked(tmp_path: Path, desk: Desk, behind: bool) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments")
    past = Past(tmp_path / "segments", logs)
    sealed = {log.name: past.end(log.name) for log in logs}
    engine = tables_of(desk)
    with engine.connect() as connection:
        head = read_position(connection, None)
        name = read_balances(connection, sealed, "payable:supplier:")[0].key.account
        expected = {at: read_balances(connection, position, name) for at, position in enumerate((sealed, head))}
        row = connection.execute(select(account).where(account.c.account == name)).one()
    with engine.begin() as connection:
        if behind:
            # The tables are behind what is sealed: any account may come.
            connection.execute(update(checkpoint).where(checkpoint.c.log == "lane-0").values(position=0))
        connection.execute(delete(account).where(account.c.id == row.id))
    reader = BalanceReader(engine, past)
    assert "nothing has moved" in str(answer(reader.at, name, sealed))

    with engine.begin() as connection:
        connection.execute(insert(account), row._asdict())

    if behind:
        assert reader.at(name, sealed) == expected[0]
    assert head["lane-0"] > sealed["lane-0"]
    assert reader.at(name, head) == expected[1]


def test_history_and_statements_come_from_segments_where_rows_were_dropped(tmp_path: Path) -> None:
    story = told()
    logs = [spool(log, tmp_path, 2_000) for log in (story.hub, story.lane)]
    seal_all(logs, tmp_path / "segments")
    past = Past(tmp_path / "segments", logs)
    with story.engine().connect() as whole, story.engine().connect() as connection:
        for log in logs:
            assert past.end(log.name) > 0
            connection.execute(
                delete(history).where(history.c.log == log.name, history.c.sequence < past.end(log.name))
            )
        head = read_position(whole, None)
        names = {line.key.account for line in read_balances(whole, head)}
        order = random.Random(2)
        for position in (head, *(positions_of(whole, order) for _ in range(5))):
            for name in sorted(names):
                assert list(read_history(connection, position, name, past)) == list(read_history(whole, position, name))
        for period in (None, "2026Q4", "2027Q1"):
            found = read_statement(connection, head, ASSET, OWNER, period, past)
            assert found == read_statement(whole, head, ASSET, OWNER, period)


def test_busy_accounts_have_one_movement_for_each_record(tmp_path: Path, desk: Desk) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments", unfinished=True)
    past = Past(tmp_path / "segments", logs)

    for key in replay(past).sums:
        moved = [move.sequence + 1 for move in past.movements("lane-0", key, 0, past.end("lane-0"))]
        if kind_of(key.account).busy:
            assert set(moved) <= {record.end for record in logs[1].read()}


def test_a_reader_refuses_what_history_has_not_reached(tmp_path: Path, desk: Desk) -> None:
    logs = spool_desk(desk, tmp_path)
    engine = tables_of(desk)
    with engine.begin() as connection:
        connection.execute(delete(checkpoint).where(checkpoint.c.log == history_of("lane-0")))
    reader = BalanceReader(engine, Past(tmp_path / "segments", logs))

    with pytest.raises(AtRefused, match="history of lane-0 is written up to lane-0:0, not to lane-0:5"):
        reader.at("external", {"lane-0": 5})


# --- damage ---


def test_sealing_again_writes_nothing(desk: Desk, tmp_path: Path) -> None:
    logs = spool_desk(desk, tmp_path)
    made = seal_all(logs, tmp_path / "segments")

    assert set(made.values()) == {"is missing"}
    assert seal_all(logs, tmp_path / "segments") == {}
    assert seal_all(logs, tmp_path / "segments", anew=True) == {}


def test_each_byte_of_a_segment_is_under_a_digest(desk: Desk, tmp_path: Path) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments")
    path = tmp_path / "segments" / "lane-0" / f"{SEQUENCE_0}.seg"
    sound = path.read_bytes()
    digest = fold(logs).balances.digest()
    order = random.Random(3)
    unseen = 0

    for place in [0, 10, 20, len(sound) - 1, *(order.randrange(len(sound)) for _ in range(60))]:
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        past = Past(tmp_path / "segments", logs)
        assert replay(past).digest() == digest
        made = seal_all(logs, tmp_path / "segments")
        assert path.read_bytes() == sound or not made
        unseen += not made
        path.write_bytes(sound)
    # Zeros between columns, which nothing reads.
    assert unseen <= 20


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-64]), "bytes, its header says"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"segment 9 " + path.read_bytes()[10:]), "is no segment"),
        (lambda path: path.unlink(), "is missing"),
        (
            lambda path: path.write_bytes(path.with_name(f"{SEQUENCE_0}.seg").read_bytes()),
            "does not go on from lane-0:",
        ),
    ],
)
def test_what_is_wrong_with_a_segment_is_named_and_mended(
    desk: Desk, tmp_path: Path, harm: Callable[[Path], object], fault: str
) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments")
    sound = Past(tmp_path / "segments", logs)
    first, second = (segment.path for segment in sound.segments("lane-0")[:2])
    expected = replay(sound)

    harm(second)

    past = Past(tmp_path / "segments", logs)
    replayed = replay(past)
    assert any(fault in said for said in past.faults)
    assert replayed.sums == expected.sums
    assert replayed.sealed < expected.sealed
    assert add_up(Past(tmp_path / "segments", logs)).nets == nets_of(expected)
    made = seal_all(logs, tmp_path / "segments")
    assert f"lane-0/{second.name}" in made
    assert first.exists()
    assert replay(Past(tmp_path / "segments", logs)) == expected


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (b'"amounts":', b'"amountz":', "has other columns"),
        (b'"source_bytes"', b'"source_bytez"', "is one of another version"),
        (b'"reached_rows":16', b'"reached_rows":32', "has other columns"),
    ],
)
def test_a_segment_of_another_version_is_named(
    desk: Desk, tmp_path: Path, before: bytes, after: bytes, fault: str
) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments")
    path = Past(tmp_path / "segments", logs).segments("lane-0")[1].path
    data = path.read_bytes()
    length = int(data[10:20])
    text = data[HEAD_BYTES : HEAD_BYTES + length].replace(before, after)
    head = b"segment 1 %010d %b\n" % (length, sha256(text).hexdigest().encode())
    path.write_bytes(head + text + data[HEAD_BYTES + length :])

    assert any(fault in said for said in Past(tmp_path / "segments", logs).faults)


def test_damage_that_is_found_while_reading_ends_the_past_there(desk: Desk, tmp_path: Path) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments")
    past = Past(tmp_path / "segments", logs)
    segment = past.segments("lane-0")[1]
    block = segment.header.blocks["amounts"]
    with segment.path.open("r+b") as file:
        file.seek(segment.path.stat().st_size - segment.header.body_bytes + block.offset)
        file.write(b"\x7f")
    engine = tables_of(desk)
    with engine.connect() as connection:
        head = read_position(connection, None)
        position = {**head, "lane-0": segment.end}
        expected = read_balances(connection, position, "external")

        assert BalanceReader(engine, past).at("external", position) == expected
    assert past.end("lane-0") == segment.start
    assert past.faults == [
        f"segment lane-0/{segment.path.name}: column amounts (byte {file_place(segment)}) differs from its digest"
    ]


def file_place(segment: Segment) -> int:
    start: int = segment.path.stat().st_size - segment.header.body_bytes
    return start + int(segment.header.blocks["amounts"].offset)


def test_a_segment_of_another_log_is_stale(tmp_path: Path, desk: Desk) -> None:
    other = settled(build_small_network(2), chunk=10, batch=5)
    logs, others = spool_desk(desk, tmp_path / "this"), spool_desk(other, tmp_path / "other")
    seal_all(others, tmp_path / "segments")

    past = Past(tmp_path / "segments", logs)

    assert replay(past).sums == dict(fold(logs).balances.items())
    assert any("the log holds something else" in fault for fault in past.faults)
    seal_all(logs, tmp_path / "segments")
    assert Past(tmp_path / "segments", logs).faults == []


def test_the_segment_of_an_unfinished_file_is_superseded_when_the_file_grows(tmp_path: Path, desk: Desk) -> None:
    records = list(desk.lane.read())
    folder = tmp_path / "lane-0"
    writer = FileLog(folder, "lane-0", writable=True)
    half = len(records) // 2
    for record in records[:half]:
        writer.append(record.data, record.header.recorded_at, record.header.network_time, record.header.basis)
    log = FileLog(folder, "lane-0")
    seal_all([log], tmp_path / "segments", unfinished=True)
    for record in records[half:]:
        writer.append(record.data, record.header.recorded_at, record.header.network_time, record.header.basis)
    writer.close()

    past = Past(tmp_path / "segments", [log])
    replayed = replay(past)

    assert (past.end("lane-0"), past.faults) == (records[half - 1].end, [])
    assert replayed.sums == dict(fold([desk.lane]).balances.items())
    assert replayed.tail > 0 < replayed.sealed
    assert seal_all([log], tmp_path / "segments", unfinished=True) == {f"lane-0/{SEQUENCE_0}.seg": "its file has grown"}
    assert replay(Past(tmp_path / "segments", [log])).tail == 0


def test_a_segment_whose_file_was_cut_back_is_removed(tmp_path: Path, desk: Desk) -> None:
    logs = spool_desk(desk, tmp_path)
    seal_all(logs, tmp_path / "segments")
    lane = logs[1]
    gone = lane.files()[2:]
    for file in gone:
        file.unlink()

    past = Past(tmp_path / "segments", [lane])

    assert any("the log has no such file" in fault for fault in past.faults)
    seal_all([lane], tmp_path / "segments")
    assert not (tmp_path / "segments" / "lane-0" / f"{gone[0].stem}.seg").exists()


def test_a_log_whose_leaves_do_not_lead_to_its_root_is_not_sealed(tmp_path: Path, desk: Desk) -> None:
    records = list(desk.lane.read())
    folder = tmp_path / "lane-0"
    writer = FileLog(folder, "lane-0", writable=True, segment_bytes_max=1)
    for record in records[:3]:
        writer.append(record.data, record.header.recorded_at, record.header.network_time, record.header.basis)
    writer.close()
    other = FileLog(tmp_path / "other", "lane-0", writable=True, segment_bytes_max=1)
    for number, record in enumerate(records[:3]):
        recorded_at = "2026-01-01T00:00:00.000000Z" if number == 0 else record.header.recorded_at
        other.append(record.data, recorded_at, record.header.network_time, record.header.basis)
    other.close()
    log = FileLog(folder, "lane-0")
    second = log.files()[1]
    second.write_bytes((tmp_path / "other" / second.name).read_bytes())

    with pytest.raises(LogDamaged, match="root differs"):
        seal_all([log], tmp_path / "segments")
    assert len(Past(tmp_path / "segments", [log]).segments("lane-0")) == 1


def test_no_segment_is_opened_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SegmentUnusable, match="is missing"):
        Segment(tmp_path / "x.seg")
