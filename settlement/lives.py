"""Regular lives: jobs of declared authority that stand whole in one batch and that nothing of their own refuses.

    submitted, cancelled                                          refunded 0
    submitted, dispatched, failed or cancelled                    held, refunded
    submitted, dispatched to one node, metered                    held, settled
    submitted, dispatched to n, each metered once, all agree      held, settled; one node of each operator is paid

Such a life asks the lane's state three things only: whether the job is new, whether its consumer can pay, and which
epochs are open (see `settlement.life_run`). All else follows from its own facts, and is worked out here by columns, for
a whole batch: the vectorised twin of the handlers of `settlement.lane`. What is not regular goes through those.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Batch, Columns
from events.event import Event
from events.facts import JobCancelled, JobDispatched, JobFailed, JobSubmitted, QuorumClaimed, StreamMarked, UsageMetered
from events.hashing import Spans
from ledger.bps import Integers
from ledger.metering import bound_many, fits_many, hold_many, price_many
from ledger.parameters import Parameters
from ledger.price import keeps_many
from ledger.quorum import paid_many
from ledger.sums import Numbering

__all__ = [
    "AGREED",
    "CANCELLED",
    "DISPATCHED",
    "FAILED",
    "METERED",
    "SUBMITTED",
    "JobFacts",
    "Lives",
    "Nodes",
    "find_lives",
]

Mask = npt.NDArray[np.bool_]

_KINDS: tuple[type[Event], ...] = (
    JobSubmitted,
    JobDispatched,
    UsageMetered,
    QuorumClaimed,
    JobFailed,
    JobCancelled,
)
OTHER, SUBMITTED, DISPATCHED, METERED, AGREED, FAILED, CANCELLED = range(7)
# Of what is held for a life the bits above the lowest 31 come to less than this, so that its sum is below 2^62.
_HIGH_MAX = 2**31 - 64


class JobFacts:
    """The facts about jobs in a batch, by line: of which kind, about which job, at which place among its kind, when."""

    def __init__(self, batch: Batch) -> None:
        """Read the kinds that lives are made of. A job that shares its id with a fact of another kind is left out."""
        count = 1 + max((int(columns.rows[-1]) for columns in batch.columns.values()), default=-1)
        self.kinds, self.jobs, self.places, self.times = (np.zeros(count, dtype=np.int64) for _ in range(4))
        self._columns = {kind: batch.columns[event] for kind, event in enumerate(_KINDS, 1) if event in batch.columns}
        self.data = next(iter(self._columns.values())).data
        self._spans: dict[tuple[str, int | None], tuple[Integers, Integers]] = {}
        numbers: dict[tuple[bytes, bytes], int] = {}
        for kind, columns in self._columns.items():
            names = zip(columns.bytes("data.consumer"), columns.bytes("subject"), strict=True)
            self.jobs[columns.rows] = [numbers.setdefault(name, len(numbers)) for name in names]
            self.places[columns.rows] = np.arange(len(columns))
            self.times[columns.rows] = columns.numbers("occurred_at")
            self.kinds[columns.rows] = kind
        if METERED in self._columns:
            usage = self._columns[METERED]
            self.kinds[usage.rows[usage.has("data.terms")]] = OTHER
        subjects: set[bytes] = set()
        for columns in batch.columns.values():
            others = self.kinds[columns.rows] == OTHER
            if others.any():
                subjects.update(columns.take(others).bytes("subject"))
        spoiled = [number for (_, job), number in numbers.items() if job in subjects]
        self.kinds[np.isin(self.jobs, spoiled)] = OTHER

    def take(self, kind: int, lines: Integers) -> Columns:
        """Return the facts of one kind that stand in some lines."""
        return self._columns[kind].take(self.places[lines])

    def span(self, path: str, lines: Integers, kind: int | None = None) -> Spans:
        """Return where a member stands in some lines: one that all kinds have, or that of one kind."""
        found = self._spans.get((path, kind))
        if found is None:
            starts, ends = (np.zeros(len(self.kinds), dtype=np.int64) for _ in range(2))
            for columns in self._columns.values() if kind is None else (self._columns[kind],):
                starts[columns.rows], ends[columns.rows] = columns.span(path)
            found = self._spans[path, kind] = starts, ends
        return Spans(self.data, found[0][lines], found[1][lines])


class _Groups(NamedTuple):
    """The facts of jobs, job by job: the lines `lines[starts[i] : starts[i] + sizes[i]]` are about job i."""

    facts: JobFacts
    lines: Integers
    starts: Integers
    sizes: Integers

    def pick(self, jobs: Mask) -> "_Groups":
        return _Groups(self.facts, self.lines, self.starts[jobs], self.sizes[jobs])

    def nth(self, place: int) -> Integers:
        """Return the line at a place of each job; where it has fewer, its last."""
        return np.asarray(self.lines[self.starts + np.minimum(place, self.sizes - 1)])

    def last(self) -> Integers:
        return np.asarray(self.lines[self.starts + self.sizes - 1])

    def endings(self) -> Integers:
        return self.facts.kinds[self.last()]

    def metered(self) -> Integers:
        """Count the usage of each job of a regular shape."""
        endings = self.endings()
        return np.where(endings == METERED, 1, np.where(endings == AGREED, self.sizes - 3, 0))


class Nodes(NamedTuple):
    """A row for each node of each life, in the order of dispatch; amounts in base units.

    `paid` is 1 or 0. `name` and `text` are where the node's name and its price stand in the batch's bytes.
    """

    life: Integers
    node: Integers
    operator: Integers
    price: Integers
    hold: Integers
    seconds: Integers
    paid: Integers
    gross: Integers
    name_starts: Integers
    name_ends: Integers
    text_starts: Integers
    text_ends: Integers

    def pick(self, lives: Mask) -> "Nodes":
        """Keep some lives, which are numbered anew."""
        if lives.all():
            return self
        number = np.cumsum(lives) - 1
        mine = self.take(lives[self.life])
        return mine._replace(life=number[mine.life])

    def take(self, rows: Mask) -> "Nodes":
        """Keep some nodes."""
        return Nodes(*(column[rows] for column in self))


class Lives(NamedTuple):
    """Regular lives, a row each, and their nodes. Facts are named by their lines in the batch.

    `lines[starts[i] : starts[i] + sizes[i]]` are all of a life's; `dispatched` is -1 where there is none; `endings` are
    kinds.
    """

    facts: JobFacts
    lines: Integers
    starts: Integers
    sizes: Integers
    submitted: Integers
    dispatched: Integers
    ended: Integers
    endings: Integers
    nodes: Nodes


def find_lives(batch: Batch, parameters: Parameters, params_hash: str) -> Lives | None:
    """Find the regular lives of a batch and price them; None where there are none."""
    if not {JobSubmitted, JobDispatched} <= batch.columns.keys():
        return None
    facts = JobFacts(batch)
    lines = np.flatnonzero(facts.kinds != OTHER)
    lines = lines[np.argsort(facts.jobs[lines], kind="stable")]
    starts = np.flatnonzero(np.diff(facts.jobs[lines], prepend=-1))
    groups = _Groups(facts, lines, starts, np.diff(starts, append=len(lines)))
    if len(starts):
        groups = groups.pick(_has_shape(groups) & _is_within(groups, batch))
        groups = groups.pick(_is_plain(groups, parameters.unit.asset.encode()))
    if not len(groups.starts):
        return None
    names = Numbering()
    good, nodes = _hold(groups, names, parameters, params_hash.encode())
    for check in (_meter, _agree):
        groups, nodes = groups.pick(good), nodes.pick(good)
        good, nodes = check(groups, nodes, names)
    groups, nodes = groups.pick(good), nodes.pick(good)
    if not len(groups.starts):
        return None
    second = groups.nth(1)
    return Lives(
        *groups,
        submitted=groups.nth(0),
        dispatched=np.where(facts.kinds[second] == DISPATCHED, second, -1),
        ended=groups.last(),
        endings=groups.endings(),
        nodes=_price(groups, nodes),
    )


def _has_shape(groups: _Groups) -> Mask:
    """Tell which jobs' facts come in the order of a regular life."""
    kinds = groups.facts.kinds
    first, second, last = kinds[groups.nth(0)], kinds[groups.nth(1)], groups.endings()
    metered = np.add.reduceat(kinds[groups.lines] == METERED, groups.starts, dtype=np.int64)
    # All but what was submitted, dispatched, and the last.
    between = groups.sizes - 3
    unheld = (between == -1) & (last == CANCELLED)
    alone = (between == 0) & ((last == METERED) | (last == FAILED) | (last == CANCELLED))
    shared = (between > 0) & (last == AGREED) & (metered == between)
    return np.asarray((first == SUBMITTED) & (unheld | (second == DISPATCHED) & (alone | shared)))


def _is_within(groups: _Groups, batch: Batch) -> Mask:
    """Tell which jobs' facts can come in one run: no mark, after which time goes on, stands among them."""
    breaks = batch.rest
    if StreamMarked in batch.columns:
        breaks = np.sort(np.concatenate((breaks, batch.columns[StreamMarked].rows)))
    return np.asarray(np.searchsorted(breaks, groups.nth(0)) == np.searchsorted(breaks, groups.last()))


def _is_plain(groups: _Groups, asset: bytes) -> Mask:
    """Tell which jobs are submitted as nothing refuses, by declared authority, to as many nodes as are metered."""
    submitted, endings = groups.facts.take(SUBMITTED, groups.nth(0)), groups.endings()
    said = zip(submitted.bytes("data.asset"), submitted.bytes("data.authority"), strict=True)
    plain = np.array([one == (asset, b"declared") for one in said], dtype=np.bool_)
    metered = groups.metered()
    plain &= (metered == 0) | (metered == submitted.numbers("data.nodes"))
    for kind in (FAILED, AGREED):
        mine = np.flatnonzero(endings == kind)
        if len(mine):
            plain[mine] &= groups.facts.take(kind, groups.last()[mine]).numbers("data.attempt") == 1
    return plain


def _hold(groups: _Groups, names: Numbering, parameters: Parameters, params_hash: bytes) -> tuple[Mask, Nodes]:
    """Tell which jobs are dispatched as nothing refuses, if at all; return all their nodes with what is held for each.

    As `Lane._dispatch`.
    """
    second = groups.nth(1)
    held = np.flatnonzero(groups.facts.kinds[second] == DISPATCHED)
    dispatched, rules = groups.facts.take(DISPATCHED, second[held]), parameters.job
    submitted = groups.facts.take(SUBMITTED, groups.nth(0)[held])
    quotes = dispatched.items("data.quotes")
    price, minimum = quotes.amounts("price"), quotes.amounts("minimum")
    most = submitted.numbers("data.gpu_seconds_max")[quotes.parents]
    fits = fits_many(price, most) & (minimum >= 0)
    fits &= keeps_many(np.maximum(price, 0), np.maximum(minimum, 0), rules.burn_bps, rules.fee_bps)
    hold = np.where(fits, hold_many(np.where(fits, price, 0), np.where(fits, most, 0)), 0)
    life, zero = held[quotes.parents], np.zeros(len(quotes), dtype=np.int64)
    nodes = Nodes(
        life,
        np.array([names[name] for name in quotes.bytes("node")], dtype=np.int64),
        np.array([names[name] for name in quotes.bytes("operator")], dtype=np.int64),
        price,
        hold,
        zero,
        zero,
        zero,
        *quotes.span("node"),
        *quotes.span("price"),
    )
    good = np.ones(len(groups.starts), dtype=np.bool_)
    good[life[~fits]] = good[_doubled(life, nodes.node)] = False
    high = np.zeros(len(good), dtype=np.int64)
    np.add.at(high, life, hold >> 31)
    named = np.array([text in (b"", params_hash) for text in dispatched.bytes("data.params_hash")], dtype=np.bool_)
    counts = np.bincount(quotes.parents, minlength=len(held))
    good[held] &= named & (dispatched.numbers("data.attempt") == 1) & (counts == submitted.numbers("data.nodes"))
    return good & (high < _HIGH_MAX), nodes


def _meter(groups: _Groups, nodes: Nodes, names: Numbering) -> tuple[Mask, Nodes]:
    """Tell which jobs' nodes are each metered once, where any is; return the nodes with their GPU-seconds."""
    good, counts = np.ones(len(groups.starts), dtype=np.bool_), groups.metered()
    if not counts.any():
        return good, nodes
    life = np.repeat(np.arange(len(counts)), counts)
    usage = groups.facts.take(METERED, groups.lines[ranges(groups.starts + 2, counts)])
    named = np.array([names[name] for name in usage.bytes("data.node")], dtype=np.int64)
    mine = np.flatnonzero(counts[nodes.life])
    theirs = np.lexsort((named, life))
    mine = mine[np.lexsort((nodes.node[mine], nodes.life[mine]))]
    seconds = nodes.seconds.copy()
    seconds[mine] = usage.numbers("data.gpu_seconds")[theirs]
    good[life[usage.numbers("data.attempt") != 1]] = False
    good[nodes.life[mine[nodes.node[mine] != named[theirs]]]] = False
    good[nodes.life[~fits_many(nodes.price, seconds)]] = False
    return good, nodes._replace(seconds=seconds, paid=(counts[nodes.life] > 0).astype(np.int64))


def _agree(groups: _Groups, nodes: Nodes, names: Numbering) -> tuple[Mask, Nodes]:
    """Tell which jobs' nodes all agree and are enough, where there is a verdict; say who is paid. As `Lane._quorum`."""
    good = np.ones(len(groups.starts), dtype=np.bool_)
    agreed = np.flatnonzero(groups.endings() == AGREED)
    if not len(agreed):
        return good, nodes
    agreeing = groups.facts.take(AGREED, groups.last()[agreed]).items("data.agreeing")
    life = agreed[agreeing.parents]
    named = np.array([names[name] for name in agreeing.bytes("item")], dtype=np.int64)
    shared = groups.endings() == AGREED
    good &= ~shared | (np.bincount(life, minlength=len(good)) == groups.metered())
    theirs, mine = np.flatnonzero(good[life]), np.flatnonzero((good & shared)[nodes.life])
    theirs = theirs[np.lexsort((named[theirs], life[theirs]))]
    mine = mine[np.lexsort((nodes.node[mine], nodes.life[mine]))]
    good[nodes.life[mine[nodes.node[mine] != named[theirs]]]] = False
    mine = np.sort(mine)
    paid = nodes.paid.copy()
    paid[mine] = paid_many(nodes.life[mine], nodes.operator[mine])
    good[agreed] &= np.isin(agreed, nodes.life[mine[paid[mine] > 0]])
    return good, nodes._replace(paid=paid)


def _price(groups: _Groups, nodes: Nodes) -> Nodes:
    """Price the nodes that are paid. As `settlement.release.price_lines`."""
    gross, seconds = nodes.gross.copy(), nodes.seconds.copy()
    paid = np.flatnonzero(nodes.paid)
    if len(paid):
        starts = np.flatnonzero(np.diff(nodes.life[paid], prepend=-1))
        seconds[paid] = bound_many(seconds[paid], starts)
        gross[paid] = price_many(nodes.price[paid], seconds[paid], nodes.hold[paid])
    return nodes._replace(gross=gross, seconds=seconds)


def _doubled(groups: Integers, members: Integers) -> Integers:
    """Return the groups in which a member stands twice."""
    order = np.lexsort((members, groups))
    groups, members = groups[order], members[order]
    again = (groups[1:] == groups[:-1]) & (members[1:] == members[:-1])
    return np.asarray(groups[1:][again])


def ranges(starts: Integers, counts: Integers) -> Integers:
    """Return start, start + 1 … of each range, so many of each."""
    return np.asarray(np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts))
