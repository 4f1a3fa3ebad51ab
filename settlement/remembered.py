"""What ingest remembers of a partition from one session to the next: a cache beside the log.

    opened = the intake that has read the log up to `keys.position`; without a cache that checks: a new one, position 0

A cache is bound to the root of the log where it was sealed, and to its own digest. It may be deleted at any time.
"""

from pathlib import Path

import msgspec

from events.codec import encode_json
from events.event import Data
from events.log import Log
from ledger.parameters import parameters_from_json, parameters_hash, parameters_json
from settlement.intake import Intake
from settlement.keys import KeyIndex

__all__ = ["SEALED_AFTER", "open_intake", "root_at", "seal_intake"]

# So many facts are read again sooner than they are worth a file.
SEALED_AFTER = 50_000


class _Ground(Data, frozen=True):
    """What an intake holds beside its keys, and the log's root there."""

    root: str
    network_time: int
    marks: dict[str, int]
    parameters: str


_decoder = msgspec.json.Decoder(_Ground)


def open_intake(folder: Path | None, facts: Log) -> Intake:
    """Return the intake of a partition as of `keys.position`. Raises: OSError, LogDamaged."""
    grounds: dict[int, _Ground] = {}

    def is_ground(position: int, text: str) -> bool:
        try:
            ground = grounds[position] = _decoder.decode(text)
        except msgspec.MsgspecError:
            return False
        return root_at(facts, position) == ground.root

    if folder is None:
        return Intake()
    intake = Intake(KeyIndex(folder, until=facts.end(), is_ground=is_ground))
    if intake.keys.position:
        ground = grounds[intake.keys.position]
        intake.time.marks, intake.time.network_time = dict(ground.marks), ground.network_time
        intake.parameters = parameters_from_json(ground.parameters)
        intake.params_hash = parameters_hash(ground.parameters)
    return intake


def seal_intake(intake: Intake, facts: Log) -> None:
    """Keep what an intake has read of a log, all of it, where that is much. Raises: OSError."""
    end = facts.end()
    if end - intake.keys.position >= SEALED_AFTER and intake.parameters is not None:
        ground = _Ground(
            root=facts.root().hex(),
            network_time=intake.time.network_time,
            marks=intake.time.marks,
            parameters=parameters_json(intake.parameters),
        )
        intake.keys.seal(end, encode_json(ground).decode())


def root_at(facts: Log, position: int) -> str | None:
    """Return a log's root at a position; None where no record ends there. Raises: LogDamaged."""
    record = next(iter(facts.read(position - 1)), None)
    return record.header.root if record is not None and record.end == position else None
