"""A PostgreSQL database of the test's own, with the tables."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from app.books import MIGRATIONS
from projections.database import migrate, open_postgres

__all__ = ["Opened"]

Opened = Callable[..., Engine]


@pytest.fixture
def opened(database: str) -> Iterator[Opened]:
    """Open the test's database, at the newest revision, as a writer or a reader."""
    engines: list[Engine] = []

    def open_it(*, writable: bool = False) -> Engine:
        engines.append(open_postgres(database, writable=writable))
        return engines[-1]

    migrate(open_it(writable=True), MIGRATIONS)
    yield open_it
    for engine in engines:
        engine.dispose()
