"""What a process of ours keeps of its memory, and which threads it does without."""

import ctypes
import gc
import os
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

_COMMAND = """
import os, sys
from contextlib import suppress
from app.__main__ import main
sys.argv = ["omnisync", "--version"]
with suppress(SystemExit):
    main()
import numpy
print(len(os.listdir("/proc/self/task")))
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted where Linux shows them")
def test_a_command_starts_no_threads_for_matrices() -> None:
    alone = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", _COMMAND], check=True, capture_output=True, text=True, env=alone)

    assert done.stdout.splitlines()[-1] == "1"
