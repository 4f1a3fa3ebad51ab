"""A cluster with passwords, TLS and rules: each stage works as the user that is its own, and as no other."""

import json
from pathlib import Path

import pytest

from app.facts import to_line
from dev.kafka import KafkaCluster
from tests.cluster.deployment import Deployment
from tests.faults.scenes import write_facts
from tests.networks import build_small_network

pytestmark = pytest.mark.slow


def test_each_stage_does_its_own_and_nothing_else(server_folder: Path, database: str, tmp_path: Path) -> None:
    cluster = KafkaCluster(server_folder / "kafka", secure=True)
    cluster.start()
    world = build_small_network(3)
    facts = write_facts(tmp_path / "facts.jsonl", [to_line(fact) for fact in world.facts()])

    def signed_on_as(user: str) -> Deployment:
        password = cluster.options(user)["sasl_plain_password"]
        return configure(
            user, cluster.servers, f'security_protocol = "SASL_SSL"\nuser = "{user}"\npassword = "{password}"'
        )

    def configure(name: str, servers: tuple[str, ...], lines: str) -> Deployment:
        config = tmp_path / f"{name}.toml"
        config.write_text(
            f'cache = "{tmp_path / "cache"}"\n[postgres]\nurl = "{database}"\nroles = true\n[kafka]\nreplication = 1\n'
            f'servers = {json.dumps(servers)}\nca_file = "{cluster.secrets / "ca.pem"}"\n{lines}\n',
            "utf-8",
        )
        return Deployment(config, "omnisync")

    admin = configure(
        "admin", cluster.administration, f'security_protocol = "SSL"\ncert_file = "{cluster.secrets / "admin.pem"}"'
    )
    admin.books().create(world.parameters)
    ingest, settle, project, reader = map(signed_on_as, ("ingest", "settle", "project", "reader"))
    for user in (settle, project, reader):
        refused = user.run("ingest", facts)
        assert refused.status == 1, refused
        assert "omnisync.facts" in refused.err
    ingest.run("ingest", facts)
    for user in (ingest, project, reader):
        refused = user.run("run", "--only", "settle", "--once")
        assert refused.status == 1, refused
        assert "omnisync.ledger" in refused.err
    settle.do("run", "--only", "settle", "--once")
    project.do("run", "--only", "project", "--once")

    told = reader.told("verify", "--all")
    assert told["ok"]
    assert told["unsettled"] == told["unprojected"] == 0
    cluster.stop()
