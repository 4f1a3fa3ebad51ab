"""JSON Schema of the catalogue, generated from the structs that decode it."""

import json
from typing import Any

import msgspec

from events.catalogue import DECISIONS, FACTS

__all__ = ["build_schema"]


def build_schema() -> str:
    """Return the schema of every event as JSON text, one definition per type."""
    _, definitions = msgspec.json.schema_components(FACTS + DECISIONS, ref_template="#/$defs/{name}")
    for kind in FACTS + DECISIONS:
        definitions[kind.__name__]["properties"]["schema_version"] = {"const": kind.VERSION}
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "OmniSync Ledger events",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in FACTS + DECISIONS],
        "$defs": definitions,
    }
    # Python writes the end of the text as \Z; the regular expressions of JSON Schema write it as $.
    return json.dumps(schema, indent=1, sort_keys=True).replace("\\\\Z", "$") + "\n"
