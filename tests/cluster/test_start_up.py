"""What cannot start says why, and what to do, in one line and with status 1; it leaves nothing half done."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from sqlalchemy import make_url

from app.anybooks import declare_genesis
from app.cli import cli
from app.facts import to_line
from dev.access import admin_options
from dev.kafka import KafkaCluster
from events.brokers import Brokers
from events.codec import encode
from events.kafka import KafkaLog, KafkaWriter
from events.topics import create_topics
from tests.cluster.deployment import Deployment, deploy
from tests.faults.process import Ended
from tests.faults.scenes import write_facts
from tests.networks import build_network
from tests.servers import make_folder, remove_folder

pytestmark = pytest.mark.slow

WORLD = build_network(15)
INIT = ("init", "--preset", "omnisync")
SETTLE = ("run", "--only", "settle")
PROJECT = ("run", "--only", "project")
INBOX = ("ingest", "--inbox")
STAGES = (INBOX, SETTLE, PROJECT)
TOPICS = ("facts", "inbox", "ledger")


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    return "127.0.0.1:1"


@pytest.fixture
def books(deployment: Deployment, tmp_path: Path) -> Deployment:
    """Books with some facts, nothing of which is settled yet."""
    deployment.books().create(WORLD.parameters)
    deployment.run("ingest", write_facts(tmp_path / "facts.jsonl", [to_line(fact) for fact in WORLD.facts()]))
    return deployment


def refusals(deployment: Deployment, *commands: Sequence[str]) -> list[str]:
    """Run commands at once, each of which fails with one line; return the lines."""
    started = [deployment.start(*command) for command in commands]
    try:
        ended = [process.end() for process in started]
    finally:
        for process in started:
            process.abandon()
    assert all(one.status == 1 and "Traceback" not in one.err for one in ended), ended
    return [only_line(one) for one in ended]


def only_line(ended: Ended) -> str:
    """Return the one line that a process said, its log's lines aside."""
    lines = [line for line in ended.err.splitlines() if line.startswith("omnisync: ")]
    assert len(lines) == 1, ended
    return lines[0]


def replaced(deployment: Deployment, pattern: str, by: str) -> Deployment:
    """Return the deployment with other settings."""
    text, count = re.subn(pattern, by, deployment.config.read_text("utf-8"))
    assert count == 1
    config = deployment.config.with_suffix(".other.toml")
    config.write_text(text, "utf-8")
    return Deployment(config, deployment.prefix)


def ends(servers: Sequence[str], prefix: str, **options: Any) -> dict[str, list[tuple[int, int]]]:
    """Return, of each topic that is there, each partition's last stable offset and its end."""
    found: dict[str, list[tuple[int, int]]] = {}
    for level in ("read_committed", "read_uncommitted"):
        consumer = KafkaConsumer(bootstrap_servers=list(servers), isolation_level=level, **options)
        with closing(consumer):
            for topic in sorted(name for name in consumer.topics() if name.startswith(f"{prefix}.")):
                partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
                told = consumer.end_offsets(partitions)
                before = found.get(topic, [(told[one], 0) for one in partitions])
                found[topic] = [(stable, told[one]) for (stable, _), one in zip(before, partitions, strict=True)]
    assert all(stable == end for topic in found.values() for stable, end in topic), "a transaction is open"
    return found


def test_brokers_that_are_not_there(deployment: Deployment, nobody: str) -> None:
    commands = [INIT, *STAGES, ("verify", "--all"), ("rebuild",)]

    lines = refusals(replaced(deployment, r"servers = .*", f'servers = ["{nobody}"]'), *commands)

    for line in lines:
        assert line.startswith(f"omnisync: kafka at {nobody}: KafkaConnectionError: 111 ECONNREFUSED"), line


def test_a_database_that_is_not_there(deployment: Deployment, kafka: tuple[str, ...], nobody: str) -> None:
    lost = replaced(deployment, r"postgres@[0-9.:]+", f"postgres:hunter2@{nobody}")

    (line,) = refusals(lost, INIT)

    assert line.startswith(f"omnisync: postgresql+psycopg://postgres:***@{nobody}/")
    assert "Connection refused" in line
    assert ends(kafka, deployment.prefix) == {}
    deployment.books().create(WORLD.parameters)
    assert refusals(lost, PROJECT, ("balance",)) == [line, line]


def test_books_that_are_not_there(deployment: Deployment, kafka: tuple[str, ...]) -> None:
    for line in refusals(deployment, *STAGES):
        assert f"no books in {deployment.prefix} at " in line
        assert "create them with `omnisync init --preset omnisync`" in line
    assert ends(kafka, deployment.prefix) == {}


def test_topics_that_would_forget(books: Deployment, kafka: tuple[str, ...]) -> None:
    ledger = f"{books.prefix}.ledger"
    before = ends(kafka, books.prefix)
    with closing(KafkaAdminClient(bootstrap_servers=list(kafka))) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, ledger, {"retention.ms": "60000"})])

    for line in refusals(books, SETTLE, PROJECT):
        assert line == (
            f"omnisync: {ledger}: retention.ms is 60000, must be -1; alter the topic's config: retention.ms=-1"
        )
    assert ends(kafka, books.prefix) == before


def test_another_count_of_partitions(books: Deployment, kafka: tuple[str, ...]) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=list(kafka))) as admin:
        admin.create_partitions({f"{books.prefix}.ledger": 3})
    before = ends(kafka, books.prefix)

    for line in refusals(books, SETTLE, PROJECT):
        assert line == (
            f"omnisync: {books.prefix}.ledger: partitions is 3, must be 2; "
            "a count of lanes is for good: go back to the old one, or begin new books under another prefix"
        )
    assert ends(kafka, books.prefix) == before


@pytest.mark.parametrize("revision", ["0003", "9999"])
def test_tables_of_another_revision(books: Deployment, kafka: tuple[str, ...], revision: str) -> None:
    engine = books.books().engine(writable=True)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    engine.dispose()

    commands = [("balance",)] if revision == "0003" else [("balance",), PROJECT, ("rebuild",), INIT]
    for line in refusals(books, *commands):
        assert line.startswith(f"omnisync: the projections have tables of revision {revision}, this program reads ")
        assert ("`omnisync run --only project`" if revision == "0003" else "newer") in line


def test_a_command_leaves_no_connection_open(
    books: Deployment, kafka: tuple[str, ...], database: str, tmp_path: Path
) -> None:
    def connections() -> set[Any]:
        ports = {int(server.rpartition(":")[2]) for server in kafka} | {make_url(database).port}
        return {
            found.laddr
            for found in psutil.Process().net_connections("tcp")
            if found.raddr and found.raddr.port in ports
        }

    books.do("run", "--once")
    before = connections()
    for words in (("balance",), ("verify", "--all"), ("backup", str(tmp_path / "K")), ("doctor",), ("rebuild",)):
        done = CliRunner().invoke(cli, [*words, "--config", str(books.config)])
        assert done.exit_code == 0, done.output
        assert connections() <= before, words


@pytest.fixture(scope="module")
def secure() -> Iterator[KafkaCluster]:
    """A broker that asks who speaks."""
    folder = make_folder()
    cluster = KafkaCluster(folder / "kafka", secure=True)
    try:
        cluster.start()
        yield cluster
    finally:
        remove_folder(folder)


def test_who_may_not(secure: KafkaCluster, topic_prefix: str, database: str, tmp_path: Path) -> None:
    """A wrong password, and users without the right to write."""
    secure.grant(topic_prefix)
    plain = deploy(tmp_path, secure.servers, topic_prefix, database)
    options = secure.options("settle")

    def signed(user: str, password: str) -> Deployment:
        told = ["security_protocol = 'SASL_SSL'", f"ca_file = '{options['ssl_cafile']}'"]
        told += [f"user = '{user}'", f"password = '{password}'"]
        return replaced(plain, r"(\[kafka\]\n)", "[kafka]\n" + "\n".join(told) + "\n")

    for line in refusals(signed("settle", "hunter2"), INIT, *STAGES):
        assert line.startswith(f"omnisync: kafka at {secure.servers[0]}: ")
        assert re.search("invalid credentials|are user and password right", line)
    reader = signed("reader", secure.options("reader")["sasl_plain_password"])
    (line,) = refusals(reader, INIT)
    assert line == f"omnisync: topics: [Error 29] TopicAuthorizationFailedError: {topic_prefix}.inbox"
    assert ends(secure.administration, topic_prefix, **admin_options(secure.secrets)) == {}

    administrator = Brokers(secure.administration, admin_options(secure.secrets))
    create_topics(administrator, {f"{topic_prefix}.{name}": 2 for name in ("facts", "ledger", "inbox")}, 1)
    assert all("no books in" in line for line in refusals(reader, *STAGES))
    with closing(KafkaWriter(Brokers(secure.servers, secure.options("ingest")), f"{topic_prefix}.facts")) as writer:
        brokers = Brokers(secure.servers, secure.options("ingest"))
        for number, name in enumerate(("facts/0", "facts/hub")):
            with closing(KafkaLog(brokers, f"{topic_prefix}.facts", number, name, writer)) as log:
                log.append([encode(declare_genesis(WORLD.parameters))], "2026-10-01T00:00:00.000000Z")
    for line, what in zip(refusals(reader, *STAGES), ("facts", "ledger", "project"), strict=True):
        assert "AuthorizationFailed" in line
        assert f"{topic_prefix}.{what}" in line
