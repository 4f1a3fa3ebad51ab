"""A broker for the tests of logs on Kafka, and topics of their own."""

import os
from collections.abc import Callable
from uuid import uuid4

import pytest

from events.kafka import Brokers
from events.topics import create_topics

MakeTopic = Callable[[int], str]


@pytest.fixture(scope="session")
def brokers() -> Brokers:
    """Reach the broker of this run."""
    return Brokers(tuple(os.environ["OMNISYNC_TEST_KAFKA"].split(",")))


@pytest.fixture
def topic(brokers: Brokers) -> str:
    """Make a topic of two partitions."""
    name = f"t-{uuid4().hex[:12]}"
    create_topics(brokers, {name: 2}, 1)
    return name
