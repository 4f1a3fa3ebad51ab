"""Many decisions at once: the vectorised twin of `ledger.post`.

    post_columns(columns) = post(decision) for each decision of the columns, added up by event, account and side

The rules stand in the order of their twins in `ledger.post`. A decision whose numbers do not balance, or are too large
to be added in 64 bits, is left in `Postings.rest`: `post` takes it, or names its fault.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import compress, filterfalse
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Columns, Integers
from events.decisions import DepositCredited, EscrowFunded, JobRefunded, JobSettled, WithdrawalAccepted
from events.event import Event
from events.hashing import render_lines
from ledger import accounts
from ledger.accounts import AccountKind, Key, head_of, kind_of
from ledger.entry import Side

__all__ = ["VECTOR_KINDS", "Names", "Postings", "post_columns", "sum_items"]

Mask = npt.NDArray[np.bool_]

# Amounts are added by their bits above so many, and those sums stay below what 64 bits leave for them.
_LIMB = 31
_HIGH_MAX = 2**32
# Counts up to 2^53 of so many items are added in 64 bits.
_ITEMS_MAX = 2**10


# --- names ---


class Names:
    """Accounts as small numbers, from 0 in the order in which they first appeared."""

    def __init__(self) -> None:
        """Begin with none."""
        # Side by side: a key for each would be one more object for the collector to follow.
        self.assets: list[str] = []
        self.accounts: list[str] = []
        self.vaults: list[str] = []
        self.kinds: list[AccountKind] = []
        self.classes: list[str] = []
        # By asset, vault and head; in each the numbers by what follows the head.
        self._groups: dict[tuple[str, str, str], dict[str, int]] = {}

    def __len__(self) -> int:
        """Count the accounts."""
        return len(self.accounts)

    def key(self, number: int) -> Key:
        """Return the key of an account."""
        return Key(self.assets[number], self.accounts[number], self.vaults[number])

    def __iter__(self) -> Iterator[Key]:
        """Yield the keys of all accounts, in order."""
        return map(Key, self.assets, self.accounts, self.vaults)

    def number(self, key: Key) -> int:
        """Return an account's number; a new one is the next. Raises: KeyError for a name that is not in the chart."""
        head = head_of(key.account)
        group, tail = self._group(key.asset, key.vault, head), key.account[len(head) :]
        if tail not in group:
            self._add(group, [tail], [key.account], key, kind_of(key.account))
        return group[tail]

    def numbers(self, asset: str, vault: str, head: str, tails: list[str]) -> Integers:
        """Return the numbers of the accounts `head` + tail, of which the chart allows all."""
        group = self._group(asset, vault, head)
        try:
            return np.fromiter(map(group.__getitem__, tails), np.int64, len(tails))
        except KeyError:
            new = list(filterfalse(group.__contains__, dict.fromkeys(tails)))
            names = list(map(head.__add__, new))
            self._add(group, new, names, Key(asset, names[0], vault), kind_of(names[0]))
        return np.fromiter(map(group.__getitem__, tails), np.int64, len(tails))

    def _group(self, asset: str, vault: str, head: str) -> dict[str, int]:
        group = self._groups.get((asset, vault, head))
        if group is None:
            group = self._groups[asset, vault, head] = {}
        return group

    def _add(self, group: dict[str, int], tails: list[str], names: list[str], first: Key, kind: AccountKind) -> None:
        """Name accounts of a group, of which `first` is one."""
        group.update(zip(tails, range(len(self), len(self) + len(names)), strict=True))
        self.assets += [first.asset] * len(names)
        self.accounts += names
        self.vaults += [first.vault] * len(names)
        self.kinds += [kind] * len(names)
        self.classes += [kind.supply.value] * len(names)


# --- postings ---


class Postings(NamedTuple):
    """Postings as columns: the event's line, the account's number, the amount on its side and 0 on the other.

    `rest` are the lines that `post` must take.
    """

    rows: Integers
    accounts: Integers
    debits: Integers
    credits: Integers
    rest: Integers


class Tails(NamedTuple):
    """What follows the head in each event's account: one text each, or by their places among few that differ."""

    texts: list[str]
    places: Integers | None = None

    def pick(self, mask: Mask) -> "Tails":
        """Return those of some events, without texts that none of them has."""
        if self.places is None:
            return Tails(list(compress(self.texts, mask.tolist())))
        used, places = np.unique(self.places[mask], return_inverse=True)
        return Tails([self.texts[place] for place in used.tolist()], places)


class Leg(NamedTuple):
    """One posting of each event: on the account `head` + tail, or on `head` where there are no tails."""

    rows: Integers
    vault: str
    head: str
    tails: Tails | None
    amounts: Integers
    side: Side


def post_columns(columns: Columns, names: Names) -> Postings:
    """Return the postings of all decisions of a type; new accounts are named. A posting of zero is left out."""
    rule = _RULES.get(columns.kind)
    if rule is None or not len(columns):
        return _gather([], columns.rows)
    sound = rule.sound(columns)
    moved = []
    for asset, part in _by_text(columns if sound.all() else columns.take(sound), "data.asset"):
        moved += [_name(leg, asset, names) for leg in rule.legs(part)]
    return _gather(moved, columns.rows[~sound])


def sum_items(events: Columns, items: Columns, values: Integers) -> Integers:
    """Add a value of each item up by event."""
    if len(items) == len(events) and (np.diff(items.parents) == 1).all():
        return values
    totals = np.zeros(len(events), dtype=np.int64)
    np.add.at(totals, items.parents, values)
    return totals


def _name(leg: Leg, asset: str, names: Names) -> Postings:
    rows, amounts, tails = leg.rows, leg.amounts, leg.tails
    moved = amounts > 0
    if not moved.all():
        rows, amounts = rows[moved], amounts[moved]
        tails = None if tails is None else tails.pick(moved)
    if tails is not None:
        numbers = names.numbers(asset, leg.vault, leg.head, tails.texts)
        numbers = numbers if tails.places is None else numbers[tails.places]
    else:
        numbers = np.full(len(rows), names.number(Key(asset, leg.head, leg.vault)) if len(rows) else 0)
    none = np.zeros_like(amounts)
    sides = (none, amounts) if leg.side is Side.CREDIT else (amounts, none)
    return Postings(rows, numbers, *sides, rows)


def _gather(parts: list[Postings], rest: Integers) -> Postings:
    empty = np.empty(0, dtype=np.int64)
    rows, numbers, debits, credits = (np.concatenate([empty, *(part[n] for part in parts)]) for n in range(4))
    return Postings(rows, numbers, debits, credits, rest)


def _by_text(columns: Columns, path: str) -> Iterator[tuple[str, Columns]]:
    """Part events by a member of which there are few values."""
    texts = columns.bytes(path)
    values = sorted(set(texts))
    for value in values:
        part = columns if len(values) == 1 else columns.take(np.array([text == value for text in texts]))
        yield value.decode(), part


def _fit(*amounts: Integers) -> Mask:
    """Tell which rows have amounts that add up to less than 2^63; one that is -1 is too large by itself."""
    below = np.logical_and.reduce([values >= 0 for values in amounts])
    return np.asarray(below & (sum(values >> _LIMB for values in amounts) < _HIGH_MAX - len(amounts)))


def _items_fit(events: Columns, items: Columns, sound: Mask) -> Mask:
    """Tell which events have few items, all of them sound."""
    fit = np.asarray(np.bincount(items.parents, minlength=len(events)) < _ITEMS_MAX)
    fit[items.parents[~sound]] = False
    return fit


def _sum_fits(events: Columns, amounts: Iterable[Integers], items: Iterable[tuple[Columns, Integers]]) -> Mask:
    """As `_fit`, of an event's own amounts and those of its items."""
    high = sum((values >> _LIMB for values in amounts), np.zeros(len(events), dtype=np.int64))
    for columns, values in items:
        high += sum_items(events, columns, values >> _LIMB)
    return np.asarray(high < _HIGH_MAX - 4 * _ITEMS_MAX)


# --- rules, as in `ledger.post` ---


class _Rule(NamedTuple):
    """`sound` tells which events balance, `legs` their postings."""

    sound: Callable[[Columns], Mask]
    legs: Callable[[Columns], Iterator[Leg]]


def _deposit_sound(events: Columns) -> Mask:
    return np.asarray((events.amounts("data.amount") >= 0) & ~events.has("data.role"))


def _deposit(events: Columns) -> Iterator[Leg]:
    yield Leg(events.rows, "", accounts.EXTERNAL, None, events.amounts("data.amount"), Side.DEBIT)
    for vault, part in _by_text(events, "data.vault"):
        amount, owners = part.amounts("data.amount"), _few(part, "subject")
        yield Leg(part.rows, vault, _CONSUMER, owners, amount, Side.CREDIT)


def _escrow_funded_sound(events: Columns) -> Mask:
    amount, holds = events.amounts("data.amount"), events.items("data.holds")
    hold = holds.amounts("amount")
    sound = _fit(amount) & _items_fit(events, holds, _fit(hold)) & _sum_fits(events, [], [(holds, hold)])
    return np.asarray(sound & (amount == sum_items(events, holds, hold)))


def _escrow_funded(events: Columns) -> Iterator[Leg]:
    amount, vault = events.amounts("data.amount"), accounts.VAULT_ESCROW
    yield Leg(events.rows, vault, _CONSUMER, _few(events, "data.consumer"), amount, Side.DEBIT)
    yield Leg(events.rows, vault, _ESCROW, _jobs(events), amount, Side.CREDIT)


def _job_settled_sound(events: Columns) -> Mask:
    lines, waiting = events.items("data.lines"), events.items("data.waiting")
    gross, burn, fee, net = (lines.amounts(name) for name in ("gross", "burn", "fee", "net"))
    escrow, refund, hold = events.amounts("data.escrow"), events.amounts("data.refund"), waiting.amounts("hold")
    sound = _fit(escrow) & _fit(refund) & _items_fit(events, waiting, _fit(hold))
    sound &= _items_fit(events, lines, _fit(gross) & _fit(burn, fee, net) & (gross == burn + fee + net))
    sound &= _sum_fits(events, [refund], [(lines, gross), (waiting, hold)])
    held = sum_items(events, waiting, hold)
    sound &= (held == 0) | _from_escrow(events)
    return np.asarray(sound & (escrow == held + sum_items(events, lines, gross) + refund))


def _job_settled(events: Columns) -> Iterator[Leg]:
    vault, lines, waiting = accounts.VAULT_ESCROW, events.items("data.lines"), events.items("data.waiting")
    released = events.amounts("data.escrow") - sum_items(events, waiting, waiting.amounts("hold"))
    refund, owners, line_rows = events.amounts("data.refund"), _few(events, "data.consumer"), events.rows[lines.parents]
    from_escrow = _from_escrow(events)
    if from_escrow.any():
        zero = np.zeros_like(refund)
        yield Leg(events.rows, vault, _ESCROW, _jobs(events), np.where(from_escrow, released, zero), Side.DEBIT)
        yield Leg(events.rows, vault, _CONSUMER, owners, np.where(from_escrow, refund, zero), Side.CREDIT)
    spent = np.where(from_escrow, 0, released - refund)
    yield Leg(events.rows, vault, _CONSUMER, owners, spent, Side.DEBIT)
    yield Leg(line_rows, vault, _SUPPLIER, _few(lines, "node"), lines.amounts("net"), Side.CREDIT)
    yield Leg(line_rows, vault, accounts.BURN_PENDING, None, lines.amounts("burn"), Side.CREDIT)
    yield Leg(line_rows, vault, accounts.FEE_ACCRUED, None, lines.amounts("fee"), Side.CREDIT)


def _amount_sound(events: Columns) -> Mask:
    return np.asarray(events.amounts("data.amount") >= 0)


def _job_refunded(events: Columns) -> Iterator[Leg]:
    amount, vault = events.amounts("data.amount"), accounts.VAULT_ESCROW
    yield Leg(events.rows, vault, _ESCROW, _jobs(events), amount, Side.DEBIT)
    yield Leg(events.rows, vault, _CONSUMER, _few(events, "data.consumer"), amount, Side.CREDIT)


def _withdrawal(events: Columns) -> Iterator[Leg]:
    amount, vault, owners = events.amounts("data.amount"), accounts.VAULT_ESCROW, _few(events, "subject")
    yield Leg(events.rows, vault, _CONSUMER, owners, amount, Side.DEBIT)
    yield Leg(events.rows, vault, _WITHDRAWAL, owners, amount, Side.CREDIT)


def _few(events: Columns, path: str) -> Tails:
    return Tails(*events.numbered(path))


def _jobs(events: Columns) -> Tails:
    joined = render_lines([events.spans("data.consumer"), b":", events.spans("subject")], len(events))
    return Tails(joined.data.decode("ascii").split("\n")[:-1])


def _from_escrow(events: Columns) -> Mask:
    starts, ends = events.span("data.funding")
    return np.asarray(ends - starts == len("escrow"))


_CONSUMER, _ESCROW = accounts.consumer(""), accounts.escrow("", "").removesuffix(":")
_SUPPLIER, _WITHDRAWAL = accounts.payable_supplier(""), accounts.payable("withdrawal", "")
_RULES: dict[type[Event], _Rule] = {
    DepositCredited: _Rule(_deposit_sound, _deposit),
    EscrowFunded: _Rule(_escrow_funded_sound, _escrow_funded),
    JobSettled: _Rule(_job_settled_sound, _job_settled),
    JobRefunded: _Rule(_amount_sound, _job_refunded),
    WithdrawalAccepted: _Rule(_amount_sound, _withdrawal),
}
VECTOR_KINDS = frozenset(_RULES)
