"""Counts what our stages execute: a measure of work that no neighbour on the machine can disturb.

Bytecode instructions and calls (of Python and of C) per settlement, as the difference of two streams: what a run costs
once falls out. Work within C is not seen, so it complements the clock and does not replace it. Hardware counters are no
substitute here: virtual machines, those of CI among them, seldom have any.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from benchmarks.product import run_product
from benchmarks.task import Task
from benchmarks.watch import Watch

__all__ = ["STAGES", "Work", "count_work"]

STAGES = ("ingest", "settle", "project")


class Work(NamedTuple):
    """What was executed."""

    instructions: float
    calls: float


class _Counter(Watch):
    """Counts by stage what is executed in frames that begin within it."""

    def __init__(self) -> None:
        super().__init__()
        self.instructions: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self._before: tuple[Any, Any] = (None, None)

    def work(self, stage: str) -> Work:
        return Work(self.instructions[stage], self.calls[stage])

    def _pause(self) -> None:
        if self._running:
            sys.settrace(self._before[0])
            sys.setprofile(self._before[1])
        super()._pause()

    def _go_on(self) -> None:
        super()._go_on()
        if self._running:
            stage = self._running[-1]
            self.instructions.setdefault(stage, 0)
            self.calls.setdefault(stage, 0)
            self._before = sys.gettrace(), sys.getprofile()
            sys.setprofile(self._profiler(stage))
            sys.settrace(self._tracer(stage))

    def _tracer(self, stage: str) -> Callable[[FrameType, str, Any], Any]:
        instructions = self.instructions

        def within(frame: FrameType, event: str, _: Any) -> Any:
            if event == "opcode":
                instructions[stage] += 1
            return within

        def begin(frame: FrameType, _event: str, _: Any) -> Any:
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
            return within

        return begin

    def _profiler(self, stage: str) -> Callable[[FrameType, str, Any], None]:
        calls = self.calls

        def profile(_frame: FrameType, event: str, _: Any) -> None:
            if event in {"call", "c_call"}:
                calls[stage] += 1

        return profile


def count_work(small: Task, large: Task) -> dict[str, Work]:
    """Return each stage's work per settlement, by two tasks of one stream."""
    # What is imported, compiled and cached once is not counted.
    _run(small)
    less, more = _run(small), _run(large)
    settlements = large.settlements - small.settlements
    return {
        stage: Work(*((b - a) / settlements for a, b in zip(less.work(stage), more.work(stage), strict=True)))
        for stage in STAGES
    }


def _run(task: Task) -> _Counter:
    counter = _Counter()
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        result = run_product(task, Path(folder), counter)
    assert result.exact
    return counter
