"""The published JSON Schema says what the codec does; no validator is needed to hold that."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.catalogue import DECISIONS, FACTS
from events.codec import encode, type_name
from events.event import Event
from events.facts import UsageMetered
from events.schema import build_schema
from tests.events.samples import SAMPLES, sample

FILE = Path(__file__).parents[2] / "docs" / "events.schema.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema as it is published."""
    members: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return members


def faults(value: Any, rule: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """List where a value breaks a rule, as far as our schema has rules. Only what is named here may stand in it."""
    if "$ref" in rule:
        return faults(value, definitions[rule["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in rule:
        choices = [faults(value, choice, definitions) for choice in rule["anyOf"]]
        return [] if [] in choices else choices[0]
    checks: dict[str, Callable[[Any], bool]] = {
        "const": lambda want: value == want,
        "enum": lambda want: value in want,
        "minimum": lambda least: value >= least,
        "maximum": lambda most: value <= most,
        "maxLength": lambda most: len(value) <= most,
        "minItems": lambda least: len(value) >= least,
        "maxItems": lambda most: len(value) <= most,
        "pattern": lambda pattern: re.search(pattern, value) is not None,
        "type": lambda name: isinstance(value, PYTHON[name]) and not (name == "integer" and isinstance(value, bool)),
        "required": lambda names: set(names) <= set(value),
        "additionalProperties": lambda allowed: allowed or set(value) <= set(rule["properties"]),
    }
    assert rule.keys() <= checks.keys() | {"properties", "items", "description", "title", "default"}, rule
    found = [
        f"{name} {rule[name]}: {value!r:.60}"
        for name, check in checks.items()
        if name in rule and not check(rule[name])
    ]
    for name in value if not found and "properties" in rule else ():
        found += faults(value[name], rule["properties"][name], definitions)
    for item in value if not found and "items" in rule else ():
        found += faults(item, rule["items"], definitions)
    return found


PYTHON = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}


def test_published_schema_is_the_generated_one() -> None:
    assert FILE.read_text("utf-8") == build_schema()


def test_each_type_is_one_of_the_schema(schema: dict[str, Any]) -> None:
    named = [choice["$ref"].rpartition("/")[2] for choice in schema["oneOf"]]

    assert named == [kind.__name__ for kind in FACTS + DECISIONS]
    assert set(named) <= schema["$defs"].keys()


def test_each_pattern_is_anchored_and_without_python_dialect(schema: dict[str, Any]) -> None:
    patterns = set(re.findall(r'"pattern": "(.*)"', json.dumps(schema, indent=1)))

    assert patterns
    assert all(pattern.startswith("^") and pattern.endswith("$") for pattern in patterns)
    assert not any("\\Z" in pattern or "\\A" in pattern for pattern in patterns)


@pytest.mark.parametrize("event", SAMPLES, ids=type_name)
def test_each_sample_keeps_the_schema_of_its_type_and_of_no_other(event: Event, schema: dict[str, Any]) -> None:
    members = json.loads(encode(event))

    kept = [kind for kind in FACTS + DECISIONS if not faults(members, schema["$defs"][kind.__name__], schema["$defs"])]

    assert kept == [type(event)]


@pytest.mark.parametrize(
    ("member", "value"),
    [("schema_version", 99), ("id", "xyz"), ("stranger", 1), ("data", {}), ("occurred_at", "today"), ("key", "")],
)
def test_what_the_codec_refuses_breaks_the_schema(member: str, value: Any, schema: dict[str, Any]) -> None:
    members = json.loads(encode(sample(UsageMetered))) | {member: value}

    assert faults(members, schema["$defs"]["UsageMetered"], schema["$defs"])
