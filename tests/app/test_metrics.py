"""Metrics: what the stages of real books tell, where they stand, and how that is served."""

import os
import re
import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select

from app.books import Books
from app.metrics import serve_metrics
from app.stages import PROJECT, SETTLE
from app.standing import Surveyor
from projections.tables import dead_letter
from projections.worker import HALTED
from tests.faults.process import omnisync, start
from tests.faults.scenes import logs_of, new_books
from tests.settlement.desk import as_lines
from tests.worlds import World, build_world

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs" / "operations.md"
ALARMS = REPO / "docs" / "alarms.yaml"
# A rule of alarms.yaml as that file writes it.
RULE = re.compile(
    r"      - alert: (\w+)\n(?:        # .*\n)*        expr: (.+)\n(?:        for: \d+[mh]\n)?"
    r"        labels: \{severity: (?:page|ticket)\}\n"
    r"        annotations:\n          summary: \"(?:[^\"\\]+)\"\n          do: \"(?:[^\"\\]+)\"\n"
)
Told = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(51, jobs=30, periods=6)


@pytest.fixture
def books(tmp_path: Path, world: World) -> Books:
    books = new_books(tmp_path / "books", world)
    list(books.ingest(iter([as_lines(world.lines())]), "world"))
    return books


def scrape(port: int) -> Told:
    """Fetch all samples by name and labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }


def test_stages_tell_counts_and_times_and_where_the_books_stand(books: Books) -> None:
    with serve_metrics(Surveyor(books), "127.0.0.1", 0) as (metrics, port), ExitStack() as stack:
        before = scrape(port)
        stages = stack.enter_context(books.stages())
        stages.tell(metrics)
        decided, folded = stages.run(history=False)
        head = scrape(port)
        stages.catch_up()
        after = scrape(port)

    ends = {name: log.end() for name, log in logs_of(books).items()}
    assert before["omnisync_lag", "facts/0", "settled"] == ends["facts/0"]
    assert head["omnisync_lag", "facts/0", "settled"] == head["omnisync_lag", "lane-0", "head"] == 0
    assert head["omnisync_lag", "lane-0", "history"] == ends["lane-0"]
    assert after["omnisync_lag", "lane-0", "history"] == 0
    assert after["omnisync_position", "hub", "committed"] == after["omnisync_position", "hub", "history"] == ends["hub"]
    stage_of = {stage: after["omnisync_decisions_total", stage] for stage in ("settle", "head", "history")}
    assert stage_of == {"settle": decided, "head": folded, "history": folded}
    facts = sum(record.header.count for log in books.partitions() for record in log.read())
    assert after["omnisync_facts_read_total",] == facts
    assert after["omnisync_commit_seconds_count",] == after["omnisync_batch_seconds_count", "settle"] == 1
    assert after["omnisync_batch_seconds_count", "head"] >= 2
    assert 0 < after["omnisync_batch_seconds_sum", "history"] < 60
    assert "omnisync_network_time_age_seconds" not in {name for name, *_ in before}
    assert ("omnisync_network_time_age_seconds",) in after
    assert 0 < after["omnisync_free_bytes",] < shutil.disk_usage(books.folder).total


def test_the_docs_have_every_metric_and_no_other(books: Books) -> None:
    with books.stages() as stages, serve_metrics(Surveyor(books), "127.0.0.1", 0) as (_, port):
        stages.run()
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            served = re.findall(r"^# TYPE (omnisync_\w+) ", answer.read().decode(), re.MULTILINE)

    told = re.findall(r"^\| `(omnisync_\w+)` \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(name for name in served if not name.endswith("_created"))


def test_alarms_ask_for_what_is_told_and_the_docs_explain_each(books: Books) -> None:
    HALTED.labels("lane-0").set(0)
    with books.stages() as stages, serve_metrics(Surveyor(books), "127.0.0.1", 0, HALTED) as (metrics, port):
        stages.tell(metrics)
        stages.run()
        told = scrape(port)
    names, labels = {name for name, *_ in told}, {label for _, *found in told for label in found}
    head, *rules = re.split(r"(?m)^(?=      - alert)", ALARMS.read_text("utf-8"))
    assert head.endswith("groups:\n  - name: omnisync\n    rules:\n")
    for rule in rules:
        found = RULE.fullmatch(rule)
        assert found, rule
        alarm, asked = found.groups()
        assert f"`{alarm}`" in DOCS.read_text("utf-8")
        metrics_of = set(re.findall(r"\b(?:omnisync|node|process)_\w+|\bup\b", asked))
        assert metrics_of
        assert metrics_of <= names | {"up"}, alarm
        assert set(re.findall(r'stage="(\w+)"', asked)) <= labels


def test_refusals_are_counted_once_each_by_reason(books: Books, world: World) -> None:
    with books.stages() as stages, serve_metrics(Surveyor(books), "127.0.0.1", 0) as (metrics, port):
        stages.tell(metrics)
        stages.run()
        first = _refusals(scrape(port))
        again = _refusals(scrape(port))
        list(books.ingest(iter([as_lines([b"nonsense", b"{}"])]), "more"))
        stages.run()
        more = _refusals(scrape(port))

    refused = func.count().label("refused")
    with books.engine().connect() as connection:
        rows = connection.execute(select(dead_letter.c.reason, refused).group_by(dead_letter.c.reason)).all()
    assert first == again
    assert more == {row.reason: row.refused for row in rows}
    assert sum(more.values()) == sum(first.values()) + 2


def _refusals(told: Told) -> dict[str, float]:
    return {labels[0]: value for (name, *labels), value in told.items() if name == "omnisync_refusals_total"}


def test_a_settler_alone_says_nothing_of_projections(books: Books) -> None:
    with books.stages(SETTLE) as stages, serve_metrics(Surveyor(books), "127.0.0.1", 0) as (metrics, port):
        stages.tell(metrics)
        stages.run()
        told = scrape(port)

    assert ("omnisync_position", "lane-0", "committed") in told
    assert ("omnisync_position", "lane-0", "head") not in told


def test_a_projector_alone_sees_what_another_one_settles(books: Books) -> None:
    with books.stages(PROJECT) as projecting, serve_metrics(Surveyor(books), "127.0.0.1", 0) as (metrics, port):
        projecting.tell(metrics)
        assert scrape(port)["omnisync_lag", "lane-0", "head"] == 0
        with books.stages(SETTLE) as settling:
            settling.run()
        behind = scrape(port)["omnisync_lag", "lane-0", "head"]
        projecting.run(history=False)
        told = scrape(port)

    assert behind == books.lane().end()
    assert told["omnisync_lag", "lane-0", "head"] == 0


def test_a_look_takes_up_where_the_last_one_ended(books: Books) -> None:
    surveyor = Surveyor(books)

    before = {standing.log: standing.stages for standing in surveyor.look().logs}
    list(books.ingest(iter([as_lines([b"nonsense"])]), "more"))
    after = {standing.log: standing.stages for standing in surveyor.look().logs}

    assert before["facts/hub"]["written"] + 2 == after["facts/hub"]["written"] == books.facts("facts/hub").end()


def test_a_scrape_of_books_that_cannot_be_read_fails(books: Books) -> None:
    with serve_metrics(Surveyor(books), "127.0.0.1", 0) as (_, port):
        books.database.write_bytes(b"no database" * 1000)
        with pytest.raises(HTTPError, match="500"):
            scrape(port)


def test_a_port_that_is_taken_is_named(books: Books) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"metrics on 127.0.0.1:{port}: "),
            serve_metrics(Surveyor(books), "127.0.0.1", port),
        ):
            pass


def test_run_serves_while_it_runs_where_a_port_is_set(books: Books, tmp_path: Path) -> None:
    config = tmp_path / "omnisync.toml"
    config.write_text("[metrics]\nport = 0\n")
    running = start("run", "--data", books.folder, "--config", config)
    try:
        port = _port_of(running.err.fileno())
        give_up = time.monotonic() + 20
        while (told := scrape(port)).get(("omnisync_lag", "lane-0", "history")) != 0:
            assert time.monotonic() < give_up, told
    finally:
        running.kill()
        running.end()
    assert told["omnisync_lag", "facts/0", "settled"] == 0


def _port_of(err: int) -> int:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        found = re.search(rb"metrics on http://127\.0\.0\.1:(\d+)/metrics\n", os.pread(err, 10_000, 0))
        if found is not None:
            return int(found[1])
        time.sleep(0.002)
    raise AssertionError("no metrics are served")


def test_without_a_port_nothing_is_served(books: Books) -> None:
    done = omnisync("run", "--once", "--data", books.folder)

    assert (done.status, "metrics" in done.err) == (0, False)
