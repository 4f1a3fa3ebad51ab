"""Topics of their own for the tests of logs on Kafka."""

import pytest

from events.kafka import Brokers
from events.topics import create_topics


@pytest.fixture(scope="session")
def brokers(kafka: tuple[str, ...]) -> Brokers:
    """The broker of this run."""
    return Brokers(kafka)


@pytest.fixture
def topic(brokers: Brokers, topic_prefix: str) -> str:
    """A topic of two partitions."""
    name = f"{topic_prefix}.facts"
    create_topics(brokers, {name: 2}, 1)
    return name
