"""History has no rows where its log is sealed: every answer is that of whole tables, and no lost segment loses any."""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, func, select

from events.filelog import FileLog
from events.record import Record
from projections.database import open_sqlite
from projections.lookup import BalanceReader
from projections.past import Past
from projections.position import AtRefused, rows_of
from projections.project import Projector
from projections.read import AccountUnknown, read_balances, read_history, read_position, read_supply
from projections.sealing import seal
from projections.segments import BLOCKS, Segment, write_segment
from projections.stakes import report_slashing, report_staking
from projections.tables import METADATA, checkpoint, history
from settlement.verify import Finding, verify_rows, verify_segments
from tests.networks import build_network
from tests.projections.test_segments import positions_of, seal_all, spool_desk
from tests.settlement.desk import Desk, settled, tables_of
from tests.settlement.test_rebuild import rows_of as rows_in
from tests.worlds import ASSET, World, build_world

pytestmark = pytest.mark.slow

BUILDS = (build_world, build_network)
Build = Callable[[int], World]


class Beginning:
    """A log up to a position."""

    def __init__(self, log: FileLog, end: int) -> None:
        self.name, self.log, self.limit = log.name, log, end

    def read(self, position: int = 0) -> Iterator[Record]:
        for record in self.log.read(position):
            if record.end > self.limit:
                return
            yield record


class Sealed:
    """A desk's logs in small files, their segments, and tables that keep up with both."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk, self.segments = desk, folder / "segments"
        self.logs = spool_desk(desk, folder)
        self.past = Past(self.segments, self.logs)
        self.engine = open_sqlite(None, writable=True)
        METADATA.create_all(self.engine)
        self.beginnings = [Beginning(log, log.end()) for log in self.logs]
        self.projector = self.start()

    def start(self) -> Projector:
        """Begin as a process that has just started."""
        return Projector(self.engine, self.desk.partitions[-1], self.beginnings, self.past)  # type: ignore[arg-type]

    def seal(self, **options: bool) -> None:
        seal_all(self.logs, self.segments, **options)
        self.past.refresh()

    def project(self) -> None:
        self.projector.run_whole()
        self.check_rows()

    def check_rows(self) -> None:
        """Hold all rows against the logs, and where they begin against the segments."""
        verify_rows(self.engine, self.desk.partitions[-1], self.logs)
        with self.engine.connect() as connection:
            begins = {row.log: row.position for row in connection.execute(select(checkpoint))}
        for log in self.logs:
            assert begins.get(rows_of(log.name), 0) == self.past.end(log.name)

    def count_rows(self, log: str) -> int:
        with self.engine.connect() as connection:
            row = select(func.count()).select_from(history).where(history.c.log == log)
            return connection.execute(row).scalar_one()

    def lane_segments(self) -> list[Path]:
        return sorted((self.segments / "lane-0").glob("*.seg"))


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    """Give books that are sealed as far as their files are full, and projected."""
    sealed = Sealed(settled(build_world(2, jobs=120, periods=12), chunk=10, batch=5), tmp_path)
    sealed.seal()
    sealed.project()
    return sealed


def check_answers(sealed: Sealed, positions: int) -> None:
    """Compare every kind of answer out of history with that of tables which have all of it."""
    order = random.Random(positions)
    reader = BalanceReader(sealed.engine, sealed.past)
    with tables_of(sealed.desk).connect() as whole, sealed.engine.connect() as connection:
        head = read_position(whole, None)
        assert read_position(connection, None) == head
        assert read_position(connection, None, history=True) == head
        for position in (head, *(positions_of(whole, order) for _ in range(positions))):
            expected = read_balances(whole, position) if any(position.values()) else []
            found = read_balances(connection, position, None, sealed.past)
            assert found == expected
            assert read_supply(connection, position, ASSET, sealed.past) == read_supply(whole, position, ASSET)
            assert report_staking(connection, position, sealed.past) == report_staking(whole, position)
            assert report_slashing(connection, position, None, sealed.past) == report_slashing(whole, position, None)
            for name in sorted({line.key.account for line in expected}):
                assert reader.at(name, position) == [line for line in expected if line.key.account == name]
                assert all_moves(connection, position, name, sealed.past) == all_moves(whole, position, name)


def all_moves(connection: Connection, position: dict[str, int], name: str, past: Past | None = None) -> list[object]:
    return list(read_history(connection, position, name, past))


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("seed", [3, 4])
def test_answers_are_those_of_whole_tables_at_any_position(build: Build, seed: int, tmp_path: Path) -> None:
    sealed = Sealed(settled(build(seed), chunk=10, batch=5), tmp_path)
    sealed.seal()
    sealed.project()

    assert all(sealed.past.end(log.name) for log in sealed.logs)
    check_answers(sealed, 8)
    sealed.seal(unfinished=True)
    sealed.project()
    assert not any(sealed.count_rows(log.name) for log in sealed.logs)
    check_answers(sealed, 2)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("restarted", [False, True])
def test_rows_that_gave_way_are_those_that_were_never_written(build: Build, restarted: bool, tmp_path: Path) -> None:
    """Sealed piece by piece while it is projected, or all before: the same rows."""
    desk = settled(build(5), chunk=10, batch=5)
    kept_up, made_anew = Sealed(desk, tmp_path / "kept up"), Sealed(desk, tmp_path / "anew")
    order = random.Random(5)
    segments = [seal(log, kept_up.segments) for log in kept_up.logs]

    for beginning in kept_up.beginnings:
        beginning.limit = 0
    while any(not is_projected(kept_up, log) for log in kept_up.logs):
        for log in kept_up.beginnings:
            log.limit = next((r.end for r in log.log.read(at(kept_up.engine, log.name) + 40)), log.log.end())
        if restarted:
            kept_up.projector = kept_up.start()
        kept_up.projector.run_whole()
        # Sealed may be more than is projected.
        list(islice(order.choice(segments), 1))
        kept_up.past.refresh()
    for rest in segments:
        list(rest)
    kept_up.past.refresh()
    kept_up.project()
    made_anew.seal()
    made_anew.project()

    # Accounts are numbered as they came; `project` held all rows against the logs.
    counts = [[sealed.count_rows(log.name) for log in desk.ledgers] for sealed in (kept_up, made_anew)]
    assert counts[0] == counts[1]
    assert sum(counts[0]) < len(rows_in(tables_of(desk))["history"])


def is_projected(sealed: Sealed, log: FileLog) -> bool:
    return at(sealed.engine, log.name) == log.end()


def at(engine: Engine, log: str) -> int:
    with engine.connect() as connection:
        return connection.execute(select(checkpoint.c.position).where(checkpoint.c.log == log)).scalar() or 0


@pytest.mark.parametrize("place", [1, 0, -1])
@pytest.mark.parametrize("restarted", [False, True])
def test_rows_of_a_lost_segment_are_written_again_from_the_log(sealed: Sealed, place: int, restarted: bool) -> None:
    before = sealed.past.end("lane-0")
    rows = sealed.count_rows("lane-0")
    sealed.lane_segments()[place].unlink()
    sealed.past.refresh()
    assert sealed.past.end("lane-0") < before

    with sealed.engine.connect() as connection:
        position = read_position(connection, None)
        with pytest.raises(AtRefused, match=f"in segments up to lane-0:{before} and found up to lane-0:.*seal --all"):
            all_moves(connection, position, "external", sealed.past)
        with pytest.raises(AtRefused, match="the history of lane-0 is kept in segments up to"):
            read_balances(connection, {**position, "hub": 0}, None, sealed.past)
        # What is sound still answers, and the head needs no history.
        sealed_end = {"lane-0": sealed.past.end("lane-0")}
        if any(sealed_end.values()):
            assert read_balances(connection, sealed_end, "external", sealed.past)
        assert read_balances(connection, position, "external", sealed.past)
    with pytest.raises(Finding, match=r"segment lane-0/|the history of lane-0 is kept in segments"):
        verify_segments(sealed.engine, sealed.logs, sealed.past)

    if restarted:
        sealed.projector = sealed.start()
    sealed.project()
    assert sealed.count_rows("lane-0") > rows
    check_answers(sealed, 3)
    sealed.seal()
    sealed.project()
    assert (sealed.past.end("lane-0"), sealed.count_rows("lane-0")) == (before, rows)
    check_answers(sealed, 1)


def test_all_segments_lost_are_all_rows_again(sealed: Sealed) -> None:
    for log in sealed.logs:
        for path in (sealed.segments / log.name).glob("*.seg"):
            path.unlink()
    sealed.past.refresh()
    with sealed.engine.connect() as connection:
        before = read_balances(connection, read_position(connection, None))
        with pytest.raises(AtRefused, match=r"found up to (hub|lane-0):0"):
            all_moves(connection, read_position(connection, None), "external", sealed.past)

    sealed.project()

    with sealed.engine.connect() as connection:
        assert read_balances(connection, read_position(connection, None)) == before
    assert rows_in(sealed.engine) == rows_in(tables_of(sealed.desk))


def damage(path: Path) -> None:
    """Change an amount under its digest; what is looked at when a segment is opened stays sound."""
    segment = Segment(path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - segment.header.body_bytes + segment.header.blocks["amounts"].offset)
        file.write(b"\x7f")


def test_damage_that_is_found_while_rows_are_written_is_made_good(tmp_path: Path) -> None:
    sealed = Sealed(settled(build_world(2, jobs=120, periods=12), chunk=10, batch=5), tmp_path)
    sealed.seal()
    damage(sealed.lane_segments()[-1])
    sealed.past.refresh()
    end = sealed.past.end("lane-0")

    sealed.project()

    assert sealed.past.end("lane-0") < end
    assert "column amounts" in sealed.past.faults[0]
    check_answers(sealed, 3)


def test_damage_that_is_found_while_answering_is_named(sealed: Sealed) -> None:
    first_end = sealed.past.segments("lane-0")[0].end
    damage(sealed.lane_segments()[0])
    sealed.past.refresh()
    with sealed.engine.connect() as connection:
        position = read_position(connection, None)
        with pytest.raises(
            AtRefused, match=r"^segment lane-0/.*: column amounts .* differs from its digest; the history"
        ):
            all_moves(connection, position, "external", sealed.past)
        reader = BalanceReader(sealed.engine, sealed.past)
        for _ in range(2):
            with pytest.raises(AtRefused, match="`omnisync seal --all` makes them anew"):
                reader.at("external", {"lane-0": first_end})

        seal_all(sealed.logs, sealed.segments)

        assert reader.at("external", {"lane-0": first_end})
        reader.close()


def test_a_held_reader_goes_on_when_rows_gave_way(tmp_path: Path) -> None:
    sealed = Sealed(settled(build_world(2, jobs=120, periods=12), chunk=10, batch=5), tmp_path)
    sealed.project()
    reader = BalanceReader(sealed.engine, Past(sealed.segments, sealed.logs))
    with tables_of(sealed.desk).connect() as whole:
        positions = [positions_of(whole, random.Random(seed)) for seed in range(20)]
        expected = [read_balances(whole, position, "external") for position in positions if any(position.values())]
        assert [reader.at("external", position) for position in positions if any(position.values())] == expected

        sealed.seal()
        sealed.project()

        assert sealed.count_rows("lane-0") > 0
        assert [reader.at("external", position) for position in positions if any(position.values())] == expected
        with pytest.raises(AccountUnknown):
            reader.at("consumer:nobody", positions[0])
    reader.close()


def test_a_segment_that_lies_and_is_sound_is_found(sealed: Sealed) -> None:
    assert verify_segments(sealed.engine, sealed.logs, sealed.past) == sum(
        len(sealed.past.segments(log.name)) for log in sealed.logs
    )
    path = sealed.lane_segments()[1]
    segment = Segment(path)
    columns = {name: segment.array(name) for name in BLOCKS}
    columns["amounts"] = columns["amounts"] + 1
    write_segment(path, segment.header, columns)

    with pytest.raises(
        Finding, match=rf"segment lane-0/{path.name}: differs from its log; `omnisync seal --all --anew`"
    ):
        verify_segments(sealed.engine, sealed.logs, sealed.past)

    seal_all(sealed.logs, sealed.segments, anew=True)
    verify_segments(sealed.engine, sealed.logs, sealed.past)


def test_a_segment_of_an_unfinished_file_is_held_against_the_beginning_of_its_file(tmp_path: Path) -> None:
    desk = settled(build_world(2, jobs=120, periods=12), chunk=10, batch=5)
    sealed = Sealed(desk, tmp_path)
    folder = tmp_path / "ledger" / "lane-0"
    last = sealed.logs[1].files()[-1]
    data = last.read_bytes()
    half = data.index(b"\nrecord ", len(data) // 2) + 1
    last.write_bytes(data[:half])
    sealed.seal(unfinished=True)

    last.write_bytes(data)

    assert FileLog(folder, "lane-0").end() == desk.lane.end() > Past(sealed.segments, sealed.logs).end("lane-0")
    sealed.past.refresh()
    sealed.project()
    verify_segments(sealed.engine, sealed.logs, sealed.past)
    check_answers(sealed, 3)


def test_sealing_is_given_up_between_two_batches_and_leaves_what_was_made(tmp_path: Path) -> None:
    sealed = Sealed(settled(build_world(2, jobs=120, periods=12), chunk=10, batch=5), tmp_path)
    assert sealed.past.is_behind()
    answers = iter([False, False, True])

    made = list(seal(sealed.logs[1], sealed.segments, is_over=lambda: next(answers)))

    assert [path.name for path in sealed.lane_segments()] == [segment.path.name for segment in made]
    assert len(made) == 2
    assert sealed.past.is_behind()
    sealed.seal()
    assert not sealed.past.is_behind()
