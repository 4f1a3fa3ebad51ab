"""Regular lives: jobs of declared authority that stand whole in one batch and that nothing of their own refuses.

    submitted, cancelled                                          refunded 0
    submitted, dispatched, failed or cancelled                    held, refunded
    submitted, dispatched to one node, metered                    held, settled
    submitted, dispatched to n, each metered once, all agree      held, settled; one node of each operator is paid
    submitted, dispatched for more than there is, cancelled       refused, refunded 0

Such a life asks the lane's state three things only: whether the job is new, whether its consumer can pay, and which
epochs are open (see `settlement.life_run`). All else follows from its own facts, and is worked out here by columns, for
a whole batch: the vectorised twin of the handlers of `settlement.lane`. What is not regular goes through those.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Batch, Columns
from events.facts import JobDispatched, JobSubmitted, StreamMarked
from events.hashing import number_texts
from ledger.bps import Integers
from ledger.metering import bound_many, fits_many, hold_for, hold_many, price_many
from ledger.parameters import Parameters
from ledger.price import keeps_many, quote_price
from ledger.quorum import paid_many
from settlement.job_facts import AGREED, CANCELLED, DISPATCHED, FAILED, METERED, OTHER, SUBMITTED, JobFacts, ranges

__all__ = ["Lives", "Nodes", "find_lives"]

Mask = npt.NDArray[np.bool_]

# Of what is held for a life the bits above the lowest 31 come to less than this, so that its sum is below 2^62.
_HIGH_MAX = 2**31 - 64


class _Groups(NamedTuple):
    """The facts of jobs, job by job: the lines `lines[starts[i] : starts[i] + sizes[i]]` are about job i."""

    facts: JobFacts
    lines: Integers
    starts: Integers
    sizes: Integers

    def pick(self, jobs: Mask | Integers) -> "_Groups":
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
    """Regular lives, a row each, and their nodes. Facts are named by their lines in the batch.

    `lines[starts[i] : starts[i] + sizes[i]]` are all of a life's; `dispatched` is -1 where there is none; `endings` are
    kinds. `beyond`: by the line of its dispatch, what a life asks for that no column can hold. It is regular as long as
    its consumer cannot have that much; nothing is held for it.
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


def find_lives(batch: Batch, parameters: Parameters, params_hash: str) -> Lives | None:
    """Find the regular lives of a batch, in the order in which they were submitted, and price them; or None."""
    if not {JobSubmitted, JobDispatched} <= batch.columns.keys():
        return None
    facts = JobFacts(batch)
    lines = np.flatnonzero(facts.kinds != OTHER)
    lines = lines[np.argsort(facts.jobs[lines], kind="stable")]
    starts = np.flatnonzero(np.diff(facts.jobs[lines], prepend=-1))
    groups = _Groups(facts, lines, starts, np.diff(starts, append=len(lines)))
    if len(starts):
        groups = groups.pick(_has_shape(groups) & _is_within(groups, batch))
        groups = groups.pick(_is_plain(groups, parameters.unit.asset, params_hash))
    if not len(groups.starts):
        return None
    groups = groups.pick(np.argsort(groups.nth(0)))
    lists = _read(groups)
    held, nodes = _hold(groups, lists, parameters)
    beyond = _hold_beyond(groups, lists, ~held & (groups.endings() == CANCELLED), parameters)
    second = groups.nth(1)
    held |= np.isin(second, list(beyond))
    held[_doubled(lists)] = False
    metered, nodes = _meter(groups, lists, nodes)
    agreed, nodes = _agree(groups, lists, nodes)
    good = held & metered & agreed
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
        nodes=_price(nodes),
        beyond=beyond,
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


def _is_plain(groups: _Groups, asset: str, params_hash: str) -> Mask:
    """Tell which jobs are of declared authority, and of one attempt at as many nodes as were asked for.

    As many are metered, and agree, where any are. As `Lane._submit` and what `Lane._dispatch` asks first.
    """
    facts, submitted, second, last = groups.facts, groups.nth(0), groups.nth(1), groups.last()
    endings, metered, wanted = groups.endings(), groups.metered(), facts.numbers(SUBMITTED, "data.nodes", submitted)
    plain = facts.are(SUBMITTED, "data.asset", {asset}, submitted)
    plain &= facts.are(SUBMITTED, "data.authority", {"declared"}, submitted)
    plain &= (metered == 0) | (metered == wanted)
    held = np.flatnonzero(facts.kinds[second] == DISPATCHED)
    plain[held] &= facts.are(DISPATCHED, "data.params_hash", {"", params_hash}, second[held])
    plain[held] &= facts.numbers(DISPATCHED, "data.attempt", second[held]) == 1
    plain[held] &= facts.counts(DISPATCHED, "data.quotes", second[held]) == wanted[held]
    for kind in (FAILED, AGREED):
        mine = np.flatnonzero(endings == kind)
        if len(mine):
            plain[mine] &= facts.numbers(kind, "data.attempt", last[mine]) == 1
    shared = np.flatnonzero(endings == AGREED)
    if len(shared):
        # What one node has metered is settled at once.
        plain[shared] &= wanted[shared] > 1
        plain[shared] &= facts.counts(AGREED, "data.agreeing", last[shared]) == metered[shared]
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
    facts, second, last, counts = groups.facts, groups.nth(1), groups.last(), groups.metered()
    held, shared = np.flatnonzero(facts.kinds[second] == DISPATCHED), np.flatnonzero(groups.endings() == AGREED)
    quotes = facts.items(DISPATCHED, "data.quotes", second[held])
    usage = groups.lines[ranges(groups.starts + 2, counts)]
    texts = [quotes.spans("node"), quotes.spans("operator")]
    if len(usage):
        texts.append(facts.span("data.node", usage, METERED))
    if len(shared):
        texts.append(facts.items(AGREED, "data.agreeing", last[shared]).spans("item"))
    starts, ends = (np.concatenate([text[side] for text in texts]) for side in (1, 2))
    firsts, numbers = number_texts(facts.data, starts, ends)
    quoted = np.repeat(held, facts.counts(DISPATCHED, "data.quotes", second[held]))
    metered, agreed = np.repeat(np.arange(len(counts)), counts), np.repeat(shared, counts[shared])
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


def _doubled(lists: _Lists) -> Integers:
    """Return the jobs that are dispatched twice to a node."""
    named = np.sort(lists.quoted * lists.names + lists.nodes)
    return np.asarray(named[1:][named[1:] == named[:-1]] // lists.names)


def _meter(groups: _Groups, lists: _Lists, nodes: Nodes) -> tuple[Mask, Nodes]:
    """Tell which jobs' nodes are each metered once, where any is; return the nodes with their GPU-seconds."""
    good, metered = np.ones(len(groups.starts), dtype=np.bool_), groups.metered() > 0
    mine, theirs, others = _side_by_side(lists, metered, lists.metered, lists.users)
    good[others] = False
    seconds = nodes.seconds.copy()
    if len(theirs):
        facts = groups.facts
        seconds[mine] = facts.numbers(METERED, "data.gpu_seconds", lists.usage)[theirs]
        good[lists.metered[facts.numbers(METERED, "data.attempt", lists.usage) != 1]] = False
    paid = metered[nodes.life]
    good[nodes.life[paid & ~fits_many(nodes.price, seconds)]] = False
    return good, nodes._replace(seconds=seconds, paid=paid.astype(np.int64))


def _agree(groups: _Groups, lists: _Lists, nodes: Nodes) -> tuple[Mask, Nodes]:
    """Tell which jobs' nodes all agree and are enough, where there is a verdict; say who is paid. As `Lane._quorum`."""
    good, shared = np.ones(len(groups.starts), dtype=np.bool_), groups.endings() == AGREED
    if not len(lists.agreed):
        return good, nodes
    _, _, others = _side_by_side(lists, shared, lists.agreed, lists.agreeing)
    mine, paid = np.flatnonzero(shared[nodes.life]), nodes.paid.copy()
    paid[mine] = paid_many(nodes.life[mine], nodes.operators[mine])
    good[shared] = np.bincount(nodes.life[mine[paid[mine] > 0]], minlength=len(good))[shared] > 0
    good[others] = False
    return good, nodes._replace(paid=paid)


def _side_by_side(lists: _Lists, jobs: Mask, of: Integers, names: Integers) -> tuple[Integers, Integers, Integers]:
    """Put names that were said `of` some jobs beside the nodes of these, of which there are as many.

    Returns the rows of the nodes, the rows of the names, and the jobs in which they differ.
    """
    nodes, others = lists.quoted * lists.names + lists.nodes, of * lists.names + names
    mine, theirs = np.flatnonzero(jobs[lists.quoted]), np.argsort(others)
    mine = mine[np.argsort(nodes[mine])]
    return mine, theirs, of[theirs[nodes[mine] != others[theirs]]]


def _price(nodes: Nodes) -> Nodes:
    """Price the nodes that are paid. As `settlement.release.price_lines`."""
    gross, seconds = nodes.gross.copy(), nodes.seconds.copy()
    paid = np.flatnonzero(nodes.paid)
    if len(paid):
        starts = np.flatnonzero(np.diff(nodes.life[paid], prepend=-1))
        seconds[paid] = bound_many(seconds[paid], starts)
        gross[paid] = price_many(nodes.price[paid], seconds[paid], nodes.hold[paid])
    return nodes._replace(gross=gross, seconds=seconds)
