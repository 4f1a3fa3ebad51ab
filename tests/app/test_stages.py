"""The two stages as processes of their own: what projects knows that what settles is not at rest."""

from pathlib import Path

from app.stages import PROJECT, SETTLE
from events.filelog import FileLog
from tests.faults.scenes import settled_books
from tests.worlds import build_world


def test_who_projects_sees_that_another_appends(tmp_path: Path) -> None:
    books = settled_books(tmp_path / "books", build_world(3), sessions=1)
    with books.stages(PROJECT) as projecting:
        projecting.run(history=False)
        asked = [projecting.has_more_coming() for _ in range(2)]
        log = books.lane(writable=True)
        log.append([b"not committed"], "2026-10-01T00:00:00.000000Z")
        asked += [projecting.has_more_coming() for _ in range(2)]
        log.close()

    assert asked == [True, False, True, False]


def test_who_settles_awaits_nobody(tmp_path: Path) -> None:
    books = settled_books(tmp_path / "books", build_world(3), sessions=1)
    with books.stages(SETTLE) as settling:
        assert not settling.has_more_coming()
    with books.stages() as both:
        assert not both.has_more_coming()


def test_the_tail_of_a_log_is_what_its_folder_still_has(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "lane-0", writable=True)
    assert log.tail() == ("", 0)
    log.append([b"{}"], "2026-10-01T00:00:00.000000Z")
    log.close()
    [file] = log.files()
    # Cut off between the look into the folder and the look at the file.
    (tmp_path / f"{9:020d}.log").symlink_to(tmp_path / "gone")

    assert log.tail() == (file.name, file.stat().st_size)
