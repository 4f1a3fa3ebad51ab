"""Topics are made as logs need them, and refused where somebody made or changed them otherwise."""

from contextlib import closing

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from events.kafka import Brokers
from events.log import LogFault
from events.topics import TopicsDiffer, check_topics, create_topics, topic_settings

pytestmark = pytest.mark.slow


def test_topics_are_made_once_and_pass_the_check(brokers: Brokers, topic_prefix: str) -> None:
    topics = {f"{topic_prefix}.facts": 3, f"{topic_prefix}.ledger": 2}

    create_topics(brokers, {f"{topic_prefix}.facts": 3}, 1)
    create_topics(brokers, topics, 1)
    create_topics(brokers, topics, 1)

    check_topics(brokers, topics, 1)
    check_topics(brokers, dict.fromkeys(topics), 1)


def test_a_topic_that_is_not_there_is_named(brokers: Brokers, topic_prefix: str) -> None:
    with pytest.raises(TopicsDiffer) as differ:
        check_topics(brokers, {topic_prefix: 1}, 1)

    assert str(differ.value) == (
        f"{topic_prefix}: topic is not there, must be made; make it with the settings that are wanted"
    )


def test_every_setting_that_differs_is_named(brokers: Brokers, topic_prefix: str) -> None:
    create_topics(brokers, {topic_prefix: 1}, 1)
    others = {
        "cleanup.policy": "compact",
        "retention.ms": "1000",
        "retention.bytes": "1000",
        "compression.type": "gzip",
        "max.message.bytes": "1000012",
        "message.timestamp.type": "CreateTime",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "true",
    }
    assert others.keys() == topic_settings(1).keys()
    with closing(KafkaAdminClient(bootstrap_servers=list(brokers.servers))) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic_prefix, configs=others)])

    with pytest.raises(TopicsDiffer) as differ:
        check_topics(brokers, {topic_prefix: 1}, 1)

    assert {(d.setting, d.found, d.wanted) for d in differ.value.differences} == {
        (setting, others[setting], value) for setting, value in topic_settings(1).items()
    }
    fix = "retention.ms is 1000, must be -1; alter the topic's config: retention.ms=-1"
    assert f"{topic_prefix}: {fix}" in str(differ.value).splitlines()
    with pytest.raises(TopicsDiffer):
        create_topics(brokers, {topic_prefix: 1}, 1)


@pytest.mark.parametrize("wanted", [1, 3])
def test_another_count_of_partitions_is_refused(wanted: int, brokers: Brokers, topic_prefix: str) -> None:
    create_topics(brokers, {topic_prefix: 2}, 1)

    with pytest.raises(TopicsDiffer, match=f"partitions is 2, must be {wanted}; a count of lanes is for good"):
        check_topics(brokers, {topic_prefix: wanted}, 1)


def test_too_few_replicas_are_refused(brokers: Brokers, topic_prefix: str) -> None:
    create_topics(brokers, {topic_prefix: 1}, 1)

    with pytest.raises(TopicsDiffer) as differ:
        check_topics(brokers, {topic_prefix: 1}, 3)

    found = {(d.setting, d.found, d.wanted) for d in differ.value.differences}
    assert found == {("replication factor", "1", "3"), ("min.insync.replicas", "1", "2")}


def test_more_replicas_than_brokers_cannot_be_made(brokers: Brokers, topic_prefix: str) -> None:
    with pytest.raises(LogFault, match="InvalidReplicationFactor"):
        create_topics(brokers, {topic_prefix: 1}, 3)
