"""The log on Kafka keeps the contract of logs, and its own promises about transactions and writers."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zstandard
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecordsBuilder

from events.kafka import RECENT_BYTES_MAX, ZSTD_LEVEL, Brokers, KafkaLog, KafkaWriter
from events.log import Log, LogFault, LogFenced
from events.record import RECORD_BYTES_MAX
from tests.events.log_contract import NOON, LogContract, OpenLog, batches_of, naive_root_of

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
OpenWriter = Callable[[], KafkaWriter]


class TestKafkaLog(LogContract):
    """Each append is a transaction."""

    @pytest.fixture
    def open_log(self, brokers: Brokers, topic: str) -> Iterator[OpenLog]:
        """Open the log of a partition."""
        opened: list[KafkaLog | KafkaWriter] = []

        def open_log(writable: bool) -> Log:
            writer = KafkaWriter(brokers, f"{topic}.writer") if writable else None
            log = KafkaLog(brokers, topic, 1, "facts", writer)
            opened.extend([log, writer] if writer else [log])
            return log

        yield open_log
        for one in opened:
            one.close()


@pytest.fixture
def open_writer(brokers: Brokers, topic: str) -> Iterator[OpenWriter]:
    """Open writers that all have the same id."""
    opened: list[KafkaWriter] = []

    def open_writer() -> KafkaWriter:
        opened.append(KafkaWriter(brokers, topic))
        return opened[-1]

    yield open_writer
    for one in opened:
        one.close()


@pytest.fixture
def open_log(brokers: Brokers, topic: str) -> Iterator[Callable[..., KafkaLog]]:
    """Open logs of the topic, by partition."""
    opened: list[KafkaLog] = []

    def open_log(partition: int, writer: KafkaWriter | None = None) -> KafkaLog:
        opened.append(KafkaLog(brokers, topic, partition, f"lane-{partition}", writer, sync_each=False))
        return opened[-1]

    yield open_log
    for one in opened:
        one.close()


OpenOf = Callable[..., KafkaLog]


def test_what_was_appended_between_two_commits_is_one_transaction(open_writer: OpenWriter, open_log: OpenOf) -> None:
    writer = open_writer()
    lane, hub = open_log(0, writer), open_log(1, writer)
    readers = [open_log(0), open_log(1)]
    first = [lane.append(batch, NOON) for batch in batches_of()]
    second = [hub.append(batch, NOON) for batch in batches_of()]

    assert [list(reader.read()) for reader in readers] == [[], []]
    hub.sync()
    assert [list(reader.read()) for reader in readers] == [first, second]
    assert [reader.root() for reader in readers] == [lane.root(), hub.root()]
    lane.sync()
    readers[0].sync()


def test_a_writer_reads_what_it_has_not_committed(open_writer: OpenWriter, open_log: OpenOf) -> None:
    writer = open_writer()
    log = open_log(0, writer)
    records = []

    for batch in batches_of():
        records.append(log.append(batch, NOON))
        assert log.end() == records[-1].end
        assert log.root().hex() == naive_root_of(records)

    for position in range(records[-1].end + 2):
        assert list(log.read(position)) == [record for record in records if record.end > position]


def test_what_is_not_committed_when_the_writer_closes_is_gone(open_writer: OpenWriter, open_log: OpenOf) -> None:
    writer = open_writer()
    log = open_log(0, writer)
    first = log.append([b"{}"], NOON)
    writer.commit()
    log.append([b"{}"] * 3, NOON)
    writer.close()

    with pytest.raises(LogFault, match="open it again"):
        log.append([b"{}"], NOON)
    with pytest.raises(LogFault, match="open it again"):
        list(log.read())

    again = open_log(0, open_writer())
    assert list(again.read()) == [first]
    assert again.end() == first.end


def test_aborted_transactions_leave_gaps_that_readers_pass(open_writer: OpenWriter, open_log: OpenOf) -> None:
    kept = []
    for batch in batches_of():
        writer = open_writer()
        log = open_log(0, writer)
        kept.append(log.append(batch, NOON))
        writer.commit()
        log.append([b"gone"] * 3, NOON)
        log.append([b"gone too"], NOON)
        writer.close()

    reader = open_log(0)

    assert reader.end() == kept[-1].end
    assert list(reader.read()) == kept
    assert list(reader.read()) == kept
    assert list(reader.read(reader.end())) == []
    assert reader.root().hex() == naive_root_of(kept)


def test_of_two_writers_the_older_stops_and_nothing_of_it_is_seen(open_writer: OpenWriter, open_log: OpenOf) -> None:
    older = open_writer()
    log = open_log(0, older)
    first = log.append([b"{}"], NOON)
    older.commit()
    log.append([b"lost"], NOON)

    newer = open_writer()
    successor = open_log(0, newer)
    with pytest.raises(LogFenced, match="another writer took over"):
        older.commit()

    assert older.closed
    with pytest.raises(LogFault, match="open it again"):
        log.end()
    second = successor.append([b"{}"], NOON)
    newer.commit()
    assert list(open_log(0).read()) == [first, second]


def test_a_fenced_writer_that_has_sent_nothing_yet_is_told_too(open_writer: OpenWriter, open_log: OpenOf) -> None:
    older = open_writer()
    log = open_log(0, older)
    open_writer()
    log.append([b"{}"], NOON)

    with pytest.raises(LogFenced):
        older.commit()

    assert list(open_log(0).read()) == []


@pytest.mark.parametrize("step", ["kafka.1-sent", "kafka.2-acknowledged", "kafka.3-committed"])
def test_a_writer_that_is_killed_leaves_all_of_a_transaction_or_nothing(
    step: str, brokers: Brokers, topic: str, open_writer: OpenWriter, open_log: OpenOf
) -> None:
    # The second transaction has two records: the third message of all, the second commit.
    times = 3 if step == "kafka.1-sent" else 2
    command = [sys.executable, "-c", WRITER, *brokers.servers, topic, step, str(times)]
    killed = subprocess.run(command, cwd=REPO, timeout=60, check=False)

    successor = open_log(0, open_writer())

    assert killed.returncode == -signal.SIGKILL
    expected = [b"one", b"two", b"three"] if step == "kafka.3-committed" else [b"one"]
    assert [line for record in successor.read() for line in record.lines] == expected
    assert [line for record in open_log(0).read() for line in record.lines] == expected


WRITER = """
import sys
from events.kafka import Brokers, KafkaLog, KafkaWriter
from events.killpoints import arm
server, topic, step, times = sys.argv[1:]
writer = KafkaWriter(Brokers((server,)), topic)
log = KafkaLog(Brokers((server,)), topic, 0, "lane-0", writer, sync_each=False)
arm(step, int(times))
for lines in ([b"one"],), ([b"two"], [b"three"]):
    for batch in lines:
        log.append(batch, "2026-10-01T12:00:00.000000Z")
    writer.commit()
"""


def test_more_than_is_kept_at_hand_is_read_without_a_gap(open_writer: OpenWriter, open_log: OpenOf) -> None:
    writer = open_writer()
    log = open_log(0, writer)
    line = b"x" * (RECORD_BYTES_MAX - 4_096)
    records = [log.append([line], NOON) for _ in range(RECENT_BYTES_MAX // len(line) + 2)]
    assert [record.sequence for record in log.read()] == [record.sequence for record in records]

    writer.commit()
    records.append(log.append([line], NOON))

    assert [record.sequence for record in log.read()] == [record.sequence for record in records]
    assert [record.sequence for record in log.read(3)] == [record.sequence for record in records[1:]]
    assert [record.sequence for record in open_log(0).read()] == [record.sequence for record in records[:-1]]


def test_a_record_that_cannot_be_made_smaller_fits(open_writer: OpenWriter, open_log: OpenOf) -> None:
    writer = open_writer()
    line = random.Random(1).randbytes(RECORD_BYTES_MAX - 4_096).replace(b"\n", b" ")

    open_log(0, writer).append([line], NOON)
    writer.commit()

    assert [record.lines for record in open_log(0).read()] == [(line,)]


def test_batches_are_compressed_at_our_level() -> None:
    value = b"".join(b'{"amount":"%d"}\n' % (number * number) for number in range(1_000))
    builder = MemoryRecordsBuilder(2, DefaultRecordBatch.CODEC_ZSTD, RECORD_BYTES_MAX)
    builder.append(0, None, value)
    plain = bytes(builder._builder._buffer[DefaultRecordBatch.HEADER_STRUCT.size :])
    builder.close()

    batch = bytes(builder.buffer()[DefaultRecordBatch.HEADER_STRUCT.size :])
    assert batch == zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(plain)
    assert batch != zstandard.ZstdCompressor().compress(plain)


def test_a_reader_cannot_append(open_log: OpenOf) -> None:
    with pytest.raises(LogFault):
        open_log(0).append([b"{}"], NOON)


def test_a_closed_log_cannot_append(open_writer: OpenWriter, open_log: OpenOf) -> None:
    writer = open_writer()
    log, other = open_log(0, writer), open_log(1, writer)
    log.append([b"{}"], NOON)
    other.append([b"{}"], NOON)
    log.close()
    log.close()

    with pytest.raises(LogFault):
        log.append([b"{}"], NOON)

    other.sync()
    assert open_log(1).end() == other.end()


def test_a_log_whose_partition_holds_anothers_open_transaction_is_not_opened(
    brokers: Brokers, topic: str, open_writer: OpenWriter, open_log: OpenOf
) -> None:
    with closing(KafkaWriter(brokers, f"{topic}.another")) as another:
        another.send(topic, 0, b"?")
        another._producer.flush()

        with pytest.raises(LogFault, match="a transaction stays open; a log has one writer"):
            open_log(0, open_writer())
