"""A cluster's backup is a folder of embedded books: checked as such, gone on with, moved into new topics."""

import json
from pathlib import Path

import pytest

from app.facts import to_line
from tests.cluster.deployment import Deployment, deploy
from tests.faults.process import omnisync
from tests.faults.scenes import write_facts
from tests.networks import build_network

pytestmark = pytest.mark.slow


def ends_of(deployment: Deployment) -> dict[str, int]:
    """Return how far each ledger log is."""
    with deployment.books() as books:
        return {log.name: log.end() for log in books.ledgers()}


def test_kept_in_two_pieces_restored_and_moved_into_new_topics(
    deployment: Deployment, kafka: tuple[str, ...], database: str, tmp_path: Path
) -> None:
    world = build_network(21)
    lines = [to_line(fact) for fact in world.facts()]
    kept, restored = tmp_path / "K", tmp_path / "R"
    deployment.books().create(world.parameters, lanes=2)
    for number, piece in enumerate((lines[: len(lines) // 2], lines[len(lines) // 2 :])):
        deployment.run("ingest", write_facts(tmp_path / f"{number}.jsonl", piece))
        deployment.do("run", "--once")
        made = deployment.told("backup", kept)
        assert 0 < made["copied"] < made["bytes"] + (number == 0)
    again = deployment.told("backup", kept)
    assert again["copied"] == 0
    digests = deployment.told("verify", "--all")["digests"]
    assert again["balances"] == digests["balances"]

    assert omnisync("verify-backup", kept).status == 0
    assert omnisync("restore", kept, "--data", restored).status == 0
    assert omnisync("run", "--once", "--data", restored).status == 0
    assert json.loads(omnisync("verify", "--all", "--json", "--data", restored).out)["digests"] == digests

    moved = deploy(tmp_path / "R", kafka, f"{deployment.prefix}-again", database)
    moved.do("migrate", restored)
    assert moved.books().parameters() == world.parameters
    assert ends_of(moved) == ends_of(deployment)


def test_other_books_are_not_kept_over_those_that_are(
    deployment: Deployment, kafka: tuple[str, ...], database: str, tmp_path: Path
) -> None:
    worlds = build_network(22), build_network(23)
    other = deploy(tmp_path, kafka, f"{deployment.prefix}-other", database)
    for place, world in zip((deployment, other), worlds, strict=True):
        place.books().create(world.parameters)
        place.run("ingest", write_facts(tmp_path / "facts.jsonl", [to_line(fact) for fact in world.facts()]))
    deployment.do("backup", tmp_path / "K")
    refused = other.run("backup", tmp_path / "K")

    assert refused.status == 1
    assert "choose another folder" in refused.err or "choose an empty place" in refused.err
