"""The file log keeps the contract of logs, and its own promises about files, locks and full disks."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.filelog import FRAME_BYTES, FileLog, frame, hold_lock
from events.log import Log, LogBusy, LogFault, LogFull
from events.record import pack
from tests.events.log_contract import NOON, LogContract, OpenLog, batches_of, naive_root_of

REPO = Path(__file__).parents[2]


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that knows our packages."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class TestFileLog(LogContract):
    """One file."""

    SEGMENT_BYTES_MAX = 1 << 30

    @pytest.fixture
    def open_log(self, tmp_path: Path) -> Iterator[OpenLog]:
        """Open the log of a folder."""
        opened: list[FileLog] = []

        def open_log(writable: bool) -> Log:
            log = FileLog(tmp_path / "log", "facts", writable=writable, segment_bytes_max=self.SEGMENT_BYTES_MAX)
            opened.append(log)
            return log

        yield open_log
        for log in opened:
            log.close()


class TestFileLogOfManyFiles(TestFileLog):
    """A new file about every second record."""

    SEGMENT_BYTES_MAX = 700


class TestFileLogOfAFilePerRecord(TestFileLog):
    """A new file for each record."""

    SEGMENT_BYTES_MAX = 1


def test_a_file_is_its_frames_and_records_and_nothing_else(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "facts", writable=True)

    records = [pack(log.append(batch, NOON)) for batch in batches_of()]

    assert (tmp_path / f"{0:020d}.log").read_bytes() == b"".join(frame(data) + data for data in records)
    log.close()


def test_files_are_named_by_the_sequence_they_begin_with(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "facts", writable=True, segment_bytes_max=1)

    records = [log.append(batch, NOON) for batch in batches_of()]

    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{record.sequence:020d}.log" for record in records]
    log.close()


def test_a_file_is_ended_only_behind_its_size(tmp_path: Path) -> None:
    size = 1_000
    log = FileLog(tmp_path, "facts", writable=True, segment_bytes_max=size)

    records = [log.append([b"x" * 100], NOON) for _ in range(20)]

    *ended, _ = sorted(tmp_path.iterdir())
    assert len(ended) > 2
    assert all(size <= path.stat().st_size < size + FRAME_BYTES + len(pack(records[-1])) for path in ended)
    log.close()


def test_a_reader_cannot_append(tmp_path: Path) -> None:
    FileLog(tmp_path, "facts", writable=True).close()
    reader = FileLog(tmp_path, "facts")

    with pytest.raises(LogFault):
        reader.append([b"{}"], NOON)


def test_a_closed_log_cannot_append(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "facts", writable=True)
    log.append([b"{}"], NOON)
    log.close()
    log.close()

    with pytest.raises(LogFault):
        log.append([b"{}"], NOON)


def test_reading_creates_no_folder(tmp_path: Path) -> None:
    reader = FileLog(tmp_path / "none", "facts")

    assert reader.end() == 0
    reader.sync()
    assert not (tmp_path / "none").exists()


def test_a_crash_between_beginning_a_file_and_its_first_record_loses_nothing(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "facts", writable=True)
    first = log.append([b"{}"], NOON)
    log.close()
    (tmp_path / f"{first.end:020d}.log").touch()

    log = FileLog(tmp_path, "facts", writable=True)
    second = log.append([b"{}"], NOON)

    assert list(FileLog(tmp_path, "facts").read()) == [first, second]
    assert log.cut_bytes == 0
    log.close()


def test_a_failed_sync_closes_the_log_for_writing(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "facts", writable=True)
    log.append([b"{}"], NOON)
    held, other = os.pipe()
    assert log._file is not None
    os.dup2(other, log._file)  # bytes go in, but a pipe cannot be synced

    with pytest.raises(LogFault) as fault:
        log.append([b"{}"], NOON)
    with pytest.raises(LogFault, match="open it again"):
        log.append([b"{}"], NOON)

    assert not isinstance(fault.value, LogFull)
    log.close()
    os.close(held)
    os.close(other)
    assert FileLog(tmp_path, "facts").end() == 2


def test_a_file_that_cannot_be_begun_is_a_fault_and_no_other_file_is_touched(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log", "facts", writable=True, segment_bytes_max=1)
    first = log.append([b"{}"], NOON)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(LogFault):
            log.append([b"{}"], NOON)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with (tmp_path / "other").open("wb", buffering=0) as other:
        second = log.append([b"{}"], NOON)
        other.write(b"mine")
    log.close()

    assert (tmp_path / "other").read_bytes() == b"mine"
    assert list(FileLog(tmp_path / "log", "facts", writable=True).read()) == [first, second]


FULL = """
import resource, signal, sys
from pathlib import Path
from events.filelog import FileLog
from events.log import LogFull

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
log = FileLog(folder, "facts", writable=True)
log.append([b"a" * 100], "2026-10-01T12:00:00.000000Z")
(path,) = folder.iterdir()
before = path.read_bytes()
root = log.root()
for _ in range(3):
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + limit, hard))
    try:
        log.append([b"b" * 5000, b"c"], "2026-10-01T12:00:00.000000Z")
    except LogFull as error:
        assert "nothing of the batch was kept" in str(error)
    else:
        raise SystemExit("appended to a full disk")
    assert path.read_bytes() == before and log.root() == root
    assert FileLog(folder, "facts").root() == root
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.append([b"d"], "2026-10-01T12:00:00.000000Z")
print(log.end(), log.root().hex())
"""


@pytest.mark.parametrize("room", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 5_000])
def test_on_a_full_disk_nothing_of_a_batch_is_kept_and_later_ones_are_written(room: int, tmp_path: Path) -> None:
    writer = run(FULL, tmp_path, room)

    said, _ = writer.communicate(timeout=30)

    assert writer.returncode == 0
    records = list(FileLog(tmp_path, "facts").read())
    assert [record.lines for record in records] == [(b"a" * 100,), (b"d",)]
    assert said.split() == ["4", naive_root_of(records)]


LOCKED = """
import sys
from pathlib import Path
from events.filelog import hold_lock
from events.log import LogBusy
try:
    with hold_lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except LogBusy as busy:
    print("busy", busy)
"""


def test_a_second_process_is_told_that_the_log_is_busy(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"

    with hold_lock(lock):
        said, _ = run(LOCKED, lock).communicate(timeout=30)

    assert said == "busy lock is held by another process; wait for it to end\n"


def test_a_lock_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    holder = run(LOCKED, tmp_path / "lock")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LogBusy), hold_lock(tmp_path / "lock"):
        pass

    holder.kill()
    holder.communicate(timeout=30)

    with hold_lock(tmp_path / "lock"):
        pass
    with hold_lock(tmp_path / "lock"):
        pass


WRITER = """
import sys
from pathlib import Path
from events.filelog import FileLog
log = FileLog(Path(sys.argv[1]), "facts", writable=True, segment_bytes_max=20_000)
for number in range(int(sys.argv[2])):
    log.append([b"%d" % number + b"x" * (number * 37 % 3000)] * (1 + number % 5), "2026-10-01T12:00:00.000000Z")
"""


def test_a_reader_beside_the_writer_sees_whole_records_in_order(tmp_path: Path) -> None:
    appended = 150
    numbers: list[int] = []
    reader, position, looks = FileLog(tmp_path, "facts"), 0, 0
    writer, until = run(WRITER, tmp_path, appended), time.monotonic() + 30

    while len(numbers) < appended and time.monotonic() < until:
        looks += 1
        for record in reader.read(position):
            assert record.sequence == position
            position = record.end
            numbers.append(int(record.lines[0].split(b"x")[0]))

    writer.communicate(timeout=30)
    assert numbers == list(range(appended))
    assert looks > 1
    assert reader.root() == FileLog(tmp_path, "facts").root()
