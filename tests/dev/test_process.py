"""Servers as processes: who starts one need not be who stops it, and what is missing is named."""

import signal
import sys
from pathlib import Path

import pytest

from dev.certificates import make_authority
from dev.jars import check_java, copy_jars, fetch_postgres, kafka_version
from dev.process import HOST, Server, ServerFault, free_ports, stop_all

SERVE = "import time; print('serving', flush=True); time.sleep(600)"
IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVE


def started(folder: Path, name: str, program: str = SERVE) -> Server:
    """Start a Python program and wait until it serves."""
    server = Server(folder, name)
    server.start([sys.executable, "-c", program])
    server.wait_for("serving", 20)
    return server


def test_ports_are_different_and_not_of_the_outgoing_range() -> None:
    ports = free_ports(9)

    assert len(set(ports)) == 9
    assert all(20_000 <= port < 32_768 for port in ports)
    assert HOST == "127.0.0.1"


def test_another_object_on_the_folder_stops_the_server(tmp_path: Path) -> None:
    server = started(tmp_path, "one")
    with pytest.raises(ServerFault, match="one runs already"):
        server.start([sys.executable, "-c", SERVE])

    stop_all(tmp_path)

    assert not server.running()
    server.signal(signal.SIGTERM)


def test_a_server_that_stands_still_or_ignores_the_signal_is_stopped(tmp_path: Path) -> None:
    servers = [started(tmp_path, "still"), started(tmp_path, "deaf", IGNORE)]
    servers[0].signal(signal.SIGSTOP)

    stop_all(tmp_path, seconds=1)

    assert not any(server.running() for server in servers)


def test_the_pid_of_another_process_is_left_alone(tmp_path: Path) -> None:
    server = started(tmp_path, "ours")
    pid = (tmp_path / "ours.process").read_text("utf-8").split()[0]
    (tmp_path / "reused.process").write_text(f"{pid} 1.5\n", "utf-8")

    assert not Server(tmp_path, "reused").running()
    Server(tmp_path, "reused").kill()

    assert server.running()
    server.kill()


def test_a_server_that_ends_at_once_is_a_fault_with_its_last_words(tmp_path: Path) -> None:
    server = Server(tmp_path, "brief")
    server.start([sys.executable, "-c", "print('no room')"])

    with pytest.raises(ServerFault, match=r"brief ended as it started(.|\n)*no room"):
        server.wait_for("serving", 20)


def test_a_server_that_is_not_ready_in_time_is_a_fault(tmp_path: Path) -> None:
    server = started(tmp_path, "slow")

    with pytest.raises(ServerFault, match="not ready within 0 s"):
        server.wait_for("never said", 0)
    server.kill()


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerFault, match=r"missing: Java 17 or newer.*openjdk-17"):
        check_java()
    with pytest.raises(ServerFault, match=r"missing: Maven"):
        copy_jars(tmp_path / "jars")
    with pytest.raises(ServerFault, match=r"missing: OpenSSL 3"):
        make_authority(tmp_path)


@pytest.mark.parametrize("said", ['openjdk version "11.0.2" 2019-01-15', "no version"])
def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{said}' >&2\n", "utf-8")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    with pytest.raises(ServerFault, match=f"missing: Java 17 or newer.*{said}"):
        check_java()


def test_what_maven_says_is_shown_and_no_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'could not resolve'; exit 1\n", "utf-8")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    folder = tmp_path / f"kafka-{kafka_version()}"

    with pytest.raises(ServerFault, match=r"did not fetch what .*pom.xml pins(.|\n)*could not resolve"):
        copy_jars(folder)

    assert not folder.exists()


def test_a_machine_without_a_secure_postgresql_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")

    with pytest.raises(ServerFault, match="missing: PostgreSQL with TLS for pdp11; there is one for x86_64, aarch64"):
        fetch_postgres()


def test_what_openssl_says_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ServerFault, match="openssl req failed"):
        make_authority(tmp_path / "no such folder")
