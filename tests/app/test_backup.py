"""Backups: what is kept, beside writers, some more of it later, restored, and what is found to be wrong."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from app.backup import Backup, BackupRefused
from app.books import Books
from app.locks import hold
from app.synced import read_synced
from events.filelog import FileLog
from events.log import LogDamaged
from ledger.fold import Digests
from settlement.verify import Finding
from tests.faults.process import omnisync, start
from tests.faults.scenes import digests_of, logs_of, new_books, run_books, settled_books, write_facts
from tests.settlement.desk import as_lines, settled
from tests.worlds import World, build_world

ELSEWHERE = {"path": "../../../elsewhere.log", "bytes": 0, "sha256": sha256().hexdigest()}


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(31, jobs=30, periods=6)


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Digests:
    return settled(world).digests()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, world: World) -> Books:
    """Give books that hold the whole world; nobody writes them."""
    return settled_books(tmp_path_factory.mktemp("done") / "books", world)


@pytest.fixture
def kept(tmp_path: Path, done: Books) -> Backup:
    backup = Backup(tmp_path / "kept")
    backup.make(done)
    return backup


def ends_of(books: Books) -> dict[str, int]:
    """Return how far each log goes."""
    return {name: log.end() for name, log in logs_of(books).items()}


def test_what_is_kept_is_restored_to_the_same_books(
    kept: Backup, done: Books, tmp_path: Path, undisturbed: Digests
) -> None:
    books = Books(tmp_path / "new")

    manifest = kept.restore(books)

    assert manifest.balances == undisturbed.balances
    assert manifest.positions == ends_of(books) == ends_of(done) == read_synced(books.synced)
    assert {name: log.root() for name, log in logs_of(books).items()} == {
        name: log.root() for name, log in logs_of(done).items()
    }
    run_books(books)
    assert ends_of(books) == ends_of(done)
    assert digests_of(books) == undisturbed


def test_what_is_kept_verifies(kept: Backup, undisturbed: Digests) -> None:
    verified = kept.verify()

    assert verified.manifest.balances == undisturbed.balances
    assert verified.verdict.unsettled == 0


def test_a_further_backup_copies_what_is_new_and_nothing_else(
    tmp_path: Path, world: World, undisturbed: Digests
) -> None:
    books, backup = new_books(tmp_path / "books", world), Backup(tmp_path / "kept")
    lines = as_lines(world.lines())
    sizes = []
    for start_at in range(0, len(lines), len(lines) // 3 + 1):
        list(books.ingest(iter([lines[start_at : start_at + len(lines) // 3 + 1]]), "world"))
        run_books(books)
        made = backup.make(books)
        assert made.manifest.positions == ends_of(books)
        sizes.append((made.copied, sum(file.bytes for file in made.manifest.files)))

    copied = [size for size, _ in sizes]
    assert [sum(copied[: number + 1]) for number in range(3)] == [size for _, size in sizes]
    assert all(copied)
    assert backup.make(books).copied == 0
    assert backup.verify().manifest.balances == undisturbed.balances


def test_books_that_were_never_run_are_kept_and_settled_when_restored(
    tmp_path: Path, world: World, undisturbed: Digests
) -> None:
    books, backup = new_books(tmp_path / "books", world), Backup(tmp_path / "kept")
    list(books.ingest(iter([as_lines(world.lines())]), "world"))

    made = backup.make(books)

    assert (made.manifest.positions["hub"], made.manifest.positions["lane-0"]) == (0, 0)
    assert made.manifest.positions["facts/0"] == books.facts("facts/0").end()
    backup.verify()
    backup.restore(Books(tmp_path / "new"))
    run_books(Books(tmp_path / "new"))
    assert digests_of(Books(tmp_path / "new")) == undisturbed


def test_several_lanes_and_several_files_of_a_log_are_kept(tmp_path: Path, world: World, undisturbed: Digests) -> None:
    books, backup = new_books(tmp_path / "books", world, lanes=3), Backup(tmp_path / "kept")
    list(books.ingest(iter([as_lines(world.lines())]), "world"))
    run_books(books)
    for log in logs_of(books).values():
        _split(log.files()[0])
    backup.make(books)

    assert len(list((backup.logs / "ledger" / "hub").iterdir())) > 1
    backup.verify()
    backup.restore(Books(tmp_path / "new"))
    run_books(Books(tmp_path / "new"))
    assert digests_of(Books(tmp_path / "new")) == undisturbed


def test_what_is_behind_the_last_commit_and_a_torn_tail_are_not_kept(done: Books, tmp_path: Path) -> None:
    books = Books(tmp_path / "books")
    shutil.copytree(done.folder, books.folder)
    before = Backup(tmp_path / "before").make(books).manifest
    for log in logs_of(books).values():
        with log.files()[-1].open("ab") as file:
            file.write(b"record 0000000999 torn")
    text = books.synced.read_text().splitlines()
    place = next(number for number, line in enumerate(text) if line.endswith(" hub"))
    ends = [record.end for record in books.hub().read()]
    text[place] = f"{ends[-2]} hub"
    books.synced.write_text("\n".join(text) + "\n")

    made = Backup(tmp_path / "kept").make(books).manifest

    assert made.positions == before.positions | {"hub": ends[-2]}
    Backup(tmp_path / "kept").verify()


def test_a_backup_beside_writers_is_one_of_what_they_acknowledged(tmp_path: Path, world: World) -> None:
    books = new_books(tmp_path / "books", world)
    facts = write_facts(tmp_path / "facts.jsonl", world.lines())
    running = start("run", "--data", books.folder)
    try:
        omnisync("ingest", facts, "--data", books.folder)
        told = json.loads(omnisync("backup", tmp_path / "kept", "--data", books.folder, "--json").out)
    finally:
        running.kill()
        running.end()

    assert told["position"]["facts/0"] == books.facts("facts/0").end()
    verified = omnisync("verify-backup", tmp_path / "kept")
    assert verified.status == 0, verified
    assert "nothing differs" in verified.out


@pytest.mark.slow
def test_backups_again_and_again_beside_writers_are_each_whole(
    tmp_path: Path, world: World, undisturbed: Digests
) -> None:
    books, folder = new_books(tmp_path / "books", world, lanes=2), tmp_path / "kept"
    lines = world.lines()
    running = start("run", "--data", books.folder)
    positions = []
    try:
        for number in range(10):
            part = lines[len(lines) * number // 10 : len(lines) * (number + 1) // 10]
            taking = start("ingest", write_facts(tmp_path / f"{number}.jsonl", part), "--data", books.folder)
            while not taking.has_ended():
                positions.append(Backup(folder).make(books).manifest.positions)
                Backup(folder).verify()
            taking.end()
            if number % 3 == 2:
                running.kill()
                running.end()
                running = start("run", "--data", books.folder)
    finally:
        running.kill()
        running.end()

    assert all(before[log] <= after[log] for before, after in pairwise(positions) for log in before)
    Backup(folder).make(books)
    Backup(folder).restore(Books(tmp_path / "new"))
    run_books(Books(tmp_path / "new"))
    assert digests_of(Books(tmp_path / "new")) == undisturbed


def test_one_backup_at_a_time(kept: Backup, done: Books) -> None:
    with hold(kept.folder / "backup.lock", "backup"):
        second = omnisync("backup", kept.folder, "--data", done.folder)

    assert second.status == 1
    assert "backup.lock is held by another process (backup, process" in second.err


def test_other_books_are_refused(kept: Backup, tmp_path: Path, world: World) -> None:
    lanes = new_books(tmp_path / "lanes", world, lanes=2)
    fewer = settled_books(tmp_path / "fewer", build_world(31, jobs=3, periods=2))
    other = settled_books(tmp_path / "other", world, sessions=6)

    for books, said in ((lanes, "keeps other books"), (fewer, "have lost what is kept"), (other, "keeps another ")):
        with pytest.raises(BackupRefused, match=said):
            kept.make(books)
    kept.verify()


def test_a_folder_that_holds_something_else_is_refused(done: Books, tmp_path: Path) -> None:
    with pytest.raises(BackupRefused, match=r"holds .*, which is no backup's"):
        Backup(done.folder).make(done)
    Backup(tmp_path / "kept").make(done)
    with pytest.raises(BackupRefused, match="is not empty"):
        Backup(tmp_path / "kept").restore(done)


def test_no_backup_is_said(tmp_path: Path) -> None:
    for act in (Backup(tmp_path).verify, lambda: Backup(tmp_path).restore(Books(tmp_path / "new"))):
        with pytest.raises(BackupRefused, match="holds no whole backup"):
            act()


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def _forge(path: Path, member: str, value: object) -> None:
    told = json.loads(path.read_text())
    told[member] = value
    path.write_text(json.dumps(told))


def _flip_and_sign(kept: Backup, log: str) -> None:
    """Change a log, and make the manifest say what its file holds now."""
    _flip(_last(kept, log), -20)
    path = kept.folder / "manifest.json"
    files = json.loads(path.read_text())["files"]
    digests = {file["path"]: sha256((kept.logs / file["path"]).read_bytes()).hexdigest() for file in files}
    _forge(path, "files", [file | {"sha256": digests[file["path"]]} for file in files])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda kept: _flip(_last(kept, "hub"), -20), "bytes are not what the manifest says"),
        (lambda kept: _flip(_last(kept, "lane-0"), 100), "bytes are not what the manifest says"),
        (lambda kept: _last(kept, "hub").unlink(), "0 bytes, the manifest says"),
        (lambda kept: _last(kept, "hub").write_bytes(b"record"), "6 bytes, the manifest says"),
        (lambda kept: (kept.folder / "manifest.json").write_text("{"), "is damaged"),
        (lambda kept: _forge(kept.folder / "manifest.json", "format", 2), "this program reads 1"),
        (lambda kept: _forge(kept.folder / "manifest.json", "files", [ELSEWHERE]), "is damaged: .*regex"),
        (lambda kept: _forge(kept.folder / "manifest.json", "logs", []), "facts/0: the manifest says another end"),
        (lambda kept: _flip_and_sign(kept, "lane-0"), "lane-0: record at .*: crc32 differs"),
        (lambda kept: _forge(kept.folder / "manifest.json", "balances", "0"), "balances: the manifest says 0"),
    ],
)
def test_damage_is_found_by_verify(kept: Backup, damage: Callable[[Backup], object], said: str) -> None:
    damage(kept)

    with pytest.raises((BackupRefused, Finding, LogDamaged), match=said):
        kept.verify()


def test_a_manifest_with_another_root_or_position_is_found(kept: Backup) -> None:
    path = kept.folder / "manifest.json"
    logs = json.loads(path.read_text())["logs"]
    for member, value in (("root", "0" * 64), ("position", 1)):
        _forge(path, "logs", [logs[0] | {member: value}, *logs[1:]])
        with pytest.raises(Finding, match="facts/0: the manifest says another end, or another root"):
            kept.verify()


def test_damage_is_neither_restored_nor_built_upon(kept: Backup, done: Books, tmp_path: Path, world: World) -> None:
    more = Books(tmp_path / "more")
    shutil.copytree(done.folder, more.folder)
    list(more.ingest(iter([as_lines(build_world(33, jobs=5, periods=2).lines())]), "world"))
    run_books(more)
    _flip(_last(kept, "hub"), -20)

    for act in (lambda: kept.restore(Books(tmp_path / "new")), lambda: kept.make(more)):
        with pytest.raises(BackupRefused, match="the backup is damaged"):
            act()
    assert not (tmp_path / "new").exists()


def test_the_commands_tell_damage_and_exit_with_1(kept: Backup) -> None:
    _flip(_last(kept, "hub"), -20)

    told = omnisync("verify-backup", kept.folder, "--json")

    assert told.status == 1
    assert json.loads(told.out)["ok"] is False
    assert omnisync("verify-backup", kept.folder).out.startswith("differs: ledger/hub/")


def test_logs_that_end_before_the_commit_are_not_kept(done: Books, tmp_path: Path) -> None:
    books = Books(tmp_path / "books")
    shutil.copytree(done.folder, books.folder)
    (file,) = books.hub().files()
    file.write_bytes(file.read_bytes()[:-1])

    with pytest.raises(BackupRefused, match=r"hub: ends at \d+, and was durable up to"):
        Backup(tmp_path / "kept").make(books)


def _last(kept: Backup, log: str) -> Path:
    return max((kept.logs / "ledger" / log).iterdir())


def _split(file: Path) -> None:
    """Divide a log's file behind its second record, as a writer would that had reached its limit."""
    log = FileLog(file.parent, "log")
    places = [(record.end, behind) for record, behind in log.read_file(file)]
    if len(places) > 2:
        end, behind = places[1]
        data = file.read_bytes()
        file.with_name(f"{end:020d}.log").write_bytes(data[behind:])
        file.write_bytes(data[:behind])
