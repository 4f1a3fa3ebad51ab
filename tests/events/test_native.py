"""The native library is made where it can be, and its absence is no fault."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from events import native


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the library lie where there is none yet."""
    path = tmp_path / "lib" / "native.so"
    monkeypatch.setattr(native, "_library", lambda: path)
    return path


def answer(code: int) -> Any:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        if code == 0:
            Path(command[command.index("-o") + 1]).write_bytes(b"compiled")
        return subprocess.CompletedProcess(command, code)

    return run


def test_without_a_compiler_there_is_no_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    assert native.build() is None
    assert native.load.__wrapped__() is None
    assert not path.exists()


def test_a_compiler_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", answer(1))

    assert native.build() is None
    assert list(path.parent.iterdir()) == []


def test_what_is_there_is_not_compiled_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", answer(0))
    assert native.build() == path
    monkeypatch.setattr(subprocess, "run", answer(1))

    assert native.build() == path
    assert path.read_bytes() == b"compiled"


def test_the_name_follows_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = native._library()
    source = tmp_path / "native.c"
    source.write_text("int other;")
    monkeypatch.setattr(native, "_SOURCE", source)

    assert native._library() != before
    assert native._library().parent == before.parent


def test_an_array_lies_where_numpy_says() -> None:
    array = np.arange(60, dtype=np.int64).reshape(5, 4, 3)

    for view in (array, array[1:], array[:, 2, 1], array[::-1], array[5:], array[array > 20]):
        assert native.address(view) == view.ctypes.data
        assert native.pointer(view).value == (view.ctypes.data or None)
