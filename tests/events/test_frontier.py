"""A kept frontier spares hashing and changes nothing: whatever becomes of it, the log is the same."""

from pathlib import Path
from random import Random

import pytest

from events import filelog as filelog_module
from events.filelog import FileLog
from events.frontier import Frontier, read_frontier, write_frontier
from events.log import LogDamaged
from events.record import Record
from tests.events.log_contract import NOON


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a frontier whenever there is one to keep."""
    monkeypatch.setattr(filelog_module, "KEPT_AFTER", 1)
    monkeypatch.setattr(filelog_module, "KEPT_AT_CLOSE", 1)


def open_log(folder: Path, *, sync_each: bool = True) -> FileLog:
    return FileLog(
        folder / "log", "facts", writable=True, sync_each=sync_each, segment_bytes_max=700, frontier=folder / "kept"
    )


def write(folder: Path, records: int) -> None:
    log = open_log(folder)
    for number in range(records):
        log.append([b'{"n":%d}' % number] * (1 + number % 3), NOON)
    log.close()


def hashed_at_opening(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return which records are hashed when the log is opened for writing, by sequence."""
    hashed: list[int] = []
    leaves = Record.leaves

    def watched(record: Record) -> object:
        hashed.append(record.sequence)
        return leaves(record)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "leaves", watched)
        open_log(folder).close()
    return hashed


def test_opening_hashes_what_lies_behind_the_frontier_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 20)
    kept = (tmp_path / "kept").read_bytes()
    root = FileLog(tmp_path / "log", "facts").root()
    assert hashed_at_opening(tmp_path, monkeypatch) == []

    log = open_log(tmp_path)
    assert log.root() == root
    last = log.append([b"{}"], NOON)
    log.close()
    assert FileLog(tmp_path / "log", "facts").root().hex() == last.header.root
    (tmp_path / "kept").write_bytes(kept)

    assert hashed_at_opening(tmp_path, monkeypatch) == [last.sequence]


def test_a_frontier_touched_anywhere_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 6)
    kept = (tmp_path / "kept").read_bytes()
    for place in range(0, len(kept), 7):
        (tmp_path / "kept").write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
        assert len(hashed_at_opening(tmp_path, monkeypatch)) == 6
    (tmp_path / "kept").unlink()
    assert len(hashed_at_opening(tmp_path, monkeypatch)) == 6
    assert (tmp_path / "kept").read_bytes() == kept


def test_a_frontier_that_the_log_does_not_bear_out_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sound, and speaks of another log, of another place, of nodes that are none, or of a file that is gone."""
    write(tmp_path, 6)
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", 7)
    kept = (tmp_path / "kept").read_bytes()
    frontier = read_frontier(kept)
    assert frontier is not None
    of = {name: getattr(frontier, name) for name in Frontier.__struct_fields__}
    for change in (
        {"nodes": frontier.nodes[:-1]},
        {"nodes": ("0" * 64, *frontier.nodes[1:])},
        {"begins": frontier.begins + 1},
        {"begins": frontier.ends},
        {"sequence": 1},
        {"file": "1.log"},
    ):
        (tmp_path / "kept").write_bytes(write_frontier(Frontier(**(of | change))))
        assert len(hashed_at_opening(tmp_path, monkeypatch)) == 6, change
    (tmp_path / "kept").write_bytes((tmp_path / "other" / "kept").read_bytes())
    assert len(hashed_at_opening(tmp_path, monkeypatch)) == 6
    assert read_frontier(write_frontier(frontier).replace(b"size", b"sise")) is None


def test_damage_before_the_frontier_is_named_by_readers_and_not_by_opening(tmp_path: Path) -> None:
    write(tmp_path, 20)
    first = min((tmp_path / "log").iterdir())
    data = first.read_bytes()
    first.write_bytes(data[:50] + b"x" + data[51:])

    open_log(tmp_path).close()

    with pytest.raises(LogDamaged, match="crc32 differs"):
        list(FileLog(tmp_path / "log", "facts").read())
    with pytest.raises(LogDamaged, match="crc32 differs"):
        FileLog(tmp_path / "log", "facts").root()
    (tmp_path / "kept").unlink()
    with pytest.raises(LogDamaged, match="crc32 differs"):
        open_log(tmp_path)


def test_a_folder_that_takes_no_cache_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").mkdir()
    write(tmp_path, 0)
    (tmp_path / "kept").rmdir()
    (tmp_path / "kept.part").mkdir()

    write(tmp_path, 6)

    assert not (tmp_path / "kept").exists()
    assert len(hashed_at_opening(tmp_path, monkeypatch)) == 6


@pytest.mark.parametrize("seed", range(12))
def test_logs_with_a_frontier_are_logs_without(seed: int, tmp_path: Path) -> None:
    """Appends, syncs, cuts, restarts and frontiers of earlier days, in any order."""
    random, old = Random(seed), b""
    sync_each = seed % 2 == 0
    plain = FileLog(tmp_path / "plain", "facts", writable=True, sync_each=sync_each, segment_bytes_max=700)
    log = open_log(tmp_path, sync_each=sync_each)
    ends = [0]
    for step in range(60):
        what = random.randrange(8)
        if what < 4:
            lines = [b'{"n":%d}' % step] * random.randint(1, 4)
            assert log.append(lines, NOON) == plain.append(lines, NOON)
            ends.append(log.end())
        elif what == 4:
            log.sync()
        elif what == 5 and not sync_each:
            del ends[random.randint(1, len(ends)) :]
            for one in (log, plain):
                one.cut_back(ends[-1])
        else:
            log.close()
            if (tmp_path / "kept").exists():
                now = (tmp_path / "kept").read_bytes()
                if what == 7 and old:
                    (tmp_path / "kept").write_bytes(old)
                old = now
            log = open_log(tmp_path, sync_each=sync_each)
        assert log.root() == plain.root()

    assert list(FileLog(tmp_path / "log", "facts").read()) == list(plain.read())
    assert FileLog(tmp_path / "log", "facts").root() == plain.root()
