"""Regular lives: jobs of declared authority that nothing of their own refuses, as far as they have come.

    submitted, cancelled                                          refunded 0
    submitted, dispatched, failed or cancelled                    held, refunded
    submitted, dispatched to one node, metered                    held, settled
    submitted, dispatched to n, each metered once, all agree      held, settled; one node of each operator is paid
                  the verdict may come before the last is metered, where all are paid
    submitted, dispatched for more than there is, cancelled       refused, refunded 0

Such a life asks the lane's state three things only: whether the job is new, or has begun so; whether its consumer can
pay; which epochs are open (see `settlement.life_run`). All else follows from its own facts, and is worked out here by
columns, for a whole batch: the vectorised twin of the handlers of `settlement.lane`. What is not regular goes through
those. A life that goes on stands here whole: its facts from batches before are read again behind the batch's own.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Batch, Columns
from events.facts import JobDispatched, JobSubmitted
from events.hashing import number_texts
from ledger.bps import Integers
from ledger.metering import bound_many, fits_many, hold_for, hold_many, price_many
from ledger.parameters import Parameters
from ledger.price import keeps_many, quote_price
from ledger.quorum import paid_many
from settlement.job_facts import (
    AGREED,
    CANCELLED,
    DISPATCHED,
    FAILED,
    KINDS,
    METERED,
    OTHER,
    SUBMITTED,
    JobFacts,
    are_among,
    ranges,
)
from settlement.jobs import Begun, Job

__all__ = ["OPEN_PART", "Lives", "Nodes", "Place", "find_lives"]

Mask = npt.NDArray[np.bool_]
Place = tuple[str, str]

# Open jobs are few where a batch has this many lines for each.
OPEN_PART = 4
# Of what is held for a life the bits above the lowest 31 come to less than this, so that its sum is below 2^62.
_HIGH_MAX = 2**31 - 64


class _Groups(NamedTuple):
    """The facts of jobs, job by job: the lines `lines[starts[i] : starts[i] + sizes[i]]` are about job i.

    A job's facts stand in their order, those of batches before first. `metered`, `agreed`: how many of these kinds.
    """

    facts: JobFacts
    lines: Integers
    starts: Integers
    sizes: Integers
    metered: Integers
    agreed: Integers

    def pick(self, jobs: Mask | Integers) -> "_Groups":
        return _Groups(self.facts, self.lines, *(column[jobs] for column in self[2:]))

    def nth(self, place: int) -> Integers:
        """Return the line at a place of each job; where it has fewer, its last."""
        return np.asarray(self.lines[self.starts + np.minimum(place, self.sizes - 1)])

    def last(self) -> Integers:
        return np.asarray(self.lines[self.starts + self.sizes - 1])

    def of_kind(self, kind: int) -> tuple[Integers, Integers]:
        """Return the lines of all facts of a kind, job by job, and the job of each."""
        lines = self.lines[ranges(self.starts, self.sizes)]
        mine = np.flatnonzero(self.facts.kinds[lines] == kind)
        return lines[mine], np.repeat(np.arange(len(self.starts)), self.sizes)[mine]

    def endings(self) -> Integers:
        """Return the kind of each job's last fact."""
        return self.facts.kinds[self.last()]

    def wanted(self) -> Integers:
        """Return how many nodes each job asks for."""
        return self.facts.numbers(SUBMITTED, "data.nodes", self.nth(0))

    def over(self) -> Mask:
        """Tell which jobs of a regular shape have come to their end."""
        wanted, endings = self.wanted(), self.endings()
        settled = (self.metered == wanted) & (self.agreed == (wanted > 1))
        return np.asarray(settled | (endings == FAILED) | (endings == CANCELLED))


class Nodes(NamedTuple):
    """A row for each node of each life, in the order of dispatch; amounts in base units.

    `paid` is 1 or 0. `name` and `text` are where the node's name and its price stand in the batch's bytes.
    """

    life: Integers
    operators: Integers
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
    """Regular lives, a row each, and their nodes. Facts are named by their lines in the batch (see `JobFacts`).

    `lines[starts[i] : starts[i] + sizes[i]]` are all of a life's; `dispatched` and `ended` are -1 where there is no
    such fact; `endings` are the kinds of their last facts. `beyond`: by the line of its dispatch, what a life asks for
    that no column can hold. It is regular as long as its consumer cannot have that much; nothing is held for it.
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
    beyond: dict[int, int]


def find_lives(
    batch: Batch, parameters: Parameters, params_hash: str, jobs: Mapping[Place, Job | Begun]
) -> Lives | None:
    """Find the regular lives of a batch and price those that end; or None. `jobs`: what is open from batches before."""
    groups = _group(batch, jobs)
    if groups is None:
        return None
    groups = groups.pick(_has_shape(groups))
    groups = groups.pick(_is_plain(groups, parameters.unit.asset, params_hash))
    lists = _read(groups)
    held, nodes = _hold(groups, lists, parameters)
    beyond = _hold_beyond(groups, lists, ~held & (groups.endings() == CANCELLED), parameters)
    second = groups.nth(1)
    held |= are_among(second, beyond)
    held[_doubled(lists.quoted * lists.names + lists.nodes) // max(lists.names, 1)] = False
    metered, nodes = _meter(groups, lists, nodes)
    agreed, nodes = _agree(groups, lists, nodes)
    priced, nodes = _price(len(groups.starts), nodes)
    good = held & metered & agreed & priced
    groups, nodes = groups.pick(good), nodes.pick(good)
    if not len(groups.starts):
        return None
    second = groups.nth(1)
    return Lives(
        *groups[:4],
        submitted=groups.nth(0),
        dispatched=np.where(groups.facts.kinds[second] == DISPATCHED, second, -1),
        ended=np.where(groups.over(), groups.last(), -1),
        endings=groups.endings(),
        nodes=nodes,
        beyond=beyond,
    )


def _group(batch: Batch, jobs: Mapping[Place, Job | Begun]) -> _Groups | None:
    """Group the facts of a batch by job, with those from batches before; or None where too few kinds are there."""
    own = batch.lines()
    # Of few open jobs all are read again; of many those of which the batch says more.
    places = jobs if len(jobs) <= own // OPEN_PART else _unsubmitted(batch, own)
    found = [job.lines for place in places if isinstance(job := jobs.get(place), Begun)]
    if found:
        batch = batch.extend(b"".join(found))
    if not {JobSubmitted, JobDispatched} <= batch.columns.keys():
        return None
    facts = JobFacts(batch, own)
    lines = np.flatnonzero(facts.kinds != OTHER)
    # Those from batches before come first.
    lines = np.roll(lines, len(lines) - int(lines.searchsorted(own)))
    lines = lines[np.argsort(facts.jobs[lines], kind="stable")]
    starts = np.flatnonzero(np.diff(facts.jobs[lines], prepend=-1))
    kinds, sizes = facts.kinds[lines], np.diff(starts, append=len(lines))
    counts = (np.add.reduceat(kinds == kind, starts, dtype=np.int64) for kind in (METERED, AGREED))
    return _Groups(facts, lines, starts, sizes, *counts)


def _unsubmitted(batch: Batch, own: int) -> set[Place]:
    """Return the jobs of which the batch says more than that they are submitted."""
    others = {kind: batch.columns[kind] for kind in KINDS if kind in batch.columns and kind is not JobSubmitted}
    if not others:
        return set()
    facts = JobFacts(Batch(others, batch.rest), own)
    return set(facts.places_of(np.flatnonzero(facts.kinds != OTHER)))


def _has_shape(groups: _Groups) -> Mask:
    """Tell which jobs' facts come in the order of a regular life, as far as they go."""
    kinds = groups.facts.kinds
    first, second, last = kinds[groups.nth(0)], kinds[groups.nth(1)], groups.endings()
    # All that follows what was submitted and dispatched.
    behind = groups.sizes - 2
    unheld = (behind == -1) | ((behind == 0) & (last == CANCELLED))
    running = (groups.agreed <= 1) & (groups.metered + groups.agreed == behind)
    alone = (behind == 1) & ((last == FAILED) | (last == CANCELLED))
    return np.asarray((first == SUBMITTED) & (unheld | (second == DISPATCHED) & (running | alone)))


def _is_plain(groups: _Groups, asset: str, params_hash: str) -> Mask:
    """Tell which jobs are of declared authority, and of one attempt at as many nodes as were asked for.

    As many agree, where some do. As `Lane._submit` and what `Lane._dispatch` asks first.
    """
    facts, submitted, second, wanted = groups.facts, groups.nth(0), groups.nth(1), groups.wanted()
    plain = facts.are(SUBMITTED, "data.asset", {asset}, submitted)
    plain &= facts.are(SUBMITTED, "data.authority", {"declared"}, submitted)
    plain &= groups.metered <= wanted
    held = np.flatnonzero(facts.kinds[second] == DISPATCHED)
    plain[held] &= facts.are(DISPATCHED, "data.params_hash", {"", params_hash}, second[held])
    plain[held] &= facts.numbers(DISPATCHED, "data.attempt", second[held]) == 1
    plain[held] &= facts.counts(DISPATCHED, "data.quotes", second[held]) == wanted[held]
    failed, of = groups.of_kind(FAILED)
    if len(failed):
        plain[of[facts.numbers(FAILED, "data.attempt", failed) != 1]] = False
    agreed, of = groups.of_kind(AGREED)
    if len(agreed):
        right = facts.numbers(AGREED, "data.attempt", agreed) == 1
        right &= facts.counts(AGREED, "data.agreeing", agreed) == wanted[of]
        # What one node has metered is settled at once.
        plain[of[~right | (wanted[of] == 1)]] = False
    return plain


class _Lists(NamedTuple):
    """What the lists of jobs' facts say, a row per item: what is quoted, metered (a fact each), and agreed upon.

    `quoted`, `metered`, `agreed`: each item's job; `nodes` … : the names in it, equal ones of equal numbers < `names`.
    """

    quoted: Integers
    metered: Integers
    agreed: Integers
    quotes: Columns
    usage: Integers
    names: int
    nodes: Integers
    operators: Integers
    users: Integers
    agreeing: Integers


def _read(groups: _Groups) -> _Lists:
    facts, second = groups.facts, groups.nth(1)
    held = np.flatnonzero(facts.kinds[second] == DISPATCHED)
    (usage, metered), (verdicts, shared) = groups.of_kind(METERED), groups.of_kind(AGREED)
    quotes = facts.items(DISPATCHED, "data.quotes", second[held])
    texts = [quotes.spans("node"), quotes.spans("operator")]
    if len(usage):
        texts.append(facts.span("data.node", usage, METERED))
    if len(shared):
        texts.append(facts.items(AGREED, "data.agreeing", verdicts).spans("item"))
    starts, ends = (np.concatenate([text[side] for text in texts]) for side in (1, 2))
    firsts, numbers = number_texts(facts.data, starts, ends)
    quoted = np.repeat(held, facts.counts(DISPATCHED, "data.quotes", second[held]))
    # As many agree as were asked for.
    agreed = np.repeat(shared, groups.wanted()[shared])
    parts = np.split(numbers, np.cumsum([len(quoted), len(quoted), len(usage)]))
    return _Lists(quoted, metered, agreed, quotes, usage, len(firsts), *parts)


def _hold(groups: _Groups, lists: _Lists, parameters: Parameters) -> tuple[Mask, Nodes]:
    """Tell which jobs' quotes nothing refuses; return their nodes with what is held for each. As `Lane._dispatch`."""
    life, quotes, rules = lists.quoted, lists.quotes, parameters.job
    price, minimum = quotes.amounts("price"), quotes.amounts("minimum")
    most = groups.facts.numbers(SUBMITTED, "data.gpu_seconds_max", groups.nth(0)[life])
    fits = fits_many(price, most) & (minimum >= 0)
    fits &= keeps_many(np.maximum(price, 0), np.maximum(minimum, 0), rules.burn_bps, rules.fee_bps)
    hold = np.where(fits, hold_many(np.where(fits, price, 0), np.where(fits, most, 0)), 0)
    high, zero = np.zeros(len(groups.starts), dtype=np.int64), np.zeros(len(quotes), dtype=np.int64)
    np.add.at(high, life, hold >> 31)
    good = high < _HIGH_MAX
    good[life[~fits]] = False
    hold = np.where(good[life], hold, 0)
    nodes = Nodes(life, lists.operators, price, hold, zero, zero, zero, *quotes.span("node"), *quotes.span("price"))
    return good, nodes


def _hold_beyond(groups: _Groups, lists: _Lists, jobs: Mask, parameters: Parameters) -> dict[int, int]:
    """Return what some jobs ask for, those of which nothing else refuses the quotes; by the lines of their dispatch."""
    rows = np.flatnonzero(jobs[lists.quoted])
    if not len(rows):
        return {}
    quotes, lines, rules = lists.quotes.take(rows), groups.nth(1)[lists.quoted[rows]].tolist(), parameters.job
    most = groups.facts.numbers(SUBMITTED, "data.gpu_seconds_max", groups.nth(0)[lists.quoted[rows]]).tolist()
    asked, refused = dict.fromkeys(lines, 0), set()
    for line, price, minimum, seconds in zip(lines, quotes.bytes("price"), quotes.bytes("minimum"), most, strict=True):
        asked[line] += hold_for(int(price), seconds)
        if int(price) < quote_price(int(minimum), rules.burn_bps, rules.fee_bps):
            refused.add(line)
    return {line: amount for line, amount in asked.items() if line not in refused}


def _doubled(named: Integers) -> Integers:
    """Return the numbers that are there twice."""
    named = np.sort(named)
    return np.asarray(named[1:][named[1:] == named[:-1]])


def _meter(groups: _Groups, lists: _Lists, nodes: Nodes) -> tuple[Mask, Nodes]:
    """Tell which jobs' usage is of their nodes, once of each; return the nodes with their GPU-seconds.

    Those are paid whose job ends.
    """
    mine, others = _find_nodes(lists, lists.metered, lists.users)
    good, seconds = np.ones(len(groups.starts), dtype=np.bool_), nodes.seconds.copy()
    good[others] = False
    if len(lists.usage):
        facts = groups.facts
        seconds[mine] = facts.numbers(METERED, "data.gpu_seconds", lists.usage)
        good[lists.metered[facts.numbers(METERED, "data.attempt", lists.usage) != 1]] = False
    paid = (groups.over() & (groups.metered > 0))[nodes.life]
    return good, nodes._replace(seconds=seconds, paid=paid.astype(np.int64))


def _agree(groups: _Groups, lists: _Lists, nodes: Nodes) -> tuple[Mask, Nodes]:
    """Tell which jobs' nodes all agree and are enough, where there is a verdict; say who is paid. As `Lane._quorum`.

    Where all are not metered before the verdict all are paid: else the job would be over before all are.
    """
    good, shared = np.ones(len(groups.starts), dtype=np.bool_), groups.agreed > 0
    if not len(lists.agreed):
        return good, nodes
    _, others = _find_nodes(lists, lists.agreed, lists.agreeing)
    mine = np.flatnonzero(shared[nodes.life])
    chosen = paid_many(nodes.life[mine], nodes.operators[mine])
    counts = np.bincount(nodes.life[mine[chosen > 0]], minlength=len(good))[shared]
    last = (groups.over() & (groups.endings() == AGREED))[shared]
    good[shared] = (counts == groups.wanted()[shared]) | ((counts > 0) & last)
    good[others] = False
    paid = nodes.paid.copy()
    paid[mine] *= chosen
    return good, nodes._replace(paid=paid)


def _find_nodes(lists: _Lists, of: Integers, names: Integers) -> tuple[Integers, Integers]:
    """Find the nodes that are named `of` some jobs.

    Returns by name the row of the node, or any; and the jobs of which a node is named twice, or is none of theirs.
    """
    nodes, named = lists.quoted * lists.names + lists.nodes, of * lists.names + names
    order = np.argsort(nodes)
    if not len(order):
        return named * 0, of
    rows = order[np.minimum(np.searchsorted(nodes, named, sorter=order), len(order) - 1)]
    return rows, np.concatenate((of[nodes[rows] != named], _doubled(named) // max(lists.names, 1)))


def _price(jobs: int, nodes: Nodes) -> tuple[Mask, Nodes]:
    """Price the nodes that are paid, as `settlement.release.price_lines`; tell which jobs' prices columns can hold."""
    good, gross, seconds = np.ones(jobs, dtype=np.bool_), nodes.gross.copy(), nodes.seconds.copy()
    paid = np.flatnonzero(nodes.paid)
    if len(paid):
        starts = np.flatnonzero(np.diff(nodes.life[paid], prepend=-1))
        seconds[paid] = bound_many(seconds[paid], starts)
        fits = fits_many(nodes.price[paid], seconds[paid])
        good[nodes.life[paid[~fits]]] = False
        paid = paid[fits]
        gross[paid] = price_many(nodes.price[paid], seconds[paid], nodes.hold[paid])
    return good, nodes._replace(gross=gross, seconds=seconds)
