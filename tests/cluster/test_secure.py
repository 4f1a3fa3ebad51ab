"""A cluster with passwords, TLS and rules: each stage works as the user that is its own, and as no other."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, make_url

from app.facts import to_line
from dev.access import make_secrets
from dev.kafka import KafkaCluster
from dev.postgres import Postgres
from dev.properties import postgres
from projections.database import DatabaseUnreachable, open_postgres
from tests.cluster.deployment import Deployment
from tests.faults.scenes import write_facts
from tests.networks import build_small_network

pytestmark = pytest.mark.slow


def test_each_stage_does_its_own_and_nothing_else(server_folder: Path, tmp_path: Path) -> None:
    cluster = KafkaCluster(server_folder / "kafka", secure=True)
    cluster.start()
    server = Postgres(server_folder / "postgres", cluster.secrets)
    server.start()
    database = server.create_database("omnisync")
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
    server.stop()


@contextmanager
def connected(url: str, query: dict[str, Any]) -> Iterator[Connection]:
    """Connect to a database as the product does, with other settings of TLS."""
    engine = open_postgres(make_url(url).set(query=query).render_as_string(hide_password=False), writable=True)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def test_the_database_is_reached_by_tls_alone_and_shows_a_certificate(server_folder: Path) -> None:
    ours, others, elsewhere = (server_folder / name for name in ("ours", "others", "elsewhere"))
    for folder, host in ((ours, "IP:127.0.0.1"), (others, "IP:127.0.0.1"), (elsewhere, "DNS:database.example")):
        make_secrets(folder, [host])
    server = Postgres(server_folder / "postgres", ours)
    server.start()
    url = server.create_database("books")

    with connected(url, {"sslmode": "verify-full", "sslrootcert": str(ours / "ca.pem")}) as connection:
        row = connection.exec_driver_sql("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").one()
        assert tuple(row) == (True, "TLSv1.3")
        for name, value in postgres(str(server.folder / "own")).items():
            assert connection.exec_driver_sql("SELECT current_setting(%s)", (name,)).scalar_one() == value

    for query, said in (
        (
            {"sslmode": "verify-full", "sslrootcert": str(others / "ca.pem")},
            "sslrootcert of the address must be the auth",
        ),
        (
            {"sslmode": "disable"},
            "the server takes TLS alone: end the address with .sslmode=verify-full&sslrootcert=FILE",
        ),
    ):
        with pytest.raises(DatabaseUnreachable, match=said), connected(url, query):
            pass
    with (
        pytest.raises(DatabaseUnreachable, match="password authentication failed"),
        connected(str(make_url(url).set(password="hunter2")).replace("***", "hunter2"), {"sslmode": "require"}),
    ):
        pass
    server.stop()

    server = Postgres(server_folder / "misnamed", elsewhere)
    server.start()
    query = {"sslmode": "verify-full", "sslrootcert": str(elsewhere / "ca.pem")}
    with (
        pytest.raises(DatabaseUnreachable, match="give the address a name that the certificate has"),
        connected(server.url, query),
    ):
        pass
    server.stop()
