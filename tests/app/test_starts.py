"""How books start again: from the snapshot that they rested with, or from the first fact."""

from pathlib import Path

import pytest

from app import stages as stages_module
from app.books import Books
from events import filelog as filelog_module
from tests.faults.process import omnisync
from tests.faults.scenes import settled_books
from tests.worlds import build_world


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    """Give settled books that keep snapshots and frontiers, however little there is."""
    monkeypatch.setattr(stages_module, "AT_REST", 1)
    monkeypatch.setattr(filelog_module, "KEPT_AT_CLOSE", 1)
    return settled_books(tmp_path / "books", build_world(3), sessions=2)


def snapshots_in(books: Books) -> list[str]:
    return sorted(path.name for path in (books.folder / "cache" / "ledger").glob("snapshot-*"))


def test_a_start_looks_at_nothing_before_the_snapshot_and_verify_at_everything(books: Books) -> None:
    first = min((books.folder / "ledger" / "lane-0").iterdir())
    data = first.read_bytes()
    first.write_bytes(data[:400] + bytes([data[400] ^ 1]) + data[401:])
    assert len(snapshots_in(books)) == 2

    started = omnisync("run", "--once", "--data", books.folder)
    verified = omnisync("verify", "--all", "--data", books.folder)
    anew = omnisync("run", "--once", "--from-start", "--data", books.folder)

    assert (started.status, started.out) == (0, "settled 0 decisions, folded 0\n"), started.err
    for found in (verified, anew):
        assert found.status == 1
        assert "lane-0: record at sequence 0" in found.err + found.out


def test_from_the_start_leads_to_the_same_and_to_a_snapshot_of_its_own(books: Books) -> None:
    before = {path: path.read_bytes() for path in sorted((books.folder / "ledger").glob("*/*.log"))}

    anew = omnisync("run", "--once", "--from-start", "--data", books.folder)

    assert anew.status == 0, anew.err
    assert {path: path.read_bytes() for path in before} == before
    assert len(snapshots_in(books)) == 1
    assert omnisync("run", "--once", "--data", books.folder).status == 0
    assert len(snapshots_in(books)) == 1


def test_a_fault_leaves_no_snapshot(books: Books) -> None:
    """What broke off in the middle is nothing to go on from."""

    def interrupted() -> None:
        with books.stages(from_start=True) as stages:
            stages.run()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert snapshots_in(books) == []


def test_who_does_not_settle_has_no_start_to_choose(books: Books) -> None:
    refused = omnisync("run", "--once", "--only", "project", "--from-start", "--data", books.folder)

    assert refused.status == 2
    assert "--from-start is for those who settle" in refused.err


def test_without_its_cache_a_start_finds_what_it_found(books: Books) -> None:
    cache = books.folder / "cache"
    for path in sorted(cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    started = omnisync("run", "--once", "--data", books.folder)

    assert (started.status, started.out) == (0, "settled 0 decisions, folded 0\n"), started.err
    assert omnisync("verify", "--all", "--data", books.folder).status == 0
