"""Doctor: what it says of sound books, and of each thing that can be wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from app.books import Books
from app.cli import cli
from app.doctor import FAULT, FREE_BYTES_MIN, NOTE, OK, Site, Told, check_space, examine
from app.locks import find_holder, hold
from app.settings import Settings
from app.stages import SETTLE
from app.synced import read_synced, write_synced
from events.filelog import FileLog
from events.log import LogFault
from tests.faults.process import omnisync
from tests.faults.scenes import settled_books
from tests.settlement.desk import as_lines
from tests.worlds import World, build_world


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(61, jobs=20, periods=4)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, world: World) -> Books:
    return settled_books(tmp_path_factory.mktemp("done") / "books", world)


@pytest.fixture
def books(tmp_path: Path, done: Books) -> Books:
    shutil.copytree(done.folder, tmp_path / "books")
    return Books(tmp_path / "books")


def find(books: Books, level: str) -> list[Told]:
    """Return what is told on a level."""
    return [told for told in examine(Site(Settings(), books)) if told.level == level]


def test_sound_books_have_neither_faults_nor_notes(books: Books) -> None:
    told = list(examine(Site(Settings(), books)))

    assert {line.level for line in told} == {OK}
    assert {line.check for line in told} == {"books", "logs", "projections", "space", "clock", "library"}
    assert f"hub ends at {books.hub().end()}" in {line.found for line in told}


def _cut(log: FileLog) -> None:
    """Cut a log's last record off, cleanly."""
    file = log.files()[-1]
    *_, (_, before), _ = log.read_file(file)
    file.write_bytes(file.read_bytes()[:before])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def _sql(books: Books, statement: str) -> None:
    engine = books.engine(writable=True)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _later(books: Books) -> None:
    """Append a record of facts that a clock in another century has dated."""
    facts = FileLog(books.folder / "facts" / "hub", "facts/hub", writable=True)
    facts.append([b"{}"], "2126-01-01T00:00:00.000000Z")
    facts.close()


def _lose_segments(books: Books) -> None:
    """Let the rows of history give way to segments, and remove those of a lane."""
    list(books.seal(unfinished=True))
    books.rebuild()
    shutil.rmtree(books.segments / "lane-0")


@pytest.mark.parametrize(
    ("harm", "check", "said"),
    [
        (lambda books: shutil.rmtree(books.folder / "facts"), "books", "no books in "),
        (lambda books: shutil.rmtree(books.folder / "facts" / "0"), "logs", "facts/0 is not there, and was durable"),
        (lambda books: books.synced.write_text("none\n"), "books", "ledger/synced is damaged"),
        (lambda books: (books.folder / "facts" / "7").mkdir(), "books", "partitions are numbered from 0 on"),
        (lambda books: _cut(books.hub()), "logs", "hub ends at"),
        (lambda books: _flip(books.lane().files()[-1]), "logs", "crc32 differs"),
        (lambda books: _sql(books, "UPDATE alembic_version SET version_num = '0001'"), "projections", "revision 0001"),
        (lambda books: books.database.write_bytes(b"none" * 2000), "projections", "they cannot be read: file is not"),
        (lambda books: _sql(books, "UPDATE checkpoint SET position = 999999"), "projections", "head stands"),
        (_lose_segments, "segments", "and segments up to 0: between them it is missing"),
        (_later, "clock", "facts/hub was written at 2126-01-01"),
    ],
)
def test_each_fault_is_named_with_what_to_do(
    books: Books, harm: Callable[[Books], object], check: str, said: str
) -> None:
    harm(books)

    faults = find(books, FAULT)

    assert any(fault.check == check and said in fault.found for fault in faults), faults
    assert all(fault.do or "omnisync init" in fault.found for fault in faults)


def _tear(books: Books) -> None:
    with books.facts("facts/0").files()[-1].open("ab") as file:
        file.write(b"record 0000")


def _uncommit(books: Books) -> None:
    committed = read_synced(books.synced)
    assert committed is not None
    ends = [record.end for record in books.hub().read()]
    write_synced(books.synced, committed | {"hub": ends[-2]})
    books.database.unlink()


def _report_more(books: Books) -> None:
    list(books.ingest(iter([as_lines([b"nonsense"])]), "more"))


def _misseal(books: Books) -> None:
    list(books.seal(unfinished=True))
    _flip(next((books.segments / "lane-0").iterdir()))
    (books.segments / "hub" / "00000000000000009999.seg").write_bytes(b"")


def _fill(books: Books) -> None:
    """Divide a ledger log's file, as if the first were full."""
    log = books.lane()
    file = log.files()[0]
    record, behind = next(log.read_file(file))
    data = file.read_bytes()
    file.with_name(f"{record.end:020d}.log").write_bytes(data[behind:])
    file.write_bytes(data[:behind])


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (_tear, "logs", "facts/0: 11 bytes of a batch that was never acknowledged"),
        (_uncommit, "logs", "leaves lie behind the last commit"),
        (_uncommit, "projections", "there are none yet"),
        (_report_more, "lag", "facts/hub: settled lacks 2 leaves"),
        (_misseal, "segments", "hub/00000000000000009999.seg: the log has no such file"),
        (_fill, "segments", "lane-0: 1 full files are not sealed"),
    ],
)
def test_what_is_to_be_known_and_loses_nothing_is_a_note(
    books: Books, change: Callable[[Books], object], check: str, said: str
) -> None:
    change(books)

    notes = find(books, NOTE)

    assert find(books, FAULT) == []
    assert any(note.check == check and said in note.found for note in notes), notes
    assert all(note.do for note in notes)


def test_a_gap_in_history_is_closed_by_what_is_said_to_do(books: Books) -> None:
    list(books.seal(unfinished=True))
    books.rebuild()
    assert find(books, FAULT) == []
    _lose_segments(books)
    (fault,) = find(books, FAULT)
    assert fault.do.startswith("`omnisync seal --all`")

    assert omnisync("seal", "--all", "--data", books.folder).status == 0

    assert find(books, FAULT) == []


def test_a_lag_of_the_projections_is_a_note(books: Books, world: World) -> None:
    list(books.ingest(iter([as_lines(build_world(62, jobs=5, periods=2).lines())]), "more"))
    with books.stages(SETTLE) as stages:
        stages.run()

    assert any("head lacks" in note.found for note in find(books, NOTE))


def test_locks_are_told_with_their_holder_and_what_he_writes_is_not_judged(books: Books) -> None:
    _tear(books)

    with hold(books.folder / "facts.lock", "ingest"):
        told = list(examine(Site(Settings(), books)))

    assert {line.level for line in told} == {OK}
    (lock,) = [line.found for line in told if line.check == "locks"]
    assert lock.startswith("facts.lock is held: ingest, process ")


def test_looking_at_a_lock_leaves_it_free(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    assert find_holder(path) is None
    with hold(path, "work"):
        assert (find_holder(path) or "").startswith("work, process")
    assert find_holder(path) is None
    path.write_text("killed, process 1")
    assert find_holder(path) is None
    with hold(path, "again"):
        pass


def test_too_little_space_is_a_fault(tmp_path: Path) -> None:
    assert check_space(tmp_path, 0).level == OK
    told = check_space(tmp_path, 2**80)
    assert (told.level, "MiB are free in" in told.found) == (FAULT, True)
    assert FREE_BYTES_MIN == 1024**3


def test_a_damaged_mark_of_the_commit_is_a_fault_of_the_world(books: Books) -> None:
    books.synced.write_bytes(b"\xff")

    with pytest.raises(LogFault, match="is damaged: it says no positions"):
        read_synced(books.synced)


def test_the_command_exits_with_1_on_a_fault_alone(books: Books, tmp_path: Path) -> None:
    _tear(books)
    healthy = omnisync("doctor", "--data", books.folder, "--json")
    _flip(books.lane().files()[-1])
    broken = omnisync("doctor", "--data", books.folder, "--json")
    shown = omnisync("doctor", "--data", books.folder)

    assert (healthy.status, json.loads(healthy.out)["ok"]) == (0, True)
    assert (broken.status, json.loads(broken.out)["ok"], shown.status) == (1, False, 1)
    assert "crc32 differs" in shown.out
    assert {"check", "level", "found", "do"} == set(json.loads(broken.out)["found"][0])


def test_no_books_at_all_is_a_usage_error_unless_there_is_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is there: no use to ask again for seconds.
    monkeypatch.setattr("events.brokers.CONNECT_MS_MAX", 100)
    monkeypatch.setattr("events.brokers.SERVER_MS_MIN", 100)
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 2
    config = tmp_path / "omnisync.toml"
    config.write_text("[kafka]\nservers = ['127.0.0.1:1']")

    result = CliRunner().invoke(cli, ["doctor", "--config", str(config), "--json"])

    assert result.exit_code == 1
    levels = {told["check"]: told["level"] for told in json.loads(result.stdout)["found"]}
    assert levels == {"brokers": "fault", "database": "note", "clock": "ok", "library": "ok"}
