"""What the cluster's benchmark compares comes to the same; no times are asserted."""

import pytest

from benchmarks.cluster import run


@pytest.mark.slow
def test_the_worker_and_a_plain_agent_end_with_the_same_sums(kafka: tuple[str, ...], postgres: str) -> None:
    assert run(kafka, postgres, 200)
