"""Exports the books as journals of hledger, ledger and beancount, so that a tool which is not ours adds them up again.

Read from the ledger logs themselves, not from the rows: one transaction per entry, in the order of each log, the hub's
first. Two passes, so that accounts are declared before use; in memory are the accounts and nothing else.

    debit > 0, credit < 0:      total there = debits − credits = −(balance here)
    date = UTC day of `occurred_at`        amounts: exact decimal text, with all decimals of the asset

The last lines assert each account's total, without tolerance. See docs/exports.md.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple, Protocol

from events.codec import decode, type_name
from events.event import Decision
from events.log import Log
from ledger.accounts import SUPPLY_ISSUED, Key
from ledger.balances import Balances
from ledger.entry import Entry, Side
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from projections.position import format_position

__all__ = ["TOOLS", "beancount_name", "export_journal", "parse_beancount_name", "plain_name"]

# A vault's name has no hyphen, so no vault can be called this.
NO_VAULT = "no-vault"
_DATE_MAX = "9999-12-31"
# What Python's decimals, and so beancount, compute with unless told otherwise.
BEANCOUNT_DIGITS = 28


class Survey(NamedTuple):
    """The first pass: all accounts with their sums, the first and the last day, and up to where the logs were read."""

    balances: Balances
    first: str
    last: str
    entries: int
    position: Mapping[str, int]


class Moved(NamedTuple):
    """An entry, the decision that causes it, and where that stands (`lane-0:12`: the position behind it)."""

    entry: Entry
    decision: Decision
    position: str


class Unit(NamedTuple):
    """The asset that amounts are counted in."""

    asset: str
    decimals: int

    def number(self, base_units: int) -> str:
        """Write base units as a decimal number, exactly, without groups."""
        whole, part = divmod(abs(base_units), 10**self.decimals)
        sign = "-" if base_units < 0 else ""
        return f"{sign}{whole}" + (f".{part:0{self.decimals}d}" if self.decimals else "")

    def symbol(self) -> str:
        """Write the asset as hledger and ledger want it: in quotes where it is not letters alone."""
        return self.asset if self.asset.isalpha() else f'"{self.asset}"'


class Style(Protocol):
    """How one tool's journal is written."""

    def head(self, unit: Unit, survey: Survey) -> Iterator[str]:
        """Yield what stands before the first transaction."""
        ...

    def transaction(self, unit: Unit, moved: Moved) -> str:
        """Write one entry."""
        ...

    def tail(self, unit: Unit, survey: Survey) -> Iterator[str]:
        """Yield the assertion of each account's total."""
        ...


def export_journal(tool: str, logs: Sequence[Log], asset: str, decimals: int) -> Iterator[str]:
    """Yield the books as the journal of a tool (one of `TOOLS`), piece by piece.

    What is appended after the first piece was asked for is left out.
    Raises: LogDamaged, LedgerInvariantBroken.
    """
    style, unit = _STYLES[tool], Unit(asset, decimals)
    survey = _survey(logs, asset)
    yield f"; Books of {asset} at {format_position(dict(survey.position))}, for {tool}.\n"
    yield "; A debit is positive, a credit negative: a total here is the negative of the balance in the books.\n"
    if survey.entries:
        yield from style.head(unit, survey)
        for log in logs:
            for moved in _read(log, survey.position[log.name]):
                yield style.transaction(unit, moved)
        yield from style.tail(unit, survey)
    yield f"; end of {survey.entries} entries\n"


# --- account names ---


def plain_name(account: str, vault: str) -> str:
    """Name an account for hledger and ledger: vault first, then our parts."""
    return ":".join(_parts(account, vault))


def beancount_name(account: str, vault: str) -> str:
    """Name an account for beancount, whose components match `[A-Z0-9][A-Za-z0-9-]*`.

    Assets: what was issued; Liabilities: whose it is. In each part `-` becomes `--`, `.` `-d`, `_` `-u`; then a small
    first letter becomes capital, a digit stays, and before anything else comes `X-x`. No two names become one.
    """
    root = "Assets" if account == SUPPLY_ISSUED else "Liabilities"
    return ":".join((root, *map(_escape, _parts(account, vault))))


def parse_beancount_name(name: str) -> tuple[str, str]:
    """Return the account and vault that `beancount_name` was given. Raises: ValueError for any other text."""
    vault, *parts = map(_unescape, name.partition(":")[2].split(":"))
    account = ":".join(parts)
    vault = "" if vault == NO_VAULT else vault
    if beancount_name(account, vault) != name:
        raise ValueError(f"{name!r} names no account of ours")
    return account, vault


_ESCAPES = {"-": "--", ".": "-d", "_": "-u"}
_UNESCAPES = {escape: character for character, escape in _ESCAPES.items()}
_AS_WRITTEN = "X-x"


def _parts(account: str, vault: str) -> tuple[str, ...]:
    return (vault or NO_VAULT, *account.split(":"))


def _escape(part: str) -> str:
    escaped = "".join(_ESCAPES.get(character, character) for character in part)
    if part[:1].islower():
        return escaped[0].upper() + escaped[1:]
    return escaped if part[:1].isdigit() else _AS_WRITTEN + escaped


def _unescape(component: str) -> str:
    if component.startswith(_AS_WRITTEN):
        escaped = component.removeprefix(_AS_WRITTEN)
    else:
        escaped = component[:1].lower() + component[1:]
    return re.sub("-[-du]", lambda match: _UNESCAPES[match[0]], escaped)


# --- the tools ---


class _Plain:
    """What hledger and ledger have in common."""

    def transaction(self, unit: Unit, moved: Moved) -> str:
        """Write one entry; the code is the event's id."""
        decision = moved.decision
        lines = [
            f"\n{decision.occurred_at[:10]} * ({decision.id}) {type_name(decision)} {decision.subject}\n"
            f"    ; position: {moved.position}\n"
        ]
        for key, amount in _amounts(moved.entry):
            name = plain_name(key.account, key.vault)
            lines.append(f"    {name:<44}  {unit.number(amount):>20} {unit.symbol()}\n")
        return "".join(lines)

    def tail(self, unit: Unit, survey: Survey) -> Iterator[str]:
        """Yield a transaction of zero per account; on the last day and last in the file, so behind all others."""
        zero, symbol = unit.number(0), unit.symbol()
        for key, total in _totals(survey):
            name = plain_name(key.account, key.vault)
            yield f"\n{survey.last} * Balance\n    {name:<44}  {zero} {symbol} = {unit.number(total)} {symbol}\n"


class _Hledger(_Plain):
    def head(self, unit: Unit, survey: Survey) -> Iterator[str]:
        """Declare the commodity, which sets how many decimals are shown, and the accounts."""
        point = "" if unit.decimals else "."
        yield f"\ndecimal-mark .\ncommodity 1000{unit.number(0)[1:]}{point} {unit.symbol()}\n\n"
        for key, _ in _totals(survey):
            yield f"account {plain_name(key.account, key.vault)}\n"


class _Ledger(_Plain):
    def head(self, unit: Unit, survey: Survey) -> Iterator[str]:
        """Declare the commodity, the tag and the accounts."""
        symbol = unit.symbol()
        yield f"\ncommodity {symbol}\n    format 1000{unit.number(0)[1:]} {symbol}\ntag position\n\n"
        for key, _ in _totals(survey):
            yield f"account {plain_name(key.account, key.vault)}\n"


class _Beancount:
    def head(self, unit: Unit, survey: Survey) -> Iterator[str]:
        """Open each account on the first day; warn where beancount would round, since it does so in silence."""
        digits = len(str(sum(debits for _, (debits, _) in survey.balances.items())))
        if digits > BEANCOUNT_DIGITS:
            yield f"; Set decimal.getcontext().prec = {digits} first; beancount rounds at {BEANCOUNT_DIGITS}.\n"
        yield f'\noption "title" "Books of {unit.asset}"\noption "operating_currency" "{unit.asset}"\n\n'
        for key, _ in _totals(survey):
            yield f"{survey.first} open {beancount_name(key.account, key.vault)} {unit.asset}\n"

    def transaction(self, unit: Unit, moved: Moved) -> str:
        """Write one entry; the payee is the event's type."""
        decision = moved.decision
        lines = [
            f'\n{decision.occurred_at[:10]} * "{type_name(decision)}" "{decision.subject}"\n'
            f'  event: "{decision.id}"\n  position: "{moved.position}"\n'
        ]
        for key, amount in _amounts(moved.entry):
            name = beancount_name(key.account, key.vault)
            lines.append(f"  {name:<48}  {unit.number(amount):>20} {unit.asset}\n")
        return "".join(lines)

    def tail(self, unit: Unit, survey: Survey) -> Iterator[str]:
        """Yield a balance per account for the next day's start; `~ 0`, since a unit or two would be tolerated else."""
        if survey.last == _DATE_MAX:
            return
        after = date.fromisoformat(survey.last) + timedelta(days=1)
        yield "\n"
        for name, total in _sum_below(survey).items():
            yield f"{after} balance {name:<48}  {unit.number(total):>20} ~ 0 {unit.asset}\n"


def _sum_below(survey: Survey) -> dict[str, int]:
    """Return each account's total with those of the accounts below it, which is what beancount asserts."""
    totals = {beancount_name(key.account, key.vault): total for key, total in _totals(survey)}
    sums = dict.fromkeys(totals, 0)
    for name, total in totals.items():
        above = name
        while above:
            if above in sums:
                sums[above] += total
            above = above.rpartition(":")[0]
    return sums


_STYLES: dict[str, Style] = {"beancount": _Beancount(), "hledger": _Hledger(), "ledger": _Ledger()}
TOOLS = tuple(_STYLES)


# --- reading ---


def _survey(logs: Sequence[Log], asset: str) -> Survey:
    balances, first, last, entries = Balances(), _DATE_MAX, "", 0
    position = {log.name: 0 for log in logs}
    for log in logs:
        for record in log.read(0):
            position[log.name] = record.end
            for sequence, line in record.events():
                moved = _moved(log.name, sequence, line)
                if moved is None:
                    continue
                balances.fold(moved.entry)
                entries += 1
                day = moved.decision.occurred_at[:10]
                first, last = min(first, day), max(last, day)
    for key, _ in balances.items():
        if key.asset != asset:
            raise LedgerInvariantBroken(f"{key.account} holds {key.asset}; only {asset}'s decimals are declared")
    return Survey(balances, first, last, entries, position)


def _read(log: Log, end: int) -> Iterator[Moved]:
    for record in log.read(0):
        if record.end > end:
            return
        for sequence, line in record.events():
            moved = _moved(log.name, sequence, line)
            if moved is not None:
                yield moved


def _moved(log: str, sequence: int, line: bytes) -> Moved | None:
    decision = decode(line)
    if not isinstance(decision, Decision):
        raise LedgerInvariantBroken(f"{log}: event {sequence} is no decision: {decision!r:.200}")
    entry = post(decision)
    return entry and Moved(entry, decision, f"{log}:{sequence + 1}")


def _amounts(entry: Entry) -> Iterator[tuple[Key, int]]:
    for posting in entry.postings:
        key = Key(posting.asset, posting.account, posting.vault)
        yield key, posting.amount if posting.side is Side.DEBIT else -posting.amount


def _totals(survey: Survey) -> Iterator[tuple[Key, int]]:
    """Yield each account with its total in the tools' sign, in the order of first appearance."""
    for key, (debits, credits) in survey.balances.items():
        yield key, debits - credits
