"""Brokers that cannot be reached, that do not know us, or that stop answering: a fault that says so, nothing left."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import (
    InvalidProducerEpochError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
)

from dev.kafka import KafkaCluster
from events.brokers import connect, kafka_faults
from events.kafka import Brokers, KafkaLog, KafkaWriter
from events.log import LogFault, LogFenced
from events.partition import Partition
from events.topics import create_topics
from tests.events.log_contract import NOON

OPENERS: list[Callable[[Brokers], Any]] = [
    lambda brokers: KafkaWriter(brokers, "w"),
    lambda brokers: KafkaLog(brokers, "t", 0, "facts"),
    lambda brokers: create_topics(brokers, {"t": 1}, 1),
]


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_secrets_are_not_shown() -> None:
    brokers = Brokers(("127.0.0.1:9092",), {"sasl_plain_password": "hunter2", "sasl_pasword": "hunter3"})

    assert "hunter" not in repr(brokers)
    with pytest.raises(LogFault, match=r"unknown options sasl_pasword$"):
        KafkaWriter(brokers, "w")


def test_an_option_that_is_not_for_security_is_refused() -> None:
    with pytest.raises(LogFault, match="unknown options isolation_level"):
        KafkaLog(Brokers(("127.0.0.1:9092",), {"isolation_level": "read_uncommitted"}), "t", 0, "facts")


@pytest.mark.slow
def test_a_broker_that_is_not_there_is_named_with_the_reason(nobody: str) -> None:
    before = threading.enumerate()

    with ThreadPoolExecutor() as pool:
        failed = [pool.submit(opener, Brokers((nobody,))) for opener in OPENERS]

    for one in failed:
        with pytest.raises(LogFault, match=f"kafka at {nobody}: KafkaConnectionError: 111 ECONNREFUSED"):
            one.result()
    assert threading.enumerate() == before


def test_what_says_most_is_named_whatever_came_last() -> None:
    def refused(**_: Any) -> None:
        # The client looks at the time before each try.
        for error in (KafkaConnectionError("111 ECONNREFUSED"), KafkaConnectionError("Connection timed out")):
            logging.getLogger("kafka.net.manager").error("no connection: %s", error)
        raise KafkaTimeoutError("no broker")

    with pytest.raises(LogFault, match=r"^kafka at nowhere:1: KafkaConnectionError: 111 ECONNREFUSED$"):
        connect(refused, Brokers(("nowhere:1",)))


@pytest.mark.slow
def test_who_is_hung_up_on_is_asked_for_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, args=[server], daemon=True).start()
        options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512"}
        secret = {"sasl_plain_username": "facts", "sasl_plain_password": "hunter2"}

        with pytest.raises(LogFault, match=r"; are user and password right\?$"):
            KafkaWriter(Brokers((f"127.0.0.1:{server.getsockname()[1]}",), options | secret), "w")
        server.shutdown(socket.SHUT_RDWR)


def hang_up(server: socket.socket) -> None:
    """Accept callers and hang up, until the server is shut down."""
    with suppress(OSError):
        while True:
            server.accept()[0].close()


@pytest.mark.slow
def test_a_broker_that_takes_connections_and_does_not_answer_is_passed_over(kafka: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(LogFault, match="there is no such topic"):
        KafkaLog(Brokers((f"127.0.0.1:{mute.getsockname()[1]}", *kafka)), "nothing", 0, "facts")


@pytest.mark.parametrize(
    "error",
    [ProducerFencedError(), InvalidProducerEpochError(), KafkaError("Cannot perform send", ProducerFencedError())],
    ids=str,
)
def test_whatever_a_fenced_writer_does_next_says_so(error: KafkaError) -> None:
    with pytest.raises(LogFenced, match=r"^w: another writer took over"), kafka_faults("w"):
        raise error


@pytest.mark.slow
def test_a_broker_that_asks_for_no_password_is_not_told_one(kafka: tuple[str, ...]) -> None:
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512"}
    secret = {"sasl_plain_username": "facts", "sasl_plain_password": "hunter2"}

    with pytest.raises(LogFault, match="IllegalSaslState") as fault:
        KafkaWriter(Brokers(kafka, options | secret), "w")

    assert "hunter2" not in str(fault.value)


def test_whatever_is_no_fault_of_kafkas_passes() -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connect(interrupted, Brokers(("127.0.0.1:9092",)))


def test_that_a_node_cannot_be_reached_is_no_exception(nobody: str) -> None:
    """If it were, the producer would not ask again to add partitions to a transaction, and time would run out."""

    def client(kafka_client: Callable[..., Any], bootstrap_servers: list[str], **_: Any) -> Any:
        return kafka_client(bootstrap_servers=bootstrap_servers)

    with closing(connect(client, Brokers((nobody,)))) as net:
        assert not net.await_ready("bootstrap-0", timeout_ms=1_000)


@pytest.mark.slow
def test_a_broker_that_stops_answering_leaves_the_outcome_unknown(server_folder: Path) -> None:
    cluster = KafkaCluster(server_folder / "kafka")
    cluster.start()
    brokers = Brokers(cluster.servers)
    create_topics(brokers, {"facts": 2}, 1)
    writer = KafkaWriter(brokers, "writer", commit_ms_max=11_000)
    log = KafkaLog(brokers, "facts", 0, "facts", writer, sync_each=False)
    first = log.append([b"{}"], NOON)
    writer.commit()
    partition = Partition(brokers, "facts", 0)

    cluster.pause(1)
    with ThreadPoolExecutor() as pool:
        stalled = pool.submit(partition.fetch, 0)
        log.append([b"{}"], NOON)
        with pytest.raises(LogFault) as fault:
            writer.commit()
    with pytest.raises(LogFault, match=r"facts-0@0: nothing came in 10000 ms"):
        stalled.result()
    assert not isinstance(fault.value, LogFenced)
    assert writer.closed
    with pytest.raises(LogFault, match="open it again"):
        log.append([b"{}"], NOON)
    partition.close()
    log.close()
    cluster.resume(1)

    with (
        closing(KafkaWriter(brokers, "writer")) as newer,
        closing(KafkaLog(brokers, "facts", 0, "facts", newer)) as again,
    ):
        assert next(again.read()) == first
        records = [*again.read(), again.append([b"{}"], NOON)]
    with closing(KafkaLog(brokers, "facts", 0, "facts")) as reader:
        assert list(reader.read()) == records
