"""The same facts lead to the same books in a folder and in a cluster, with one lane and with eight; they may move."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.facts import to_line
from tests.cluster.deployment import Deployment
from tests.faults.process import omnisync
from tests.faults.scenes import new_books, write_facts
from tests.networks import build_network
from tests.worlds import World

pytestmark = pytest.mark.slow


def make_facts(folder: Path, world: World) -> Path:
    return write_facts(folder / "facts.jsonl", [to_line(fact) for fact in world.facts()])


def embedded(folder: Path, world: World, facts: Path, lanes: int = 1) -> Path:
    """Make embedded books of a world's facts."""
    new_books(folder, world, lanes)
    omnisync("ingest", facts, "--data", folder)
    assert omnisync("run", "--once", "--data", folder).status == 0
    return folder


def verified(told: Any) -> Any:
    """Return the digests that `verify --all` tells, where all is settled and projected."""
    assert told["ok"]
    assert told["unsettled"] == told["unprojected"] == 0
    return told["digests"]


def verified_in(folder: Path) -> Any:
    return verified(json.loads(omnisync("verify", "--all", "--json", "--data", folder).out))


@pytest.mark.parametrize("lanes", [1, 8])
def test_a_network_has_the_same_digests_in_a_cluster(deployment: Deployment, tmp_path: Path, lanes: int) -> None:
    world = build_network(7)
    facts = make_facts(tmp_path, world)
    deployment.books().create(world.parameters, lanes)
    deployment.run("ingest", facts)
    deployment.do("run", "--once")

    books = embedded(tmp_path / "B", world, facts)
    assert verified(deployment.told("verify", "--all")) == verified_in(books)
    for question in (["balance"], ["supply"], ["report", "jobs"], ["epochs"]):
        here = json.loads(omnisync(*question, "--json", "--data", books).out)
        there = deployment.told(*question)
        assert here.pop("position")
        assert there.pop("position")
        assert there == here


def test_books_in_pieces_are_the_books_at_once(deployment: Deployment, tmp_path: Path) -> None:
    world = build_network(8)
    lines = [to_line(fact) for fact in world.facts()]
    deployment.books().create(world.parameters)
    for number in range(4):
        piece = write_facts(
            tmp_path / f"{number}.jsonl", lines[number * len(lines) // 4 : (number + 1) * len(lines) // 4]
        )
        deployment.run("ingest", piece)
        deployment.run("ingest", piece)
        deployment.do("run", "--once")

    assert verified(deployment.told("verify", "--all")) == verified_in(
        embedded(tmp_path / "B", world, write_facts(tmp_path / "all.jsonl", lines))
    )


@pytest.mark.parametrize("lanes", [1, 3])
def test_embedded_books_move_into_a_cluster_and_go_on_there(deployment: Deployment, tmp_path: Path, lanes: int) -> None:
    world = build_network(9)
    lines = [to_line(fact) for fact in world.facts()]
    first, rest = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    books = embedded(tmp_path / "B", world, write_facts(tmp_path / "first.jsonl", first), lanes)
    before = verified_in(books)

    moved = deployment.told("migrate", books)
    assert deployment.told("migrate", books) == moved
    deployment.do("run", "--once")
    assert verified(deployment.told("verify", "--all")) == before

    more = write_facts(tmp_path / "rest.jsonl", rest)
    deployment.run("ingest", more)
    deployment.do("run", "--once")
    omnisync("ingest", more, "--data", books)
    omnisync("run", "--once", "--data", books)
    assert verified(deployment.told("verify", "--all")) == verified_in(books)


def test_other_books_are_not_moved_over_those_that_are_there(deployment: Deployment, tmp_path: Path) -> None:
    world, other = build_network(10), build_network(11)
    deployment.do("migrate", embedded(tmp_path / "B", world, make_facts(tmp_path, world)))
    refused = deployment.run("migrate", embedded(tmp_path / "C", other, make_facts(tmp_path, other)))

    assert refused.status == 1
    assert "holds other records already" in refused.err
