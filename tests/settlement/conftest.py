"""What tests of settlement share."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from settlement import life_run


@pytest.fixture(scope="module")
def lives_in_small_batches() -> Iterator[None]:
    """Decide regular lives by columns, however few the facts."""
    with patch.object(life_run, "LIVES_MIN", 0):
        yield
