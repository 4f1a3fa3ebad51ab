"""What intake asks of each fact of a batch, as columns over all lines, whatever their types.

    plain    the line fits a shape, no rule of time or genesis is about its type, and id = SHA-256(source | key)

What is not plain is judged one by one; its key stands here all the same, since nothing else may use it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from events.columns import Batch, Columns
from events.event import Event, Fact
from events.facts import GenesisDeclared, RecordRefused, StreamMarked, StreamRegistered
from events.hashing import Digests, Spans, hash_parts, join_texts, number_texts
from events.refusal import Refusal
from ledger.bps import Integers

__all__ = ["INTAKE", "Heads"]

# The source of what intake itself records; nobody else's, lest a key be taken before a refusal needs it.
INTAKE = "intake"
_ALONE = frozenset[type[Event]]((GenesisDeclared, StreamRegistered, StreamMarked, RecordRefused))


@dataclass(slots=True)
class Heads:
    """A row per line: 16 bytes each of `keys` and `contents`, microseconds, the number of the stream's name.

    `others`: what was read of the lines that are not plain.
    """

    plain: npt.NDArray[np.bool_]
    keys: Digests
    contents: Digests
    occurred_at: Integers
    streams: Integers
    names: list[str] = field(default_factory=list)
    others: dict[int, Event | Refusal] = field(default_factory=dict)

    @staticmethod
    def of(batch: Batch, count: int, read: Callable[[int], Event | Refusal], *, judged: bool = False) -> "Heads":
        """Read the heads of a batch of `count` lines; `read` decodes one of them.

        Of what was `judged` before neither key nor content is asked again: both stay zero.
        """
        heads = Heads(
            np.zeros(count, dtype=np.bool_),
            np.zeros((count, 16), dtype=np.uint8),
            np.zeros((count, 16), dtype=np.uint8),
            np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=np.int64),
        )
        alone = _ALONE - {RecordRefused} if judged else _ALONE
        kinds = [each for each in batch.columns.values() if issubclass(each.kind, Fact) and each.kind not in alone]
        if kinds:
            heads._read(kinds, judged=judged)
        for line in np.flatnonzero(~heads.plain).tolist():
            event = heads.others[line] = read(line)
            if isinstance(event, Event) and not judged:
                heads.keys[line] = np.frombuffer(bytes.fromhex(event.id)[:16], dtype=np.uint8)
        return heads

    def alone(self) -> npt.NDArray[np.bool_]:
        """Tell which lines are judged one by one whatever was seen before: no plain ones, and keys that stand twice."""
        alone = ~self.plain
        alone[self._alike()] = True
        return alone

    def repeats(self) -> dict[int, int]:
        """Return, of each line whose key stands in a line before it, the first such line."""
        firsts: dict[bytes, int] = {}
        repeats = {}
        for line in np.sort(self._alike()).tolist():
            first = firsts.setdefault(self.keys[line].tobytes(), line)
            if first != line:
                repeats[line] = first
        return repeats

    def _alike(self) -> Integers:
        """Return the lines whose keys begin alike; nearly always they are the same. Some may stand there twice."""
        beginnings = self.keys.view(np.uint64)[:, 0]
        order = np.argsort(beginnings)
        same = beginnings[order[1:]] == beginnings[order[:-1]]
        return np.concatenate((order[1:][same], order[:-1][same]))

    def _read(self, kinds: list[Columns], *, judged: bool) -> None:
        rows, stream = np.concatenate([each.rows for each in kinds]), _every(kinds, "stream")
        self.occurred_at[rows] = np.concatenate([each.numbers("occurred_at") for each in kinds])
        firsts, self.streams[rows] = number_texts(*stream)
        names = join_texts(stream.data, stream.starts[firsts], stream.ends[firsts])
        self.names = names.decode("ascii").split("\n")[:-1]
        self.plain[rows] = True if judged else self._identify(kinds, rows)

    def _identify(self, kinds: list[Columns], rows: Integers) -> npt.NDArray[np.bool_]:
        """Read keys and contents; tell which facts may have their key."""
        source, count = _every(kinds, "source"), len(rows)
        ids = np.frombuffer(bytes.fromhex(join_texts(*_every(kinds, "id")).decode("ascii")), np.uint8).reshape(-1, 32)
        hashes = hash_parts([source, b"|", _every(kinds, "key")], count)
        # As intake's own `content_digest`, since the lines are canonical.
        said: list[bytes | Spans] = [_kinds_of(kinds), b"|", _every(kinds, "subject"), b"|", _every(kinds, "data")]
        self.contents[rows] = hash_parts(said, count)[:, :16]
        self.keys[rows] = ids[:, :16]
        right: npt.NDArray[np.bool_] = (hashes.view(np.uint64) == ids.view(np.uint64)).all(axis=1)
        return right & ~_is_intake(source)


def _every(kinds: list[Columns], path: str) -> Spans:
    """Return where a member stands in the facts of all these kinds, kind by kind."""
    starts, ends = (np.concatenate(side) for side in zip(*(each.span(path) for each in kinds), strict=True))
    return Spans(kinds[0].data, starts, ends)


def _kinds_of(kinds: list[Columns]) -> Spans:
    """Return the names of their types."""
    names, counts = Spans.of([each.kind.__name__.encode() for each in kinds]), list(map(len, kinds))
    return Spans(names.data, np.repeat(names.starts, counts), np.repeat(names.ends, counts))


def _is_intake(source: Spans) -> npt.NDArray[np.bool_]:
    """Tell which sources are intake itself."""
    letters, intake = np.frombuffer(source.data, dtype=np.uint8), INTAKE.encode()
    alike = np.flatnonzero(source.ends - source.starts == len(intake))
    for place, letter in enumerate(intake):
        alike = alike[letters[source.starts[alike] + place] == letter]
    are = np.zeros(len(source.starts), dtype=np.bool_)
    are[alike] = True
    return are
