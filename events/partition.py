"""One partition of a topic as committed messages by offset, read with no consumer group.

Offsets are places and no positions: each commit and each aborted transaction takes some, so they have gaps. `end` is
the last stable offset; every loop here ends there, or at a fault after a time in which nothing came.
"""

from contextlib import closing
from threading import Event
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError, KafkaTimeoutError, OffsetOutOfRangeError

from events.brokers import Brokers, connect, kafka_faults
from events.log import LogFault

__all__ = ["MessageLost", "Partition"]

# As much as is fetched at once, compressed, and as many messages of it as are handed over at once.
FETCH_BYTES = 2 * 1024 * 1024
MESSAGES_MAX = 500
POLL_MS = 100
# So long a broker may take to answer; where a log ends it is asked several times, and between them who leads.
REQUEST_MS_MAX = 5_000
END_MS, END_TRIES = 2_000, 15
# With POLL_MS: 10 seconds without anything, though there is something, is a stall.
POLLS_MAX = 100
# A transaction that has ended is marked so in some milliseconds; this many looks are 5 seconds.
STABLE_WAIT_S_MAX = 0.1
STABLE_TRIES_MAX = 55


class MessageLost(LogFault):
    """There is no such offset (any more), or its bytes do not check: somebody deleted, changed or made anew."""


class Partition:
    """A reader's connection to one partition."""

    def __init__(self, brokers: Brokers, topic: str, number: int, *, committed: bool = True) -> None:
        """Connect. Raises: LogFault."""
        self.name = f"{topic}-{number}"
        self._brokers = brokers
        self._partition = TopicPartition(topic, number)
        # Where the consumer stands, so that reading on costs no seek.
        self._next = -1
        self._consumer: Any = connect(
            KafkaConsumer,
            brokers,
            topic,
            group_id=None,
            isolation_level="read_committed" if committed else "read_uncommitted",
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            request_timeout_ms=REQUEST_MS_MAX,
            max_poll_records=MESSAGES_MAX,
            max_partition_fetch_bytes=FETCH_BYTES,
            # Nothing is waited for at the end; a fetch ahead that finds nothing must not hold up the next seek.
            fetch_max_wait_ms=10,
            metrics_enabled=False,
        )
        try:
            with kafka_faults(self.name):
                if number not in (self._consumer.partitions_for_topic(topic) or ()):
                    raise LogFault(f"{self.name}: there is no such topic or partition, or we may not read it")
                self._consumer.assign([self._partition])
        except BaseException:
            self.close()
            raise

    def end(self) -> int:
        """Return the last stable offset: all before it is committed or aborted. Raises: LogFault."""
        with kafka_faults(self.name):
            for left in reversed(range(END_TRIES)):
                try:
                    return int(self._consumer.end_offsets([self._partition], END_MS)[self._partition])
                except KafkaTimeoutError:
                    # A broker that stands still answers nobody; behind this another one leads. Until it is told to
                    # look for that one, the client goes on asking the first, be it refused as no leader.
                    if not left:
                        raise
                    self._consumer._client.cluster.request_update()
        raise AssertionError("the last try returns or raises")

    def begin(self) -> int:
        """Return the first offset that is kept. Raises: LogFault."""
        with kafka_faults(self.name):
            return int(self._consumer.beginning_offsets([self._partition])[self._partition])

    def fetch(self, offset: int, count: int = MESSAGES_MAX) -> tuple[list[tuple[int, bytes | None]], int]:
        """Return some messages from an offset before `end` on, with their offsets, and the offset to go on from.

        Raises: MessageLost, LogFault.
        """
        try:
            with kafka_faults(f"{self.name}@{offset}"):
                if offset != self._next:
                    self._next = -1
                    self._consumer.seek(self._partition, offset)
                for _ in range(POLLS_MAX):
                    found = self._consumer.poll(timeout_ms=POLL_MS, max_records=count).get(self._partition, [])
                    after = self._consumer.position(self._partition)
                    if found or after > offset:
                        self._next = after
                        return [(message.offset, message.value) for message in found], after
        except LogFault as fault:
            if isinstance(fault.__cause__, OffsetOutOfRangeError | CorruptRecordError):
                raise MessageLost(str(fault)) from fault
            raise
        raise LogFault(f"{self.name}@{offset}: nothing came in {POLLS_MAX * POLL_MS} ms")

    def wait_until_stable(self) -> None:
        """Wait until no transaction is open. Raises: LogFault."""
        topic, number = self._partition
        with closing(Partition(self._brokers, topic, number, committed=False)) as whole:
            self.wait_until_committed(whole.end())

    def wait_until_committed(self, offset: int) -> None:
        """Wait until all before an offset is committed or aborted, and seen to be. Raises: LogFault.

        A commit is decided before it is marked in each partition: readers see it a moment later.
        """
        for tries in range(STABLE_TRIES_MAX):
            end = self.end()
            if end >= offset:
                return
            Event().wait(min(STABLE_WAIT_S_MAX, 0.001 * 2**tries))
        raise LogFault(f"{self.name}@{end}: a transaction stays open; a log has one writer")

    def close(self) -> None:
        """Give back the connection."""
        self._consumer.close(timeout_ms=1_000)
