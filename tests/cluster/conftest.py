"""The fixture that tests of a cluster begin with."""

from pathlib import Path

import pytest

from tests.cluster.deployment import Deployment, deploy


@pytest.fixture
def deployment(tmp_path: Path, kafka: tuple[str, ...], topic_prefix: str, database: str) -> Deployment:
    """Settings for books that do not exist yet, on the servers that all tests share."""
    return deploy(tmp_path, kafka, topic_prefix, database)
