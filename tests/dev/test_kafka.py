"""Clusters as tests use them: nodes are killed, stand still, come back; users may do what is theirs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)

from dev.access import RULES, admin_options
from dev.kafka import KafkaCluster
from dev.process import ServerFault
from tests.servers import make_folder, remove_folder

pytestmark = pytest.mark.slow

TOPICS = ("facts", "ledger", "inbox")
QUICK: dict[str, Any] = {"retry_backoff_ms": 20, "bootstrap_timeout_ms": 30_000, "max_block_ms": 5_000}
ATTEMPTS = 10


def make_topics(servers: Sequence[str], names: Sequence[str], copies: int = 1, **options: Any) -> None:
    """Make topics of one partition."""
    with KafkaAdminClient(bootstrap_servers=list(servers), **options) as admin:
        wanted = {name: {"num_partitions": 1, "replication_factor": copies} for name in names}
        admin.create_topics(wanted, wait_for_metadata=True)


def produce(servers: Sequence[str], topic: str, values: Sequence[bytes], **options: Any) -> None:
    """Append values, in one transaction if there is a transactional id."""
    producer = KafkaProducer(bootstrap_servers=list(servers), acks="all", **QUICK, **options)
    try:
        if "transactional_id" in options:
            producer.init_transactions()
            producer.begin_transaction()
        for value in values:
            producer.send(topic, value, partition=0).get(60)
        if "transactional_id" in options:
            producer.commit_transaction()
    finally:
        producer.close()


def consume(servers: Sequence[str], topic: str, count: int, **options: Any) -> list[bytes]:
    """Read the first values of a topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=list(servers), group_id=None, isolation_level="read_committed", **options
    )
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    seen: list[bytes] = []
    while len(seen) < count:
        for messages in consumer.poll(500).values():
            seen += [message.value for message in messages]
    consumer.close()
    return seen


def test_a_node_comes_back_with_its_data_after_a_kill_and_a_pause(server_folder: Path) -> None:
    cluster = KafkaCluster(server_folder / "kafka")
    cluster.start()
    make_topics(cluster.servers, ["ledger"])
    produce(cluster.servers, "ledger", [b"1"], transactional_id="ledger")
    with pytest.raises(ServerFault, match="runs already"):
        cluster.start_node(1)

    cluster.kill(1)
    cluster.start_node(1)
    produce(cluster.servers, "ledger", [b"2"], transactional_id="ledger")
    cluster.pause(1)
    with pytest.raises(KafkaTimeoutError):
        KafkaProducer(bootstrap_servers=list(cluster.servers), bootstrap_timeout_ms=500)
    cluster.resume(1)

    assert consume(KafkaCluster(server_folder / "kafka").servers, "ledger", 2) == [b"1", b"2"]


def test_three_nodes_go_on_without_one(server_folder: Path) -> None:
    cluster = KafkaCluster(server_folder / "kafka", nodes=3)
    cluster.start()
    make_topics(cluster.servers, ["ledger"], copies=3)
    produce(cluster.servers, "ledger", [b"1", b"2"], transactional_id="ledger")

    cluster.kill(2)
    for attempt in range(ATTEMPTS):
        # Opened while the lost node still counts as the coordinator, a producer waits for it and never asks again.
        try:
            produce(cluster.servers, "ledger", [b"3"], transactional_id="ledger")
            break
        except KafkaTimeoutError:
            assert attempt < ATTEMPTS - 1

    assert consume(cluster.servers, "ledger", 3) == [b"1", b"2", b"3"]


@pytest.fixture(scope="module")
def secure() -> Iterator[KafkaCluster]:
    """A secure cluster with its three topics."""
    folder = make_folder()
    cluster = KafkaCluster(folder / "kafka", secure=True)
    try:
        cluster.start()
        make_topics(cluster.administration, [f"omnisync.{name}" for name in TOPICS], **admin_options(cluster.secrets))
        yield cluster
    finally:
        remove_folder(folder)


WRITERS = {"facts": "ingest", "ledger": "settle"}


@pytest.mark.parametrize("log", WRITERS)
def test_a_log_takes_its_writer_and_nobody_else(secure: KafkaCluster, log: str) -> None:
    topic = transactional_id = f"omnisync.{log}"
    writer = WRITERS[log]

    produce(secure.servers, topic, [b"right"], transactional_id=transactional_id, **secure.options(writer))
    for user in RULES.keys() - {writer}:
        with pytest.raises(TransactionalIdAuthorizationFailedError):
            produce(secure.servers, topic, [b"wrong"], transactional_id=transactional_id, **secure.options(user))
        with pytest.raises((TopicAuthorizationFailedError, KafkaTimeoutError)):
            produce(secure.servers, topic, [b"wrong"], enable_idempotence=False, **secure.options(user))

    assert consume(secure.servers, topic, 1, **secure.options("reader")) == [b"right"]


def test_outside_producers_reach_the_inbox_alone(secure: KafkaCluster) -> None:
    produce(secure.servers, "omnisync.inbox", [b"fact"], **secure.options("producer"))

    assert consume(secure.servers, "omnisync.inbox", 1, **secure.options("ingest")) == [b"fact"]


def test_only_the_right_password_is_let_in(secure: KafkaCluster) -> None:
    right = {**secure.options("settle"), "bootstrap_servers": list(secure.servers)}

    with pytest.raises(KafkaTimeoutError):
        KafkaProducer(bootstrap_timeout_ms=1_000, **{**right, "sasl_plain_password": "guessed"})
    assert "invalid credentials with SASL mechanism SCRAM-SHA-512" in (secure.folder / "kafka-1.log").read_text("utf-8")

    KafkaProducer(**right).close()


def test_who_shows_neither_password_nor_certificate_is_not_let_in(secure: KafkaCluster) -> None:
    for servers in (secure.servers, secure.administration):
        for protocol in ("PLAINTEXT", "SSL"):
            with pytest.raises(KafkaTimeoutError):
                KafkaProducer(
                    bootstrap_servers=list(servers),
                    bootstrap_timeout_ms=1_000,
                    security_protocol=protocol,
                    ssl_cafile=str(secure.secrets / "ca.pem"),
                )
