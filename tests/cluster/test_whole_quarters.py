"""The demo's quarter and the Alibaba trace: the same books in a folder and in a cluster, with one lane and eight."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.books import Books
from app.facts import to_line
from app.network.actors import parameters_for
from app.network.story import simulate
from ledger.parameters import Parameters, parameters_from_toml
from tests.app.test_alibaba import NODES, PODS, trace
from tests.cluster.deployment import Deployment
from tests.faults.process import omnisync
from tests.faults.scenes import write_facts

pytestmark = pytest.mark.slow

PRESET = Path(__file__).parents[2] / "ledger" / "presets" / "omnisync.toml"


def quarter() -> tuple[Parameters, list[bytes]]:
    """Return what `omnisync demo` runs."""
    network = simulate(parameters_for(1), 1_000, 1, 92)
    return network.parameters, [to_line(fact) for fact in network.facts]


def alibaba() -> tuple[Parameters, list[bytes]]:
    """Return the facts of the trace."""
    if not PODS.exists():
        pytest.skip("the Alibaba trace is not at hand")
    return parameters_from_toml(PRESET.read_text("utf-8")), trace(PODS, NODES).encode().splitlines()


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("source", [quarter, alibaba])
def test_the_books_are_the_same(deployment: Deployment, tmp_path: Path, source: Any, lanes: int) -> None:
    parameters, lines = source()
    facts, folder = write_facts(tmp_path / "facts.jsonl", lines), tmp_path / "B"
    Books(folder).create(parameters)
    deployment.books().create(parameters, lanes)
    here, there = {}, {}
    for command in (("ingest", facts), ("run", "--once"), ("report", "jobs"), ("verify", "--all")):
        here[command[0]] = json.loads(omnisync(*command, "--json", "--data", folder).out)
        there[command[0]] = json.loads(deployment.run(*command, "--json").out)

    assert there["report"]["totals"] == here["report"]["totals"]
    assert there["verify"]["ok"]
    assert there["verify"]["digests"] == here["verify"]["digests"]
