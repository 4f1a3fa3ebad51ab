"""Outside producers put CloudEvents into the inbox, alone or in batches; they are judged as a file's lines are."""

import json
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from app.facts import to_line
from tests.cluster.deployment import Deployment
from tests.faults.scenes import write_facts
from tests.networks import build_network

pytestmark = pytest.mark.slow


def put(servers: tuple[str, ...], deployment: Deployment, values: list[bytes]) -> None:
    """Be an outside producer."""
    with KafkaProducer(bootstrap_servers=list(servers), acks="all") as producer:
        for value in values:
            producer.send(f"{deployment.prefix}.inbox", value)


def taken(deployment: Deployment, *source: str | Path) -> Any:
    """Ingest, from the inbox unless a file is named; return what is told of it."""
    ended = deployment.run("ingest", *(source or ("--inbox", "--once")), "--json")
    assert ended.out, ended.err
    return json.loads(ended.out)


def test_alone_in_batches_and_from_a_file_is_the_same(
    deployment: Deployment, kafka: tuple[str, ...], tmp_path: Path
) -> None:
    world = build_network(12)
    lines = [to_line(fact).rstrip(b"\n") for fact in world.facts()]
    deployment.books().create(world.parameters)
    batches = [b"[" + b",\n ".join(lines[start : start + 7]) + b"]" for start in range(50, len(lines), 7)]
    put(kafka, deployment, [*lines[:50], *batches])
    first = taken(deployment)

    assert first["lines"] == len(lines)
    again = taken(deployment, write_facts(tmp_path / "facts.jsonl", lines))
    assert (again["accepted"], again["duplicates"]) == (0, first["accepted"] + first["duplicates"])
    assert again["position"] == first["position"]


def test_what_is_no_event_is_kept_and_named(deployment: Deployment, kafka: tuple[str, ...]) -> None:
    world = build_network(13)
    deployment.books().create(world.parameters)
    good = [to_line(fact).rstrip(b"\n") for fact in world.facts()[:3]]
    put(
        kafka,
        deployment,
        [good[0], b"[" + good[1] + b",", b"", b"\xff" * 70_000, b"[]", b"[" + good[2] + b', 17, "x"]'],
    )
    told = taken(deployment)

    assert told["accepted"] == 2
    reasons = [refused["reason"] for refused in told["refused"]]
    assert reasons == ["not_json", "not_json", "line_too_long", "not_cloudevent", "not_cloudevent"]
    deployment.do("run", "--once")
    kept = deployment.told("report", "refused")
    assert len(kept["lines"]) == 5
    assert all(row["source"] == f"{deployment.prefix}.inbox-0" for row in kept["lines"])


def test_what_was_appended_before_a_crash_is_a_duplicate_after_it(
    deployment: Deployment, kafka: tuple[str, ...]
) -> None:
    world = build_network(14)
    lines = [to_line(fact).rstrip(b"\n") for fact in world.facts()]
    deployment.books().create(world.parameters)
    put(kafka, deployment, [b"[" + b",".join(lines) + b"]"])
    assert deployment.run("ingest", "--inbox", "--once", kill_at="ingest.2-appended").status == -9
    again = taken(deployment)

    assert again["duplicates"] + len(again["refused"]) == again["lines"] == len(lines)
    assert taken(deployment)["lines"] == 0
