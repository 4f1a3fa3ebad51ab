"""The inbox: a topic into which outside producers put facts as CloudEvents, one or a batch of them in a message.

    message := one CloudEvent, or a JSON array of them (the batch form); else one line, which intake will refuse

Who reads it commits its place behind what it has appended to the facts. So a message may be read twice, never not at
all; what it says is then a duplicate.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from events.brokers import Brokers, connect, kafka_faults
from events.log import LogFault

__all__ = ["Inbox", "Message", "events_of"]

MESSAGES_MAX = 2_000
_raws = msgspec.json.Decoder(list[msgspec.Raw])


class Message(NamedTuple):
    """What one message holds, and where it stood: its partition, such as `omnisync.inbox-0`, and its offset."""

    partition: str
    offset: int
    events: tuple[bytes, ...]


class Inbox:
    """Reads all partitions of the topic, from where the group's place is."""

    def __init__(self, brokers: Brokers, topic: str, group: str) -> None:
        """Connect; `group` is under whose name the place is kept. Raises: LogFault."""
        self._topic = topic
        self._places: dict[TopicPartition, Any] = {}
        self._consumer: Any = connect(
            KafkaConsumer,
            brokers,
            group_id=group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            max_poll_records=MESSAGES_MAX,
            fetch_max_wait_ms=10,
            metrics_enabled=False,
        )
        try:
            with kafka_faults(topic):
                numbers = self._consumer.partitions_for_topic(topic)
                if not numbers:
                    raise LogFault(f"{topic}: there is no such topic; create it with `omnisync init`")
                self._partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
                # One process reads all of it, so that nothing need be shared out.
                self._consumer.assign(self._partitions)
        except BaseException:
            self.close()
            raise

    def ends(self) -> dict[Any, int]:
        """Return each partition's end. Raises: LogFault."""
        with kafka_faults(self._topic):
            return dict(self._consumer.end_offsets(self._partitions))

    def is_behind(self, ends: dict[Any, int]) -> bool:
        """Tell whether messages before some ends are still to be read. Raises: LogFault."""
        with kafka_faults(self._topic):
            return any(self._consumer.position(partition) < end for partition, end in ends.items())

    def read(self, wait_ms: int) -> Sequence[Message]:
        """Return what has come, one partition's after another's, waiting so long at most. Raises: LogFault."""
        with kafka_faults(self._topic):
            polled = self._consumer.poll(timeout_ms=wait_ms)
        return list(self._take(polled))

    def _take(self, polled: dict[Any, list[Any]]) -> Iterator[Message]:
        for partition, messages in polled.items():
            for message in messages:
                name = f"{self._topic}-{partition.partition}"
                yield Message(name, message.offset, events_of(message.value or b""))
            self._places[partition] = OffsetAndMetadata(messages[-1].offset + 1, "", -1)

    def commit(self) -> None:
        """Say that all that was read is appended. Raises: LogFault."""
        if self._places:
            with kafka_faults(self._topic):
                self._consumer.commit(self._places)
            self._places = {}

    def close(self) -> None:
        """Give back the connection."""
        self._consumer.close(timeout_ms=1_000)


def events_of(value: bytes) -> tuple[bytes, ...]:
    """Cut a message into its events, byte for byte."""
    if not value.lstrip().startswith(b"["):
        return (value,)
    try:
        return tuple(bytes(raw) for raw in _raws.decode(value))
    except (msgspec.DecodeError, RecursionError):
        return (value,)
