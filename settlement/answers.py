"""Decisions on many facts at once: their lines, and what is counted of them.

A line is that which `settlement.lane_writer` writes of the same decision: at first as if it were on time, in the epoch
of its own day. What is known only at its turn is put in then.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import split_lines
from events.hashing import Digests, Lines, Part, Spans, hash_leaves, hash_parts, join_texts, render_lines
from events.instant import DAY
from ledger.bps import Integers

__all__ = ["Answers", "Causes", "spans_of", "write_answers"]

# What stands around a decision's epoch and flag. Within a text a quote is escaped, so that none can look like this.
_TIMED = re.compile(rb',"epoch":[0-9]+(,"id":"[0-9a-f]{64}","key":"[^"]*")(,"occurred_at":"[^\n]*)')


class Causes(NamedTuple):
    """Facts, a row each: their lines in the batch, their instants in microseconds, and where their members stand."""

    lines: Integers
    times: Integers
    id: Spans
    subject: Spans
    occurred_at: Spans


class Answers(NamedTuple):
    """A row per decision: what it is of, the line of the fact that it answers, its bytes without LF, what epochs count.

    `of`: the number of a life, or of a fact that is one by itself. `left`: what it leaves the consumer to spend, more
    or less; `back`: how much more than that it takes for a moment. All in base units.
    """

    data: bytes
    of: Integers
    fact: Integers
    starts: Integers
    ends: Integers
    leaves: Digests
    epochs: Integers
    burn: Integers
    fee: Integers
    left: Integers
    back: Integers

    @staticmethod
    def none() -> "Answers":
        """Return no decisions."""
        column = np.zeros(0, dtype=np.int64)
        leaves = np.zeros((0, 32), dtype=np.uint8)
        return Answers(b"", column, column, column, column, leaves, *[column] * 5)

    @staticmethod
    def join(parts: Sequence["Answers"]) -> "Answers":
        """Return decisions one after another."""
        if len(parts) == 1:
            return parts[0]
        before = np.cumsum([0, *(len(part.data) for part in parts)]).tolist()
        moved = [
            part._replace(starts=part.starts + start, ends=part.ends + start)
            for part, start in zip(parts, before, strict=False)
        ]
        data, *columns = zip(*moved, strict=True)
        return Answers(b"".join(data), *(np.concatenate(column) for column in columns))

    def pick(self, rows: Integers | slice) -> "Answers":
        """Return some of the decisions."""
        return Answers(
            self.data,
            self.of[rows],
            self.fact[rows],
            self.starts[rows],
            self.ends[rows],
            self.leaves[rows],
            self.epochs[rows],
            self.burn[rows],
            self.fee[rows],
            self.left[rows],
            self.back[rows],
        )

    def at_turn(self, late: npt.NDArray[np.bool_], oldest_open: int) -> list["Answers"]:
        """Return the decisions as they are made at last: which are late, a row each, and none of a closed epoch."""
        is_odd = late | (self.epochs < oldest_open)
        odd = np.flatnonzero(is_odd)
        if not len(odd):
            return [self]
        epochs = np.maximum(self.epochs[odd], oldest_open)
        lines = join_texts(self.data, self.starts[odd], self.ends[odd]).splitlines(keepends=True)
        flags = [b',"late":true' if is_late else b"" for is_late in late[odd].tolist()]
        data = b"".join(
            _TIMED.sub(rb',"epoch":%d\1%b\2' % (epoch, flag), line, count=1)
            for line, epoch, flag in zip(lines, epochs.tolist(), flags, strict=True)
        )
        starts, ends = split_lines(data)
        leaves = hash_leaves(data, starts, ends)
        timed = self.pick(odd)._replace(data=data, starts=starts, ends=ends, leaves=leaves, epochs=epochs)
        return [self.pick(np.flatnonzero(~is_odd)), timed]


def write_answers(
    kind: bytes, of: Integers, causes: Causes, said: list[Part], key: Sequence[bytes | Spans], params_hash: bytes
) -> Answers:
    """Write decisions of a kind, one because of each fact; `said` is their data's members, in order."""
    count, epochs = len(of), causes.times // DAY
    parts: list[Part] = [
        b'{"causation_id":"',
        causes.id,
        b'","data":{',
        *said,
        b'},"epoch":',
        epochs,
        b',"id":"',
        hash_parts([kind + b"|", *key], count),
        b'","key":"',
        *key,
        b'","occurred_at":"',
        causes.occurred_at,
        b'","params_hash":"%b","schema_version":1,"source":"settlement","subject":"' % params_hash,
        causes.subject,
        b'","type":"%b"}' % kind,
    ]
    lines, none = spans_of(render_lines(parts, count)), np.zeros(count, dtype=np.int64)
    return Answers(lines.data, of, causes.lines, lines.starts, lines.ends, hash_leaves(*lines), epochs, *[none] * 4)


def spans_of(lines: Lines) -> Spans:
    """Return where lines stand, without their LF."""
    return Spans(lines.data, np.concatenate((np.zeros(1, dtype=np.int64), lines.ends))[:-1], lines.ends - 1)
