"""What a process of ours keeps of its memory."""

import ctypes
import gc
import platform
import subprocess
import sys

import pytest

from app.memory import keep_memory

_BATCH = """
import resource
from app.memory import keep_memory
keep_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    batch = b"x" * (16 * 1024 * 1024)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del batch
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
def test_memory_of_a_batch_is_there_for_the_next() -> None:
    done = subprocess.run([sys.executable, "-c", _BATCH], check=True, capture_output=True, text=True)

    assert int(done.stdout) < 100


def test_another_library_goes_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    try:
        keep_memory()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
