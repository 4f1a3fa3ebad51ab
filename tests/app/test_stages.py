"""The two stages as processes of their own: what projects knows that what settles is not at rest."""

from collections.abc import Callable
from itertools import accumulate, takewhile
from pathlib import Path

import pytest

from app.commands import write
from app.commands.write import BEHIND_MAX, BUSY_SECONDS, IDLE_SECONDS, QUIET_SECONDS
from app.stages import PROJECT, SETTLE, Progress, Stages
from app.stopping import Stopping
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


class Clock(Stopping):
    """Goes on by what is waited for, at once."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.time = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


def follow(stages: "Scripted", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "elapsed", lambda: stages.stopping.time)
    write._follow(stages, stages.stopping, behind=0)


class Scripted(Stages):
    """Folds as many decisions as its script says, look by look, and is asked to stop before the last.

    `done` tells what it did. While it folds history for the first time, something comes. A look takes no time but that
    which is waited for behind it.
    """

    def __init__(self, script: list[int], *, alone: bool) -> None:
        super().__init__(None, None)
        self.settling = None if alone else self  # type: ignore[assignment]
        self.stopping = Clock()
        self.done: list[str | int] = []
        self._script = script

    def run(
        self, on_settled: Progress | None = None, on_projected: Progress | None = None, *, history: bool = True
    ) -> tuple[int, int]:
        self.done.append(self._script.pop(0))
        self.stopping.asked = len(self._script) == 1
        return 0, int(self.done[-1])

    def has_more_coming(self) -> bool:
        return self.settling is None and self.done[-1] == "history" and self.done.count("history") == 1

    def seal_one(self, is_over: Callable[[], bool]) -> bool:
        return False

    def catch_up(self, is_over: Callable[[], bool] = lambda: False) -> None:
        self.done.append("history")
        assert is_over() == self.has_more_coming()


def test_who_only_projects_leaves_history_until_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = [0] * 16
    stages = Scripted([BEHIND_MAX, BEHIND_MAX, *nothing, *nothing, 1, 1], alone=True)

    follow(stages, monkeypatch)

    first, second, *_ = [place for place, what in enumerate(stages.done) if what == "history"]
    quiet = len(list(takewhile(lambda seconds: seconds < QUIET_SECONDS, accumulate(stages.stopping.waits[1:]))))
    assert stages.done[:first] == [BEHIND_MAX, BEHIND_MAX, *[0] * (quiet + 1)]
    # What comes while history is folded ends that, and there must be nothing for as long again.
    assert stages.done[first + 1 : second] == [0] * (quiet + 1)
    assert stages.done[-2:] == [1, 1]


def test_looks_are_as_frequent_as_there_was_something(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Scripted([1, *[0] * 40, 1, 0], alone=False)

    follow(stages, monkeypatch)

    waits = stages.stopping.waits
    assert waits[0] == waits[1] == waits[-1] == BUSY_SECONDS
    assert waits[:-1] == sorted(waits[:-1])
    assert waits[-2] == IDLE_SECONDS


def test_who_does_both_is_never_far_behind_with_history(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Scripted([BEHIND_MAX - 1, 1, BEHIND_MAX - 1, 0], alone=False)

    follow(stages, monkeypatch)

    assert stages.done == [BEHIND_MAX - 1, 1, "history", BEHIND_MAX - 1, 0, "history"]


def test_the_tail_of_a_log_is_what_its_folder_still_has(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "lane-0", writable=True)
    assert log.tail() == ("", 0)
    log.append([b"{}"], "2026-10-01T00:00:00.000000Z")
    log.close()
    [file] = log.files()
    # Cut off between the look into the folder and the look at the file.
    (tmp_path / f"{9:020d}.log").symlink_to(tmp_path / "gone")

    assert log.tail() == (file.name, file.stat().st_size)
