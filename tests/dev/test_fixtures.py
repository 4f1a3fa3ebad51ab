"""The shared servers: a transaction on Kafka is seen whole, each database is empty and its own."""

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition


@pytest.mark.slow
def test_a_transaction_is_seen_when_it_commits(kafka: tuple[str, ...], topic_prefix: str) -> None:
    topic = TopicPartition(f"{topic_prefix}.facts", 0)
    with KafkaAdminClient(bootstrap_servers=list(kafka)) as admin:
        admin.create_topics({topic.topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    producer = KafkaProducer(bootstrap_servers=list(kafka), transactional_id=topic_prefix)
    producer.init_transactions()
    for value, committed in ((b"seen", True), (b"never", False), (b"too", True)):
        producer.begin_transaction()
        producer.send(topic.topic, value, partition=0)
        producer.flush()
        producer.commit_transaction() if committed else producer.abort_transaction()
    producer.close()

    consumer = KafkaConsumer(bootstrap_servers=list(kafka), group_id=None, isolation_level="read_committed")
    consumer.assign([topic])
    consumer.seek(topic, 0)
    end = consumer.end_offsets([topic])[topic]
    seen = []
    while consumer.position(topic) < end:
        seen += [message.value for message in consumer.poll(500).get(topic, [])]
    consumer.close()

    assert seen == [b"seen", b"too"]


@pytest.mark.slow
@pytest.mark.parametrize("turn", [1, 2])
def test_a_test_has_a_database_of_its_own(database: str, turn: int) -> None:
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE mine (turn int PRIMARY KEY)")
        connection.execute("INSERT INTO mine VALUES (%s)", [turn])

        assert connection.execute("SELECT turn FROM mine").fetchall() == [(turn,)]
