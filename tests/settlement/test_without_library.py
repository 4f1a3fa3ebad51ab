"""Without a C compiler the books are the same, byte for byte."""

import pytest

from tests.networks import build_network
from tests.settlement.desk import Desk, settled
from tests.without_library import without_library

pytestmark = pytest.mark.slow


def logs_of(desk: Desk) -> list[tuple[int, bytes, list[bytes]]]:
    """Return the size, the root and the records of all logs."""
    return [(log.end(), log.root(), [one.data for one in log.records]) for log in (*desk.partitions, *desk.ledgers)]


@pytest.mark.parametrize("seed", range(3))
def test_the_library_changes_no_byte(seed: int) -> None:
    world = build_network(seed)
    desk = settled(world, lanes=2)

    with without_library():
        plain = settled(world, lanes=2)
        assert plain.verify() == desk.verify()

    assert logs_of(plain) == logs_of(desk)
    assert plain.digests() == desk.digests()
