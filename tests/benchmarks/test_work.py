"""What the hot folds execute per settlement is bounded, without a clock: the same count on any machine."""

from pathlib import Path

import pytest

from benchmarks.__main__ import COUNTED, make_task
from benchmarks.count import STAGES, Work, count_work

# A quarter above what was counted with Python 3.11. A lower count is a reason to lower the limit.
LIMITS = {
    "a": {"ingest": Work(4, 1), "settle": Work(69, 6), "project": Work(4, 1)},
    "b": {"ingest": Work(68, 7), "settle": Work(394, 37), "project": Work(23, 3)},
}


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["a", "b"])
def test_the_hot_folds_execute_no_more_per_settlement(stream: str, tmp_path: Path) -> None:
    tasks = []
    for n in COUNTED[stream]:
        folder = tmp_path / str(n)
        folder.mkdir()
        tasks.append(make_task(stream, n, folder))

    work = count_work(*tasks)

    over = {
        stage: (work[stage], LIMITS[stream][stage])
        for stage in STAGES
        if any(found > limit for found, limit in zip(work[stage], LIMITS[stream][stage], strict=True))
    }
    assert over == {}
    assert all(part > 0 for stage in STAGES for part in work[stage])
