"""The demo's quarter and the Alibaba trace: the same books in a folder and in a cluster, with one lane and eight."""

import json
from pathlib import Path
from typing import Any, NamedTuple

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


class Told(NamedTuple):
    """Facts, and what the commands say of them in a folder."""

    parameters: Parameters
    facts: Path
    answers: dict[str, Any]


COMMANDS: tuple[tuple[str, ...], ...] = (("ingest",), ("run", "--once"), ("report", "jobs"), ("verify", "--all"))


@pytest.fixture(scope="module", params=[quarter, alibaba])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    parameters, lines = request.param()
    folder = tmp_path_factory.mktemp("embedded")
    facts = write_facts(folder / "facts.jsonl", lines)
    Books(folder / "B").create(parameters)
    answers = {}
    for name, *rest in COMMANDS:
        more = [facts] if name == "ingest" else rest
        answers[name] = json.loads(omnisync(name, *more, "--json", "--data", folder / "B").out)
    return Told(parameters, facts, answers)


@pytest.mark.parametrize("lanes", [1, 8])
def test_the_books_are_the_same(deployment: Deployment, told: Told, lanes: int) -> None:
    deployment.books().create(told.parameters, lanes)
    deployment.run("ingest", told.facts)
    deployment.do("run", "--once")

    assert deployment.told("report", "jobs")["totals"] == told.answers["report"]["totals"]
    verified = deployment.told("verify", "--all")
    assert verified["ok"]
    assert verified["digests"] == told.answers["verify"]["digests"]
