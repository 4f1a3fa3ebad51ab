"""PostgreSQL as tests use it: killed, it comes back with what was committed, under the address it had."""

import os
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from dev.postgres import ROOTS_STAND_IN, WHEEL, Postgres, open_to_all, programs
from dev.process import ServerFault, wait_until
from dev.properties import POSTGRES


def connect(url: str) -> psycopg.Connection:
    """Connect to the address that SQLAlchemy takes."""
    return psycopg.connect(url.replace("+psycopg", ""))


@pytest.mark.slow
def test_a_killed_server_comes_back_with_what_was_committed(server_folder: Path) -> None:
    server = Postgres(server_folder / "postgres")
    server.start()
    url = server.create_database("books")
    with connect(url) as connection:
        connection.execute("CREATE TABLE entry (id int PRIMARY KEY)")
    connection = connect(url)
    connection.execute("INSERT INTO entry VALUES (1)")

    server.kill()
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    with pytest.raises(psycopg.OperationalError):
        connect(url)
    server.start()
    with connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM entry").fetchone() == (0,)
        connection.execute("INSERT INTO entry VALUES (2)")
    server.restart()

    with connect(f"{Postgres(server_folder / 'postgres').url.removesuffix('postgres')}books") as connection:
        assert connection.execute("SELECT id FROM entry").fetchall() == [(2,)]
        for name, value in POSTGRES.items():
            assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)
        assert connection.execute("SELECT current_setting('fsync')").fetchone() == ("on",)


@pytest.mark.slow
def test_a_server_that_may_write_no_more_ends_and_comes_back(server_folder: Path) -> None:
    server = Postgres(server_folder / "postgres")
    server.start()
    with connect(server.url) as connection:
        connection.execute("CREATE TABLE entry (id int PRIMARY KEY)")

    server.limit_files()
    with pytest.raises(psycopg.Error), connect(server.url) as connection:
        connection.execute("INSERT INTO entry VALUES (1)")
    with suppress(psycopg.Error), connect(server.url) as connection:
        connection.execute("CHECKPOINT")
    assert wait_until(lambda: not server.running(), 20)
    server.start()

    with connect(server.url) as connection:
        assert connection.execute("SELECT count(*) FROM entry").fetchone() == (0,)


def test_a_folder_is_open_to_all_if_each_above_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    inside = tmp_path / "inside"
    inside.mkdir(mode=0o755)

    assert not open_to_all(inside)
    assert open_to_all(Path("/"))


def test_a_folder_that_roots_stand_in_cannot_reach_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    server = Postgres(tmp_path / "postgres")
    server._user = ROOTS_STAND_IN

    with pytest.raises(ServerFault, match="user nobody cannot reach"):
        server.start()


@pytest.mark.slow
def test_programs_that_roots_stand_in_cannot_reach_are_copied(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    package = programs().parents[1]
    for part in (package, package.with_name(f"{WHEEL}.libs")):
        (tmp_path / part.name).symlink_to(part)
    unreachable = tmp_path / programs().relative_to(package.parent)
    monkeypatch.setattr("dev.postgres.programs", lambda: unreachable)
    server = Postgres(server_folder / "postgres")

    server.start()

    connect(server.url).close()
    assert (server_folder / "postgres" / "programs").exists() == (os.geteuid() == 0)


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dev.postgres.WHEEL", "no_such_wheel")

    with pytest.raises(ServerFault, match="missing: the package no_such_wheel"):
        programs()


@pytest.mark.slow
def test_a_failed_start_shows_what_the_server_said(server_folder: Path) -> None:
    server = Postgres(server_folder / "postgres")
    server.start()
    server.stop()
    (server_folder / "postgres" / "data" / "PG_VERSION").write_text("1\n", "utf-8")

    with pytest.raises(ServerFault, match=r"ended as it started(.|\n)*not compatible"):
        server.start()
