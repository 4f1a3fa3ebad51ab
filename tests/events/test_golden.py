"""Golden lines: the bytes of each event type and version, as they stand in logs that exist.

`--update-golden` writes the lines of today's versions. Those of older versions are written once and never again.
"""

from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from events.catalogue import DECISIONS, FACTS, get_version
from events.codec import decode, encode, type_name
from events.event import Event
from events.facts import JobCancelled
from tests.events.samples import CANCELLED_V1, SAMPLES

FOLDER = Path(__file__).parents[1] / "golden" / "events"
OLD = {"JobCancelled.v1": CANCELLED_V1}
TODAY = {f"{type_name(event)}.v{event.schema_version}": event for event in SAMPLES}


def golden(name: str) -> bytes:
    line = (FOLDER / f"{name}.json").read_bytes()
    assert line.endswith(b"\n")
    return line[:-1]


@pytest.fixture(autouse=True)
def golden_files(update_golden: bool) -> None:
    """Write what may be written, where it was asked for."""
    if update_golden:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, event in TODAY.items():
            (FOLDER / f"{name}.json").write_bytes(encode(event) + b"\n")
        for name, line in OLD.items():
            if not (FOLDER / f"{name}.json").exists():
                (FOLDER / f"{name}.json").write_bytes(line + b"\n")


def test_each_type_and_version_has_its_golden_line_and_nothing_else_has() -> None:
    kinds = FACTS + DECISIONS
    owed = {f"{kind.__name__}.v{n}" for kind in kinds for n in range(1, get_version(kind.__name__) + 1)}

    assert {path.stem for path in FOLDER.iterdir()} == owed == TODAY.keys() | OLD.keys()


def lacking(value: Any, path: str) -> list[str]:
    """List the members of a struct, and of those within it, that have no value."""
    if isinstance(value, tuple):
        return [found for item in value for found in lacking(item, path)] if value else [path]
    if not isinstance(value, Struct):
        return [path] if value is None else []
    names = value.__struct_fields__
    return [found for name in names for found in lacking(getattr(value, name), f"{path}.{name}")]


@pytest.mark.parametrize("name", TODAY)
def test_golden_line_of_today_shows_every_member(name: str) -> None:
    assert lacking(TODAY[name], name) == []


@pytest.mark.parametrize("name", TODAY)
def test_golden_line_of_today_is_read_and_written_byte_for_byte(name: str) -> None:
    event = decode(golden(name))

    assert event == TODAY[name]
    assert isinstance(event, Event)
    assert encode(event) == golden(name)


@pytest.mark.parametrize("name", OLD)
def test_golden_line_of_an_older_version_is_read_as_todays_type(name: str) -> None:
    event = decode(golden(name))

    assert isinstance(event, Event)
    assert type_name(event) == name.partition(".")[0]
    assert event.schema_version == event.VERSION


def test_job_cancelled_version_1_says_that_its_reason_is_unstated() -> None:
    event = decode(golden("JobCancelled.v1"))

    assert isinstance(event, JobCancelled)
    assert event.data.reason == "unstated"
    assert event.data.consumer == "K"
