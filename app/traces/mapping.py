"""How a trace's columns are to be read: a TOML file, checked by these models before a row is read.

Owns the rules that a map must keep; `docs/traces.md` says what each key means. A map never holds code, a price or a
start: those are asked for on the command line.
"""

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.traces.rows import TraceMalformed

__all__ = ["Clock", "MapInvalid", "Origin", "TraceMap", "read_map"]

NODES_MAX = 100_000

Column = Annotated[str, Field(min_length=1, max_length=200)]
Cell = Annotated[str, Field(max_length=200)]
# Part of an id: what is left of its 88 characters is for the rest.
Part = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,40}$")]


class MapInvalid(TraceMalformed):
    """A map is refused; one line per fault, naming key, value and rule."""


class Clock(StrEnum):
    """What a trace's times are written in."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    RFC3339 = "rfc3339"


class Origin(StrEnum):
    """Which of a trace's times is `--start`: its first one, or zero."""

    FIRST = "first"
    ZERO = "zero"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Section):
    """Which column says what; without `start` a job starts when it is submitted."""

    job: Column
    consumer: Column
    submit: Column
    start: Column | None = None
    end: Column | None = None
    duration: Column | None = None
    gpus: Column | None = None
    gpu_milli: Column | None = None
    status: Column | None = None

    @model_validator(mode="after")
    def _each_thing_once(self) -> "Columns":
        if (self.end is None) == (self.duration is None):
            raise ValueError("name one of end and duration")
        if self.gpus is None and self.gpu_milli is None:
            raise ValueError("name gpus, gpu_milli, or both (GPUs, and thousandths of each)")
        return self

    def named(self) -> tuple[str, ...]:
        """Return the columns that a trace must have."""
        return tuple(dict.fromkeys(column for column in self.model_dump().values() if column is not None))


class Status(_Section):
    """Which status values mean what; a value that stands nowhere is a fault of the row."""

    done: Annotated[tuple[Cell, ...], Field(min_length=1)]
    failed: tuple[Cell, ...] = ()
    cancelled: tuple[Cell, ...] = ()

    @model_validator(mode="after")
    def _one_meaning_each(self) -> "Status":
        values = (*self.done, *self.failed, *self.cancelled)
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"each value has one meaning: {', '.join(map(repr, twice))}")
        return self


class Prefix(_Section):
    """What is put before the trace's own ids, so that two traces can share their books."""

    job: Part = ""
    consumer: Part = ""


class Nodes(_Section):
    """The nodes that are made up for the trace, `{prefix}-0` to `{prefix}-{count − 1}`, at minimum price 0."""

    count: Annotated[int, Field(ge=1, le=NODES_MAX, strict=True)]
    prefix: Annotated[Part | None, Field(min_length=1)] = None
    gpus: Annotated[int, Field(ge=0, le=1_000, strict=True)] = 1
    model: Annotated[str, Field(max_length=300)] = "unknown"


class TraceMap(_Section):
    """A whole map; stream and source are `trace-{name}`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,29}$")]
    time: Clock
    origin: Origin
    delimiter: Annotated[str, Field(pattern=r"^[^\"\r\n\x00]$")] = ","
    absent: tuple[Cell, ...] = ("",)
    columns: Columns
    status: Status | None = None
    prefix: Prefix = Prefix()
    nodes: Nodes

    @model_validator(mode="after")
    def _parts_fit(self) -> "TraceMap":
        if (self.columns.status is None) != (self.status is None):
            raise ValueError("columns.status and [status] belong together")
        if self.time is Clock.RFC3339 and self.origin is Origin.ZERO:
            raise ValueError('origin "zero" needs times that are numbers; rfc3339 has "first"')
        return self

    @property
    def source(self) -> str:
        """Return the name of source and stream."""
        return f"trace-{self.name}"

    @property
    def node_prefix(self) -> str:
        """Return what nodes are called before their number."""
        return self.nodes.prefix or f"{self.name}-node"


def read_map(path: Path) -> TraceMap:
    """Read a map from TOML. Raises: MapInvalid, naming file, key, value and rule."""
    try:
        return TraceMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MapInvalid(f"{path.name}: not TOML: {error}") from error
    except ValidationError as error:
        raise MapInvalid("\n".join(_say(path, error))) from error


def _say(path: Path, error: ValidationError) -> list[str]:
    return [
        f"{path.name}: {'.'.join(map(str, fault['loc'])) or 'map'}: {fault['msg']} (found {fault['input']!r:.60})"
        for fault in error.errors()
    ]
