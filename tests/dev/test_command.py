"""`python -m dev`: what a person or `make` starts the servers with."""

import json
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaProducer

from dev.__main__ import KAFKA, POSTGRES, main
from dev.access import RULES
from dev.process import servers_in


@pytest.mark.slow
def test_up_prints_where_the_servers_are_and_down_ends_them(
    server_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--folder", str(server_folder)]) == 0
    settings = tomllib.loads(capsys.readouterr().out)

    assert main(["up", "--folder", str(server_folder)]) == 2
    assert "servers run already" in capsys.readouterr().err
    KafkaProducer(bootstrap_servers=settings["kafka"]["servers"]).close()
    psycopg.connect(settings["postgres"]["url"].replace("+psycopg", "")).close()

    assert main(["down", "--folder", str(server_folder)]) == 0
    assert not servers_in(server_folder)


@pytest.mark.slow
def test_run_gives_the_command_the_addresses_and_returns_its_status() -> None:
    program = f"import os, sys; print(os.environ['{KAFKA}'], os.environ['{POSTGRES}'], flush=True); sys.exit(7)"

    done = subprocess.run(
        [sys.executable, "-m", "dev", "run", "--", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )

    assert done.returncode == 7, done.stderr
    broker, url = done.stdout.split()
    assert broker.startswith("127.0.0.1:")
    assert url.startswith("postgresql+psycopg://")


def test_secrets_are_read_by_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"

    assert main(["secrets", "--folder", str(folder), "--host", "IP:127.0.0.1", "--host", "DNS:kafka"]) == 0

    public = {path.name for path in folder.iterdir() if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)}
    assert public == {"ca.pem", "pg_hba.conf"}
    assert json.loads((folder / "passwords.json").read_text("utf-8")).keys() == RULES.keys()
