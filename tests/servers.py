"""Fixtures of real servers: those that TEST_KAFKA and TEST_POSTGRES name, else one of each, started once a run.

The process that pytest was started in names a folder and stops at its end what runs there; its workers find the folder
in their environment, and the first that needs a server starts it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from dev.__main__ import KAFKA, POSTGRES
from dev.kafka import KafkaCluster
from dev.postgres import Postgres, create_database, drop_database
from dev.process import stop_all

__all__ = [
    "begin_servers",
    "database",
    "end_servers",
    "kafka",
    "make_folder",
    "postgres",
    "remove_folder",
    "server_folder",
    "topic_prefix",
]

FOLDER = "TEST_FOLDER"


def make_folder() -> Path:
    """Make a folder into which PostgreSQL may also come as another user."""
    folder = Path(tempfile.mkdtemp(prefix="omnisync-test-"))
    folder.chmod(0o711)
    return folder


def remove_folder(folder: Path) -> None:
    """Stop what runs in a folder and remove it."""
    stop_all(folder, seconds=0)
    shutil.rmtree(folder)


def begin_servers() -> None:
    """Name the folder of the run's servers. In the process that pytest was started in."""
    os.environ[FOLDER] = str(make_folder())


def end_servers() -> None:
    """Stop the run's servers. In the process that pytest was started in."""
    remove_folder(Path(os.environ.pop(FOLDER)))


def address(name: str, start: Callable[[Path], str]) -> str:
    """Return an address that was given, or that of the run's server, which is started if nobody did."""
    given = os.environ.get(name)
    if given:
        return given
    folder = Path(os.environ[FOLDER])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = folder / name
        if not known.exists():
            known.write_text(start(folder), "utf-8")
        return known.read_text("utf-8")


def start_kafka(folder: Path) -> str:
    """Start one broker and return its address."""
    cluster = KafkaCluster(folder / "kafka")
    cluster.start()
    return ",".join(cluster.servers)


def start_postgres(folder: Path) -> str:
    """Start PostgreSQL and return its address."""
    server = Postgres(folder / "postgres")
    server.start()
    return server.url


@pytest.fixture(scope="session")
def kafka() -> tuple[str, ...]:
    """The addresses of a Kafka that all tests share: one broker, no authentication."""
    return tuple(address(KAFKA, start_kafka).split(","))


@pytest.fixture(scope="session")
def postgres() -> str:
    """The address of a PostgreSQL that all tests share, as SQLAlchemy takes it."""
    return address(POSTGRES, start_postgres)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of topics, transactional ids and groups that no other test has."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """The address of an empty database, as SQLAlchemy takes it; dropped after the test."""
    url = create_database(postgres, f"test_{uuid4().hex[:12]}")
    yield url
    drop_database(url)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for servers of the test's own; what still runs there at its end is ended."""
    folder = make_folder()
    yield folder
    remove_folder(folder)
