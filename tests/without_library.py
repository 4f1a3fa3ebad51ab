"""The machine without a C compiler, for as long as a test asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from events import native

__all__ = ["without_library"]


@contextmanager
def without_library() -> Iterator[None]:
    """Do everything in Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_library", lambda: Path("absent"))
        native.load.cache_clear()
        assert native.load() is None
        yield
    native.load.cache_clear()
