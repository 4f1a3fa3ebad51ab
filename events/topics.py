"""The topics that a cluster's logs are: making them, and refusing those that would lose or change what they hold.

log N = partition N        so the count of a topic's partitions is the count of its logs, for good
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from threading import Event
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from events.brokers import Brokers, connect, kafka_faults
from events.log import LogFault
from events.record import RECORD_BYTES_MAX

__all__ = [
    "MESSAGE_BYTES_MAX",
    "Difference",
    "TopicsDiffer",
    "check_group",
    "check_topics",
    "count_partitions",
    "create_topics",
    "topic_settings",
]

# A record, Kafka's frame around it, and what zstd adds to what it cannot make smaller.
MESSAGE_BYTES_MAX = RECORD_BYTES_MAX + 65_536
# So long all brokers have to hear of new topics: 5 seconds.
HEARD_TRIES, HEARD_WAIT_S = 50, 0.1


class Difference(NamedTuple):
    """A topic's setting that is not as it must be; `found` is None where there is no topic."""

    topic: str
    setting: str
    found: str | None
    wanted: str
    fix: str


class TopicsDiffer(LogFault):
    """Topics are not what logs need; `differences` says each."""

    def __init__(self, differences: list[Difference]) -> None:
        """Say each difference, and what to do."""
        said = [f"{d.topic}: {d.setting} is {d.found or 'not there'}, must be {d.wanted}; {d.fix}" for d in differences]
        super().__init__("\n".join(said))
        self.differences = differences


def topic_settings(replication: int) -> dict[str, str]:
    """Return the settings of a topic that forgets nothing, as it is kept on so many brokers."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "compression.type": "producer",
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "message.timestamp.type": "LogAppendTime",
        # One broker may be away; two that hold the last commit may not.
        "min.insync.replicas": str(max(1, replication - 1)),
        "unclean.leader.election.enable": "false",
    }


def create_topics(brokers: Brokers, topics: Mapping[str, int], replication: int) -> None:
    """Make those topics that are not there yet, by name with their partitions, then check all.

    Raises: TopicsDiffer, LogFault.
    """
    with closing(connect(KafkaAdminClient, brokers)) as admin, kafka_faults("topics"):
        there = _describe(admin, list(topics))
        new = {
            topic: {
                "num_partitions": partitions,
                "replication_factor": replication,
                "configs": topic_settings(replication),
            }
            for topic, partitions in topics.items()
            if topic not in there
        }
        if new:
            # Somebody else may make them at the same time: the check below judges what there is then.
            try:
                admin.create_topics(new, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                admin.wait_for_topics(list(new))
    for left in reversed(range(HEARD_TRIES)):
        try:
            check_topics(brokers, dict(topics), replication)
            return
        except TopicsDiffer as differ:
            # A broker that has just come back may not have heard of them yet.
            if not left or any(found.found is not None for found in differ.differences):
                raise
        Event().wait(HEARD_WAIT_S)


def check_topics(brokers: Brokers, topics: Mapping[str, int | None], replication: int) -> None:
    """Refuse topics, by name with their partitions (None: any number), that are not as they must be.

    Raises: TopicsDiffer, LogFault.
    """
    with closing(connect(KafkaAdminClient, brokers)) as admin, kafka_faults("topics"):
        differences = list(_differences(admin, topics, replication))
    if differences:
        raise TopicsDiffer(differences)


def _describe(admin: Any, names: list[str]) -> dict[str, list[Any]]:
    """Return the partitions of those topics that are there."""
    there = {}
    for topic in admin.describe_topics(names):
        error = for_code(topic["error_code"])
        if error is NoError:
            there[topic["name"]] = topic["partitions"]
        elif error is not UnknownTopicOrPartitionError:
            raise error(topic["name"])
    return there


def _differences(admin: Any, topics: Mapping[str, int | None], replication: int) -> Iterator[Difference]:
    there = _describe(admin, list(topics))
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in there]
    found = admin.describe_configs(resources, config_filter="all")["topic"] if there else {}
    for topic, wanted in topics.items():
        if topic not in there:
            yield Difference(topic, "topic", None, "made", "make it with the settings that are wanted")
            continue
        partitions = there[topic]
        if wanted is not None and len(partitions) != wanted:
            fix = "a count of lanes is for good: go back to the old one, or begin new books under another prefix"
            yield Difference(topic, "partitions", str(len(partitions)), str(wanted), fix)
        copies = min(len(partition["replica_nodes"]) for partition in partitions)
        if copies < replication:
            fix = "let Kafka's reassignment tool add replicas"
            yield Difference(topic, "replication factor", str(copies), str(replication), fix)
        for setting, value in topic_settings(replication).items():
            is_now = found[topic][setting]["value"]
            if is_now != value:
                yield Difference(topic, setting, is_now, value, f"alter the topic's config: {setting}={value}")


def count_partitions(brokers: Brokers, topic: str) -> int | None:
    """Count a topic's partitions; None where there is no such topic. Raises: LogFault."""
    with closing(connect(KafkaAdminClient, brokers)) as admin, kafka_faults(topic):
        partitions = _describe(admin, [topic]).get(topic)
    return None if partitions is None else len(partitions)


def check_group(brokers: Brokers, group: str, topic: str) -> None:
    """Refuse a group that this user may not know, since whoever may not join waits without a word. Raises: LogFault."""
    consumer = connect(
        KafkaConsumer,
        brokers,
        group_id=group,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )
    try:
        with kafka_faults(group):
            consumer.committed(TopicPartition(topic, 0))
    finally:
        consumer.close(timeout_ms=1_000)
